"""What an endpoint's 429s teach of a limit that nobody told: their share, not the mere fact."""

import math
from typing import NamedTuple

SAFETY = 0.98
"""of what the endpoint took when it was asked for more"""
FIRST_WINDOW, WIDENING = 64, 3
"""calls in flight at an endpoint of which nothing is known; more of them for each that ends well"""
MAX_PAUSE_S = 60.0
"""that a storm may stop all"""
FREE_SHARE, PACED_SHARE = 0.05, 0.02
"""of 429s that mean a limit: when none has been met yet, when one has"""
MAX_STRAY_SHARE, STORM_SHARE = 0.4, 0.5
"""of 429s that may be strays; that mean that nobody should go on"""
MIN_RATE = 0.1
"""calls a second, whatever the 429s say"""
RETURN_S, PROBE, SETTLE_S = 8.0, 2e-6, 0.5
"""back to the last good rate in so long; then beyond it by this times the seconds cubed; after a
cut, until the outcomes tell of the new rate"""
FEW_CALLS, MANY_CALLS = 20, 40
"""that an epoch needs; that it needs after a cut, to tell whether the 429s are strays"""
STRAY_S, FORGET_S = 300.0, 600.0
"""until 429s may be found to be strays once more; until a limit that nobody meets is forgotten"""


class _Epoch(NamedTuple):
    took_s: float
    started: int
    limited: int
    share: float


class Pace:
    """The rate that 429s taught: cut to what the endpoint took, then back, then slowly beyond.

    429s that stay as frequent at lower rates are strays: they are no reason to go slower.
    """

    def __init__(self, now: float) -> None:
        self.window = float(FIRST_WINDOW)
        self._good: float | None = None
        self._low = self._grown_s = self._stray = 0.0
        self._since = self._grown_at = self._cut_at = now
        self._started = self._limited = 0
        self._recent_started = self._recent_limited = 0.0
        self._probe, self._is_returning = PROBE, False
        self._series: list[_Epoch] = []
        self._before = self._usual_rate = 0.0
        self._before_at = self._strays_at = -math.inf
        self._idle_since: float | None = now

    @property
    def rate(self) -> float | None:
        """Calls per second; None: no limit is known."""
        if self._good is None:
            return None
        beyond_s = self._grown_s - RETURN_S
        if beyond_s < 0:
            return self._good * math.pow(self._low / self._good, -beyond_s / RETURN_S)
        return self._good * (1 + self._probe * beyond_s**3)

    def rest(self, now: float, is_idle: bool) -> None:
        """Nobody calls or wants to: such time says nothing about what the endpoint takes."""
        if is_idle:
            self._idle_since = now if self._idle_since is None else self._idle_since
        elif self._idle_since is not None:
            self._since += max(0.0, now - max(self._idle_since, self._since))
            self._idle_since = None

    def grow(self, now: float, is_short: bool) -> None:
        """Time passes: the rate grows while it holds someone back, and until it is good again."""
        if is_short or self._grown_s < RETURN_S:
            self._grown_s += max(0.0, now - self._grown_at)
        self._grown_at = max(self._grown_at, now)

    def count(self, started: int, limited: int, now: float) -> bool:
        """Calls that started and 429s → whether most of the last calls got one: a storm."""
        if now < self._since:
            return False  # these began before the cut
        self._started += started
        self._limited += limited
        recent = self._recent_started + started, self._recent_limited + limited
        keep = min(1.0, FEW_CALLS / max(*recent, 1.0))
        self._recent_started, self._recent_limited = keep * recent[0], keep * recent[1]
        return self._recent_limited > max(8.0, STORM_SHARE * self._recent_started)

    def pause(self, now: float, until: float) -> None:
        """A storm: a trickle at first when it is over, and nothing counts before."""
        num_accepted = max(0, self._started - self._limited)
        accepted = num_accepted / max(now - self._since, 1.0)
        is_up = num_accepted > (1 if self._is_returning else 0.2 * self._started)
        if self._good is None:
            self._good = max(self._usual_rate, accepted, MIN_RATE)
        elif is_up:  # else whatever its limit is, it will be the same afterwards
            self._good = max(min(accepted, self._good), self._good / 2, MIN_RATE)
        self._cut(max(self._good / 32, min(self._good / 2, 1.0)), now)
        self._probe, self._is_returning = 16 * PROBE, True
        self._since = self._grown_at = until
        self._series.clear()

    def judge(self, now: float) -> bool:
        """At the end of an epoch: another rate, or whether it was a storm."""
        num, limited = max(self._started, self._limited, 1), self._limited
        epoch = _Epoch(now - self._since, num, limited, limited / num)
        if epoch.took_s < 1:
            return False
        if epoch.limited > 4 and epoch.share > STORM_SHARE:
            return True
        is_test = bool(self._series) and epoch.share <= MAX_STRAY_SHARE
        few = MANY_CALLS if is_test else 5 if self._is_returning else FEW_CALLS
        if epoch.started < few and epoch.took_s < MAX_PAUSE_S:
            return False
        self._started, self._limited, self._since = 0, 0, now
        usual = self._stray + (FREE_SHARE if self._good is None else PACED_SHARE)
        expected = usual * epoch.started
        is_bad = epoch.limited > max(2.0, expected + (2 if is_test else 3) * math.sqrt(expected))
        self._is_returning = self._is_returning and is_bad and self._grown_s < RETURN_S
        if not is_bad:
            self._go_on(epoch, now)
        elif not self._is_returning:  # from a storm, which is not quite over
            self._slow_down(epoch, now)
        return False

    def _go_on(self, epoch: _Epoch, now: float) -> None:
        weight = epoch.started / (epoch.started + 200) if self._stray else 0.0
        self._stray = min(self._stray + weight * (epoch.share - self._stray), MAX_STRAY_SHARE)
        self._series.clear()
        rate, used = self.rate, epoch.started / epoch.took_s
        if rate is None:
            self._usual_rate = used
        elif now - self._cut_at > FORGET_S and used < rate / 2:
            self._good, self.window = None, float(FIRST_WINDOW)

    def _slow_down(self, epoch: _Epoch, now: float) -> None:
        used = epoch.started / epoch.took_s
        if epoch.share > MAX_STRAY_SHARE:
            self._series.clear()
        else:
            if not self._series and now - self._before_at > MAX_PAUSE_S:
                self._before, self._before_at = self.rate or 1.25 * used, now
            self._series = [*self._series[-2:], epoch]
        is_same_share = len(self._series) == 3  # although twice cut to what was accepted
        if is_same_share and now - self._strays_at > STRAY_S:
            self._stray, self._strays_at = (self._series[1].share + epoch.share) / 2, now
            # What was taken may be all that was asked: no rate is known, so slow start again.
            self._good, self.window = None, float(FIRST_WINDOW)
            self._series.clear()
        else:
            accepted = used * (1 - epoch.share)
            # A limit that is where it was last time is looked for less often.
            is_same = self._good is not None and abs(accepted - self._good) < 0.25 * self._good
            # The first time, what was taken may be all that was asked: look beyond it soon.
            first = 64 * PROBE if self._good is None else PROBE
            self._probe = max(self._probe / 2, PROBE / 32) if is_same else first
            self._good = max(SAFETY * accepted, MIN_RATE)
            self._cut(0.9 * self._good, now)
        self._since = now + SETTLE_S

    def _cut(self, low: float, now: float) -> None:
        self._low, self._grown_s = max(low, MIN_RATE), 0.0
        self._started = self._limited = 0
        self._recent_started = self._recent_limited = 0.0
        self._cut_at = self._grown_at = now
        self._is_returning = False
