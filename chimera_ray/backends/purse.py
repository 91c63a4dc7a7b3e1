"""One process's side of a run's budget: calls wait here until the budget lets them through."""

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from chimera_ray.backends.budget_messages import Ended, Exchange, Flight, Report, Spend, Wanted
from chimera_ray.backends.call_costs import NUM_AGES, WINDOW, age_of
from chimera_ray.errors import BudgetError, StopError

log = logging.getLogger(__name__)
HEARTBEAT_S = 2.0
GATHER_S = 0.005
RETRY_S = 0.2
MAX_RETRY_S = 2.0
LOST_S = 180.0
"""without an answer, several times what an actor takes to start again; then the run stops"""
MAX_WANTED = 512
AGES_S = 0.25
"""between two looks at the ages of calls in flight"""


@dataclass(eq=False, slots=True)
class Ticket:
    """A call in flight."""

    wanted: Wanted
    began: float
    reserved: Spend
    age: int = 0


class _Fleet:
    """Calls of one kind in flight, added up."""

    def __init__(self) -> None:
        self.tickets: set[Ticket] = set()
        self._ages = [0] * NUM_AGES
        self._input, self._most = Spend(), Spend()

    def add(self, ticket: Ticket) -> None:
        self.tickets.add(ticket)
        self._count(ticket, 1)

    def remove(self, ticket: Ticket) -> None:
        self.tickets.remove(ticket)
        self._count(ticket, -1)

    def grow_older(self, now: float) -> None:
        for ticket in self.tickets:
            self._ages[ticket.age] -= 1
            ticket.age = age_of(now - ticket.began)
            self._ages[ticket.age] += 1

    def told(self) -> Flight:
        wanted = next(iter(self.tickets)).wanted
        most = None if wanted.most is None else self._most
        told = (wanted.kind, tuple(self._ages), self._input, most)
        return Flight(*told, wanted.assumed, wanted.longest)

    def _count(self, ticket: Ticket, sign: int) -> None:
        self._ages[ticket.age] += sign
        self._input = self._input.plus(ticket.wanted.input, sign)
        self._most = self._most.plus(ticket.wanted.most or Spend(), sign)


class Purse:
    """Made and used inside one event loop."""

    def __init__(self, exchange: Exchange, holder: str) -> None:
        """Nothing is in flight yet."""
        self._exchange = exchange
        # A process that was started again has spent nothing; what it had spent before stays.
        self._holder = f"{holder} {uuid4().hex}"
        self._waiters: deque[tuple[Wanted, asyncio.Future[Ticket]]] = deque()
        self._fleets: dict[str, _Fleet] = {}
        self._looked_at = 0.0
        self._ended: list[Ended] = []
        self._spent = Spend()
        self._gone: tuple[tuple[str, Spend], ...] = ()
        self._news = asyncio.Event()
        self._refused: StopError | None = None
        self._pump: asyncio.Task[None] | None = None

    async def enter(self, wanted: Wanted) -> Ticket:
        """Waits until the call may start.

        Raises:
            StopError: it may not, nor may any other.
        """
        if self._refused is not None:
            raise type(self._refused)(str(self._refused))
        waiter: asyncio.Future[Ticket] = asyncio.get_running_loop().create_future()
        self._waiters.append((wanted, waiter))
        self._wake()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.leave(waiter.result(), Spend())
            raise

    def leave(self, ticket: Ticket, spent: Spend, ended: Ended | None = None) -> None:
        """A call has ended and cost so much, its earlier attempts aside.

        `ended` tells of it, if what it cost tells of others of its kind.
        """
        fleet = self._fleets[ticket.wanted.kind]
        fleet.remove(ticket)
        if not fleet.tickets:
            del self._fleets[ticket.wanted.kind]
        self._spent = self._spent.plus(spent)
        if ended is not None:
            self._ended.append(ended)
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
                await self._tell(is_last=True)

    def _wake(self) -> None:
        self._news.set()
        if self._pump is None:
            self._pump = asyncio.create_task(self._run())

    async def _run(self) -> None:
        again_s, trouble_s = HEARTBEAT_S, RETRY_S
        loop = asyncio.get_running_loop()
        failing_since: float | None = None
        while True:
            wait_s = again_s if self._waiters else HEARTBEAT_S
            if failing_since is not None:
                wait_s, trouble_s = trouble_s, min(trouble_s * 2, MAX_RETRY_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s if self._fleets or self._waiters else None):
                    await self._news.wait()
            await asyncio.sleep(GATHER_S)
            self._news.clear()
            try:
                again_s = await self._tell()
                trouble_s, failing_since = RETRY_S, None
            # Whatever carries the report raises errors of its own, Ray's among them: each is told,
            # and tried again, until LOST_S ends the run. One that escaped would stop this task,
            # and all that wait for the budget would wait for ever.
            except Exception as exc:  # noqa: BLE001
                log.info("the budget did not answer: %s", exc)
                failing_since = loop.time() if failing_since is None else failing_since
                silent_s = loop.time() - failing_since
                if self._waiters and silent_s > LOST_S:  # it will not come back by itself
                    self.refuse(StopError(f"the budget did not answer for {silent_s:.0f} s: {exc}"))

    async def _tell(self, *, is_last: bool = False) -> float:
        while self._waiters and self._waiters[0][1].done():
            self._waiters.popleft()
        waiting = [self._waiters[at][0] for at in range(min(len(self._waiters), MAX_WANTED))]
        self._look(time.monotonic())
        flights = tuple(fleet.told() for fleet in self._fleets.values())
        ended, self._ended = self._ended, []
        report = Report(
            self._holder, tuple(waiting), flights, self._spent, tuple(ended), self._gone, is_last
        )
        try:
            grant = await self._exchange(report)
        except BaseException:
            self._ended = [*ended, *self._ended][-WINDOW:]
            raise
        self._gone = grant.gone
        if grant.refusal:
            self.refuse(BudgetError(grant.refusal))
        for reserved in grant.reserved[: len(self._waiters)]:
            wanted, waiter = self._waiters.popleft()
            if waiter.done():  # given up meanwhile: the budget is told, or it would go on waiting
                self._news.set()
            else:
                ticket = Ticket(wanted, time.monotonic(), reserved)
                self._fleets.setdefault(wanted.kind, _Fleet()).add(ticket)
                waiter.set_result(ticket)
        return grant.again_in_s

    def _look(self, now: float) -> None:
        if now - self._looked_at > AGES_S:
            self._looked_at = now
            for fleet in self._fleets.values():
                fleet.grow_older(now)
