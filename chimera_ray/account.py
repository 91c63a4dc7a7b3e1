"""What a run came to: every input of every stage in one outcome, and what it cost; true by sums.

Read from the ledger alone, so that it says the same while a run goes on, after it, and without it.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel

from chimera_ray.frontier import Standing
from chimera_ray.ledger.counting import paid_in
from chimera_ray.ledger.index import ACCEPTED, FAILED, NONE, OPEN, REJECTED
from chimera_ray.ledger.store import SET_ASIDE, Store
from chimera_ray.ledger.totals import COUNTED
from chimera_ray.provenance import models_by_role
from chimera_ray.stages.validate_problem import DECLINED


class StageAccount(BaseModel):
    """One stage's rows; inputs = accepted + rejected + failed + todo."""

    stage: str
    fingerprint: str
    inputs: int
    accepted: int
    rejected: int
    failed: int
    todo: int
    """without an end so far"""
    outputs: int
    repeats: int
    """rows that arrived saying what another row said, and count as one with it"""
    rejected_reasons: dict[str, int]
    failed_reasons: dict[str, int]


class RoleAccount(BaseModel):
    """What one role's calls came to."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    is_usage_estimated: int = 0
    """how many of the calls"""
    cost_usd: Annotated[float, AfterValidator(lambda usd: round(usd, 9))] = 0.0
    """to the billionth, so that it does not show in which order the calls were summed"""

    @property
    def tokens(self) -> int:
        """Input and output tokens."""
        return self.input_tokens + self.output_tokens


class Account(BaseModel):
    """A run, counted."""

    stages: list[StageAccount]
    roles: dict[str, RoleAccount]
    """every call that these rows rest on, whichever run paid for it, each once"""
    models: dict[str, list[str]] = {}
    """role → who was asked in those calls; not what a configuration says"""
    declined_checks: dict[str, dict[str, int]]
    """verifier → check → problems that were declined and failed it"""
    set_aside: list[str]
    """corrupt parts of the ledger that were moved out of the way"""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be done, failed rows included."""
        return not any(stage.failed or stage.todo for stage in self.stages)


def account_for(standings: Sequence[Standing], store: Store) -> Account:
    """The standings of a run's stages → its account."""
    roles: dict[str, dict[str, float]] = {}
    for standing in standings:
        known = standing.found.position[standing.found.outcome != NONE]
        for role, counts in standing.index.call_totals(known).items():
            add_counts(roles.setdefault(role, {}), counts)
    return Account(
        stages=[_stage_account(standing) for standing in standings],
        roles={role: RoleAccount(**counts) for role, counts in roles.items()},
        models=models_by_role(standings),
        declined_checks=_declined_checks(standings),
        set_aside=[
            f"{standing.folder}/{SET_ASIDE}/{name}"
            for standing in standings
            for name in store.names(f"{standing.folder}/{SET_ASIDE}")
        ],
    )


def paid_by(run_id: str, folders: Sequence[str], store: Store) -> dict[str, RoleAccount]:
    """An execution's id → what its own calls came to by role, from the files that hold them."""
    roles: dict[str, dict[str, float]] = {}
    for folder in folders:
        for role, counts in paid_in(store, folder, run_id).items():
            add_counts(roles.setdefault(role, {}), counts)
    return {role: RoleAccount(**counts) for role, counts in roles.items()}


def add_counts(to: dict[str, float], counts: dict[str, Any]) -> None:
    """Adds one role's counts to another's."""
    for name in ("calls", *COUNTED):
        to[name] = to.get(name, 0) + counts.get(name, 0)


def _stage_account(standing: Standing) -> StageAccount:
    found, index = standing.found, standing.index
    rejected = found.position[found.outcome == REJECTED]
    failed = found.position[found.outcome == FAILED]
    return StageAccount(
        stage=standing.node.name,
        fingerprint=standing.fingerprint,
        inputs=len(standing.inputs.ids),
        accepted=standing.count(ACCEPTED),
        rejected=len(rejected),
        failed=len(failed),
        todo=standing.count(NONE) + standing.count(OPEN),
        outputs=len(standing.outputs().ids),
        repeats=standing.inputs.num_repeats,
        rejected_reasons=index.reasons(rejected),
        failed_reasons=index.reasons(failed),
    )


def _declined_checks(standings: Sequence[Standing]) -> dict[str, dict[str, int]]:
    """Why problems fall: counted from the reasons that the verifiers gave."""
    counts: dict[str, Counter[str]] = {}
    for standing in standings:
        if standing.node.name != "validate_problem":
            continue
        rejected = standing.found.position[standing.found.outcome == REJECTED]
        for _, table in standing.index.tables(rejected, ["reason", "detail"]):
            declined = table.filter(pc.equal(table["reason"], DECLINED))
            for detail in declined["detail"].to_pylist():
                for verifier, failed in json.loads(detail).items():
                    counts.setdefault(verifier, Counter()).update(failed.keys())
    return {verifier: dict(found.most_common()) for verifier, found in sorted(counts.items())}
