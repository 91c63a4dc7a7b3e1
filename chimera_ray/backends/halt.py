"""Whether a run is to stop, and why: one `Halt` in each process, told to all that may wait."""

import asyncio
import logging
from collections.abc import Callable

from chimera_ray.errors import StopError

log = logging.getLogger(__name__)


class Halt:
    """Nothing new starts once it is set; whoever waits to start something is told at once."""

    def __init__(self) -> None:
        """Not set."""
        self.reason: StopError | None = None
        self._event = asyncio.Event()
        self._listeners: list[Callable[[StopError], None]] = []

    def stop(self, reason: StopError) -> None:
        """A reason → the run stops for it; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._event.set()
            for listener in self._listeners:
                _tell(listener, reason)

    def listen(self, listener: Callable[[StopError], None]) -> None:
        """Has a listener told of the reason, now or when there is one."""
        self._listeners.append(listener)
        if self.reason is not None:
            _tell(listener, self.reason)

    def check(self) -> None:
        """Nothing, or the reason why nothing new may start.

        Raises:
            StopError: the reason.
        """
        if self.reason is not None:
            raise type(self.reason)(str(self.reason))

    async def wait(self) -> StopError:
        """Waits for a reason."""
        await self._event.wait()
        if self.reason is None:
            raise AssertionError("woken without a reason")
        return self.reason

    async def sleep(self, seconds: float) -> None:
        """Waits so long.

        Raises:
            StopError: the run was stopped meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return
        self.check()


def _tell(listener: Callable[[StopError], None], reason: StopError) -> None:
    try:
        listener(reason)
    except Exception as exc:  # noqa: BLE001 - the others are to be told all the same
        log.warning("not told that the run stops: %s", exc)
