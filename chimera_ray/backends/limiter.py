"""What an endpoint takes from the whole cluster: one `Limiter` per endpoint says who may start.

A state machine that is told the time: knows nothing about Ray, asyncio or HTTP. Limits come from
the configuration, from the endpoint's headers, or from the share (not the mere fact) of its 429s.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from chimera_ray.backends.pace import FIRST_WINDOW, MAX_PAUSE_S, WIDENING, Pace
from chimera_ray.model_config import Limits

SAFETY, BURST_S = 0.98, 1.0
"""of a known limit is used, since the server's clock is not ours; so much of it may be saved up"""
DEAD_S, LATE_S, LEAD = 15.0, 0.5, 4
"""silence after which a holder's calls are over; after which nobody waits for its turn; calls that
a holder may be ahead of its turn"""
REPORT_S, SOON_S, LONG_S = 0.25, 0.1, 5.0
"""until the next report: of who may start freely; where any moment may make room; at most"""
RESTART_S = 6.0
"""within which every living holder has found a new limiter"""


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


class Limiter:
    """Reports in, grants out: one for each endpoint, for the whole cluster."""

    def __init__(self, limits: Limits, now: float) -> None:
        """Nothing is saved up: a limiter that was restarted grants no second burst."""
        self._limits = limits
        self._calls, self._tokens, self._pace = _Bucket(now), _Bucket(now), Pace(now)
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
        others = (h.told + h.granted + h.waiting for h in self._holders.values() if h is not me)
        is_busy = bool(report.wanted) or report.in_flight > 0 or started > 0 or any(others)
        self._pace.rest(now, not is_busy)
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
        self._pace.window += WIDENING * report.num_ok
        if self._pace.count(started, report.num_limited, now) or self._pace.judge(now):
            self._paused_until = self._asked_until if self._asked_until > now else now + 1.0
            self._pace.pause(now, self._paused_until)
            self._calls.level, self._calls.filled = 0.0, self._paused_until

    def _refill(self, now: float) -> None:
        rpm = [self._limits.requests_per_minute, self._limit_requests]
        tpm = [self._limits.tokens_per_minute, self._limit_tokens]
        rates = [SAFETY / 60 * limit for limit in rpm if limit is not None]
        rates += [] if self._pace.rate is None else [self._pace.rate]
        self._tokens.fill(min((SAFETY / 60 * n for n in tpm if n is not None), default=None), now)
        self._is_unknown = not rates and self._tokens.rate is None
        if self._is_unknown and self._limits.is_adaptive and self._pace.window == FIRST_WINDOW:
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
        self._calls.take(num_fair)
        self._tokens.take(sum(wanted[:num_fair]))
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
        calls_s = self._calls.wait_s(num, 1.0, 1.0, now)
        return max(calls_s, self._tokens.wait_s(spent, tokens, need, now))

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
