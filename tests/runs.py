"""Small whole runs with the simulated teacher, in this process, in a fraction of a second each."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from chimera_ray.account import Account, RoleAccount, account_for, paid_by
from chimera_ray.build import Manifest, build, new_run_id
from chimera_ray.config import ROLES, Config, read_config
from chimera_ray.drive import drive
from chimera_ray.frontier import Standing, walk
from chimera_ray.graph import Graph, build_graph
from chimera_ray.ledger.index import NONE
from chimera_ray.ledger.store import Store
from chimera_ray.runners import Carrier
from chimera_ray.runners.local import LocalCarrier
from chimera_ray.schemas import Call, Record

STAGES = (
    "expand_topics",
    "dedupe_topics",
    "plan_drafts",
    "draft_problem",
    "validate_problem",
    "dedupe_problems",
    "plan_rollouts",
    "sample_trajectory",
    "label_trajectory",
)
"""the paper's; without those that ask nobody here"""
SUBJECTS = {"Mathematics": 3, "Chemistry": 3}
PRICES = {"input_usd": 1.0, "output_usd": 10.0}


def config_of(
    output_dir: Path,
    drafts: int = 2,
    stages: Sequence[str] = STAGES,
    subjects: Mapping[str, int] = SUBJECTS,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    models: Mapping[str, Mapping[str, Any]] | None = None,
    name: str = "small",
    **every_model: Any,
) -> Config:
    """A small recipe; `every_model` sets all roles, `models` some, `params` some stages."""
    recipe = {
        "name": name,
        "subjects": [{"name": key, "target_topics": count} for key, count in subjects.items()],
        "stages": list(stages),
        "params": {
            "plan_drafts": {"drafts_per_topic": drafts},
            "label_trajectory": {"use_rules": False},  # no child process that knows algebra
            **(params or {}),
        },
    }
    bound = {
        role: {
            "backend": "simulated",
            "name": f"simulated-{role}",
            "prices": PRICES,
            **every_model,
            **(models or {}).get(role, {}),
        }
        for role in ROLES
    }
    runtime = {"kind": "preview", "flush_s": 0.002}
    return read_config(
        {"recipe": recipe, "models": bound, "runtime": runtime, "output_dir": str(output_dir)}
    )


class Run:
    """One execution that came to its end, and what the ledger says of it."""

    def __init__(
        self, config: Config, carrier: Carrier | None = None, run_id: str | None = None
    ) -> None:
        self.config, self.id = config, run_id or new_run_id()
        self.graph: Graph = build_graph(config)
        self.store = Store(config.output_dir)
        self.carrier = carrier or LocalCarrier(config, self.id)
        drive(self.graph, self.store, self.carrier, self.id, lambda standings: None)

    @cached_property
    def standings(self) -> list[Standing]:
        """Where every stage stands."""
        return list(walk(self.graph, self.store, self.id))

    @cached_property
    def account(self) -> Account:
        """What the rows came to."""
        return account_for(self.standings, self.store)

    @cached_property
    def paid(self) -> dict[str, RoleAccount]:
        """What this very execution paid for, by role."""
        return paid_by(self.id, [standing.folder for standing in self.standings], self.store)

    def stage(self, name: str) -> Standing:
        """A stage's name → where it stands."""
        return next(standing for standing in self.standings if standing.node.name == name)

    @property
    def ids(self) -> list[str]:
        """The ids of what the last stage gave, in order."""
        return self.standings[-1].outputs().ids

    @property
    def num_calls(self) -> dict[str, int]:
        """Role → calls that this very execution made, where it made any."""
        return {role: counts.calls for role, counts in self.paid.items()}

    @property
    def outcomes(self) -> list[tuple[str, str, str, str, str]]:
        """(stage, work id, outcome, reason, detail) of every row of every stage, in order."""
        return [
            (name, record.work_id, record.outcome, record.reason, record.detail)
            for name, records in self.records.items()
            for record in records
        ]

    @property
    def records(self) -> dict[str, list[Record]]:
        """Stage → its records, in the canonical order of its inputs."""
        return {standing.node.name: records_of(standing) for standing in self.standings}


def built(config: Config) -> Manifest:
    """A configuration → the manifest of a whole run, published."""
    run_id = new_run_id()
    carrier = LocalCarrier(config, run_id)
    store = Store(config.output_dir)
    return build(config, build_graph(config), store, carrier, run_id, lambda standings: None)


def records_of(standing: Standing) -> list[Record]:
    """A standing → the winning records of its inputs, in their order."""
    known = standing.found.position[standing.found.outcome != NONE]
    found = standing.index.records(known)
    return [found[int(position)] for position in known]


def payloads_of(standing: Standing) -> list[str]:
    """A standing → the rows that arrived there, in their order."""
    inputs = standing.inputs
    found = dict(inputs.rows(np.arange(len(inputs.ids))))
    return [found[place] for place in range(len(inputs.ids))]


def identity(call: Call) -> tuple[str, str, int, str]:
    """A call → what tells it from any other, taken over from an earlier record or not."""
    return call.role, call.prompt_id, call.seed, call.text
