"""What a run's budget begins with: what was spent, and what is known or assumed of its calls."""

import numpy as np
import pyarrow.compute as pc

from chimera_ray.backends.budget import Budget
from chimera_ray.backends.budget_messages import Spend
from chimera_ray.backends.call_costs import WINDOW, Sample
from chimera_ray.backends.metered import Work
from chimera_ray.config import Config
from chimera_ray.frontier import Standing, walk
from chimera_ray.graph import build_graph
from chimera_ray.ledger.index import NONE, PartLostError
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Usage

_MEASURED = ("role", "cost_usd", "latency_s", "input_tokens", "cached_tokens", "output_tokens")


def work_of(config: Config, stage: str, role: str) -> Work:
    """A stage's role → what is known of its calls before any is made."""
    model = config.models.of(role)
    prior = config.plan.stages.get(stage)
    asked = None if prior is None else prior.roles.get(role)
    planned = None if asked is None else asked.output_tokens[1]
    return Work(f"{stage}.{role}", planned, model.max_output, model.context)


def open_budget(config: Config, grants_from: float | None = None) -> Budget:
    """A configuration with a cap → its budget, with what the ledger says.

    `grants_from`: None, or a budget of this execution has ended; as `Budget` takes it.
    """
    runtime = config.runtime
    while True:
        standings = walk(build_graph(config), Store(config.output_dir))
        spent, earlier = Spend(), dict[str, list[Sample]]()
        try:
            for standing in standings:
                spent = spent.plus(_spent(standing))
                earlier |= _samples(config, standing)
        except PartLostError:  # compacted away meanwhile
            continue
        caps = runtime.max_cost_usd, runtime.max_total_tokens
        return Budget(*caps, spent, earlier, grants_from=grants_from)


def _spent(standing: Standing) -> Spend:
    """A stage → money and tokens of every call behind its rows, whoever paid for it."""
    usd, tokens = 0.0, 0
    known = standing.found.position[standing.found.outcome != NONE]
    for counts in standing.index.call_totals(known).values():
        usd += counts["cost_usd"]
        tokens += int(counts["input_tokens"] + counts["output_tokens"])
    return Spend(usd, tokens)


def _samples(config: Config, standing: Standing) -> dict[str, list[Sample]]:
    """A stage → what its last calls came to, by kind."""
    known = standing.found.position[standing.found.outcome != NONE]
    found: dict[str, list[Sample]] = {}
    wanted = [f"calls.list.element.{name}" for name in _MEASURED]
    for _, table in standing.index.tables(np.sort(known)[-WINDOW:], wanted):
        calls = table["calls"].combine_chunks().flatten()
        columns = (pc.struct_field(calls, name).to_pylist() for name in _MEASURED)
        for role, usd, seconds, *tokens in zip(*columns, strict=True):
            if role in standing.node.roles and tokens[-1]:
                own = config.models.of(role).cost_usd(Usage(tokens[0], tokens[1]))
                kind = work_of(config, standing.node.name, role).kind_of(None)
                sample = Sample(seconds, max(usd - own, 0.0), tokens[-1])
                found.setdefault(kind, []).append(sample)
    return found
