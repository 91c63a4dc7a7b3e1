"""Slots: never more at work than there are, and none lost, however rows end."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run_virtually

from chimera_ray.runners.expected import Expected
from chimera_ray.runners.slots import Slot, Slots


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def _num_free(slots: Slots) -> int:
    """Slots that nobody uses → how many there are, by taking them."""
    held = [slots.take() for _ in range(20)]
    tasks = [asyncio.create_task(slot.__aenter__()) for slot in held]
    await _settle()
    taken = [(slot, task) for slot, task in zip(held, tasks, strict=True) if task.done()]
    for task in tasks:
        if not task.done():
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for slot, _ in taken:
        await slot.__aexit__(None, None, None)
    return len(taken)


def test_slots_hold_no_more_rows_than_there_are() -> None:
    async def work() -> tuple[int, int]:
        slots, at_work, most = Slots(3), 0, 0

        async def row() -> None:
            nonlocal at_work, most
            async with slots.take():
                at_work += 1
                most = max(most, at_work)
                await asyncio.sleep(1)
                at_work -= 1

        await asyncio.gather(*(row() for _ in range(10)))
        return most, await _num_free(slots)

    assert run_virtually(work()) == (3, 3)


def test_slots_are_given_in_the_order_in_which_rows_came() -> None:
    async def work() -> list[int]:
        slots, order = Slots(2), list[int]()

        async def row(number: int) -> None:
            async with slots.take():
                order.append(number)
                await asyncio.sleep(Random(number).random())

        await asyncio.gather(*(row(number) for number in range(20)))
        return order

    assert run_virtually(work()) == list(range(20))


# ---- groups ---------------------------------------------------------------------------------

LENGTHS = {"long": 10.0, "short": 1.0, "unknown": 3.0}


async def _order(slots: Slots, rows: Sequence[tuple[str, str]]) -> list[str]:
    """(name, group) of rows that wait for one slot, in the order of arrival → as they had it."""
    order: list[str] = []

    async def row(name: str, group: str) -> None:
        async with slots.take(group):
            order.append(name)
            await asyncio.sleep(1)

    await asyncio.gather(*(row(*pair) for pair in rows))
    return order


def test_slots_row_of_the_longest_group_goes_first_and_ties_in_order_of_arrival() -> None:
    rows = [("first", "short"), ("s1", "short"), ("l1", "long"), ("u1", "unknown"), ("s2", "short")]
    rows += [("l2", "long"), ("u2", "unknown")]
    order = run_virtually(_order(Slots(1, LENGTHS.__getitem__), rows))
    assert order == ["first", "l1", "l2", "u1", "u2", "s1", "s2"]
    names = [name for name, _ in rows]
    assert run_virtually(_order(Slots(1), rows)) == names
    assert run_virtually(_order(Slots(1, lambda group: 7.0), rows)) == names


def test_slots_group_that_turns_out_to_be_long_goes_first_from_then_on() -> None:
    lengths = {"a": 2.0, "b": 1.0}

    async def work() -> list[str]:
        slots, order = Slots(1, lengths.__getitem__), list[str]()

        async def row(name: str, group: str) -> None:
            async with slots.take(group):
                order.append(name)
                await asyncio.sleep(1)
                if name == "a2":
                    lengths["b"] = 3.0

        await asyncio.gather(*(row(f"{g}{n}", g) for n in (1, 2, 3) for g in "ab"))
        return order

    assert run_virtually(work()) == ["a1", "a2", "b1", "b2", "b3", "a3"]


def test_slots_row_that_comes_back_goes_before_the_longest() -> None:
    async def work() -> list[str]:
        slots, log = Slots(1, LENGTHS.__getitem__), list[str]()

        async def row(name: str) -> None:
            async with slots.take("long"):
                log.append(name)
                await asyncio.sleep(10)

        async def lender() -> None:
            async with slots.take("short") as slot:
                async with slot.lend():
                    await asyncio.sleep(1)
                log.append("is back")

        await asyncio.gather(lender(), row("a"), row("b"))
        return log

    assert run_virtually(work()) == ["a", "is back", "b"]


def test_slots_cancelled_rows_are_passed_over_in_every_group() -> None:
    async def work() -> tuple[list[str], int]:
        slots, order = Slots(1, LENGTHS.__getitem__), list[str]()

        async def row(name: str, group: str) -> None:
            async with slots.take(group):
                order.append(name)

        async with slots.take():
            groups = ("long", "short", "unknown")
            rows = [(f"{group} {n}", group) for group in groups for n in range(3)]
            tasks = {name: asyncio.create_task(row(name, group)) for name, group in rows}
            await _settle()
            gone = {"long 0", "long 1", "long 2", "short 1", "unknown 0"}
            for name in gone:
                tasks[name].cancel()
            await _settle()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        return order, await _num_free(slots)

    order = ["unknown 1", "unknown 2", "short 0", "short 2"]
    assert run_virtually(work()) == (order, 1)


def _makespan(rows: Sequence[tuple[str, float]], count: int, expected: Expected | None) -> float:
    """(group, seconds) of rows in the order of arrival → when the last of them has ended."""

    async def work() -> float:
        slots = Slots(count) if expected is None else Slots(count, expected.of)
        ended = list[str]()

        async def row(group: str, seconds: float) -> None:
            async with slots.take(group):
                if expected is not None:
                    expected.begin(group)
                await asyncio.sleep(seconds)
                ended.append(group)
                if expected is not None:
                    expected.learn(group, round(seconds * 100))

        await asyncio.gather(*(row(*pair) for pair in rows))
        assert Counter(ended) == Counter(group for group, _ in rows)  # nobody starves
        return asyncio.get_running_loop().time()

    return run_virtually(work())


MEANS = {"Literature": 2.0, "Biology": 4.0, "Chemistry": 10.0, "Mathematics": 40.0}


def _rows(seed: int, order: str) -> list[tuple[str, float]]:
    random = Random(seed)
    rows = [
        (g, random.lognormvariate(0, 0.3) * mean) for g, mean in MEANS.items() for _ in range(200)
    ]
    if order == "shuffled":
        random.shuffle(rows)
    return rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", ["by_subject", "shuffled"])
def test_slots_longest_expected_first_ends_sooner_than_first_come_first_served(
    order: str, seed: int
) -> None:
    """The slots that stay empty in the end, since nobody waits any more, are few."""
    rows, count = _rows(seed, order), 24
    bound = sum(seconds for _, seconds in rows) / count
    plain, learnt = _makespan(rows, count, None), _makespan(rows, count, Expected())
    assert bound <= learnt < bound + 0.2 * (plain - bound)


def test_slots_that_wait_in_tens_of_thousands_are_given_in_no_more_time_each() -> None:
    async def work() -> float:
        slots = Slots(8, Expected().of)
        begun = time.perf_counter()
        await _order(slots, [(str(n), f"group {n % 8}") for n in range(20_000)])
        return time.perf_counter() - begun

    assert run_virtually(work()) < 10  # milliseconds each would be a minute


# ---- lending --------------------------------------------------------------------------------


def test_slot_that_is_lent_is_used_and_taken_back_before_rows_that_never_had_one() -> None:
    async def work() -> list[str]:
        slots, log = Slots(1), list[str]()

        async def lender() -> None:
            async with slots.take() as slot:
                async with slot.lend():
                    log.append("lends")
                    await asyncio.sleep(1)
                log.append("is back")

        async def row(name: str) -> None:
            async with slots.take():
                log.append(name)
                await asyncio.sleep(10)

        await asyncio.gather(lender(), row("b"), row("c"), row("d"))
        return log

    assert run_virtually(work()) == ["lends", "b", "is back", "c", "d"]


def _cancelled(within: Callable[[Slots, Slot], asyncio.Future[None]]) -> int:
    """Where a row is cancelled while another has its only slot → slots afterwards."""

    async def work() -> int:
        slots = Slots(1)

        async def row() -> None:
            async with slots.take() as slot:
                await within(slots, slot)

        async def other() -> None:
            async with slots.take():
                await asyncio.sleep(10)

        task, busy = asyncio.create_task(row()), asyncio.create_task(other())
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asyncio.get_running_loop().time() == pytest.approx(5)  # it does not wait for it
        await busy
        return await _num_free(slots)

    return run_virtually(work())


async def _lend(slot: Slot, seconds: float) -> None:
    async with slot.lend():
        await asyncio.sleep(seconds)


CANCELLED = {
    "working": lambda slots, slot: asyncio.sleep(1e3),
    "lending": lambda slots, slot: _lend(slot, 1e3),
    "coming_back": lambda slots, slot: _lend(slot, 1),
    "lending_twice": lambda slots, slot: asyncio.gather(_lend(slot, 1e3), _lend(slot, 1e3)),
    "coming_back_twice": lambda slots, slot: asyncio.gather(_lend(slot, 1), _lend(slot, 1)),
}


@pytest.mark.parametrize("within", CANCELLED.values(), ids=CANCELLED)
def test_slots_row_that_is_cancelled_neither_keeps_nor_adds_a_slot(
    within: Callable[[Slots, Slot], asyncio.Future[None]],
) -> None:
    assert _cancelled(within) == 1


def test_slots_error_while_lending_is_raised_at_once_and_costs_no_slot() -> None:
    async def work() -> int:
        slots = Slots(1)

        async def failing() -> None:
            async with slots.take() as slot, slot.lend():
                await asyncio.sleep(1)
                raise ValueError("the run is to stop")

        async def other() -> None:
            async with slots.take():
                await asyncio.sleep(10)

        task, busy = asyncio.create_task(failing()), asyncio.create_task(other())
        with pytest.raises(ValueError, match="to stop"):
            await task
        assert asyncio.get_running_loop().time() == pytest.approx(1)
        await busy
        return await _num_free(slots)

    assert run_virtually(work()) == 1


def test_slot_that_is_given_in_the_moment_of_cancelling_goes_to_the_next() -> None:
    async def work() -> list[str]:
        slots, log = Slots(1), list[str]()

        async def row(name: str) -> None:
            async with slots.take():
                log.append(name)

        async with slots.take():
            first, second = asyncio.create_task(row("first")), asyncio.create_task(row("second"))
            await _settle()
        first.cancel()  # the slot is its own already, and it has not run yet
        await asyncio.gather(first, second, return_exceptions=True)
        assert await _num_free(slots) == 1
        return log

    assert run_virtually(work()) == ["second"]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 4), num_rows=st.integers(1, 12))
def test_slots_after_rows_that_lend_and_end_anyhow_are_all_there(
    seed: int, count: int, num_rows: int
) -> None:
    random = Random(seed)

    async def row(slots: Slots) -> None:
        async with slots.take() as slot:
            for _ in range(random.randrange(3)):
                await asyncio.sleep(random.random())
                calls = [_lend(slot, random.random()) for _ in range(random.randrange(1, 3))]
                await asyncio.gather(*calls)
            if random.random() < 0.3:
                raise ValueError("no")

    async def work() -> int:
        slots = Slots(count)
        rows = [asyncio.create_task(row(slots)) for _ in range(num_rows)]
        for task in rows:
            await asyncio.sleep(random.random() / 2)
            if random.random() < 0.3:
                task.cancel()
        await asyncio.gather(*rows, return_exceptions=True)
        await _settle()
        return await _num_free(slots)

    assert run_virtually(work()) == count
