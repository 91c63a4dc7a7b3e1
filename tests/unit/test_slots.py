"""Slots: never more at work than there are, and none lost, however rows end."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import run_virtually

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
