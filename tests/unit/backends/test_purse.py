"""How calls wait for the budget: in order, without loss, whatever becomes of them or of it."""

import asyncio
import time

import pytest
from virtual_time import run_virtually

from chimera_ray.backends.budget import SILENT_S, Budget, in_process
from chimera_ray.backends.budget_messages import Grant, Report, Spend, Wanted
from chimera_ray.backends.purse import LOST_S, MAX_RETRY_S, MAX_WANTED, Purse, Ticket
from chimera_ray.errors import BudgetError, EndpointError, StopError

NOTHING = Spend()
CENT = Spend(0.01, 100)


def _wanted(most: Spend = CENT) -> Wanted:
    return Wanted("solver", NOTHING, most, most, most)


def _purse(cap: float, name: str = "a") -> Purse:
    return Purse(in_process(Budget(cap, None, NOTHING), time.monotonic), name)


async def _entered(purse: Purse, log: list[str], name: str, most: Spend = CENT) -> Ticket:
    ticket = await purse.enter(_wanted(most))
    log.append(name)
    return ticket


async def _close(purse: Purse, tasks: list["asyncio.Task[Ticket]"]) -> list[object]:
    """Ends what still waits; what became of each."""
    for task in tasks:
        task.cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    await purse.close()
    return list(found)


def test_purse_lets_calls_through_in_the_order_in_which_they_came() -> None:
    async def work() -> list[str]:
        log: list[str] = []
        purse = _purse(0.25)
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
        purse = _purse(0.02)
        tasks = [asyncio.create_task(_entered(purse, log, str(n))) for n in range(4)]
        await asyncio.sleep(60)
        assert log == ["0", "1"]
        purse.leave(tasks[0].result(), NOTHING)
        await asyncio.sleep(1)
        assert log == ["0", "1", "2"]
        purse.leave(tasks[1].result(), Spend(0.02, 0))
        purse.leave(tasks[2].result(), NOTHING)
        await asyncio.sleep(1)
        found = await _close(purse, tasks)
        assert isinstance(found[3], BudgetError)
        return log

    assert run_virtually(work()) == ["0", "1", "2"]


def test_purse_refusal_reaches_all_who_wait_and_all_who_come_later() -> None:
    async def work() -> int:
        purse = Purse(in_process(Budget(0.005, None, CENT), time.monotonic), "a")
        calls = [purse.enter(_wanted()) for _ in range(MAX_WANTED + 100)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        with pytest.raises(BudgetError, match=r"of 0\.005 USD"):
            await purse.enter(_wanted())
        await purse.close()
        return sum(isinstance(error, BudgetError) for error in found)

    assert run_virtually(work()) == MAX_WANTED + 100


def test_purse_told_to_refuse_keeps_its_first_reason_and_leaves_running_calls_alone() -> None:
    async def work() -> list[object]:
        budget = Budget(0.01, None, NOTHING)
        purse = Purse(in_process(budget, time.monotonic), "a")
        ticket = await purse.enter(_wanted())
        waiting = asyncio.create_task(purse.enter(_wanted()))
        await asyncio.sleep(1)
        purse.refuse(EndpointError("bad key"))
        purse.refuse(BudgetError("spent"))
        found = await asyncio.gather(waiting, purse.enter(_wanted()), return_exceptions=True)
        purse.leave(ticket, Spend(0.02, 7))
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
        purse = _purse(0.01)
        tasks = [asyncio.create_task(_entered(purse, log, str(n))) for n in range(3)]
        await asyncio.sleep(1)
        tasks[1].cancel()
        await asyncio.sleep(1)
        purse.leave(tasks[0].result(), NOTHING)
        await asyncio.sleep(1)
        await _close(purse, tasks)
        return log

    assert run_virtually(work()) == ["0", "2"]


class Line:
    """The way to a budget that takes a while, and now and then is broken."""

    def __init__(self, budget: Budget, delay_s: float = 0) -> None:
        self.budget, self.reports, self.broken_until = budget, list[Report](), 0.0
        self.loses_answers = False
        self._delay_s = delay_s

    async def exchange(self, report: Report) -> Grant:
        await asyncio.sleep(self._delay_s)
        if time.monotonic() < self.broken_until:
            if self.loses_answers:
                self.budget.exchange(report, time.monotonic())
            raise ConnectionError("the budget's actor is being started again")
        self.reports.append(report)
        return self.budget.exchange(report, time.monotonic())


@pytest.mark.parametrize("moment_s", [0.002, 0.3, 0.6], ids=["before", "meanwhile", "after"])
def test_purse_waiter_that_gives_up_while_it_is_granted_leaves_nothing_reserved(
    moment_s: float,
) -> None:
    async def work() -> int:
        line = Line(budget := Budget(0.01, None, NOTHING), delay_s=0.5)
        purse = Purse(line.exchange, "a")
        task = asyncio.create_task(purse.enter(_wanted()))
        await asyncio.sleep(moment_s)
        task.cancel()
        if moment_s > 0.5:
            purse.leave(await task, NOTHING)  # it was let through before
        await asyncio.sleep(5)
        other = budget.exchange(Report("b", (_wanted(),), (), NOTHING), time.monotonic())
        await _close(purse, [task])
        return len(other.reserved)

    assert run_virtually(work()) == 1


@pytest.mark.parametrize("loses_answers", [False, True], ids=["unreached", "answers_lost"])
def test_purse_whose_budget_is_away_loses_nothing_and_lets_nobody_through(
    loses_answers: bool,
) -> None:
    async def work() -> tuple[Spend, list[float]]:
        entered: list[float] = []
        line = Line(budget := Budget(1.0, None, NOTHING))
        line.loses_answers = loses_answers
        purse = Purse(line.exchange, "a")
        ticket = await purse.enter(_wanted())
        line.broken_until = time.monotonic() + 20
        purse.leave(ticket, Spend(0.25, 9))

        async def call() -> None:
            ticket = await purse.enter(_wanted())
            entered.append(time.monotonic())
            purse.leave(ticket, CENT)

        await asyncio.gather(*(call() for _ in range(3)))
        await asyncio.sleep(5)
        await purse.close()
        return budget.spent, entered

    spent, entered = run_virtually(work())
    assert spent == pytest.approx(Spend(0.28, 309))
    assert 20 <= min(entered) <= max(entered) <= 21 + MAX_RETRY_S


def test_purse_tells_a_budget_that_was_started_again_all_that_it_knew() -> None:
    """A budget dies with two calls in flight; the next one has a part of it from the ledger."""

    async def work() -> tuple[Spend, Spend]:
        line = Line(Budget(1.0, None, Spend(0.5, 5)))
        purse, gone = (Purse(line.exchange, name) for name in "ab")
        gone.leave(await gone.enter(_wanted()), CENT)
        await gone.close()
        tickets = [await purse.enter(_wanted()) for _ in range(3)]
        purse.leave(tickets[0], CENT)
        await asyncio.sleep(5)
        line.budget = Budget(1.0, None, Spend(0.51, 105), grants_from=time.monotonic() + 10)
        purse.leave(tickets[1], CENT)
        third = asyncio.create_task(purse.enter(_wanted()))
        await asyncio.sleep(5)
        assert not third.done()
        told = line.budget.spent
        purse.leave(await third, CENT)
        purse.leave(tickets[2], CENT)
        await purse.close()
        return told, line.budget.spent

    told, spent = run_virtually(work())
    assert told == pytest.approx(Spend(0.53, 305))
    assert spent == pytest.approx(Spend(0.55, 505))


def test_purse_started_again_under_its_name_keeps_what_it_had_spent() -> None:
    async def work() -> Spend:
        budget = Budget(1.0, None, NOTHING)
        for _ in range(2):
            purse = Purse(in_process(budget, time.monotonic), "actor 1")
            purse.leave(await purse.enter(_wanted()), CENT)
            await asyncio.sleep(1)  # it dies without a word
        return budget.spent

    assert run_virtually(work()) == Spend(0.02, 200)


def test_purse_tells_what_is_in_flight_again_and_again_so_that_it_is_not_taken_for_dead() -> None:
    async def work() -> Spend:
        budget = Budget(1.0, None, NOTHING)
        purse = Purse(in_process(budget, time.monotonic), "a")
        ticket = await purse.enter(_wanted())
        for _ in range(10):
            await asyncio.sleep(SILENT_S)
            budget.exchange(Report("b", (), (), NOTHING), time.monotonic())
        found = budget.spent
        purse.leave(ticket, CENT)
        await purse.close()
        return found

    assert run_virtually(work()) == NOTHING


def test_purse_closed_has_told_all_and_closing_a_new_one_is_nothing() -> None:
    async def work() -> Spend:
        budget = Budget(1.0, None, NOTHING)
        await Purse(in_process(budget, time.monotonic), "a").close()
        purse = Purse(in_process(budget, time.monotonic), "b")
        purse.leave(await purse.enter(_wanted()), CENT)
        await purse.close()
        return budget.spent

    assert run_virtually(work()) == CENT


def test_purse_whose_budget_never_answers_stops_the_run_instead_of_waiting_for_ever() -> None:
    async def lost(report: Report) -> Grant:
        raise ConnectionError("the actor cannot be made")

    async def work() -> float:
        purse, began = Purse(lost, "a"), time.monotonic()
        with pytest.raises(StopError, match=r"did not answer for .* cannot be made"):
            await purse.enter(_wanted())
        await purse.close()
        return time.monotonic() - began

    assert LOST_S <= run_virtually(work()) <= LOST_S + 10


def test_purse_with_thousands_of_calls_in_flight_tells_them_in_few_words() -> None:
    async def work() -> Report:
        line = Line(Budget(1e6, None, NOTHING))
        purse = Purse(line.exchange, "a")
        await asyncio.gather(*(purse.enter(_wanted()) for _ in range(3_000)))
        await asyncio.sleep(60)
        await purse.close()
        return line.reports[-1]

    (flight,) = run_virtually(work()).flights
    assert sum(flight.ages) == 3_000
    assert flight.most == pytest.approx(Spend(30.0, 300_000))
