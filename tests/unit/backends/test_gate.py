"""The gate, in a loop whose clock jumps to the next timer: nothing here really waits."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from chimera_ray.backends.gate import HEARTBEAT_S, MAX_WANTED, SPACING_S, Gate, in_process
from chimera_ray.backends.limiter import Grant, Learnt, Limiter, Report
from chimera_ray.errors import BudgetError
from chimera_ray.model_config import Limits


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Instead of waiting, moves the clock on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing will ever happen"
        self.now += max(timeout, 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.jumping = _Jumping()
        super().__init__(self.jumping)

    def time(self) -> float:
        return self.jumping.now


def _run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(main)


Answer = Callable[[Report], Grant]


class _Fake:
    """A limiter that answers as it is told and keeps what it hears."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.reports: list[tuple[float, Report]] = []

    async def exchange(self, report: Report) -> Grant:
        self.reports.append((_now(), report))
        return self.answer(report)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _at_most(num: int, again_in_s: float = 1.0) -> Answer:
    return lambda report: Grant(min(num, len(report.wanted)), again_in_s, False)


def _open(report: Report) -> Grant:
    return Grant(len(report.wanted), 0.25, True)


def test_open_gate_lets_in_without_asking_and_tells_all_afterwards() -> None:
    async def main() -> None:
        fake = _Fake(_open)
        gate = Gate(fake.exchange, "a")
        await gate.enter(10)
        for _ in range(1_000):
            await gate.enter(10)
        assert len(fake.reports) == 1
        for _ in range(1_001):
            gate.leave(10, 12, is_limited=False)
        await asyncio.sleep(1)
        assert len(fake.reports) <= 3
        assert sum(report.num_ok for _, report in fake.reports) == 1_001
        assert sum(report.tokens_over for _, report in fake.reports) == 2_002
        assert fake.reports[-1][1].in_flight == 0
        await gate.close()

    _run(main())


def test_gate_is_silent_when_idle_and_beats_while_calls_run() -> None:
    async def main() -> None:
        fake = _Fake(_at_most(1))
        gate = Gate(fake.exchange, "a")
        await gate.enter(1)
        await asyncio.sleep(10 * HEARTBEAT_S + 0.1)
        assert len(fake.reports) == 11
        gate.leave(1, 1, is_limited=False)
        await asyncio.sleep(1)
        num = len(fake.reports)
        await asyncio.sleep(1_000)
        assert len(fake.reports) == num == 12
        await gate.close()

    _run(main())


def test_waiters_start_in_order_as_they_are_granted() -> None:
    async def main() -> None:
        fake = _Fake(_at_most(2, again_in_s=0.5))
        gate = Gate(fake.exchange, "a")
        started: list[tuple[float, int]] = []

        async def call(tokens: int) -> None:
            await gate.enter(tokens)
            started.append((_now(), tokens))

        await asyncio.gather(*(call(tokens) for tokens in range(5)))
        assert [tokens for _, tokens in started] == [0, 1, 2, 3, 4]
        assert [when for when, _ in started] == pytest.approx([0, 0, 0.5, 0.5, 1.0], abs=0.02)
        assert [report.wanted for _, report in fake.reports][:2] == [(0, 1, 2, 3, 4), (2, 3, 4)]
        assert fake.reports[2][1].in_flight == 4
        await gate.close()

    _run(main())


def test_reports_are_spaced_and_bounded() -> None:
    async def main() -> None:
        fake = _Fake(_at_most(MAX_WANTED))
        gate = Gate(fake.exchange, "a")

        async def call(after_s: float) -> None:
            await asyncio.sleep(after_s)
            await gate.enter(1)
            gate.leave(1, 1, is_limited=False)

        at_once, spread = [0.0] * 2_000, [0.0001 * i for i in range(1_000)]
        await asyncio.gather(*map(call, at_once + spread))
        await gate.close()
        times = [when for when, _ in fake.reports[:-1]]
        assert min(b - a for a, b in pairwise(times)) >= 0.99 * SPACING_S
        assert max(len(report.wanted) for _, report in fake.reports) <= MAX_WANTED
        assert sum(report.num_ok for _, report in fake.reports) == 3_000

    _run(main())


def test_ended_call_is_told_at_once_while_others_wait() -> None:
    async def main() -> None:
        fake = _Fake(lambda report: Grant(1 - report.in_flight if report.wanted else 0, 5, False))
        gate = Gate(fake.exchange, "a")
        await gate.enter(1)
        second = asyncio.create_task(gate.enter(1))
        await asyncio.sleep(1)
        assert not second.done()
        gate.leave(1, 1, is_limited=False)
        await second
        assert _now() < 1.05
        gate.leave(1, 1, is_limited=False)
        await gate.close()

    _run(main())


def test_first_429_is_told_soon_though_open() -> None:
    async def main() -> None:
        fake = _Fake(_open)
        gate = Gate(fake.exchange, "a")
        await gate.enter(1)
        await asyncio.sleep(10.1)
        learnt = Learnt(limit_requests=60.0)
        gate.leave(1, 0, is_limited=True, pause_s=3, learnt=learnt)
        await asyncio.sleep(0.06)
        assert fake.reports[-1][1] == Report("a", (), 0, 0, 1, -1, 3, learnt)
        await gate.close()

    _run(main())


def test_cancelled_waiter_leaves_the_queue() -> None:
    async def main() -> None:
        fake = _Fake(_at_most(0, again_in_s=0.1))
        gate = Gate(fake.exchange, "a")
        tasks = [asyncio.create_task(gate.enter(tokens)) for tokens in (1, 2, 3)]
        await asyncio.sleep(0.05)
        tasks[1].cancel()
        await asyncio.sleep(0.1)
        assert fake.reports[-1][1].wanted == (1, 3)
        fake.answer = _at_most(9)
        await asyncio.gather(tasks[0], tasks[2])
        await asyncio.sleep(HEARTBEAT_S + 0.1)
        assert fake.reports[-1][1].in_flight == 2
        await gate.close()

    _run(main())


def test_place_of_a_cancelled_call_goes_to_the_next_or_back() -> None:
    async def main() -> None:
        gate: Gate
        tasks: list[asyncio.Task[None]] = []
        reports: list[Report] = []

        async def exchange(report: Report) -> Grant:
            reports.append(report)
            if report.wanted:
                tasks[0].cancel()  # while the limiter thinks
                await asyncio.sleep(0.001)
            return Grant(len(report.wanted) and 1, 1.0, False)

        gate = Gate(exchange, "a")
        tasks += [asyncio.create_task(gate.enter(tokens)) for tokens in (10, 30)]
        await tasks[1]
        assert tasks[0].cancelled()
        tasks[:] = [asyncio.create_task(gate.enter(5))]
        await asyncio.sleep(1)
        assert tasks[0].cancelled()
        assert reports[-1].in_flight == 1
        assert sum(report.tokens_over for report in reports) == (30 - 10) - 5
        gate.leave(30, 30, is_limited=False)
        await gate.close()

    _run(main())


def test_call_cancelled_in_the_moment_of_its_grant_gives_its_place_back() -> None:
    async def main() -> None:
        fake = _Fake(_at_most(1))
        gate = Gate(fake.exchange, "a")
        task = asyncio.create_task(gate.enter(7))
        fake.answer = lambda report: (
            asyncio.get_running_loop().call_soon(task.cancel),
            Grant(len(report.wanted), 1.0, False),
        )[1]
        await asyncio.wait({task})
        assert task.cancelled()
        fake.answer = _at_most(1)
        await asyncio.sleep(1)
        assert (fake.reports[-1][1].in_flight, fake.reports[-1][1].tokens_over) == (0, -7)
        await gate.close()

    _run(main())


def test_limiter_that_cannot_be_reached_closes_the_gate_and_loses_no_news() -> None:
    async def main() -> None:
        fake = _Fake(_open)
        gate = Gate(fake.exchange, "a")
        for _ in range(3):
            await gate.enter(1)

        def fail(report: Report) -> Grant:
            raise ConnectionError("the actor died")

        fake.answer = fail
        gate.leave(1, 5, is_limited=True, pause_s=9)
        await asyncio.sleep(0.1)
        gate.leave(1, 5, is_limited=False)
        task = asyncio.create_task(gate.enter(1))
        await asyncio.sleep(60)
        assert not task.done()
        tries = [when for when, _ in fake.reports[1:]]
        waits = [b - a for a, b in pairwise(tries)]
        assert waits[:7] == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], abs=0.01)
        fake.answer = _at_most(1)
        await task
        told = fake.reports[-1][1]
        assert (told.num_ok, told.num_limited, told.tokens_over) == (1, 1, 8)
        assert (told.pause_s, told.in_flight) == (9, 1)
        await gate.close()

    _run(main())


def test_cancelled_exchange_is_passed_on_to_who_waits() -> None:
    async def main() -> None:
        async def exchange(report: Report) -> Grant:
            raise asyncio.CancelledError

        gate = Gate(exchange, "a")
        task = asyncio.create_task(gate.enter(1))
        await asyncio.wait({task})
        assert task.cancelled()
        await gate.close()

    _run(main())


def test_refused_waiters_are_told_why_now_and_later() -> None:
    async def main() -> None:
        gate = Gate(_Fake(_at_most(0)).exchange, "a")
        task = asyncio.create_task(gate.enter(1))
        await asyncio.sleep(0.1)
        gate.refuse(BudgetError("the cap is reached"))
        with pytest.raises(BudgetError, match="the cap"):
            await task
        with pytest.raises(BudgetError, match="the cap"):
            await gate.enter(1)
        await gate.close()

    _run(main())


@pytest.mark.parametrize("is_reachable", [True, False])
def test_closing_tells_the_last_and_leaves_no_task(is_reachable: bool) -> None:
    async def main() -> None:
        fake = _Fake(_open)
        gate = Gate(fake.exchange, "a")
        await gate.enter(1)
        if not is_reachable:
            fake.answer = lambda report: 1 / 0  # type: ignore[arg-type, return-value]
        gate.leave(1, 4, is_limited=False)
        await gate.close()
        assert _now() < 0.5
        assert (fake.reports[-1][1].num_ok, fake.reports[-1][1].tokens_over) == (1, 3)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    _run(main())


def test_gates_that_were_never_used_close() -> None:
    _run(Gate(_Fake(_open).exchange, "a").close())


def test_gates_of_one_limiter_use_its_limit_together() -> None:
    async def main() -> None:
        limits = Limits(requests_per_minute=600, is_adaptive=False)
        loop = asyncio.get_running_loop()
        exchange = in_process(Limiter(limits, loop.time()), loop.time)
        gates, started = [Gate(exchange, name) for name in "abc"], []

        async def slot(gate: Gate) -> None:
            while True:
                await gate.enter(1)
                started.append(gate)
                await asyncio.sleep(1.0)
                gate.leave(1, 1, is_limited=False)

        slots = [asyncio.create_task(slot(gate)) for gate in gates for _ in range(30)]
        await asyncio.sleep(100)  # in which a lead of a few calls no longer counts
        for task in slots:
            task.cancel()
        await asyncio.gather(*slots, return_exceptions=True)
        for gate in gates:
            await gate.close()
        assert len(started) == pytest.approx(0.98 * 1_000, abs=4)
        assert min(map(started.count, gates)) >= 0.9 * max(map(started.count, gates))

    _run(main())
