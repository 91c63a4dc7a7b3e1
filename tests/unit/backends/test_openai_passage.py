"""Whether a refusal without a reason is one call's own, or every call's: by what came before it."""

from collections.abc import Sequence

import pytest

from chimera_ray.backends.openai_errors import DoubtfulError
from chimera_ray.backends.openai_passage import MAX_REFUSED, PER_CALL, Passage
from chimera_ray.errors import (
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import LostAttempt

LOST = (LostAttempt(0, "", "as far as it came"),)


def _refusal() -> DoubtfulError:
    error = DoubtfulError("refused")
    error.of_all = EndpointError("closed")
    error.lost = LOST
    return error


def _verdicts(passage: Passage, num: int) -> list[type[ChimeraError]]:
    """Calls, refused one after the other → what each becomes, with what was paid."""
    judged = []
    for _ in range(num):
        passage.begin()
        judged.append(passage.judged(_refusal()))
        passage.end()
    assert all(error.lost == LOST for error in judged)
    return [type(error) for error in judged]


@pytest.mark.parametrize("thinking", [0, 1, 9, 63, 1_000])
def test_refusals_in_a_row_are_their_calls_own_up_to_a_bound(thinking: int) -> None:
    passage = Passage()
    for _ in range(thinking):
        passage.begin()
    bound = max(MAX_REFUSED, PER_CALL * (thinking + 1))
    assert _verdicts(passage, bound) == [DoubtfulError] * bound
    assert _verdicts(passage, 3) == [EndpointError] * 3


def test_bound_falls_with_the_calls_that_end() -> None:
    passage = Passage()
    for _ in range(80):
        passage.begin()
    assert set(_verdicts(passage, 100)) == {DoubtfulError}
    for _ in range(80):
        passage.end()
    assert _verdicts(passage, 1) == [EndpointError]


@pytest.mark.parametrize(
    ("errors", "is_answer"),
    [
        ([RefusalError("flagged")], True),
        ([ContextError("too long")], True),
        ([ProviderError("a 400 about what was asked")], True),
        ([TransientProviderError("429"), TransientProviderError("503")], False),
        ([EndpointError("402")], False),
        ([], False),
    ],
    ids=["refusal", "context", "content", "passing", "of_the_run", "none"],
)
def test_row_of_refusals_ends_with_what_the_endpoint_has_looked_at(
    errors: Sequence[ChimeraError], is_answer: bool
) -> None:
    passage = Passage()
    _verdicts(passage, MAX_REFUSED)
    for error in errors:
        passage.begin()
        assert passage.judged(error) is error
        passage.end()
    assert _verdicts(passage, 1) == [DoubtfulError if is_answer else EndpointError]


def test_row_of_refusals_ends_with_a_reply() -> None:
    passage = Passage()
    for _ in range(5):
        assert set(_verdicts(passage, MAX_REFUSED)) == {DoubtfulError}
        passage.answered()
