"""Caps on money and tokens: who may start, when it ends, and by how much it can be passed."""

import asyncio
import heapq
import time
from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run_virtually

from chimera_ray.backends.budget import (
    LOST_S,
    MAX_WANTED,
    SILENT_S,
    Budget,
    Exchange,
    Grant,
    Metered,
    Purse,
    Report,
    Spend,
    in_process,
)
from chimera_ray.backends.halt import Halt
from chimera_ray.errors import BudgetError, EndpointError, StopError, TransientProviderError
from chimera_ray.llm import Message, Reply, Request, Usage

NOTHING = Spend()
CENT = Spend(0.01, 100)
REQUEST = Request((Message("user", "x" * 400),), None, 1)


def _report(
    holder: str = "a",
    wanted: int = 0,
    in_flight: int = 0,
    spent: Spend = NOTHING,
    estimate: Spend = CENT,
) -> Report:
    reserved = Spend(estimate.usd * in_flight, estimate.tokens * in_flight)
    return Report(holder, (estimate,) * wanted, in_flight, reserved, spent)


CAPS: dict[str, tuple[float | None, int | None, int]] = {
    "usd": (0.055, None, 5),
    "tokens": (None, 500, 5),
    "both_usd_first": (0.035, 10_000, 3),
    "both_tokens_first": (10.0, 299, 2),
    "exactly": (None, 100, 1),
    "below_one_call": (0.001, None, 0),
}


@pytest.mark.parametrize(("usd", "tokens", "fits"), CAPS.values(), ids=CAPS)
def test_budget_lets_so_many_calls_start_as_fit_by_their_estimates(
    usd: float | None, tokens: int | None, fits: int
) -> None:
    grant = Budget(usd, tokens, NOTHING).exchange(_report(wanted=9), 0)
    assert grant.num_calls == fits
    assert bool(grant.refusal) == (fits == 0)


@pytest.mark.parametrize("spent", [Spend(0.05, 0), Spend(0, 500), Spend(9, 9_000)], ids=str)
def test_budget_counts_what_was_spent_before_it_began(spent: Spend) -> None:
    budget = Budget(0.055, 550, spent)
    grant = budget.exchange(_report(wanted=1), 0)
    assert grant.num_calls == 0
    assert "the budget leaves room for no further call" in grant.refusal
    assert "of 0.055 USD and" in grant.refusal
    assert "of 550 tokens spent" in grant.refusal


def test_budget_at_its_cap_with_calls_in_flight_waits_for_what_they_leave() -> None:
    budget = Budget(0.05, None, NOTHING)
    assert budget.exchange(_report(wanted=9), 0).num_calls == 5
    waits = budget.exchange(_report(wanted=4, in_flight=5), 1)
    assert (waits.num_calls, waits.refusal) == (0, "")
    assert waits.again_in_s > 0
    # Two end and cost half of their estimate: that is room for one more.
    freed = budget.exchange(_report(wanted=4, in_flight=3, spent=Spend(0.01, 0)), 2)
    assert (freed.num_calls, freed.refusal) == (1, "")


def test_budget_refuses_at_once_when_what_is_spent_is_beyond_the_cap() -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report(wanted=5), 0)
    grant = budget.exchange(_report(wanted=1, in_flight=4, spent=Spend(0.06, 0)), 1)
    assert (grant.num_calls, bool(grant.refusal)) == (0, True)


def test_budget_refuses_a_call_that_never_fits_only_when_nothing_is_in_flight_anywhere() -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report("a", wanted=1), 0)
    large = Spend(0.2, 0)
    assert budget.exchange(_report("b", wanted=1, estimate=large), 1).refusal == ""
    budget.exchange(_report("a", spent=CENT), 2)
    assert budget.exchange(_report("b", wanted=1, estimate=large), 3).refusal


def test_budget_refuses_nobody_who_wants_nothing() -> None:
    budget = Budget(0.05, None, Spend(1, 0))
    assert budget.exchange(_report(spent=CENT), 0).refusal == ""


def test_budget_is_one_for_all_holders() -> None:
    budget = Budget(0.05, None, NOTHING)
    assert [budget.exchange(_report(name, wanted=2), 0).num_calls for name in "abc"] == [2, 2, 1]


@pytest.mark.parametrize("silent_s", [SILENT_S - 1, SILENT_S + 1], ids=["late", "dead"])
def test_budget_what_a_dead_holder_had_in_flight_is_spent(silent_s: float) -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report("a", wanted=3), 0)
    grant = budget.exchange(_report("b", wanted=9), silent_s)
    assert grant.num_calls == 2  # whether it lives or not: the calls may have been made
    is_dead = silent_s > SILENT_S
    assert budget.spent == pytest.approx(Spend(0.03, 300) if is_dead else NOTHING)


def test_budget_dead_holder_leaves_nobody_waiting_for_ever() -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report("a", wanted=5), 0)
    assert budget.exchange(_report("b", wanted=1), SILENT_S - 1).refusal == ""
    assert budget.exchange(_report("b", wanted=1), SILENT_S + 1).refusal


def test_budget_started_again_knows_what_is_in_flight_from_the_next_reports() -> None:
    anew = Budget(0.05, None, Spend(0.01, 100))
    assert anew.exchange(_report("a", wanted=9, in_flight=3), 0).num_calls == 1
    assert anew.exchange(_report("b", wanted=9), 0).num_calls == 0


SPENDS = st.builds(Spend, st.floats(0, 0.2), st.integers(0, 300))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    usd=st.none() | st.floats(0.01, 5),
    tokens=st.none() | st.integers(1, 5_000),
    num_holders=st.integers(1, 4),
    worst=st.floats(0.1, 4),
)
def test_budget_is_passed_by_no_more_than_calls_in_flight_cost_above_their_estimates(
    seed: int, usd: float | None, tokens: int | None, num_holders: int, worst: float
) -> None:
    """A few hundred calls by several holders, who tell of their ends with some delay."""
    random, budget, now = Random(seed), Budget(usd, tokens, NOTHING), 0.0
    todo = {f"holder {n}": deque(_calls(random, worst)) for n in range(num_holders)}
    running: dict[str, list[tuple[float, Spend, Spend]]] = {name: [] for name in todo}
    refused: set[str] = set()
    spent, over = NOTHING, NOTHING
    events = [(random.random(), name) for name in todo]
    while events:
        now, name = heapq.heappop(events)
        ended = [call for call in running[name] if call[0] <= now]
        running[name] = [call for call in running[name] if call[0] > now]
        told = NOTHING
        for _, estimate, actual in ended:
            told = told.plus(actual)
            over = over.plus(Spend(*(max(a - e, 0) for a, e in zip(actual, estimate, strict=True))))
        spent = spent.plus(told)
        reserved = NOTHING
        for _, estimate, _ in running[name]:
            reserved = reserved.plus(estimate)
        wanted = () if name in refused else tuple(call[0] for call in list(todo[name])[:20])
        grant = budget.exchange(Report(name, wanted, len(running[name]), reserved, told), now)
        refused |= {name} if grant.refusal else set()
        for _ in range(grant.num_calls):
            running[name].append((now + random.random(), *todo[name].popleft()))
        if running[name] or (todo[name] and name not in refused):
            heapq.heappush(events, (now + 0.1 + random.random() / 4, name))
    assert budget.spent == pytest.approx(spent)
    assert spent.usd <= (usd or 1e9) + over.usd + 1e-9
    assert spent.tokens <= (tokens or 10**9) + over.tokens
    assert refused or not any(todo.values())  # it ends: all done, or told that it cannot be


def _calls(random: Random, worst: float) -> list[tuple[Spend, Spend]]:
    """Estimates and what the calls then cost, up to `worst` times as much."""
    calls = []
    for _ in range(40):
        estimate = Spend(random.random() / 10, random.randrange(200))
        factor = random.random() * worst
        calls.append((estimate, Spend(estimate.usd * factor, int(estimate.tokens * factor))))
    return calls


async def _entered(purse: Purse, log: list[str], name: str, estimate: Spend = CENT) -> None:
    await purse.enter(estimate)
    log.append(name)


async def _close(purse: Purse, tasks: list["asyncio.Task[None]"]) -> list[object]:
    """Ends what still waits; what became of each."""
    for task in tasks:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    await purse.close()
    return list(found)


def test_purse_lets_calls_through_in_the_order_in_which_they_came() -> None:
    async def work() -> list[str]:
        log: list[str] = []
        purse = Purse(in_process(Budget(0.25, None, NOTHING), time.monotonic), "a")
        small, large = Spend(0.01, 0), Spend(0.1, 0)
        sizes = [large, small, large, large, small]  # the last would fit before the fourth
        tasks = [
            asyncio.create_task(_entered(purse, log, str(n), size)) for n, size in enumerate(sizes)
        ]
        await asyncio.sleep(60)
        await _close(purse, tasks)
        return log

    assert run_virtually(work()) == ["0", "1", "2"]


def test_purse_at_the_cap_goes_on_as_soon_as_calls_cost_less_than_they_might() -> None:
    async def work() -> list[str]:
        log: list[str] = []
        purse = Purse(in_process(Budget(0.02, None, NOTHING), time.monotonic), "a")
        tasks = [asyncio.create_task(_entered(purse, log, str(n))) for n in range(4)]
        await asyncio.sleep(60)
        assert log == ["0", "1"]
        purse.leave(CENT, NOTHING)
        await asyncio.sleep(1)
        assert log == ["0", "1", "2"]
        purse.leave(CENT, Spend(0.02, 0))
        purse.leave(CENT, NOTHING)
        await asyncio.sleep(1)
        found = await _close(purse, tasks)
        assert isinstance(found[3], BudgetError)
        return log

    assert run_virtually(work()) == ["0", "1", "2"]


def test_purse_refusal_reaches_all_who_wait_and_all_who_come_later() -> None:
    async def work() -> int:
        purse = Purse(in_process(Budget(0.005, None, NOTHING), time.monotonic), "a")
        calls = [purse.enter(CENT) for _ in range(MAX_WANTED + 100)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(BudgetError, match=r"of 0\.005 USD"):
            await purse.enter(CENT)
        await purse.close()
        return sum(isinstance(error, BudgetError) for error in found)

    assert run_virtually(work()) == MAX_WANTED + 100


def test_purse_told_to_refuse_keeps_its_first_reason_and_leaves_running_calls_alone() -> None:
    async def work() -> list[object]:
        budget = Budget(0.01, None, NOTHING)
        purse = Purse(in_process(budget, time.monotonic), "a")
        await purse.enter(CENT)
        waiting = asyncio.create_task(purse.enter(CENT))
        await asyncio.sleep(1)
        purse.refuse(EndpointError("bad key"))
        purse.refuse(BudgetError("spent"))
        found = await asyncio.gather(waiting, purse.enter(CENT), return_exceptions=True)
        purse.leave(CENT, Spend(0.02, 7))
        await purse.close()
        return [*found, budget.spent]

    waiting, later, spent = run_virtually(work())
    assert [(type(error), str(error)) for error in (waiting, later)] == [
        (EndpointError, "bad key")
    ] * 2
    assert spent == Spend(0.02, 7)


def test_purse_waiter_that_gives_up_makes_room_for_the_next() -> None:
    async def work() -> list[str]:
        log: list[str] = []
        purse = Purse(in_process(Budget(0.01, None, NOTHING), time.monotonic), "a")
        tasks = [asyncio.create_task(_entered(purse, log, str(n))) for n in range(3)]
        await asyncio.sleep(1)
        tasks[1].cancel()
        await asyncio.sleep(1)
        purse.leave(CENT, NOTHING)
        await asyncio.sleep(1)
        await _close(purse, tasks)
        return log

    assert run_virtually(work()) == ["0", "2"]


class Line:
    """The way to a budget that takes a while, and now and then is broken."""

    def __init__(self, budget: Budget, delay_s: float = 0, broken_until: float = 0) -> None:
        self.reports: list[Report] = []
        self._budget, self._delay_s, self._broken_until = budget, delay_s, broken_until

    async def exchange(self, report: Report) -> Grant:
        await asyncio.sleep(self._delay_s)
        if time.monotonic() < self._broken_until:
            raise ConnectionError("the budget's actor is being started again")
        self.reports.append(report)
        return self._budget.exchange(report, time.monotonic())


@pytest.mark.parametrize("moment_s", [0.002, 0.3, 0.6], ids=["before", "meanwhile", "after"])
def test_purse_waiter_that_gives_up_while_it_is_granted_leaves_nothing_reserved(
    moment_s: float,
) -> None:
    async def work() -> list[Grant]:
        line = Line(budget := Budget(0.01, None, NOTHING), delay_s=0.5)
        purse = Purse(line.exchange, "a")
        task = asyncio.create_task(purse.enter(CENT))
        await asyncio.sleep(moment_s)
        task.cancel()
        if moment_s > 0.5:
            await task  # it was let through before
            purse.leave(CENT, NOTHING)
        await asyncio.sleep(5)
        other = budget.exchange(_report("b", wanted=1), time.monotonic())
        await _close(purse, [task])
        return [other]

    assert [grant.num_calls for grant in run_virtually(work())] == [1]


def test_purse_whose_budget_is_away_for_a_while_loses_nothing_and_lets_nobody_through() -> None:
    async def work() -> tuple[Spend, list[float]]:
        entered: list[float] = []
        line = Line(budget := Budget(1.0, None, NOTHING))
        purse = Purse(line.exchange, "a")
        await purse.enter(CENT)
        line._broken_until = time.monotonic() + 20
        purse.leave(CENT, Spend(0.25, 9))

        async def call() -> None:
            await purse.enter(CENT)
            entered.append(time.monotonic())
            purse.leave(CENT, CENT)

        await asyncio.gather(*(call() for _ in range(3)))
        await asyncio.sleep(5)
        await purse.close()
        return budget.spent, entered

    spent, entered = run_virtually(work())
    assert spent == pytest.approx(Spend(0.28, 309))
    assert 20 <= min(entered) <= max(entered) <= 27


def test_purse_tells_what_is_in_flight_again_and_again_so_that_it_is_not_taken_for_dead() -> None:
    async def work() -> Spend:
        budget = Budget(1.0, None, NOTHING)
        purse = Purse(in_process(budget, time.monotonic), "a")
        await purse.enter(CENT)
        for _ in range(10):
            await asyncio.sleep(SILENT_S)
            budget.exchange(_report("b"), time.monotonic())
        found = budget.spent
        purse.leave(CENT, CENT)
        await purse.close()
        return found

    assert run_virtually(work()) == NOTHING


def test_purse_closed_has_told_all_and_closing_a_new_one_is_nothing() -> None:
    async def work() -> Spend:
        budget = Budget(1.0, None, NOTHING)
        purse = Purse(in_process(budget, time.monotonic), "a")
        await purse.close()
        await purse.enter(CENT)
        purse.leave(CENT, CENT)
        await purse.close()
        return budget.spent

    assert run_virtually(work()) == CENT


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), cap=st.floats(0.02, 1), worst=st.floats(0.1, 3))
def test_purses_pass_the_cap_by_no_more_than_calls_in_flight_cost_above_their_estimates(
    seed: int, cap: float, worst: float
) -> None:
    random = Random(seed)

    async def work() -> tuple[Spend, float, Spend]:
        budget, spent, over = Budget(cap, None, NOTHING), 0.0, 0.0
        purses = [Purse(in_process(budget, time.monotonic), name) for name in "abc"]

        async def call(purse: Purse, estimate: Spend, actual: Spend) -> None:
            nonlocal spent, over
            await asyncio.sleep(random.random() * 5)
            await purse.enter(estimate)
            await asyncio.sleep(random.random() * 3)
            spent, over = spent + actual.usd, over + max(actual.usd - estimate.usd, 0.0)
            purse.leave(estimate, actual)

        calls = [call(purse, *pair) for purse in purses for pair in _calls(random, worst)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        for purse in purses:
            await purse.close()
        assert {type(error) for error in found} <= {type(None), BudgetError}
        return Spend(spent, 0), over, budget.spent

    spent, over, told = run_virtually(work())
    assert spent.usd <= cap + over + 1e-9
    assert told.usd == pytest.approx(spent.usd)


class Priced:
    """A model whose calls cost what they are told to."""

    name, trouble = "priced", ""

    def __init__(self, *script: Usage | Exception) -> None:
        self._script = deque(script)

    async def complete(self, request: Request) -> Reply:
        await asyncio.sleep(1)
        said = self._script.popleft()
        if isinstance(said, Exception):
            raise said
        return Reply("text", usage=said)

    def cost_usd(self, usage: Usage) -> float:
        return usage.output_tokens / 1e4

    async def close(self) -> None:
        return


def _metered(exchange: Exchange, *script: Usage | Exception) -> tuple[Metered, Halt, Purse]:
    halt, purse = Halt(), Purse(exchange, "a")
    halt.listen(purse.refuse)
    return Metered(Priced(*script), halt, purse), halt, purse


def test_metered_pays_for_replies_and_for_nothing_else() -> None:
    async def work() -> tuple[Spend, list[Report]]:
        line = Line(budget := Budget(10.0, None, NOTHING))
        model, _, purse = _metered(line.exchange, Usage(5, 0, 50), TransientProviderError("503"))
        await model.complete(REQUEST)
        with pytest.raises(TransientProviderError):
            await model.complete(REQUEST)
        await purse.close()
        return budget.spent, line.reports

    spent, reports = run_virtually(work())
    assert spent == pytest.approx(Spend(0.005, 55))
    assert (reports[-1].in_flight, reports[-1].reserved.tokens) == (0, 0)
    assert reports[-1].reserved.usd == pytest.approx(0)


def test_metered_cancelled_call_leaves_nothing_reserved() -> None:
    async def work() -> Report:
        line = Line(Budget(10.0, None, NOTHING))
        model, _, purse = _metered(line.exchange, Usage(5, 0, 50))
        call = asyncio.create_task(model.complete(REQUEST))
        await asyncio.sleep(0.5)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await purse.close()
        return line.reports[-1]

    report = run_virtually(work())
    assert (report.in_flight, report.reserved.tokens) == (0, 0)


@pytest.mark.parametrize("reason", [EndpointError("bad key"), BudgetError("spent")], ids=str)
def test_metered_halted_asks_for_nothing(reason: StopError) -> None:
    async def work(has_purse: bool) -> None:
        halt = Halt()
        halt.stop(reason)
        purse = Purse(in_process(Budget(1.0, None, NOTHING), time.monotonic), "a")
        await Metered(Priced(), halt, purse if has_purse else None).complete(REQUEST)

    for has_purse in (True, False):
        with pytest.raises(type(reason), match=str(reason)):
            run_virtually(work(has_purse))


def test_metered_estimates_follow_what_calls_have_used() -> None:
    async def work() -> list[Report]:
        line = Line(Budget(1e6, None, NOTHING))
        model, _, purse = _metered(line.exchange, *[Usage(5, 0, 40_000)] * 100)
        for _ in range(100):
            await model.complete(REQUEST)
        await purse.close()
        return line.reports

    wanted = [report.wanted[0].tokens for report in run_virtually(work()) if report.wanted]
    assert wanted[0] == 400 // 4 + 1_000
    assert wanted == sorted(wanted)
    assert 0.9 * 40_000 < wanted[-1] < 1.1 * 40_000


def test_purse_whose_budget_never_answers_stops_the_run_instead_of_waiting_for_ever() -> None:
    async def lost(report: Report) -> Grant:
        raise ConnectionError("the actor cannot be made")

    async def work() -> float:
        purse, began = Purse(lost, "a"), time.monotonic()
        with pytest.raises(StopError, match=r"did not answer for .* cannot be made"):
            await purse.enter(CENT)
        await purse.close()
        return time.monotonic() - began

    assert LOST_S <= run_virtually(work()) <= LOST_S + 10
