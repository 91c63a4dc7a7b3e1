"""The heaviest shared run, against a slow oracle."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.metrics.runs import MAX_RUN_WORDS, RunFinder

_WORDS = st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "1", "+"]), max_size=14)


@settings(max_examples=60)
@given(_WORDS, st.lists(st.tuples(st.sampled_from(["aa", "bb", "cc", "1"]), st.integers(0, 3))))
def test_longest_any_texts_and_weights_equals_oracle(
    text: list[str], weighed: list[tuple[str, int]]
) -> None:
    other, weights = [word for word, _ in weighed], [float(weight) for _, weight in weighed]
    assert RunFinder(text).longest(other, weights) == _slow_longest(text, other, weights)


@pytest.mark.parametrize("unit", [["a"], ["a", "b"]], ids=["one_word", "two_words"])
def test_longest_hostile_repetition_is_cut(unit: list[str]) -> None:
    text = unit * (60_000 // len(unit))
    assert RunFinder(text).longest(text, [1.0] * len(text)) == MAX_RUN_WORDS


def _slow_longest(a: list[str], b: list[str], weights: list[float]) -> float:
    runs = [
        sum(weights[start:end])
        for start in range(len(b))
        for end in range(start + 1, len(b) + 1)
        if any(a[at : at + end - start] == b[start:end] for at in range(len(a)))
    ]
    return max(runs, default=0.0)
