"""The pipeline measured against truth, where truth is known: the simulated world's problems.

How many wrong reference answers were drafted, which verifier caught them, what got through both,
how many of the published ones are wrong, and how many labels are, by rule and by grader (see
`audit_labels`). Without truth it can only be said which models judge their own work.
"""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import BaseModel

from chimera_ray.audit_labels import (
    FormAudit,
    Label,
    Measure,
    labels_of,
    measure,
    measures_of,
    of_form,
)
from chimera_ray.config import Config
from chimera_ray.frontier import Standing
from chimera_ray.graph import Graph
from chimera_ray.ledger.index import REJECTED
from chimera_ray.model_config import SimulatedModel
from chimera_ray.schemas import Problem, ValidProblem
from chimera_ray.stages.validate_problem import DECLINED

if TYPE_CHECKING:
    from chimera_ray.backends.simulated_world import Item

VERIFIERS = ("verifier_a", "verifier_b")
_PAIRS = (
    *(("drafter", verifier) for verifier in VERIFIERS),
    VERIFIERS,
    ("drafter", "solver"),
    ("solver", "grader"),
)
"""roles of which one is there to find what the other gets wrong"""


class Audit(BaseModel):
    """What the pipeline let through, measured."""

    measures: list[Measure]
    forms: list[FormAudit]
    """one for each form of answer among the labels"""


def shared_models(config: Config, graph: Graph) -> list[str]:
    """A configuration and its graph → a warning for each model that judges its own work.

    The name of the weights decides: other sampling does not make another model.
    """
    asked = {role for node in graph.nodes for role in node.roles}
    warnings = []
    for one, other in _PAIRS:
        name = config.models.of(one).name
        if {one, other} <= asked and name == config.models.of(other).name:
            warnings.append(
                f"{one} and {other} are the same model, {name}: their errors may be shared, so "
                f"{other} may not find what {one} gets wrong."
            )
    return warnings


def audit_of(config: Config, standings: Sequence[Standing]) -> Audit | None:
    """The standings of a run on simulated problems → its audit; None if no truth is known.

    Where a real model drafted, the simulated world is not even opened.
    """
    if config.models.drafter.backend != "simulated":
        return None
    by_name = {standing.node.name: standing for standing in standings}
    measures: list[Measure] = []
    labels: list[Label] = []
    if "draft_problem" in by_name:
        measures += _of_drafts(by_name["draft_problem"])
    if "validate_problem" in by_name:
        measures += _of_verifiers(by_name["validate_problem"], config)
    if "label_trajectory" in by_name:
        is_simulated = config.models.solver.backend == "simulated"
        labels = list(labels_of(by_name["label_trajectory"], is_simulated))
        measures += measures_of(labels, is_simulated)
    forms = [
        of_form(form, [label for label in labels if label.form == form])
        for form in sorted({label.form for label in labels})
    ]
    return Audit(measures=measures, forms=forms) if measures else None


def _of_drafts(standing: Standing) -> list[Measure]:
    from chimera_ray.backends.simulated_answers import is_true_answer
    from chimera_ray.backends.simulated_world import find_item

    drafted = standing.outputs()
    truths = []
    for _, payload in drafted.rows(np.arange(len(drafted.ids))):
        row = Problem.model_validate_json(payload)
        item = find_item(row.problem)
        if item is not None:
            truths.append(is_true_answer(item, row.reference_answer))
    wrong = len(truths) - sum(truths)
    return [measure("wrong reference answers drafted", wrong, len(truths))] if truths else []


# ---- verifiers ------------------------------------------------------------------------------


class _Judged(NamedTuple):
    """One problem that the verifiers judged, and what the world knows of it."""

    is_true: bool
    is_accepted: bool
    declined_by: frozenset[str]
    is_in_blind_spot: bool


def _of_verifiers(standing: Standing, config: Config) -> list[Measure]:
    from chimera_ray.backends.simulated_answers import is_true_answer
    from chimera_ray.backends.simulated_world import find_item

    judged = []
    for row, is_accepted, declined_by in _verdicts(standing):
        item = find_item(row.problem)
        if item is not None:
            is_true = is_true_answer(item, row.reference_answer)
            is_blind = _is_in_shared_blind_spot(item, config)
            judged.append(_Judged(is_true, is_accepted, declined_by, is_blind))
    if not judged:
        return []
    right = [row for row in judged if row.is_true]
    wrong = [row for row in judged if not row.is_true]
    measures = [measure("wrong ones among those judged", len(wrong), len(judged))]
    for verifier in standing.node.roles:
        for kind, rows in (("wrong", wrong), ("right", right)):
            count = sum(verifier in row.declined_by for row in rows)
            measures.append(measure(f"{kind} ones that {verifier} declined", count, len(rows)))
    measures.append(_through("wrong ones that got through the panel", wrong))
    if any(row.is_in_blind_spot for row in judged):
        inside = [row for row in wrong if row.is_in_blind_spot]
        outside = [row for row in wrong if not row.is_in_blind_spot]
        measures.append(_through("of these, inside the verifiers' shared blind spot", inside))
        measures.append(_through("of these, outside of it", outside))
    accepted = sum(row.is_accepted for row in judged)
    passed = sum(row.is_accepted for row in right)
    return [
        *measures,
        measure("panel precision: right of those accepted", passed, accepted),
        measure("panel recall: accepted of the right ones", passed, len(right)),
    ]


def _through(name: str, rows: Sequence[_Judged]) -> Measure:
    return measure(name, sum(row.is_accepted for row in rows), len(rows))


def _is_in_shared_blind_spot(item: "Item", config: Config) -> bool:
    from chimera_ray.backends.simulated_answers import is_in_blind_spot

    models = [config.models.of(verifier) for verifier in VERIFIERS]
    simulated = [model for model in models if isinstance(model, SimulatedModel)]
    if len(simulated) < len(models) or len({model.blind_spot_seed for model in simulated}) > 1:
        return False
    return all(
        is_in_blind_spot(item, model.shared_blind_spot_rate, model.blind_spot_seed)
        for model in simulated
    )


def _verdicts(standing: Standing) -> Iterator[tuple[Problem, bool, frozenset[str]]]:
    """Every judged problem, whether it was accepted, and which verifiers declined it."""
    found, inputs = standing.found, standing.inputs
    accepted = standing.outputs()
    for _, payload in accepted.rows(np.arange(len(accepted.ids))):
        row = ValidProblem.model_validate_json(payload)
        yield row, True, frozenset(given.verifier for given in row.verdicts if not given.is_valid)
    places = np.flatnonzero(found.outcome == REJECTED)
    payloads = dict(inputs.rows(places))
    for chosen, table in standing.index.tables(found.position[places], ["reason", "detail"]):
        reasons, details = table["reason"].to_pylist(), table["detail"].to_pylist()
        for place, reason, detail in zip(places[chosen], reasons, details, strict=True):
            if reason != DECLINED:
                continue  # without verdicts: the detail is no JSON
            problem = standing.node.takes.model_validate_json(payloads[int(place)])
            if isinstance(problem, Problem):
                declined = json.loads(detail).items()
                yield problem, False, frozenset(verifier for verifier, failed in declined if failed)
