"""What a run's rows have cost so far, by the ledger: where a budget begins to count."""

from chimera_ray.backends.budget import Spend
from chimera_ray.config import Config
from chimera_ray.frontier import walk
from chimera_ray.graph import build_graph
from chimera_ray.ledger.index import NONE
from chimera_ray.ledger.store import Store


def spent_so_far(config: Config) -> Spend:
    """A configuration → money and tokens of every call behind its rows, whoever paid for it."""
    usd, tokens = 0.0, 0
    for standing in walk(build_graph(config), Store(config.output_dir)):
        known = standing.found.position[standing.found.outcome != NONE]
        for counts in standing.index.call_totals(known).values():
            usd += counts["cost_usd"]
            tokens += int(counts["input_tokens"] + counts["output_tokens"])
    return Spend(usd, tokens)
