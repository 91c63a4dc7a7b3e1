"""The slots of one stage: how many rows are worked on at once; who waits lends its slot."""

from asyncio import Future, get_running_loop
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial


class Slots:
    """So many slots in one event loop.

    A row that comes back for its slot goes before rows that never had one: a call that is to be
    tried again does not wait for all that has not begun. Of those, the row goes first that is
    expected to take the longest, so that no long one is alone at work in the end.
    """

    def __init__(self, count: int, expected: Callable[[str], float] = lambda group: 0.0) -> None:
        """All free.

        Args:
            count: how many there are.
            expected: a group of rows → how long the next of them is expected to take.
        """
        self._free = count
        self._returning: deque[Future[None]] = deque()
        self._waiting = _Waiting(expected)

    def take(self, group: str = "") -> "Taken":
        """Waits for a slot, and holds it meanwhile."""
        return Taken(self, group)

    async def enter(self, group: str) -> None:
        """Waits for a slot."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._enter(partial(self._waiting.add, group))

    async def back(self) -> None:
        """Waits for a slot, before all who never had one."""
        await self._enter(self._returning.append)

    def back_at_once(self) -> None:
        """Takes a slot that there may not be: the next one that is given back makes up for it."""
        self._free -= 1

    def leave(self) -> None:
        """Gives a slot to whoever waits."""
        if self._free < 0:
            self._free += 1
            return
        while self._returning:
            waiter = self._returning.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        first = self._waiting.pop()
        if first is None:
            self._free += 1
        else:
            first.set_result(None)

    async def _enter(self, queue: Callable[[Future[None]], None]) -> None:
        if self._free > 0:
            self._free -= 1
            return
        waiter: Future[None] = get_running_loop().create_future()
        queue(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self.leave()  # it was given in the same moment
            raise


class Taken:
    """A slot in an `async with`: every row passes here, so it is no generator."""

    def __init__(self, slots: Slots, group: str) -> None:
        """Nothing is held yet."""
        self._slots, self._group = slots, group

    async def __aenter__(self) -> "Slot":
        await self._slots.enter(self._group)
        return Slot(self._slots)

    async def __aexit__(self, *raised: object) -> None:
        self._slots.leave()


class _Waiting:
    """Rows that never had a slot, in the order of their arrival, by group.

    Only the first of each group is looked at, since its rows are all expected to take as long: so
    a slot that is given back costs as much as there are groups, however many rows wait.
    """

    def __init__(self, expected: Callable[[str], float]) -> None:
        self._expected, self._num_arrived = expected, 0
        self._queues: dict[str, deque[tuple[int, Future[None]]]] = {}

    def add(self, group: str, waiter: Future[None]) -> None:
        self._num_arrived += 1
        self._queues.setdefault(group, deque()).append((self._num_arrived, waiter))

    def pop(self) -> Future[None] | None:
        """The row that goes first; ties in the order of arrival."""
        for group, queue in list(self._queues.items()):
            while queue and queue[0][1].done():  # cancelled meanwhile
                queue.popleft()
            if not queue:
                del self._queues[group]
        if not self._queues:
            return None
        first = next(iter(self._queues))
        if len(self._queues) > 1:
            first = max(
                self._queues, key=lambda name: (self._expected(name), -self._queues[name][0][0])
            )
        return self._queues[first].popleft()[1]


class Slot:
    """One row's slot."""

    def __init__(self, slots: Slots) -> None:
        """Held, by the row's one or more calls."""
        self._slots = slots

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[None]:
        """Gives the slot away meanwhile, and takes it back before it ends.

        Who ends in an error, as when the run is to stop, does not wait for it.

        Two calls of one row that both wait lend it twice, which is one row more at work than there
        are slots, for as long as a call of that row goes on.
        """
        self._slots.leave()
        try:
            yield
            await self._slots.back()
        except BaseException:
            self._slots.back_at_once()
            raise
