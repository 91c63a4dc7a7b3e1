"""What a run may spend: `Budget` counts for the whole cluster, and says which calls may start.

A call starts if what was spent, all calls in flight at the most that they may cost, and the call
itself at what it is expected to cost stay within the cap. The most is what a token limit allows;
where there is none, what such calls are expected to cost by their kind and age, and a margin for
their spread. So with limits the cap is passed by no more than the last call, and the nearer it is,
the fewer calls are in flight.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from chimera_ray.backends.budget_messages import Exchange, Grant, Report, Spend, Wanted
from chimera_ray.backends.call_costs import NUM_AGES, CallCosts, Counts, Floats, Outlook, Sample

SILENT_S = 30.0
"""a process not heard of for so long is dead; what it had in flight counts as spent"""
SPREAD = 2.0
"""standard deviations that calls in flight without a limit may cost above what is expected"""
BEFORE = "before"
"""the name under which processes are told what was spent before this execution"""
LEAST_AGAIN_S, MOST_AGAIN_S = 0.05, 2.0
UNKNOWN = 1 / 8
"""of the cap that a call is taken to cost at most which outlasts all that have ended, or before any
has: so several are in flight from the start, however small the cap"""
_ONE = np.eye(1, NUM_AGES, dtype=np.int64)[0]


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Calls of one kind that one process has in flight."""

    ages: Counts
    input: Floats
    most: Floats | None

    def plus(self, other: "_Fleet") -> "_Fleet":
        most = None if self.most is None or other.most is None else self.most + other.most
        return _Fleet(self.ages + other.ages, self.input + other.input, most)


@dataclass(frozen=True, slots=True)
class _Held:
    """What calls may come to."""

    most: Floats
    variance: Floats
    """of those without a limit, for which `most` is what is expected"""

    def plus(self, other: "_Held") -> "_Held":
        return _Held(self.most + other.most, self.variance + other.variance)

    @property
    def total(self) -> Floats:
        return np.asarray(self.most + SPREAD * np.sqrt(self.variance))


@dataclass(slots=True)
class _Holder:
    spent: Spend
    fleets: dict[str, _Fleet]
    heard: float

    @property
    def is_idle(self) -> bool:
        return not any(fleet.ages.any() for fleet in self.fleets.values())


class Budget:
    """Caps, what was spent, and what is in flight, by process."""

    def __init__(
        self,
        max_cost_usd: float | None,
        max_total_tokens: int | None,
        spent: Spend,
        earlier: Mapping[str, Iterable[Sample]] | None = None,
        *,
        grants_from: float | None = None,
    ) -> None:
        """Begins to count.

        Args:
            max_cost_usd: the cap on money; None: there is none.
            max_total_tokens: the cap on input and output tokens; None: there is none.
            spent: so far.
            earlier: calls of earlier executions, by kind.
            grants_from: None, or the budget was started again: the time when all processes have
                told what they spent, which `spent` may hold in part, and what they have in flight.
        """
        self._max_usd, self._max_tokens, self._at_least = max_cost_usd, max_total_tokens, spent
        self._grants_from = -math.inf if grants_from is None else grants_from
        self._gone: dict[str, Spend] = {BEFORE: spent} if grants_from is None else {}
        limits = (max_cost_usd, max_total_tokens)
        self._caps = np.array([np.inf if cap is None else cap for cap in limits], np.float64)
        self._earlier = {kind: tuple(samples) for kind, samples in (earlier or {}).items()}
        self._costs: dict[str, CallCosts] = {}
        self._untrue: set[str] = set()
        self._holders: dict[str, _Holder] = {}

    @property
    def spent(self) -> Spend:
        """By this execution and those before it."""
        total = Spend()
        for spent in (*self._gone.values(), *(each.spent for each in self._holders.values())):
            total = total.plus(spent)
        usd, tokens = map(max, total, self._at_least)
        return Spend(usd, int(tokens))

    def exchange(self, report: Report, now: float) -> Grant:
        """A report → which of its calls may start."""
        self._bury(now)
        self._hear(report, now)
        if now >= self._grants_from:  # whoever is here without having told it has just begun
            self._gone.setdefault(BEFORE, self._at_least)
        granted: tuple[Spend, ...] = ()
        refusal = ""
        if report.is_last:
            del self._holders[report.holder]
            self._gone[report.holder] = report.spent
        elif now >= self._grants_from:
            granted, refusal = self._granted(report, now)
        return Grant(granted, refusal, self._again_in_s(), tuple(self._gone.items()))

    def _granted(self, report: Report, now: float) -> tuple[tuple[Spend, ...], str]:
        holder, spent = self._holders[report.holder], np.array(self.spent, np.float64)
        is_idle = all(each.is_idle for each in self._holders.values())
        held = self._in_flight(now)
        granted: list[Spend] = []
        is_over = bool(np.any(spent >= self._caps))
        for wanted in report.wanted:
            expected, own = self._expected(wanted, now)
            # What nobody knows yet is found out by one call, unless its prompt alone is too much.
            is_probe = is_idle and not granted and not self._costs[wanted.kind].is_measured
            least = np.array(wanted.input, np.float64) if is_probe else expected
            if is_over or np.any(spent + held.total + least > self._caps):
                is_final = is_over or (is_idle and not granted)
                return tuple(granted), self._refusal() if is_final else ""
            held = held.plus(own)
            granted.append(Spend(float(own.most[0]), round(float(own.most[1]))))
            fleet = _Fleet(_ONE, np.array(wanted.input, np.float64), _floats(wanted.most))
            known = holder.fleets.get(wanted.kind)
            holder.fleets[wanted.kind] = fleet if known is None else known.plus(fleet)
        return tuple(granted), ""

    def _hear(self, report: Report, now: float) -> None:
        for name, spent in report.gone:
            if name == BEFORE:  # the ledger, taken for it, may hold a part of this execution
                self._gone[name] = min(spent, self._gone.get(name, spent))
            elif name not in self._holders:
                self._gone.setdefault(name, spent)
        self._gone.pop(report.holder, None)
        for calls in (report.wanted, report.flights):
            for known in calls:
                if known.kind not in self._costs:
                    earlier = self._earlier.get(known.kind, ())
                    assumed = np.minimum(known.assumed, UNKNOWN * self._caps)
                    longest = np.minimum(known.longest, UNKNOWN * self._caps)
                    self._costs[known.kind] = CallCosts(assumed, longest, earlier)
        for ended in report.ended:
            if ended.kind in self._costs:
                usd, tokens = (max(part, 0.0) for part in ended.output)
                self._costs[ended.kind].learn(Sample(ended.seconds, usd, tokens, now))
            if ended.is_beyond:
                self._untrue.add(ended.kind)
        fleets = {
            flight.kind: _Fleet(
                np.array(flight.ages, np.int64),
                np.array(flight.input, np.float64),
                _floats(flight.most),
            )
            for flight in report.flights
        }
        self._holders[report.holder] = _Holder(report.spent, fleets, now)

    def _expected(self, wanted: Wanted, now: float) -> tuple[Floats, _Held]:
        """A call → what it is expected to cost, and what it may come to once it is in flight."""
        outlook = self._outlook(wanted.kind, now)
        expected = np.array(wanted.input, np.float64) + outlook.mean[0]
        most = _floats(wanted.most)
        if most is None or wanted.kind in self._untrue:
            return expected, _Held(expected, outlook.variance[0])
        is_measured = self._costs[wanted.kind].is_measured
        return np.minimum(expected, most) if is_measured else most, _Held(most, np.zeros(2))

    def _in_flight(self, now: float) -> _Held:
        held = _Held(np.zeros(2), np.zeros(2))
        for holder in self._holders.values():
            held = held.plus(self._held_by(holder, now))
        return held

    def _held_by(self, holder: _Holder, now: float) -> _Held:
        held = _Held(np.zeros(2), np.zeros(2))
        for kind, fleet in holder.fleets.items():
            if fleet.most is not None and kind not in self._untrue:
                held = held.plus(_Held(fleet.most, np.zeros(2)))
                continue
            outlook = self._outlook(kind, now)
            expected = fleet.input + fleet.ages @ outlook.mean
            held = held.plus(_Held(expected, fleet.ages @ outlook.variance))
        return held

    def _outlook(self, kind: str, now: float) -> Outlook:
        fleets = [holder.fleets.get(kind) for holder in self._holders.values()]
        ages = sum((fleet.ages for fleet in fleets if fleet is not None), np.zeros_like(_ONE))
        return self._costs[kind].outlook(ages, now)

    def _bury(self, now: float) -> None:
        for name, holder in list(self._holders.items()):
            if now - holder.heard > SILENT_S:
                usd, tokens = self._held_by(holder, now).most
                del self._holders[name]
                self._gone[name] = holder.spent.plus(Spend(float(usd), round(float(tokens))))

    def _again_in_s(self) -> float:
        """By how often calls end, which make room for others."""
        shortest = min((costs.seconds for costs in self._costs.values()), default=math.inf)
        return min(max(shortest / 10, LEAST_AGAIN_S), MOST_AGAIN_S)

    def _refusal(self) -> str:
        parts, spent = [], self.spent
        if self._max_usd is not None:
            parts.append(f"{spent.usd:.4f} of {self._max_usd:g} USD")
        if self._max_tokens is not None:
            parts.append(f"{spent.tokens:,} of {self._max_tokens:,} tokens")
        return f"the budget leaves room for no further call: {' and '.join(parts)} spent"


def _floats(spend: Spend | None) -> Floats | None:
    return None if spend is None else np.array(spend, np.float64)


def in_process(budget: Budget, clock: Callable[[], float]) -> Exchange:
    """A budget of this process's own → the way to it."""

    async def exchange(report: Report) -> Grant:
        return budget.exchange(report, clock())

    return exchange
