"""What calls of one kind come to, learnt from those that ended and from the ages of those that run.

Where long replies take long, the short ones of a first wave end first, and of the calls in flight
most are long. A mean of the replies so far would be far too low for both. So the replies make a
life table, as actuaries have it: calls that run count as not ended yet, and a call that has run for
some time is expected to cost what calls cost that took at least that long.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
EDGES = tuple(2.0 ** (power / 4) for power in range(-16, 57))
"""seconds that part the ages of calls in flight, from a 16th of a second to four hours"""
NUM_AGES = len(EDGES) + 1
WINDOW = 2048
"""replies that are remembered: lengths may change over a run"""
LEAP = 8.0
"""times the most that a call has cost: what one may cost that is longer than all of them"""
REFRESH_S = 0.5
_LOWEST = np.array([0.0, *EDGES])
_HIGHEST = np.array([*EDGES, math.inf])


class Sample(NamedTuple):
    """A call that ended."""

    seconds: float
    usd: float
    """beyond the estimate of its input, as are the tokens"""
    tokens: float
    ended_at: float = math.inf
    """infinite: in an earlier run"""


class Outlook(NamedTuple):
    """What a call comes to beyond its input, by its age.

    Shapes:
        one row for each age of `EDGES`; US dollars and tokens.
    """

    mean: Floats
    variance: Floats


def age_of(seconds: float) -> int:
    """Seconds that a call has been in flight → the place of its age."""
    return bisect_right(EDGES, seconds)


class CallCosts:
    """The calls of one kind."""

    def __init__(
        self,
        assumed: Floats,
        longest: Floats,
        earlier: Iterable[Sample] = (),
    ) -> None:
        """Begins with what is assumed.

        Args:
            assumed: US dollars and tokens of a call, as long as none has ended.
            longest: of the longest reply that there can be.
            earlier: calls of earlier runs.
        """
        self._assumed, self._longest = assumed, longest
        self._samples = np.empty((WINDOW, len(Sample._fields)))
        self._count = 0
        self._outlook: Outlook | None = None
        self._made_at, self._made_of = -math.inf, 0
        for sample in earlier:
            self.learn(sample)

    @property
    def is_measured(self) -> bool:
        """Whether any call has ended."""
        return self._count > 0

    @property
    def seconds(self) -> float:
        """That a call took, on average; infinite, if none has ended."""
        return float(self._samples[: self._count, 0].mean()) if self._count else math.inf

    def learn(self, sample: Sample) -> None:
        """Takes in a call that ended."""
        self._samples[self._count % WINDOW] = sample
        self._count += 1

    def outlook(self, in_flight: Counts, now: float) -> Outlook:
        """Calls in flight, by age → what a call of each age comes to."""
        num_new = self._count - self._made_of
        is_old = now - self._made_at > REFRESH_S or num_new > min(self._made_of, WINDOW) // 16
        if self._outlook is None or is_old:
            self._outlook = self._made(in_flight, now)
            self._made_at, self._made_of = now, self._count
        return self._outlook

    def _made(self, in_flight: Counts, now: float) -> Outlook:
        if not self._count:
            mean = np.tile(self._assumed, (NUM_AGES, 1))
            return Outlook(mean, mean**2)
        found = self._samples[: self._count]
        found = found[np.argsort(found[:, 0], kind="stable")]
        seconds, costs = found[:, 0], found[:, 1:3]
        oldest_at = self._samples[self._count % WINDOW][3] if self._count >= WINDOW else math.inf
        # Of a burst that ended at once, the time between its ends is none in which calls were seen.
        window_s = math.inf if math.isinf(oldest_at) else max(now - oldest_at, seconds[-1])
        mass, running, unseen = _life_table(found, in_flight, now, window_s)
        most = np.maximum(self._longest, costs.max(axis=0))
        longer = np.minimum(np.maximum(LEAP * costs.max(axis=0), self._assumed), most)
        rest = running * most + unseen * longer
        weights = np.column_stack([mass, mass[:, None] * costs, mass[:, None] * costs**2])
        beyond = np.vstack([np.cumsum(weights[::-1], axis=0)[::-1], np.zeros(5)])
        beyond = beyond[np.searchsorted(seconds, _LOWEST, side="right")]
        share = beyond[:, :1] + running + unseen
        mean = (beyond[:, 1:3] + rest) / share
        square = (beyond[:, 3:] + running * most**2 + unseen * longer**2) / share
        return Outlook(mean, np.maximum(square - mean**2, 0))


def _life_table(
    ended: Floats, in_flight: Counts, now: float, window_s: float
) -> tuple[Floats, float, float]:
    """Calls that ended within a window, by seconds, and those in flight, by age → shares of calls.

    A call counts for those ages alone that it has passed within the window: of long calls begun
    before it, the short ones begun with them are no more among those that ended.

    Shapes:
        one share for each ended call; that of calls in flight which outlast all of them; and that
        of calls which have not been seen yet, for which one more call is counted at each age.
    """
    seconds, num_ended = ended[:, 0], len(ended)
    ages = np.repeat(_HIGHEST, in_flight)  # or those as old as the oldest would pass for younger
    watched = np.zeros(num_ended + len(ages))
    if math.isfinite(window_s):
        watched = np.concatenate([seconds - window_s + now - ended[:, 3], ages - window_s])
    watched = np.sort(np.maximum(watched, 0))
    num_watched = np.searchsorted(watched, seconds, side="right")
    num_younger = np.searchsorted(ages, seconds, side="left")
    at_risk = np.maximum(num_watched - np.arange(num_ended) - num_younger, 1)
    running = float(np.prod(1 - 1 / at_risk))
    alive = np.cumprod(1 - 1 / (at_risk + 1))
    mass = np.concatenate([[1.0], alive[:-1]]) / (at_risk + 1)
    return mass, running, max(float(alive[-1]) - running, 1e-9)
