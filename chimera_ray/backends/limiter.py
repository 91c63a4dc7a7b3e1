"""What an endpoint takes from the whole cluster: one `Limiter` per endpoint says who may start.

A state machine that is told the time: knows nothing about Ray, asyncio or HTTP. Limits come from
the configuration, from the endpoint's headers, or from the share (not the mere fact) of its 429s.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from chimera_ray.model_config import Limits

SAFETY, BURST_S = 0.98, 1.0
"""of a known limit is used, since the server's clock is not ours; so much of it may be saved up"""
FIRST_WINDOW = 64
"""calls in flight at an endpoint of which nothing is known; one more for each that ends well"""
DEAD_S, LATE_S, LEAD = 15.0, 0.5, 4
"""silence after which a holder's calls are over; after which nobody waits for its turn; calls that
a holder may be ahead of its turn"""
REPORT_S, SOON_S, LONG_S = 0.25, 0.1, 5.0
"""until the next report: of who may start freely; where any moment may make room; at most"""
MAX_PAUSE_S, RESTART_S = 60.0, 6.0
"""that a storm may stop all; within which every living holder has found a new limiter"""
FREE_SHARE, PACED_SHARE = 0.05, 0.02
"""of 429s that mean a limit: when none has been met yet, when one has"""
MAX_STRAY_SHARE, STORM_SHARE = 0.4, 0.5
"""of 429s that may be strays; that mean that nobody should go on"""
MIN_RATE = 0.1
"""calls a second, whatever the 429s say"""
RETURN_S, PROBE, SETTLE_S = 8.0, 2e-6, 0.5
"""back to the last good rate in so long; then beyond it by this times the seconds cubed; after a
cut, until the outcomes tell of the new rate"""
FEW_CALLS, MANY_CALLS = 20, 100
"""that an epoch needs; that it needs after a cut, to tell whether the 429s are strays"""
STRAY_S, FORGET_S = 300.0, 600.0
"""until 429s may be found to be strays once more; until a limit that nobody meets is forgotten"""


class Learnt(NamedTuple):
    """What an answer's headers said: limits per minute, what is left of them, until when."""

    limit_requests: float | None = None
    limit_tokens: float | None = None
    remaining_requests: float | None = None
    remaining_tokens: float | None = None
    reset_requests_s: float | None = None
    reset_tokens_s: float | None = None


class Report(NamedTuple):
    """What one process ("holder") tells and asks, since its last report."""

    holder: str
    wanted: tuple[int, ...] = ()
    """estimated tokens of each call that waits to start, oldest first"""
    in_flight: int = 0
    """calls granted to this holder that have not ended"""
    num_ok: int = 0
    num_limited: int = 0
    """attempts that ended with a 429; `num_ok`: with anything else"""
    tokens_over: int = 0
    """actual less estimated tokens of the attempts that ended"""
    pause_s: float = 0.0
    """longest Retry-After; 0: none"""
    learnt: Learnt | None = None


class Grant(NamedTuple):
    """What the limiter answers."""

    num_calls: int
    """so many of the wanted calls, from the first on, may start"""
    again_in_s: float
    """when to ask again for the others"""
    is_open: bool
    """until the next report, calls may start without asking"""


@dataclass(slots=True)
class _Holder:
    heard: float
    due: float
    told: int = 0
    """in flight, as last reported"""
    granted: int = 0
    """since then"""
    waiting: int = 0
    turn: float = 0.0
    """calls it was granted, as parts of what it wanted: those who wait keep level"""


class _Bucket:
    """Calls or tokens that may start now: empty at first, refilled all the time, may be in debt."""

    def __init__(self, now: float) -> None:
        self.rate: float | None = None
        self.level = self._left = self.largest = 0.0
        self.filled = self.held_until = now

    @property
    def capacity(self) -> float:
        return max(1.0, self.largest, (self.rate or 0.0) * BURST_S)

    def fill(self, rate: float | None, now: float) -> None:
        """Refills until now at the rate that held, and goes on at another."""
        gain = (self.rate or 0.0) * max(0.0, now - self.filled)
        # What was given back may exceed the capacity, but does not stay.
        level = min(self.level + gain, max(self.capacity, self.level - gain))
        self.level = 0.0 if self.rate is None else level
        self.filled, self.rate = max(self.filled, now), rate

    def hold(self, left: float | None, until_s: float | None, now: float) -> None:
        """Lets only so much go until the endpoint's own count begins anew."""
        if left is not None and until_s is not None:
            self._left, self.held_until = left, now + min(until_s, MAX_PAUSE_S)

    def take(self, amount: float) -> None:
        self.level, self._left = self.level - amount, self._left - amount

    def wait_s(self, spent: float, amount: float, need: float, now: float) -> float:
        """Seconds until `amount` may go after `spent`, given that `need` of it must be there."""
        is_held = now < self.held_until and self._left - spent < amount
        held_s = self.held_until - now if is_held else 0.0
        if self.rate is None:
            return held_s
        short = need - (self.level - spent)
        return max(held_s, short / self.rate if short > 1e-9 else 0.0)


class _Epoch(NamedTuple):
    took_s: float
    started: int
    limited: int
    share: float


class _Pace:
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

    @property
    def rate(self) -> float | None:
        """Calls per second; None: no limit is known."""
        if self._good is None:
            return None
        beyond_s = self._grown_s - RETURN_S
        if beyond_s < 0:
            return self._good * math.pow(self._low / self._good, -beyond_s / RETURN_S)
        return self._good * (1 + self._probe * beyond_s**3)

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
        recent_started = self._recent_started + started
        recent_limited = self._recent_limited + limited
        keep = min(1.0, FEW_CALLS / max(recent_started, recent_limited, 1.0))
        self._recent_started, self._recent_limited = keep * recent_started, keep * recent_limited
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
            self._good = self._low = self._before
            self._grown_s, self._probe = RETURN_S, 16 * PROBE
            self._series.clear()
        else:
            accepted = used * (1 - epoch.share)
            # A limit that is where it was last time is looked for less often.
            is_same = self._good is not None and abs(accepted - self._good) < 0.25 * self._good
            self._probe = max(self._probe / 2, PROBE / 32) if is_same else PROBE
            self._good = max(SAFETY * accepted, MIN_RATE)
            self._cut(0.9 * self._good, now)
        self._since = now + SETTLE_S

    def _cut(self, low: float, now: float) -> None:
        self._low, self._grown_s = max(low, MIN_RATE), 0.0
        self._started = self._limited = 0
        self._recent_started = self._recent_limited = 0.0
        self._cut_at = self._grown_at = now
        self._is_returning = False


class Limiter:
    """Reports in, grants out: one for each endpoint, for the whole cluster."""

    def __init__(self, limits: Limits, now: float) -> None:
        """Nothing is saved up: a limiter that was restarted grants no second burst."""
        self._limits = limits
        self._calls, self._tokens, self._pace = _Bucket(now), _Bucket(now), _Pace(now)
        self._holders: dict[str, _Holder] = {}
        self._began = self._heard = self._asked_until = self._paused_until = now
        self._limit_requests: float | None = None
        self._limit_tokens: float | None = None
        self._is_unknown, self._is_short = True, False

    def idle_s(self, now: float) -> float:
        """Seconds since anyone reported."""
        return now - self._heard

    def exchange(self, report: Report, now: float) -> Grant:
        """A holder's report → what it may start, and when to report again."""
        now = self._heard = max(now, self._heard)
        me, started = self._listen(report, now)
        self._pace.grow(now, self._is_short)
        if self._limits.is_adaptive:
            self._learn(report, started, now)
        self._tokens.largest = float(max(report.wanted, default=0))
        if now >= self._paused_until:
            self._calls.take(max(0, started - me.granted))
        self._refill(now)
        self._tokens.take(report.tokens_over)
        me.granted = 0
        if now < self._paused_until:
            grant = Grant(0, self._paused_until - now, False)
        elif self._is_open(now, len(report.wanted) - me.waiting):
            grant = Grant(len(report.wanted), REPORT_S, True)
        else:
            grant = self._grant(report.wanted, me, now)
        grant = grant._replace(again_in_s=min(grant.again_in_s, LONG_S))
        me.granted, me.waiting = grant.num_calls, len(report.wanted) - grant.num_calls
        me.due = now + grant.again_in_s
        return grant

    def _listen(self, report: Report, now: float) -> tuple[_Holder, int]:
        """A report → its holder, and how many calls it started since its last one."""
        self._holders = {n: h for n, h in self._holders.items() if now - h.heard <= DEAD_S}
        me = self._holders.get(report.holder)
        num_ended = report.num_ok + report.num_limited
        if me is None:
            me = self._holders[report.holder] = _Holder(now, now, report.in_flight)
            started = num_ended
            if report.in_flight and self._limits.max_in_flight is not None:
                # It knew an earlier limiter: there may be others, whose calls are not yet told.
                self._paused_until = max(self._paused_until, self._began + RESTART_S)
        else:
            started = max(0, report.in_flight - me.told + num_ended)
        me.heard, me.told = now, report.in_flight
        return me, started

    def _learn(self, report: Report, started: int, now: float) -> None:
        learnt = report.learnt
        if learnt is not None:
            self._limit_requests = learnt.limit_requests or self._limit_requests
            self._limit_tokens = learnt.limit_tokens or self._limit_tokens
            self._calls.hold(learnt.remaining_requests, learnt.reset_requests_s, now)
            self._tokens.hold(learnt.remaining_tokens, learnt.reset_tokens_s, now)
        self._asked_until = max(self._asked_until, now + min(report.pause_s, MAX_PAUSE_S))
        self._pace.window += report.num_ok
        if self._pace.count(started, report.num_limited, now) or self._pace.judge(now):
            self._paused_until = self._asked_until if self._asked_until > now else now + 1.0
            self._pace.pause(now, self._paused_until)
            self._calls.level, self._calls.filled = 0.0, self._paused_until

    def _refill(self, now: float) -> None:
        config = self._limits
        rpm = [config.requests_per_minute, self._limit_requests]
        tpm = [config.tokens_per_minute, self._limit_tokens]
        rates = [SAFETY / 60 * limit for limit in rpm if limit is not None]
        rates += [] if self._pace.rate is None else [self._pace.rate]
        self._tokens.fill(min((SAFETY / 60 * n for n in tpm if n is not None), default=None), now)
        self._is_unknown = not rates and self._tokens.rate is None
        if self._is_unknown and config.is_adaptive and self._pace.window == FIRST_WINDOW:
            rates.append(FIRST_WINDOW)  # until the first answer, which may tell the limits
        self._calls.fill(min(rates, default=None), now)

    def _in_flight(self) -> int:
        return sum(holder.told + holder.granted for holder in self._holders.values())

    def _is_open(self, now: float, num_more: int) -> bool:
        is_held = now < max(self._calls.held_until, self._tokens.held_until)
        if not self._is_unknown or self._limits.max_in_flight is not None or is_held:
            return False
        busy = self._in_flight() + num_more + sum(h.waiting for h in self._holders.values())
        is_wide = self._pace.window >= max(4 * FIRST_WINDOW, 2 * busy)
        return is_wide or not self._limits.is_adaptive

    def _room(self) -> float:
        window = self._pace.window if self._is_unknown and self._limits.is_adaptive else math.inf
        return min(window, self._limits.max_in_flight or math.inf) - self._in_flight()

    def _grant(self, wanted: tuple[int, ...], me: _Holder, now: float) -> Grant:
        room = self._room()
        num, spent = 0, 0
        for tokens in wanted:
            if num >= room or self._wait_s(num, spent, tokens, now) > 0:
                break
            num, spent = num + 1, spent + tokens
        num_fair = self._fair(num, wanted, me, room, now)
        spent = sum(wanted[:num_fair])
        self._calls.take(num_fair)
        self._tokens.take(spent)
        me.turn += num_fair / max(1, len(wanted))
        if num_fair == len(wanted):
            self._is_short = False
            return Grant(num_fair, LONG_S, False)
        wait_s = self._wait_s(0, 0, wanted[num_fair], now)
        self._is_short = room > num and self._calls.level < max(1.0, self._calls.capacity / 2)
        # Many holders ask less often each, so that the limiter keeps up with all of them.
        least_s = 0.02 + 0.002 * len(self._holders)
        return Grant(num_fair, max(min(wait_s, 1.0), SOON_S if num >= room else least_s), False)

    def _wait_s(self, num: int, spent: int, tokens: int, now: float) -> float:
        # A call larger than the bucket starts all the same, and leaves a debt.
        need = min(float(tokens), self._tokens.capacity / 2)
        return max(
            self._calls.wait_s(num, 1.0, 1.0, now), self._tokens.wait_s(spent, tokens, need, now)
        )

    def _fair(self, num: int, wanted: tuple[int, ...], me: _Holder, room: float, now: float) -> int:
        """So many calls could start → how many of them are this holder's turn."""
        others = (holder for holder in self._holders.values() if holder is not me)
        rivals = [h for h in others if h.waiting and now <= h.due + LATE_S]
        if not num or not rivals:
            return num
        behind = min(holder.turn for holder in rivals)
        if not me.waiting:
            me.turn = max(me.turn, behind)
        supply = room if self._calls.rate is None else min(room, self._calls.level)
        if self._tokens.rate is not None:
            supply = min(supply, self._tokens.level * len(wanted) / max(1, sum(wanted)))
        part = max(supply, num) * len(wanted)
        part /= len(wanted) + sum(holder.waiting for holder in rivals)
        ahead = (me.turn - behind) * len(wanted)
        return min(num, max(int(part - ahead + 1e-9), 1 if ahead < LEAD else 0))
