"""Whether all calls are refused, or one: by what becomes of the others."""

import asyncio
from collections.abc import Sequence

import pytest

from chimera_ray.backends.openai_passage import MAX_REFUSED, Passage


async def _call(passage: Passage, is_taken: bool, begun: asyncio.Event) -> bool | None:
    """A call that is answered once all have begun → whether it takes the way to be closed."""
    with passage.under_way():
        await begun.wait()
        if is_taken:
            passage.replied()
            return None
        return await passage.is_closed()


def _verdicts(calls: Sequence[bool]) -> list[bool | None]:
    """Calls at the same time, taken or refused in this order → their verdicts."""

    async def run() -> list[bool | None]:
        passage, begun = Passage(), asyncio.Event()
        tasks = [asyncio.create_task(_call(passage, taken, begun)) for taken in calls]
        asyncio.get_running_loop().call_soon(begun.set)
        return await asyncio.wait_for(asyncio.gather(*tasks), 5)

    return asyncio.run(run())


@pytest.mark.parametrize("calls", [(False,), (False,) * 3, (False,) * 50], ids=len)
def test_passage_is_closed_where_every_call_is_refused(calls: Sequence[bool]) -> None:
    assert _verdicts(calls) == [True] * len(calls)


@pytest.mark.parametrize("at", range(4))
def test_passage_is_open_where_any_call_is_taken(at: int) -> None:
    calls = [place == at for place in range(4)]
    assert _verdicts(calls) == [None if is_taken else False for is_taken in calls]


def test_passage_waits_for_a_call_that_is_lost_and_is_closed_then() -> None:
    async def run() -> bool:
        passage = Passage()

        async def lost() -> None:
            with passage.under_way():
                await asyncio.sleep(0)
                raise ConnectionError

        async def refused() -> bool:
            with passage.under_way():
                return await passage.is_closed()

        is_closed, _ = await asyncio.gather(refused(), lost(), return_exceptions=True)
        return is_closed is True

    assert asyncio.run(run())


def test_passage_that_was_open_is_closed_after_many_refusals_in_a_row() -> None:
    async def run() -> list[bool]:
        passage = Passage()
        passage.replied()
        with passage.under_way():
            verdicts = [await passage.is_closed() for _ in range(MAX_REFUSED - 1)]
            passage.replied()
            verdicts += [await passage.is_closed() for _ in range(MAX_REFUSED)]
        return verdicts

    assert asyncio.run(run()) == [False] * (2 * MAX_REFUSED - 2) + [True]
