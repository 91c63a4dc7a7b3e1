"""What calls are expected to come to, from those that ended and those that still run."""

from random import Random

import numpy as np
import pytest

from chimera_ray.backends.call_costs import (
    EDGES,
    NUM_AGES,
    WINDOW,
    CallCosts,
    Counts,
    Sample,
    age_of,
)

ASSUMED, LONGEST = np.array([0.1, 10_000]), np.array([1.0, 100_000.0])


def _ages(*seconds: float) -> Counts:
    ages = np.zeros(NUM_AGES, np.int64)
    for each in seconds:
        ages[age_of(each)] += 1
    return ages


def _costs(*lengths: float) -> CallCosts:
    """Calls of so many seconds, which cost a cent and 1,000 tokens a second."""
    costs = CallCosts(ASSUMED, LONGEST)
    for length in lengths:
        costs.learn(Sample(length, length / 100, length * 1_000, 100.0))
    return costs


def test_age_of_every_call_has_a_place() -> None:
    places = [age_of(seconds) for seconds in (0.0, *EDGES, 1e9)]
    assert places == [*sorted(set(places[:-1])), NUM_AGES - 1]


def test_costs_that_nobody_has_measured_are_those_assumed_at_any_age() -> None:
    outlook = _costs().outlook(_ages(1.0), 0.0)
    assert (outlook.mean == ASSUMED).all()
    assert not _costs().is_measured


def test_costs_of_many_calls_are_their_mean() -> None:
    outlook = _costs(*[1.0, 3.0] * 500).outlook(_ages(), 100.0)
    assert outlook.mean[0] == pytest.approx([0.02, 2_000], rel=0.02)
    assert outlook.variance[0, 0] ** 0.5 == pytest.approx(0.01, rel=0.3)


def test_costs_of_the_first_replies_do_not_pass_for_those_of_calls_that_still_run() -> None:
    """Of a hundred calls begun at once five have ended: the others are longer, nobody knows how."""
    few = _costs(*[1.0] * 5).outlook(_ages(*[1.5] * 95), 1.5)
    assert few.mean[0, 1] > 50_000
    most = _costs(*[1.0] * 95).outlook(_ages(*[1.5] * 5), 1.5)
    assert 1_000 < most.mean[0, 1] < 10_000


def test_costs_of_a_call_that_has_run_for_long_are_those_of_long_calls() -> None:
    random = Random(7)
    lengths = [random.lognormvariate(0, 1) for _ in range(WINDOW)]
    mean = _costs(*lengths).outlook(_ages(), 100.0).mean[:, 1]
    assert (np.diff(mean) >= -1).all()
    longer = [length for length in lengths if length > 4]
    expected = 1_000 * sum(longer) / len(longer)
    assert mean[age_of(4.0)] == pytest.approx(expected, rel=0.25)


def test_costs_do_not_depend_on_age_where_all_calls_take_as_long() -> None:
    costs = CallCosts(ASSUMED, LONGEST)
    for n in range(1_000):
        costs.learn(Sample(10.0, 0.01, 500 + n, n / 10))
    mean = costs.outlook(_ages(*[5.0] * 100), 100.0).mean[:, 1]
    assert mean[age_of(8.0)] == pytest.approx(mean[0], rel=0.01)


def test_costs_follow_lengths_that_change() -> None:
    costs = _costs(*[10.0] * WINDOW, *[1.0] * WINDOW)
    assert costs.outlook(_ages(), 100.0).mean[0, 1] == pytest.approx(1_000, rel=0.02)


def test_costs_of_long_calls_begun_long_ago_do_not_make_all_calls_long() -> None:
    """One in ten takes 100 s, and fifty of them are always in flight beside five short ones."""
    costs, now = CallCosts(ASSUMED, LONGEST), 0.0
    for n in range(4_000):
        now = n / 5
        is_long = n % 10 == 0
        ended_at = now + (100.0 if is_long else 1.0)
        costs.learn(Sample(*((100.0, 1.0, 100_000) if is_long else (1.0, 0.01, 1_000)), ended_at))
    ages = _ages(*(float(2 * n) for n in range(50)), *[0.5] * 5)
    mean = costs.outlook(ages, now).mean[:, 1]
    assert mean[0] == pytest.approx(10_900, rel=0.2)
    assert mean[age_of(20.0)] == pytest.approx(100_000, rel=0.1)


@pytest.mark.parametrize(
    "sample",
    [Sample(0.0, 0.0, 0), Sample(0.0, 1.0, 10**9), Sample(1e6, 0.0, 1)],
    ids=["nothing", "at_once", "for_days"],
)
def test_costs_are_numbers_whatever_a_call_was(sample: Sample) -> None:
    costs = _costs()
    costs.learn(sample)
    for ages in (_ages(), _ages(1.0, 1e9)):
        outlook = costs.outlook(ages, 1e9)
        assert np.isfinite(outlook.mean).all()
        assert (outlook.variance >= 0).all()
