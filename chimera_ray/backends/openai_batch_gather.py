"""Calls → groups that go into one batch each: until none has joined for a while, or it is full."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from chimera_ray.backends.openai_batch_handed import Handed
from chimera_ray.backends.openai_batch_placing import Item
from chimera_ray.errors import StopError
from chimera_ray.model_config import Batch

PATIENCE = 10
"""times gather_s: so long the first call of a group waits at most, however many still join"""


class Gathering:
    """The group that calls are joining."""

    def __init__(self, batch: Batch, place: Callable[[Sequence[Item]], Awaitable[None]]) -> None:
        """Empty.

        Args:
            batch: how large a group is, and how long it is waited for.
            place: tells each call of a group its batch.
        """
        self._batch, self._place = batch, place
        self._max_requests = batch.max_requests
        self._items: dict[str, Item] = {}
        self._num_bytes, self._first_at = 0, 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._placing: set[asyncio.Task[None]] = set()

    async def join(self, item: Item) -> Handed:
        """A call with its line → the batch that it is in, once that is handed in."""
        loop, size = asyncio.get_running_loop(), len(item.line)
        item.place = loop.create_future()
        if self._items and self._num_bytes + size > self._batch.max_bytes:
            self._hand_in()
        now, gather_s = loop.time(), self._batch.gather_s
        if not self._items:
            self._first_at = now
        self._items[item.key] = item
        self._num_bytes += size
        self._stop_timer()
        if len(self._items) >= self._max_requests:
            self._hand_in()
        else:
            due = min(now + gather_s, self._first_at + PATIENCE * gather_s)
            self._timer = loop.call_at(due, self._hand_in)
        try:
            return await item.place
        finally:
            if self._items.get(item.key) is item:  # nobody waits for it any more
                del self._items[item.key]
                self._num_bytes -= size
            item.line = b""

    def shrink(self, num_calls: int) -> None:
        """So many calls were too many at once: groups have half as many from now on."""
        self._max_requests = max(1, min(self._max_requests, num_calls // 2))

    def refuse(self, reason: StopError) -> None:
        """Turns away whoever waits to be handed in."""
        for item in self._take():
            item.settle(reason)

    async def close(self) -> None:
        """Gathers no more, and stops handing in."""
        self._stop_timer()
        for task in self._placing:
            task.cancel()
        await asyncio.gather(*self._placing, return_exceptions=True)

    def _hand_in(self) -> None:
        items = self._take()
        if items:
            task = asyncio.ensure_future(self._place(items))
            self._placing.add(task)
            task.add_done_callback(self._placing.discard)

    def _take(self) -> list[Item]:
        items, self._items, self._num_bytes = list(self._items.values()), {}, 0
        return items

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
