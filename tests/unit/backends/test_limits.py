"""The retry policy, in virtual time: what is tried again, when, until when, and what is held."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run_virtually

from chimera_ray.backends.budget import Budget, in_process
from chimera_ray.backends.budget_messages import Spend
from chimera_ray.backends.gate import Exchange, Gate
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Grant, Learnt, Report
from chimera_ray.backends.limits import MAX_LOST, SLOT, persist
from chimera_ray.backends.metered import Metered, Work
from chimera_ray.backends.purse import Purse
from chimera_ray.errors import (
    BudgetError,
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    StopError,
    TransientProviderError,
)
from chimera_ray.llm import LostAttempt, Message, Reply, Request, Usage
from chimera_ray.model_config import Retry
from chimera_ray.runners.slots import Slots

RETRY = Retry(first_wait_s=1, max_wait_s=8, deadline_s=1_000)
SHORT = RETRY.model_copy(update={"deadline_s": 60})
GATE_S = 0.02
"""what the gate's own reports may add to a waiting"""
Attempt = Callable[[], Awaitable[Reply]]


def _limited(retry_after_s: float | None) -> TransientProviderError:
    error = TransientProviderError("HTTP 429")
    error.is_limited, error.retry_after_s = True, retry_after_s
    return error


class Endpoint:
    """Answers by a script, then always the same; notes when it was asked."""

    def __init__(self, *script: Exception | None, then: Exception | None = None) -> None:
        self.asked_at: list[float] = []
        self._script, self._then = list(script), then

    async def attempt(self) -> Reply:
        self.asked_at.append(asyncio.get_running_loop().time())
        said = self._script.pop(0) if self._script else self._then
        if said is not None:
            raise said
        return Reply("text", usage=Usage(3, 0, 4, 0))

    @property
    def waits(self) -> list[float]:
        return [b - a for a, b in zip(self.asked_at, self.asked_at[1:], strict=False)]


def _open(reports: list[Report] | None = None) -> Exchange:
    """The way to a limiter that lets everyone through, and notes what it is told."""

    async def exchange(report: Report) -> Grant:
        if reports is not None:
            reports.append(report)
        return Grant(len(report.wanted), 1.0, False)

    return exchange


async def _persist(
    attempt: Attempt,
    retry: Retry = RETRY,
    halt: Halt | None = None,
    exchange: Exchange | None = None,
) -> Reply:
    gate = Gate(exchange or _open(), "holder")
    halt = halt or Halt()
    halt.listen(gate.refuse)
    try:
        return await persist(attempt, gate, halt, retry, 10, lambda: Learnt(limit_requests=5))
    finally:
        await gate.close()


FINAL: list[ChimeraError] = [
    ProviderError("HTTP 400"),
    ContextError("too long"),
    RefusalError("declined"),
    EndpointError("bad key"),
    BudgetError("spent"),
]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_persist_error_that_will_not_pass_is_raised_after_one_attempt(error: ChimeraError) -> None:
    endpoint = Endpoint(then=error)
    with pytest.raises(type(error)) as caught:
        run_virtually(_persist(endpoint.attempt))
    assert caught.value is error
    assert len(endpoint.asked_at) == 1


def test_persist_error_of_the_program_is_not_swallowed() -> None:
    endpoint = Endpoint(then=KeyError("a bug"))
    with pytest.raises(KeyError):
        run_virtually(_persist(endpoint.attempt))
    assert len(endpoint.asked_at) == 1


def test_persist_counts_the_attempts() -> None:
    endpoint = Endpoint(*[TransientProviderError("503")] * 3)
    assert run_virtually(_persist(endpoint.attempt)).attempts == 4
    assert run_virtually(_persist(Endpoint().attempt)).attempts == 1


def test_persist_waits_twice_as_long_each_time_with_jitter_and_no_longer_than_the_most() -> None:
    seen: list[list[float]] = []
    for _ in range(30):
        endpoint = Endpoint(*[TransientProviderError("503")] * 6)
        run_virtually(_persist(endpoint.attempt))
        seen.append(endpoint.waits)
    for place, most in enumerate([1, 2, 4, 8, 8, 8]):
        waits = [run[place] for run in seen]
        assert min(waits) >= most / 2
        assert max(waits) <= most + GATE_S
        assert max(waits) - min(waits) > most / 8


@pytest.mark.parametrize("asked_s", [0.0, 0.05, 3.0, 30.0, 300.0])
def test_persist_comes_back_when_it_was_told_and_soon_after(asked_s: float) -> None:
    for _ in range(10):
        endpoint = Endpoint(_limited(asked_s))
        run_virtually(_persist(endpoint.attempt))
        spread = min(0.1 * asked_s, 1.0)
        assert asked_s <= endpoint.waits[0] <= asked_s + spread + GATE_S


def test_persist_deadline_holds_for_the_moment_of_the_next_attempt() -> None:
    endpoint = Endpoint(then=TransientProviderError("HTTP 503"))
    with pytest.raises(TransientProviderError, match="HTTP 503") as caught:
        run_virtually(_persist(endpoint.attempt, RETRY.model_copy(update={"deadline_s": 60})))
    assert type(caught.value) is TransientProviderError
    assert f"in {len(endpoint.asked_at)} attempts" in str(caught.value)
    assert 60 - 2 * 8 <= endpoint.asked_at[-1] <= 60


@pytest.mark.parametrize("asked_s", [61.0, 1e15])
def test_persist_does_not_wait_at_all_for_a_moment_past_the_deadline(asked_s: float) -> None:
    async def timed(endpoint: Endpoint) -> float:
        with pytest.raises(TransientProviderError):
            await _persist(endpoint.attempt, RETRY.model_copy(update={"deadline_s": 60}))
        return asyncio.get_running_loop().time()

    endpoint = Endpoint(_limited(asked_s))
    assert run_virtually(timed(endpoint)) < 1
    assert len(endpoint.asked_at) == 1


@settings(max_examples=25, deadline=None)
@given(
    retry=st.builds(
        Retry,
        deadline_s=st.floats(0.001, 1e4),
        first_wait_s=st.floats(0.001, 1e3),
        max_wait_s=st.floats(0.5, 1e3),
    ),
    asked=st.lists(st.none() | st.floats(0, 1e4), max_size=6),
)
def test_persist_never_begins_an_attempt_past_its_deadline_nor_before_it_was_told(
    retry: Retry, asked: list[float | None]
) -> None:
    endpoint = Endpoint(*map(_limited, asked), then=_limited(math.inf))
    with pytest.raises(TransientProviderError):
        run_virtually(_persist(endpoint.attempt, retry))
    assert endpoint.asked_at[-1] - endpoint.asked_at[0] <= retry.deadline_s + GATE_S
    for wait_s, asked_s in zip(endpoint.waits, asked, strict=False):
        assert wait_s >= (asked_s or 0)


def test_persist_tells_the_gate_of_every_attempt_what_came_of_it() -> None:
    reports: list[Report] = []
    endpoint = Endpoint(_limited(3), TransientProviderError("503"))
    run_virtually(_persist(endpoint.attempt, exchange=_open(reports)))
    assert sum(report.num_limited for report in reports) == 1
    assert sum(report.num_ok for report in reports) == 2
    assert max(report.pause_s for report in reports) == 3
    assert reports[-1].in_flight == 0
    # Estimated 10 each time; only the last used any, 7.
    assert sum(report.tokens_over for report in reports) == 7 - 3 * 10
    assert any(report.learnt == Learnt(limit_requests=5) for report in reports)


@pytest.mark.parametrize("error", [None, _limited(1), ProviderError("no"), EndpointError("no")])
def test_persist_leaves_the_gate_whatever_happens(error: Exception | None) -> None:
    reports: list[Report] = []
    endpoint = Endpoint(error, then=ProviderError("no"))

    async def ask() -> None:
        await asyncio.gather(
            _persist(endpoint.attempt, exchange=_open(reports)), return_exceptions=True
        )

    run_virtually(ask())
    assert reports[-1].in_flight == 0


def test_persist_cancelled_within_an_attempt_leaves_the_gate() -> None:
    reports: list[Report] = []

    async def forever() -> Reply:
        await asyncio.sleep(1e6)
        raise AssertionError("nobody waits so long")

    async def cancel() -> None:
        call = asyncio.create_task(_persist(forever, exchange=_open(reports)))
        await asyncio.sleep(1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    run_virtually(cancel())
    assert reports[-1].in_flight == 0


@pytest.mark.parametrize("reason", [EndpointError("bad key"), BudgetError("spent")], ids=str)
def test_persist_halted_while_it_waits_ends_at_once_with_the_reason(reason: StopError) -> None:
    async def timed(endpoint: Endpoint) -> float:
        halt = Halt()
        call = asyncio.create_task(_persist(endpoint.attempt, halt=halt))
        await asyncio.sleep(5)
        halt.stop(reason)
        with pytest.raises(type(reason), match=str(reason)):
            await call
        return asyncio.get_running_loop().time()

    endpoint = Endpoint(then=_limited(500))
    assert run_virtually(timed(endpoint)) == pytest.approx(5, abs=0.5)
    assert len(endpoint.asked_at) == 1


def test_persist_halted_before_it_begins_asks_nothing() -> None:
    async def ask(endpoint: Endpoint) -> None:
        halt = Halt()
        halt.stop(EndpointError("bad key"))
        await _persist(endpoint.attempt, halt=halt)

    endpoint = Endpoint()
    with pytest.raises(EndpointError):
        run_virtually(ask(endpoint))
    assert endpoint.asked_at == []


async def _work(slots: Slots, name: str, endpoint: Endpoint, log: list[str], busy_s: float) -> None:
    """A row as the worker does it: its slot, one call, and some time of its own."""
    async with slots.take() as slot:
        log.append(f"{name} begins")
        SLOT.set(slot)
        await _persist(endpoint.attempt)
        log.append(f"{name} has its reply")
        await asyncio.sleep(busy_s)
    log.append(f"{name} ends")


def test_persist_lends_its_slot_while_it_waits_and_comes_before_rows_that_never_had_one() -> None:
    log: list[str] = []

    async def work() -> None:
        slots = Slots(1)
        failing = Endpoint(_limited(3))
        rows = [("first", failing, 1.0), *((name, Endpoint(), 5.0) for name in ("b", "c", "d"))]
        await asyncio.gather(
            *(_work(slots, name, endpoint, log, busy_s) for name, endpoint, busy_s in rows)
        )

    run_virtually(work())
    assert log == [
        "first begins",
        *("b begins", "b has its reply", "b ends"),
        *("first has its reply", "first ends"),
        *("c begins", "c has its reply", "c ends"),
        *("d begins", "d has its reply", "d ends"),
    ]


def test_persist_halted_does_not_wait_for_the_slot_that_it_lent() -> None:
    async def work() -> float:
        slots, halt = Slots(1), Halt()

        async def failing() -> None:
            async with slots.take() as slot:
                SLOT.set(slot)
                await _persist(Endpoint(then=_limited(500)).attempt, halt=halt)

        async def long() -> None:
            async with slots.take():
                await asyncio.sleep(1_000)

        call, other = asyncio.create_task(failing()), asyncio.create_task(long())
        await asyncio.sleep(5)
        halt.stop(EndpointError("bad key"))
        with pytest.raises(EndpointError):
            await call
        ended = asyncio.get_running_loop().time()
        await other
        return ended

    assert run_virtually(work()) == pytest.approx(5, abs=0.5)


def test_persist_one_call_that_is_told_to_wait_does_not_hold_back_the_others() -> None:
    async def work() -> list[float]:
        slow = Endpoint(_limited(300))
        others = [Endpoint() for _ in range(5)]
        await asyncio.gather(*(_persist(endpoint.attempt) for endpoint in (slow, *others)))
        return [endpoint.asked_at[-1] for endpoint in others]

    assert max(run_virtually(work())) < 1


# ---- attempts that were paid for and gave nothing -----------------------------------------------


def _paid(error: ChimeraError, num_tokens: int) -> ChimeraError:
    error.lost = (LostAttempt(0, str(error), usage=Usage(num_tokens)),)
    return error


def _lost_by(owner: Reply | ChimeraError) -> list[tuple[int, int]]:
    """Which attempts were lost, and what they used."""
    found = [each for each in owner.lost if isinstance(each, LostAttempt)]
    return [(each.attempt, each.usage.input_tokens) for each in found]


def test_persist_reply_carries_the_attempts_that_were_paid_for_before() -> None:
    endpoint = Endpoint(
        _paid(TransientProviderError("cut"), 5),
        _limited(1),
        _paid(TransientProviderError("cut"), 7),
    )
    reply = run_virtually(_persist(endpoint.attempt))
    assert (reply.attempts, _lost_by(reply)) == (4, [(1, 5), (3, 7)])


def test_persist_gives_up_when_too_much_was_paid_for_nothing_long_before_the_deadline() -> None:
    errors = [_paid(TransientProviderError("cut"), num) for num in range(20)]
    endpoint = Endpoint(*errors)
    with pytest.raises(TransientProviderError, match="may have been paid for") as caught:
        run_virtually(_persist(endpoint.attempt))
    assert len(endpoint.asked_at) == caught.value.attempts == MAX_LOST
    assert _lost_by(caught.value) == [(num + 1, num) for num in range(MAX_LOST)]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_persist_final_error_carries_what_was_paid_before(error: ChimeraError) -> None:
    endpoint = Endpoint(_paid(TransientProviderError("cut"), 5), type(error)("no"))
    with pytest.raises(type(error)) as caught:
        run_virtually(_persist(endpoint.attempt))
    assert (caught.value.attempts, _lost_by(caught.value)) == (2, [(1, 5)])


def test_persist_final_error_that_was_paid_for_itself_carries_that() -> None:
    with pytest.raises(RefusalError) as caught:
        run_virtually(_persist(Endpoint(_paid(RefusalError("no"), 5)).attempt))
    assert (caught.value.attempts, _lost_by(caught.value)) == (1, [(1, 5)])


def test_persist_halted_between_attempts_carries_what_was_paid() -> None:
    async def ask() -> None:
        halt = Halt()
        call = asyncio.create_task(_persist(Endpoint(_paid(_limited(500), 5)).attempt, halt=halt))
        await asyncio.sleep(5)
        halt.stop(BudgetError("spent"))
        await call

    with pytest.raises(BudgetError) as caught:
        run_virtually(ask())
    assert _lost_by(caught.value) == [(1, 5)]


@pytest.mark.parametrize("num_before", [0, 1])
def test_persist_begins_no_attempt_past_its_deadline_when_the_limiter_lets_none_through(
    num_before: int,
) -> None:
    """The limiter lets the first through, or none at all; its next turn is far away."""
    granted = 0

    async def exchange(report: Report) -> Grant:
        nonlocal granted
        num_calls = min(len(report.wanted), num_before - granted)
        granted += num_calls
        return Grant(num_calls, 1.0, False)

    async def timed(endpoint: Endpoint) -> float:
        with pytest.raises(TransientProviderError, match="left no turn"):
            await _persist(endpoint.attempt, SHORT, exchange=exchange)
        return asyncio.get_running_loop().time()

    endpoint = Endpoint(then=TransientProviderError("HTTP 503"))
    assert run_virtually(timed(endpoint)) == pytest.approx(60, abs=1)
    assert len(endpoint.asked_at) == num_before


def test_persist_late_slot_begins_no_attempt_past_the_deadline() -> None:
    async def work() -> list[float]:
        slots, endpoint = Slots(1), Endpoint(_limited(1))

        async def failing() -> None:
            async with slots.take() as slot:
                SLOT.set(slot)
                with pytest.raises(TransientProviderError):
                    await _persist(endpoint.attempt, SHORT)

        async def long() -> None:
            async with slots.take():
                await asyncio.sleep(1_000)

        await asyncio.gather(failing(), long())
        return endpoint.asked_at

    assert len(run_virtually(work())) == 1


class _Losing:
    """A model whose every attempt is paid for and gives nothing, at a cent for 100 tokens."""

    name, trouble = "losing", ""

    def __init__(self) -> None:
        self.error = TransientProviderError("cut")
        self.error.lost = (LostAttempt(0, "cut", usage=Usage(0, 0, 1_000)),)
        self.endpoint = Endpoint(then=self.error)

    async def complete(self, request: Request) -> Reply:
        return await _persist(self.endpoint.attempt)

    def cost_usd(self, usage: Usage) -> float:
        return usage.output_tokens / 1e4

    async def close(self) -> None:
        return


def test_persist_under_a_budget_begins_no_attempt_that_lost_ones_left_no_room_for() -> None:
    async def work() -> tuple[int, BudgetError]:
        model, budget = _Losing(), Budget(0.25, None, Spend())
        purse = Purse(in_process(budget, time.monotonic), "a")
        work = Work("sample_trajectory.solver", max_tokens=1_000)
        with pytest.raises(BudgetError) as stopped:
            await Metered(model, Halt(), purse, work).complete(
                Request((Message("user", "x"),), None, 1)
            )
        await purse.close()
        return len(model.endpoint.asked_at), stopped.value

    num_attempts, stopped = run_virtually(work())
    assert num_attempts == 2
    assert [each.attempt for each in stopped.lost if isinstance(each, LostAttempt)] == [1, 2]
