"""One stage's rows that another run may be working on too: who does them, and who waits for them.

While one run alone works on the stage nothing is asked of anybody. Once there are others, a row is
claimed when it gets its slot; one that another process has gives its slot back and waits until that
process has written its record, or has let go of it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from chimera_ray.backends.halt import Halt
from chimera_ray.errors import LedgerError
from chimera_ray.ledger.claims import Claims
from chimera_ray.schemas import Call, Record

log = logging.getLogger(__name__)
Item = tuple[str, str]
"""a row's id and its JSON"""
AskLedger = Callable[[Sequence[Item]], tuple[Mapping[str, Record], Mapping[str, Sequence[Call]]]]
"""rows → the records of those that are done, and the calls of those that were begun, by row id"""
LOOK_S = 0.5
"""between two looks for other runs: what starts meanwhile may be paid twice"""
POLL_S = 0.1
"""between two looks for what others have written"""


class SharedRows:
    """Made and used inside one event loop."""

    def __init__(
        self,
        claims: Claims,
        work_of: Callable[[str], str],
        ask_ledger: AskLedger,
        in_hand: Callable[[], Iterable[str]],
        halt: Halt,
    ) -> None:
        """Looks for other runs from now on.

        Args:
            claims: of the stage.
            work_of: a row's id → its work id.
            ask_ledger: what the ledger says of some rows.
            in_hand: ids of the rows that are being worked on here.
            halt: who waits for a record of another run does not wait any more once it is set.
        """
        self._claims, self._work_of, self._ask_ledger = claims, work_of, ask_ledger
        self._in_hand, self._halt = in_hand, halt
        self._one_at_a_time = asyncio.Lock()
        self._waiting: dict[str, tuple[Item, asyncio.Future[None]]] = {}
        self._has_others = claims.has_others()
        # They look as often as we do, and then say what they have in hand.
        self._begins_at = time.monotonic() + 2 * LOOK_S if self._has_others else 0.0
        self._tasks = (asyncio.create_task(self._look()), asyncio.create_task(self._poll()))

    async def claimed(self, item: Item, earlier: Sequence[Call]) -> Sequence[Call] | None:
        """A row that has its slot → the calls made for it; None: `ended` has to be awaited.

        The ledger is asked again: other runs may have done the row while it waited for its slot,
        or have paid for calls and let go of it.
        """
        if not self._has_others:
            return earlier
        await asyncio.sleep(max(self._begins_at - time.monotonic(), 0))
        async with self._one_at_a_time:
            (is_ours,) = await asyncio.to_thread(self._claims.take, [self._work_of(item[0])])
        done, begun = self._ask_ledger([item])
        return begun.get(item[0], ()) if is_ours and item[0] not in done else None

    async def ended(self, item: Item) -> tuple[Record | None, Sequence[Call]]:
        """A row of another run → its record, or none and its calls, if it is to be done here."""
        while self._halt.reason is None:
            done, earlier = self._ask_ledger([item])
            if item[0] in done:
                return done[item[0]], ()
            if await self._is_free(item):
                return None, earlier.get(item[0], ())
            free = asyncio.get_running_loop().create_future()
            self._waiting[item[0]] = item, free
            await free
        return None, ()

    async def give_back(self, item: Item) -> None:
        """Lets other runs have a row that did not come to an end for good."""
        if self._has_others:
            async with self._one_at_a_time:
                work = self._work_of(item[0])
                await asyncio.to_thread(self._claims.give_back, [work])

    def close(self) -> None:
        """Lets go of all rows."""
        for task in self._tasks:
            task.cancel()
        self._claims.close()

    async def _is_free(self, item: Item) -> bool:
        async with self._one_at_a_time:
            works = [self._work_of(item[0])]
            return (await asyncio.to_thread(self._claims.are_free, works))[0]

    async def _look(self) -> None:
        """Looks for other runs until there are any, and then claims what is in hand."""
        are_claimed = self._has_others
        while not are_claimed:
            await asyncio.sleep(LOOK_S)
            try:
                async with self._one_at_a_time:
                    if await asyncio.to_thread(self._claims.has_others):
                        self._has_others = True  # for good: what they did is not known here
                        works = [self._work_of(name) for name in self._in_hand()]
                        await asyncio.to_thread(self._claims.take, works)
                        are_claimed = True
            except OSError as exc:
                log.warning("cannot look for other runs, and tries again: %s", exc)

    async def _poll(self) -> None:
        """Wakes who waits for a row that another run has ended, or let go of."""
        while True:
            await asyncio.sleep(POLL_S)
            items = [item for item, _ in self._waiting.values()]
            try:
                ended = await self._ended(items)
            except (LedgerError, OSError) as exc:
                log.warning("cannot look for what other runs have done, and tries again: %s", exc)
                ended = []
            for name, _ in items if self._halt.reason is not None else ended:
                _, free = self._waiting.pop(name)
                if not free.done():
                    free.set_result(None)

    async def _ended(self, items: Sequence[Item]) -> list[Item]:
        """Rows of other runs → those that have ended, or that nobody has any more."""
        if not items:
            return []
        done = self._ask_ledger(items)[0]
        async with self._one_at_a_time:
            works = [self._work_of(name) for name, _ in items]
            are_free = await asyncio.to_thread(self._claims.are_free, works)
        return [
            item
            for item, is_free in zip(items, are_free, strict=True)
            if is_free or item[0] in done
        ]
