"""Numbers that are not known for sure: estimates, draws of them, and the ranges of what follows.

Draws are arrays of one length whose first entry follows the point estimates alone.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chimera_ray.metrics.intervals import mean_interval, wilson
from chimera_ray.plan_config import LowHigh

Floats = npt.NDArray[np.float64]
Draws = Floats
NUM_DRAWS = 4_000
PRIOR_ROWS = 4
"""measured rows that a prior of a share weighs as much as"""
_Z_95 = 1.96


class Range(NamedTuple):
    """What is expected, and between what it lies in 95 of 100 draws."""

    low: float
    point: float
    high: float


class Estimate(NamedTuple):
    """A rate, 95% likely between low and high."""

    low: float
    point: float
    high: float
    num_measured: int
    """values behind it; 0: assumed, not measured"""


def assumed(prior: LowHigh) -> Estimate:
    """A prior → its geometric middle, between its ends; the arithmetic one if it begins at 0."""
    low, high = prior
    return Estimate(low, math.sqrt(low * high) if low else (low + high) / 2, high, 0)


def rate(values: Floats, prior: LowHigh | None) -> Estimate | None:
    """Measured values, or else a prior → the estimate of their mean; None if there is neither.

    Ones and zeros are a share, with Wilson's interval, and the prior counts as some more rows.
    Anything else has Student's interval, or half and double where there are less than three. A
    prior that is one number is known, so it stands whatever was measured.
    """
    known = prior is not None and prior[0] == prior[1]
    if known or not len(values):
        return None if prior is None else assumed(prior)
    mean, num_ones = float(values.mean()), int(np.count_nonzero(values == 1))
    if num_ones + int(np.count_nonzero(values == 0)) == len(values):
        interval = wilson(num_ones, len(values))
        # Twenty rows that all passed do not say that all will.
        weight = 0 if prior is None else PRIOR_ROWS
        assumption = 0.0 if prior is None else min(assumed(prior).point, 1.0)
        mean = (num_ones + weight * assumption) / (len(values) + weight)
    else:
        interval = mean_interval(values.tolist())
    low, high = interval or (mean / 2, mean * 2)
    return Estimate(max(low, 0.0), mean, high, len(values))


def fold_share(num_rows: int, num_kept: int, rows: Draws, prior: LowHigh) -> Estimate:
    """What a fold kept of the rows so far → the share that it will keep of the rows to come.

    Duplicates grow with the rows: n draws from a pool of M things show M(1 - exp(-n/M)) of them,
    and M follows from what was kept so far. Less than half of all rows say little of M, so by them
    the share is not taken to fall below the prior's low end unless it is there already.
    """
    total = float(rows[0])
    if not num_rows or prior[0] == prior[1]:
        return assumed(prior)
    share = kept = num_kept / num_rows
    if total > num_rows and num_kept < num_rows:
        pool = _pool(num_rows, num_kept)
        share = (pool * -math.expm1(-total / pool) - num_kept) / (total - num_rows)
    if total > 2 * num_rows:
        share = max(share, min(prior[0], kept))
    return Estimate(min(prior[0], share), share, kept, num_rows)


def _pool(num_rows: int, num_kept: int) -> float:
    """So many draws that showed so many things → the size of the pool that they came from."""
    low, high = num_kept / 2, 1e6 * num_rows
    for _ in range(80):
        middle = math.sqrt(low * high)
        shown = middle * -math.expm1(-num_rows / middle)
        low, high = (middle, high) if shown < num_kept else (low, middle)
    return high


class Dice:
    """Draws, the same in every process."""

    def __init__(self, seed: int = 0) -> None:
        """Begins anew, at the seed's own place."""
        self._random = np.random.default_rng(seed)

    def draw(self, estimate: Estimate) -> Draws:
        """An estimate → its point, then draws of it: normal on each side, cut at low and high."""
        sides = np.clip(self._random.standard_normal(NUM_DRAWS) / _Z_95, -1, 1)
        up, down = estimate.high - estimate.point, estimate.point - estimate.low
        drawn = estimate.point + np.where(sides > 0, up, down) * sides
        return np.concatenate([[estimate.point], drawn])


def constant(value: float) -> Draws:
    """A number that is known → as many draws of it."""
    return np.full(NUM_DRAWS + 1, float(value))


def range_of(draws: Draws) -> Range:
    """Draws → the point estimate, and the range of the middle 95% of them."""
    low, high = np.quantile(draws[1:], (0.025, 0.975))
    point = float(draws[0])
    return Range(min(float(low), point), point, max(float(high), point))
