"""Caps on money and tokens: who may start, when it ends, and by how much it can be passed."""

import heapq
from collections import deque
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.backends.budget import SILENT_S, Budget
from chimera_ray.backends.budget_messages import Ended, Flight, Report, Spend, Wanted
from chimera_ray.backends.call_costs import NUM_AGES, Sample, age_of

NOTHING = Spend()
CENT = Spend(0.01, 100)
HUGE = Spend(10.0, 100_000)


def _times(spend: Spend, count: int) -> Spend:
    return Spend(spend.usd * count, spend.tokens * count)


def _wanted(most: Spend | None = CENT, assumed: Spend = CENT, kind: str = "solver") -> Wanted:
    return Wanted(kind, NOTHING, most, assumed, HUGE if most is None else most)


def _flight(count: int, most: Spend | None = CENT, age_s: float = 0.0) -> Flight:
    ages = [0] * NUM_AGES
    ages[age_of(age_s)] = count
    whole = None if most is None else _times(most, count)
    return Flight("solver", tuple(ages), NOTHING, whole, CENT, HUGE if most is None else most)


def _report(
    holder: str = "a",
    wanted: int = 0,
    in_flight: int = 0,
    spent: Spend = NOTHING,
    most: Spend | None = CENT,
    ended: tuple[Ended, ...] = (),
) -> Report:
    flights = (_flight(in_flight, most),) if in_flight else ()
    return Report(holder, (_wanted(most),) * wanted, flights, spent, ended)


def _ended(output: Spend = CENT, seconds: float = 1.0, *, is_beyond: bool = False) -> Ended:
    return Ended("solver", seconds, output, is_beyond)


def _starts(budget: Budget, report: Report, now: float = 0) -> int:
    return len(budget.exchange(report, now).reserved)


# ---- calls with a limit ---------------------------------------------------------------------

CAPS: dict[str, tuple[float | None, int | None, int]] = {
    "usd": (0.055, None, 5),
    "tokens": (None, 500, 5),
    "both_usd_first": (0.035, 10_000, 3),
    "both_tokens_first": (10.0, 299, 2),
    "exactly": (None, 100, 1),
    "below_one_call_that_nobody_has_measured": (0.001, None, 1),
}


@pytest.mark.parametrize(("usd", "tokens", "fits"), CAPS.values(), ids=CAPS)
def test_budget_lets_so_many_calls_start_as_fit_by_the_most_they_may_cost(
    usd: float | None, tokens: int | None, fits: int
) -> None:
    grant = Budget(usd, tokens, NOTHING).exchange(_report(wanted=9), 0)
    assert (len(grant.reserved), grant.refusal) == (fits, "")


def test_budget_of_large_replies_is_not_passed_twentyfive_times() -> None:
    reply = Spend(0.25, 25_000)  # 500 wait, and the limit allows 32,000 tokens each
    grant = Budget(5.0, None, NOTHING).exchange(_report(wanted=500, most=Spend(0.32, 32_000)), 0)
    assert 3 < len(grant.reserved) * reply.usd < 5.0 + reply.usd


def test_budget_starts_the_last_call_by_what_is_expected_of_it() -> None:
    budget, dear = Budget(1.0, None, NOTHING), Spend(0.9, 0)
    ended = tuple(_ended(Spend(0.01, 0)) for _ in range(300))
    report = Report("a", (_wanted(dear),) * 9, (), Spend(0.5, 0), ended)
    budget.exchange(_report("b", wanted=1, most=dear), 0)
    budget.exchange(_report("b"), 1)
    assert _starts(budget, report) == 1  # another one may cost 0.9 as well
    measured = Report("a", (_wanted(dear),), (), Spend(0.9999, 0))
    assert budget.exchange(measured, 2).refusal


@pytest.mark.parametrize("spent", [Spend(0.05, 0), Spend(0, 500), Spend(9, 9_000)], ids=str)
def test_budget_counts_what_was_spent_before_it_began(spent: Spend) -> None:
    grant = Budget(0.05, 500, spent).exchange(_report(wanted=1), 0)
    assert grant.reserved == ()
    assert "the budget leaves room for no further call" in grant.refusal
    assert "of 0.05 USD and" in grant.refusal
    assert "of 500 tokens spent" in grant.refusal


def test_budget_at_its_cap_with_calls_in_flight_waits_for_what_they_leave() -> None:
    budget = Budget(0.05, None, NOTHING)
    assert _starts(budget, _report(wanted=9)) == 5
    waits = budget.exchange(_report(wanted=4, in_flight=5), 1)
    assert (waits.reserved, waits.refusal) == ((), "")
    # Two end and cost half of their estimate: that is room for one more.
    freed = budget.exchange(_report(wanted=4, in_flight=3, spent=Spend(0.01, 0)), 2)
    assert (len(freed.reserved), freed.refusal) == (1, "")


def test_budget_refuses_at_once_when_what_is_spent_is_beyond_the_cap() -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report(wanted=5), 0)
    grant = budget.exchange(_report(wanted=1, in_flight=4, spent=Spend(0.06, 0)), 1)
    assert (len(grant.reserved), bool(grant.refusal)) == (0, True)


def test_budget_tries_one_call_that_nobody_has_measured_once_nothing_is_in_flight() -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report("a", wanted=1), 0)
    dear = _wanted(Spend(0.2, 0), Spend(0.2, 0), "drafter")
    large = Report("b", (dear, dear), (), NOTHING)
    waits = budget.exchange(large, 1)
    assert (waits.reserved, waits.refusal) == ((), "")
    budget.exchange(_report("a", spent=CENT), 2)
    assert _starts(budget, large, 3) == 1


def test_budget_refuses_a_prompt_that_is_too_dear_by_itself() -> None:
    wanted = Wanted("solver", Spend(0.06, 0), Spend(0.2, 0), CENT, CENT)
    grant = Budget(0.05, None, NOTHING).exchange(Report("a", (wanted,), (), NOTHING), 0)
    assert (grant.reserved, bool(grant.refusal)) == ((), True)


def test_budget_refuses_nobody_who_wants_nothing() -> None:
    budget = Budget(0.05, None, Spend(1, 0))
    assert budget.exchange(_report(spent=CENT), 0).refusal == ""


def test_budget_is_one_for_all_holders() -> None:
    budget = Budget(0.05, None, NOTHING)
    assert [_starts(budget, _report(name, wanted=2)) for name in "abc"] == [2, 2, 1]


def test_budget_takes_a_limit_that_the_endpoint_does_not_keep_for_none() -> None:
    budget = Budget(1.0, None, NOTHING)
    budget.exchange(_report(wanted=1), 0)
    beyond = tuple(_ended(Spend(0.2, 2_000), is_beyond=True) for _ in range(9))
    told = _report(wanted=50, spent=Spend(0.2, 2_000), ended=beyond)
    assert _starts(budget, told, 1) <= 4


# ---- calls without a limit ------------------------------------------------------------------


def test_budget_reserves_what_is_assumed_until_calls_have_ended_and_then_what_they_cost() -> None:
    budget = Budget(1.0, None, NOTHING)
    dear = Wanted("solver", NOTHING, None, Spend(0.25, 0), Spend(0.5, 0))
    grant = budget.exchange(Report("a", (dear,) * 99, (), NOTHING), 0)
    assert 1 <= len(grant.reserved) <= 4
    ended = tuple(_ended(Spend(0.001, 10)) for _ in range(200))
    again = budget.exchange(Report("a", (dear,) * 99, (), Spend(0.2, 0), ended), 9)
    assert len(again.reserved) == 99


def test_budget_knows_calls_of_earlier_executions() -> None:
    earlier = {"solver": [Sample(1.0, 0.05, 500)] * 100}
    grant = Budget(1.0, None, NOTHING, earlier).exchange(_report(wanted=99, most=None), 0)
    assert 12 <= len(grant.reserved) <= 20  # though a cent is assumed


def test_budget_expects_more_of_a_call_the_longer_it_runs() -> None:
    earlier = {"solver": [Sample(float(n), n / 100, n) for n in range(1, 101)]}
    room = []
    for age_s in (0.0, 60.0):
        budget = Budget(20.0, None, NOTHING, earlier)
        flight = _flight(20, None, age_s)
        wanted = (_wanted(None),) * 99
        room.append(_starts(budget, Report("a", wanted, (flight,), NOTHING)))
    assert room[1] < room[0]


# ---- processes that die, and a budget that does ---------------------------------------------


@pytest.mark.parametrize("silent_s", [SILENT_S - 1, SILENT_S + 1], ids=["late", "dead"])
def test_budget_what_a_dead_holder_had_in_flight_is_spent(silent_s: float) -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report("a", wanted=3), 0)
    assert _starts(budget, _report("b", wanted=9), silent_s) == 2  # it may have made its calls
    is_dead = silent_s > SILENT_S
    assert budget.spent == pytest.approx(Spend(0.03, 300) if is_dead else NOTHING)


def test_budget_takes_back_what_it_counted_of_a_holder_that_was_only_silent() -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report("a", wanted=3), 0)
    budget.exchange(_report("b"), SILENT_S + 1)
    budget.exchange(_report("a", spent=CENT), SILENT_S + 2)
    assert budget.spent == CENT


def test_budget_dead_holder_leaves_nobody_waiting_for_ever() -> None:
    budget = Budget(0.05, None, NOTHING)
    budget.exchange(_report("a", wanted=5), 0)
    assert budget.exchange(_report("b", wanted=1), SILENT_S - 1).refusal == ""
    assert budget.exchange(_report("b", wanted=1), SILENT_S + 1).refusal


def test_budget_report_that_arrives_twice_counts_once() -> None:
    budget = Budget(1.0, None, NOTHING)
    for _ in range(3):
        budget.exchange(_report("a", spent=CENT), 0)
    assert budget.spent == CENT


def test_budget_started_again_knows_everything_from_those_that_are_left() -> None:
    """The ledger has a part of what `a`, `b` and `c` have spent: none of it counts twice."""
    before = Budget(1.0, None, Spend(0.1, 0))
    before.exchange(_report("a", wanted=1), 0)  # dies with a call in flight
    before.exchange(_report("b", spent=Spend(0.02, 0))._replace(is_last=True), 1)
    told = before.exchange(_report("c", spent=Spend(0.03, 0)), SILENT_S + 1).gone
    anew = Budget(1.0, None, Spend(0.14, 0), grants_from=SILENT_S + 20)
    assert anew.spent == Spend(0.14, 0)
    anew.exchange(_report("c", spent=Spend(0.04, 0))._replace(gone=told), SILENT_S + 11)
    assert anew.spent == pytest.approx(before.spent.plus(Spend(0.01, 0)))


def test_budget_started_again_whom_nobody_is_left_to_tell_has_the_ledger() -> None:
    anew = Budget(0.2, None, Spend(0.14, 0), grants_from=10.0)
    assert _starts(anew, _report("d", wanted=99), 11) == 6


def test_budget_started_again_whom_nobody_is_left_to_tell_adds_to_the_ledger() -> None:
    anew = Budget(10.0, None, Spend(6.0, 0), grants_from=10.0)
    anew.exchange(_report("d"), 9)
    grant = anew.exchange(_report("d", wanted=1, spent=Spend(5.5, 0)), 11)
    assert anew.spent == Spend(11.5, 0)
    assert (grant.reserved, bool(grant.refusal)) == ((), True)
    again = Budget(10.0, None, Spend(8.0, 0), grants_from=30.0)
    again.exchange(_report("d", spent=Spend(5.5, 0))._replace(gone=grant.gone), 21)
    assert again.spent == Spend(11.5, 0)


def test_budget_started_again_who_is_told_late_counts_nothing_twice() -> None:
    anew = Budget(10.0, None, Spend(6.0, 0), grants_from=10.0)
    anew.exchange(_report("d", spent=Spend(1.0, 0)), 11)
    told = (("before", Spend(2.0, 0)), ("b", Spend(1.0, 0)))
    anew.exchange(_report("c", spent=Spend(3.5, 0))._replace(gone=told), 12)
    assert anew.spent == Spend(7.5, 0)


def test_budget_started_again_grants_nothing_before_all_have_told_what_is_in_flight() -> None:
    anew = Budget(0.05, None, NOTHING, grants_from=10.0)
    early = anew.exchange(_report("a", wanted=9, in_flight=1), 5)
    assert (early.reserved, early.refusal) == ((), "")
    anew.exchange(_report("b", in_flight=3), 9)
    assert _starts(anew, _report("a", wanted=9, in_flight=1), 11) == 1


# ---- the guarantee --------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    usd=st.none() | st.floats(0.01, 5),
    tokens=st.none() | st.integers(1, 5_000),
    num_holders=st.integers(1, 4),
)
def test_budget_of_calls_with_limits_is_passed_by_no_more_than_one_call(
    seed: int, usd: float | None, tokens: int | None, num_holders: int
) -> None:
    """A few hundred calls by several holders, who tell of their ends with some delay."""
    random, budget, now = Random(seed), Budget(usd, tokens, NOTHING), 0.0
    todo = {f"holder {n}": deque(_calls(random)) for n in range(num_holders)}
    running: dict[str, list[tuple[float, Spend, Spend]]] = {name: [] for name in todo}
    spent = dict.fromkeys(todo, NOTHING)
    refused: set[str] = set()
    largest = NOTHING
    events = [(random.random(), name) for name in todo]
    while events:
        now, name = heapq.heappop(events)
        ended = [call for call in running[name] if call[0] <= now]
        running[name] = [call for call in running[name] if call[0] > now]
        for _, _, actual in ended:
            spent[name] = spent[name].plus(actual)
            largest = Spend(*map(max, largest, actual))
        flights = tuple(_flight(1, most)._replace(kind=str(most)) for _, most, _ in running[name])
        calls = [] if name in refused else list(todo[name])[:20]
        wanted = tuple(_wanted(most, kind=str(most)) for most, _ in calls)
        told = tuple(Ended("solver", 1.0, actual, False) for _, _, actual in ended)
        grant = budget.exchange(Report(name, wanted, flights, spent[name], told), now)
        refused |= {name} if grant.refusal else set()
        for _ in grant.reserved:
            running[name].append((now + random.random(), *todo[name].popleft()))
        if running[name] or (todo[name] and name not in refused):
            heapq.heappush(events, (now + 0.1 + random.random() / 4, name))
    total = NOTHING
    for each in spent.values():
        total = total.plus(each)
    assert budget.spent == pytest.approx(total)
    assert total.usd <= (usd or 1e9) + largest.usd + 1e-9
    assert total.tokens <= (tokens or 10**9) + largest.tokens
    assert refused or not any(todo.values())  # it ends: all done, or told that it cannot be


def _calls(random: Random) -> list[tuple[Spend, Spend]]:
    """The most that calls may cost, and what they then cost."""
    calls = []
    for _ in range(40):
        most = Spend(random.random() / 10, random.randrange(1, 200))
        share = random.random() ** 2
        calls.append((most, Spend(most.usd * share, int(most.tokens * share))))
    return calls
