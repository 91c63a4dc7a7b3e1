"""What records come to: outcomes, and calls by role; pure sums."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from chimera_ray.schemas import Call, Record

COUNTED = (
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "is_usage_estimated",
    "cost_usd",
)
COST = ("role", "is_replayed", *COUNTED)
"""of a call: what is needed to count it"""
Totals = dict[str, Any]
"""{"outcomes": {outcome: records}, "outputs": rows, "roles": {role: {"calls" …}}, "runs": {…}}"""
_cost_of = attrgetter(*COST)


def totals_of(records: Iterable[Record]) -> Totals:
    """Records → their totals, without the calls that were paid for before."""
    outcomes: Counter[str] = Counter()
    num_outputs = 0
    runs: Counter[str] = Counter()
    calls: list[Call] = []
    for record in records:
        outcomes[record.outcome] += 1
        num_outputs += len(record.outputs)
        runs[record.run_id] += 1
        calls += record.calls
    return {
        "outcomes": dict(outcomes),
        "outputs": num_outputs,
        "roles": paid(_cost_of(call) for call in calls),
        "runs": dict(runs),
    }


def paid(calls: Iterable[Sequence[Any]]) -> dict[str, dict[str, float]]:
    """Calls, as `COST` lists them → their sums by role, without those paid for before."""
    roles: dict[str, dict[str, float]] = {}
    for role, is_replayed, *counts in calls:
        if is_replayed:
            continue
        sums = roles.setdefault(role, dict.fromkeys(("calls", *COUNTED), 0))
        sums["calls"] += 1
        for name, count in zip(COUNTED, counts, strict=True):
            sums[name] += count
    return roles


def sum_totals(several: Iterable[Totals], sign: int = 1) -> Totals:
    """Totals → their sum; with the sign -1: the first of them without the others."""
    outcomes: dict[str, float] = {}
    runs: dict[str, float] = {}
    roles: dict[str, dict[str, float]] = {}
    num_outputs = 0
    for place, totals in enumerate(several):
        factor = sign if place else 1
        _add(outcomes, totals["outcomes"], factor)
        _add(runs, totals["runs"], factor)
        num_outputs += factor * totals["outputs"]
        for role, counts in totals["roles"].items():
            _add(roles.setdefault(role, {}), counts, factor)
    return {"outcomes": outcomes, "outputs": num_outputs, "roles": roles, "runs": runs}


def _add(to: dict[str, float], counts: Mapping[str, float], factor: int) -> None:
    for name, count in counts.items():
        to[name] = to.get(name, 0) + factor * count
