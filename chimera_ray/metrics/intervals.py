"""Confidence intervals of proportions and means."""

import math
from collections.abc import Sequence

_Z_95 = 1.959963984540054


def wilson(successes: int, trials: int) -> tuple[float, float] | None:
    """Successes in trials → the 95% Wilson score interval, if there was a trial.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
        1927. It holds for small counts and for proportions near 0 and 1.

    Raises:
        ValueError: the counts are not 0 <= successes <= trials.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials cannot be")
    if trials == 0:
        return None
    z2 = _Z_95**2
    proportion = successes / trials
    centre = proportion + z2 / (2 * trials)
    spread = _Z_95 * math.sqrt((proportion * (1 - proportion) + z2 / (4 * trials)) / trials)
    scale = 1 + z2 / trials
    # The ends are exactly 0 and 1 there; rounding would leave 1e-17 or pass 1.
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == trials else (centre + spread) / scale
    return low, high


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Measured values → the 95% Student interval of their mean, if there are at least three.

    Source: the quantile by the expansion in M. Abramowitz and I. Stegun, "Handbook of Mathematical
        Functions", 26.7.5; 3% too small at two degrees of freedom, within 1% from three on.
    """
    if len(values) < 3:
        return None
    freedom, z = len(values) - 1, _Z_95
    terms = (
        (z**3 + z) / (4 * freedom),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3),
    )
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / freedom
    spread = (z + sum(terms)) * math.sqrt(variance / len(values))
    return mean - spread, mean + spread
