"""What a run may spend: `Budget` counts for the whole cluster, `Purse` asks it for one process.

A call is let through if what was spent, what is in flight by estimate and its own estimate stay
within the cap. So spending ends near the cap, and passes it by no more than calls in flight cost
above their estimates.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from chimera_ray.backends.forecast import Forecast
from chimera_ray.backends.halt import Halt
from chimera_ray.errors import BudgetError, StopError
from chimera_ray.llm import Model, Reply, Request, Usage

log = logging.getLogger(__name__)
SILENT_S = 30.0
"""a process not heard of for so long is dead; what it had in flight counts as spent"""
HEARTBEAT_S = 2.0
GATHER_S = 0.005
RETRY_S = 0.2
LOST_S = 180.0
"""without an answer, several times what an actor takes to start again; then the run stops"""
MAX_WANTED = 512


class Spend(NamedTuple):
    """Money and tokens."""

    usd: float = 0.0
    tokens: int = 0

    def plus(self, other: "Spend", sign: int = 1) -> "Spend":
        """The sum, or the difference."""
        return Spend(self.usd + sign * other.usd, self.tokens + sign * other.tokens)


class Report(NamedTuple):
    """What one process tells."""

    holder: str
    wanted: tuple[Spend, ...]
    """estimates of the calls that wait, oldest first"""
    in_flight: int
    reserved: Spend
    """estimates of the calls in flight"""
    spent: Spend
    """since its last report"""


class Grant(NamedTuple):
    """What it is told."""

    num_calls: int
    """so many of the wanted may start"""
    refusal: str
    """not empty: nothing may start any more, and why"""
    again_in_s: float


Exchange = Callable[[Report], Awaitable[Grant]]


class Budget:
    """Caps, what was spent, and what is in flight, by process."""

    def __init__(
        self, max_cost_usd: float | None, max_total_tokens: int | None, spent: Spend
    ) -> None:
        """What was spent before counts."""
        self._max_usd, self._max_tokens, self.spent = max_cost_usd, max_total_tokens, spent
        self._holders: dict[str, tuple[int, Spend, float]] = {}

    def exchange(self, report: Report, now: float) -> Grant:
        """A report → which of its calls may start."""
        self._bury(now)
        self.spent = self.spent.plus(report.spent)
        self._holders[report.holder] = (report.in_flight, report.reserved, now)
        held = self.spent
        for _, reserved, _ in self._holders.values():
            held = held.plus(reserved)
        num_calls, granted = 0, Spend()
        for estimate in report.wanted:
            if not self._fits(held.plus(granted).plus(estimate)):
                break
            granted = granted.plus(estimate)
            num_calls += 1
        in_flight, reserved = report.in_flight + num_calls, report.reserved.plus(granted)
        self._holders[report.holder] = (in_flight, reserved, now)
        is_idle = not any(count for count, _, _ in self._holders.values())
        is_over = bool(report.wanted) and not self._fits(self.spent.plus(report.wanted[0]))
        is_spent = is_over and (is_idle or not self._fits(self.spent))
        return Grant(num_calls, self._refusal() if is_spent else "", 0.1)

    def _fits(self, spend: Spend) -> bool:
        is_cheap = self._max_usd is None or spend.usd <= self._max_usd
        return is_cheap and (self._max_tokens is None or spend.tokens <= self._max_tokens)

    def _bury(self, now: float) -> None:
        for holder, (_, reserved, heard) in list(self._holders.items()):
            if now - heard > SILENT_S:
                self.spent = self.spent.plus(reserved)
                del self._holders[holder]

    def _refusal(self) -> str:
        parts = []
        if self._max_usd is not None:
            parts.append(f"{self.spent.usd:.4f} of {self._max_usd:g} USD")
        if self._max_tokens is not None:
            parts.append(f"{self.spent.tokens:,} of {self._max_tokens:,} tokens")
        return f"the budget leaves room for no further call: {' and '.join(parts)} spent"


def in_process(budget: Budget, clock: Callable[[], float]) -> Exchange:
    """A budget of this process's own → the way to it."""

    async def exchange(report: Report) -> Grant:
        return budget.exchange(report, clock())

    return exchange


class Purse:
    """One process's side: calls wait here until the budget lets them through."""

    def __init__(self, exchange: Exchange, holder: str) -> None:
        """Made inside the event loop that it works in."""
        self._exchange, self._holder = exchange, holder
        self._waiters: deque[tuple[Spend, asyncio.Future[None]]] = deque()
        self._in_flight, self._reserved, self._spent = 0, Spend(), Spend()
        self._news = asyncio.Event()
        self._refused: StopError | None = None
        self._pump: asyncio.Task[None] | None = None

    async def enter(self, estimate: Spend) -> None:
        """Waits until a call of about this cost may start.

        Raises:
            StopError: it may not, nor may any other.
        """
        if self._refused is not None:
            raise type(self._refused)(str(self._refused))
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((estimate, waiter))
        self._wake()
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.leave(estimate, Spend())
            raise

    def leave(self, estimate: Spend, spent: Spend) -> None:
        """A call of that estimate has ended and cost so much."""
        self._in_flight -= 1
        self._reserved = self._reserved.plus(estimate, -1)
        self._spent = self._spent.plus(spent)
        self._wake()

    def refuse(self, reason: StopError) -> None:
        """Turns away whoever waits, now and later."""
        self._refused = self._refused or reason
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(type(reason)(str(reason)))

    async def close(self) -> None:
        """Tells what was spent last."""
        if self._pump is not None:
            self._pump.cancel()
            with suppress(asyncio.CancelledError):
                await self._pump
            with suppress(Exception):  # the ledger has it; the budget is read anew from there
                await self._tell()

    def _wake(self) -> None:
        self._news.set()
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())

    async def _run(self) -> None:
        wait_s, trouble_s = HEARTBEAT_S, RETRY_S
        loop = asyncio.get_running_loop()
        failing_since: float | None = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s if self._in_flight or self._waiters else None):
                    await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            try:
                again_in_s = await self._tell()
                trouble_s, failing_since = RETRY_S, None
            except Exception as exc:  # noqa: BLE001 - the budget's actor is being started again
                log.info("the budget did not answer: %s", exc)
                failing_since = loop.time() if failing_since is None else failing_since
                silent_s = loop.time() - failing_since
                if self._waiters and silent_s > LOST_S:  # it will not come back by itself
                    self.refuse(StopError(f"the budget did not answer for {silent_s:.0f} s: {exc}"))
                again_in_s = trouble_s
                trouble_s = min(trouble_s * 2, 5.0)
            wait_s = again_in_s if self._waiters else HEARTBEAT_S

    async def _tell(self) -> float:
        while self._waiters and self._waiters[0][1].done():
            self._waiters.popleft()
        spent, self._spent = self._spent, Spend()
        waiting = [self._waiters[at][0] for at in range(min(len(self._waiters), MAX_WANTED))]
        report = Report(self._holder, tuple(waiting), self._in_flight, self._reserved, spent)
        try:
            grant = await self._exchange(report)
        except BaseException:
            self._spent = self._spent.plus(spent)
            raise
        if grant.refusal:
            self.refuse(BudgetError(grant.refusal))
        for _ in range(min(grant.num_calls, len(self._waiters))):
            estimate, waiter = self._waiters.popleft()
            if waiter.done():  # given up meanwhile: the budget is told, or it would go on waiting
                self._news.set()
            else:
                self._in_flight += 1
                self._reserved = self._reserved.plus(estimate)
                waiter.set_result(None)
        return grant.again_in_s


class Metered:
    """A model under the run's budget and halt."""

    def __init__(self, model: Model, halt: Halt, purse: Purse | None) -> None:
        """The model itself is told of neither."""
        self.name = model.name
        self._model, self._halt, self._purse = model, halt, purse
        self._forecast = Forecast(None)

    async def complete(self, request: Request) -> Reply:
        """Request → reply, if it may be asked for.

        Raises:
            StopError: nothing new may start.
            RowError: as the model says.
        """
        self._halt.check()
        if self._purse is None:
            return await self._model.complete(request)
        estimate = self._spend(self._forecast.usage(request))
        await self._purse.enter(estimate)
        spent = Spend()
        try:
            reply = await self._model.complete(request)
            spent = self._spend(reply.usage)
            self._forecast.learn(reply.usage)
            return reply
        finally:
            self._purse.leave(estimate, spent)

    @property
    def trouble(self) -> str:
        """What keeps the model from answering; empty: nothing."""
        return self._model.trouble

    def cost_usd(self, usage: Usage) -> float:
        """Tokens of one call → US dollars."""
        return self._model.cost_usd(usage)

    async def close(self) -> None:
        """Closes the model."""
        await self._model.close()

    def _spend(self, usage: Usage) -> Spend:
        return Spend(self.cost_usd(usage), usage.input_tokens + usage.output_tokens)
