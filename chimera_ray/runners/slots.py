"""The slots of one stage: how many rows are worked on at once; who waits lends its slot."""

from asyncio import Future, get_running_loop
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Slots:
    """So many slots in one event loop.

    A row that comes back for its slot goes before rows that never had one: a call that is to be
    tried again does not wait for all that has not begun.
    """

    def __init__(self, count: int) -> None:
        """All free."""
        self._free = count
        self._returning: deque[Future[None]] = deque()
        self._waiting: deque[Future[None]] = deque()

    @asynccontextmanager
    async def take(self) -> AsyncIterator["Slot"]:
        """Waits for a slot, and holds it meanwhile."""
        await self._enter(self._waiting)
        try:
            yield Slot(self)
        finally:
            self.leave()

    async def back(self) -> None:
        """Waits for a slot, before all who never had one."""
        await self._enter(self._returning)

    def back_at_once(self) -> None:
        """Takes a slot that there may not be: the next one that is given back makes up for it."""
        self._free -= 1

    def leave(self) -> None:
        """Gives a slot to whoever waits."""
        if self._free < 0:
            self._free += 1
            return
        for queue in (self._returning, self._waiting):
            while queue:
                waiter = queue.popleft()
                if not waiter.done():
                    waiter.set_result(None)
                    return
        self._free += 1

    async def _enter(self, queue: deque[Future[None]]) -> None:
        if self._free > 0:
            self._free -= 1
            return
        waiter: Future[None] = get_running_loop().create_future()
        queue.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self.leave()  # it was given in the same moment
            raise


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
