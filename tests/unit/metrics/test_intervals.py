"""Intervals against hand-worked values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.metrics.intervals import mean_interval, wilson


@pytest.mark.parametrize(
    ("successes", "trials"),
    [(-1, 3), (4, 3), (1, 0), (0, -1)],
    ids=["negative", "over", "of_none", "trials"],
)
def test_wilson_impossible_counts_raises(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        wilson(successes, trials)


def test_wilson_no_trials_is_none() -> None:
    assert wilson(0, 0) is None


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [
        (0, 10, (0.0, 0.277533)),
        (10, 10, (0.722467, 1.0)),
        (5, 10, (0.236593, 0.763407)),
        (81, 263, (0.255260, 0.366165)),
    ],
    ids=["none", "all", "half", "newcombe_1998"],
)
def test_wilson_known_counts_equals_published(
    successes: int, trials: int, expected: tuple[float, float]
) -> None:
    assert wilson(successes, trials) == pytest.approx(expected, abs=1e-4)


@settings(max_examples=50)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_any_counts_holds_the_proportion(counts: tuple[int, int]) -> None:
    interval = wilson(*counts)
    assert interval is not None
    assert 0 <= interval[0] <= counts[0] / counts[1] <= interval[1] <= 1


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0]], ids=["none", "one", "two"])
def test_mean_interval_of_too_few_values_is_none(values: list[float]) -> None:
    assert mean_interval(values) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], (0.445739, 4.554261)),  # 2.5 ± 3.182446 * 0.645497
        ([5.0] * 3, (5.0, 5.0)),
        ([float(value) for value in range(1, 21)], (7.731189, 13.268811)),
    ],
    ids=["four", "equal", "twenty"],
)
def test_mean_interval_is_students(values: list[float], expected: tuple[float, float]) -> None:
    assert mean_interval(values) == pytest.approx(expected, rel=0.05)
