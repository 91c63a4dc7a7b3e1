"""Where one process's calls to an endpoint wait for their turn, as the endpoint's limiter gives it.

Knows nothing about Ray or HTTP: the limiter is reached through an `Exchange`. While it cannot be
reached nothing new starts, and nothing that it has to be told is lost.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from chimera_ray.backends.limiter import Grant, Learnt, Limiter, Report
from chimera_ray.errors import StopError

Exchange = Callable[[Report], Awaitable[Grant]]
"""a report → the limiter's answer"""
MAX_WANTED = 512
SPACING_S, URGENT_S, NEWS_S, HEARTBEAT_S = 0.01, 0.05, 0.25, 2.0
"""between two reports: at least; if there was a 429; if there is news; if calls run"""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.2, 5.0
CLOSE_S = 5.0
"""for the last report"""
_LOG = logging.getLogger(__name__)


def in_process(limiter: Limiter, clock: Callable[[], float]) -> Exchange:
    """A limiter → the way to it, within its own process."""

    async def exchange(report: Report) -> Grant:
        return limiter.exchange(report, clock())

    return exchange


@dataclass(slots=True)
class _News:
    """What the limiter has not yet been told."""

    num_ok: int = 0
    num_limited: int = 0
    tokens_over: int = 0
    pause_s: float = 0.0
    learnt: Learnt | None = None

    def add(self, later: "_News") -> None:
        self.num_ok += later.num_ok
        self.num_limited += later.num_limited
        self.tokens_over += later.tokens_over
        self.pause_s = max(self.pause_s, later.pause_s)
        self.learnt = later.learnt or self.learnt


class Gate:
    """One for each endpoint in a process; used inside one event loop."""

    def __init__(self, exchange: Exchange, holder: str) -> None:
        """Closed, until the limiter's first answer.

        Args:
            exchange: the way to the limiter.
            holder: this process, as the limiter is to know it.
        """
        self._exchange, self._holder = exchange, holder
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._in_flight = 0
        self._news, self._has_news = _News(), False
        self._is_open = self._is_told = self._is_closing = False
        self._again_at = self._asked_at = self._not_before = -float("inf")
        self._backoff_s = 0.0
        self._refusal: StopError | None = None
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    def enter_at_once(self) -> bool:
        """Whether a call may start without waiting, and then it has; to be followed by `leave`."""
        if not self._is_open or self._refusal is not None:
            return False
        self._in_flight += 1
        self._tell_soon()
        return True

    async def enter(self, tokens: int) -> None:
        """Waits until one call of about so many tokens may start; to be followed by `leave`.

        Raises:
            StopError: nothing is to start any more.
        """
        if self.enter_at_once():
            return
        if self._refusal is not None:
            raise _copy(self._refusal)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run())
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((tokens, turn))
        if not self._is_told:  # else those before it wait already, and it cannot overtake them
            self._wake.set()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._in_flight -= 1
                self._news.tokens_over -= tokens
                self._tell_soon()
            raise

    def leave(
        self,
        estimated: int,
        actual: int,
        *,
        is_limited: bool,
        pause_s: float = 0,
        learnt: Learnt | None = None,
    ) -> None:
        """One attempt has ended.

        Args:
            estimated: its tokens, as they were told to `enter`.
            actual: its tokens; 0 if it gave nothing.
            is_limited: it was answered by a 429.
            pause_s: its Retry-After; 0: none.
            learnt: what its headers told of the endpoint's limits.
        """
        self._in_flight -= 1
        news = self._news
        if is_limited:
            news.num_limited += 1
            if news.num_limited == 1:
                self._wake.set()
        else:
            news.num_ok += 1
        news.tokens_over += actual - estimated
        if pause_s > news.pause_s:
            news.pause_s = pause_s
        if learnt is not None:
            news.learnt = learnt
        self._tell_soon()

    def refuse(self, reason: StopError) -> None:
        """A reason → whoever waits to start, now or later, is told it instead."""
        self._refusal = reason
        for _, turn in self._queue:
            if not turn.done():
                turn.set_exception(_copy(reason))
        self._queue.clear()

    async def close(self) -> None:
        """Tells the limiter the last, if it can be reached, and ends the task."""
        self._is_closing = True
        self._wake.set()
        if self._pump is not None:
            _, late = await asyncio.wait({self._pump}, timeout=CLOSE_S)
            for pump in late:
                pump.cancel()
                await asyncio.wait({pump})

    def _tell_soon(self) -> None:
        if not self._has_news:  # else the pump knows
            self._has_news = True
            self._wake.set()

    async def _run(self) -> None:
        try:
            while not self._is_closing:
                await self._until_due()
                if not self._is_closing:
                    await self._talk()
            if self._has_news:
                await self._talk()
        finally:
            self._is_open = False
            for _, turn in self._queue:
                turn.cancel()
            self._queue.clear()

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_closing:
            self._wake.clear()
            due = self._due()
            delay_s = None if due is None else due - loop.time()
            if delay_s is not None and delay_s <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._wake.wait()

    def _due(self) -> float | None:
        """When to report; None: there is nothing to say."""
        while self._queue and self._queue[0][1].done():
            self._queue.popleft()
        asked_at = self._asked_at
        if self._queue:  # what has ended may have made room
            is_urgent = self._has_news or not self._is_told
            due = asked_at + SPACING_S if is_urgent else self._again_at
        elif self._has_news:
            due = asked_at + (URGENT_S if self._news.num_limited else NEWS_S)
        elif self._in_flight > 0:
            due = asked_at + HEARTBEAT_S
        else:
            return None
        return max(due, self._not_before)

    async def _talk(self) -> None:
        """One exchange; what could not be told stays news."""
        waiting = (tokens for tokens, turn in self._queue if not turn.done())
        wanted = tuple(islice(waiting, MAX_WANTED))
        told, self._news, self._has_news = self._news, _News(), False
        report = Report(
            self._holder, wanted, self._in_flight, told.num_ok, told.num_limited,
            told.tokens_over, told.pause_s, told.learnt,
        )  # fmt: skip
        loop = asyncio.get_running_loop()
        try:
            grant = await self._exchange(report)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the limiter may be back soon
            told.add(self._news)
            self._news, self._has_news, self._is_open = told, True, False
            if not self._backoff_s:
                _LOG.warning("%s cannot reach its limiter: %s", self._holder, exc)
            self._backoff_s = min(2 * self._backoff_s or FIRST_BACKOFF_S, MAX_BACKOFF_S)
            self._asked_at = loop.time()
            self._not_before = self._asked_at + self._backoff_s
            return
        self._backoff_s, self._asked_at = 0.0, loop.time()
        self._again_at = self._asked_at + max(grant.again_in_s, SPACING_S)
        self._admit(grant, wanted)

    def _admit(self, grant: Grant, wanted: tuple[int, ...]) -> None:
        self._is_open = grant.is_open
        self._is_told = not grant.is_open and grant.num_calls < len(wanted)
        places, reserved = grant.num_calls, sum(wanted[: grant.num_calls])
        while self._queue and (places > 0 or grant.is_open):
            tokens, turn = self._queue.popleft()
            if not turn.done():  # the place of one that was cancelled goes to the next
                turn.set_result(None)
                self._in_flight += 1
                places, reserved = places - 1, reserved - tokens
        if reserved and not grant.is_open:
            self._news.tokens_over -= reserved
            self._tell_soon()


def _copy(reason: StopError) -> StopError:
    return type(reason)(str(reason))
