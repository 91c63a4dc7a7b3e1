"""The pipeline measured against truth, where truth is known: the simulated world's problems.

How many wrong reference answers were drafted, which verifier caught them, what got through both,
how many of the published ones are wrong, and how many labels are, by rule and by grader.

A label says that a trajectory's answer equals the reference answer. So a label is an error if it
says otherwise than the world does of these two: the answer that the solver committed to, and the
reference as it was given, wrong or not. Where the reference is wrong, such a label can be right and
yet call a true answer wrong, or a wrong one correct: that is counted apart. The committed answer is
what the simulated solver wrote, whatever was read from it; a reading that differs is counted as
well. Of a real solver nothing is known but what was read.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import BaseModel

from chimera_ray.config import Config
from chimera_ray.frontier import Standing
from chimera_ray.graph import Graph
from chimera_ray.ledger.index import REJECTED
from chimera_ray.metrics.intervals import wilson
from chimera_ray.model_config import SimulatedModel
from chimera_ray.schemas import Example, Problem, ValidProblem
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


class Measure(BaseModel):
    """A share: so many of so many."""

    name: str
    count: int
    total: int
    share: float | None
    interval: tuple[float, float] | None
    """95%, Wilson; None of nothing"""


class FormAudit(BaseModel):
    """The labels of one form of answer."""

    form: str
    labels: int
    by_rule: Measure
    """of the pairs that are equal: those that a rule accepted"""
    wrong_by_rule: Measure
    """of the labels that a rule decided"""
    wrong_by_grader: Measure
    """of the labels that the grader decided"""


class Audit(BaseModel):
    """What the pipeline let through, measured."""

    measures: list[Measure]
    forms: list[FormAudit]
    """one for each form of answer among the labels"""


class _Label(NamedTuple):
    """One label and what the world knows of it."""

    form: str
    says_equal: bool
    is_by_rule: bool
    is_equal: bool
    """whether the committed answer is the reference answer"""
    is_true: bool
    """whether the committed answer is true"""
    has_true_reference: bool
    is_misread: bool
    """another answer was read than the committed one, or one where there is none"""
    is_unread: bool
    """there is a committed answer, and none was read"""

    @property
    def is_error(self) -> bool:
        return self.says_equal != self.is_equal


def shared_models(config: Config, graph: Graph) -> list[str]:
    """A recipe and its models → a warning for each model that judges its own work."""
    asked = {role for node in graph.nodes for role in node.roles}
    warnings = []
    for one, other in _PAIRS:
        models = config.models.of(one), config.models.of(other)
        is_one_model = models[0].name == models[1].name or (
            models[0].identity() == models[1].identity()
        )
        if {one, other} <= asked and is_one_model:
            warnings.append(
                f"{one} and {other} are the same model, {models[0].name}: their errors may be "
                f"shared, so {other} may not find what {one} gets wrong."
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
    labels: list[_Label] = []
    if "draft_problem" in by_name:
        measures += _of_drafts(by_name["draft_problem"])
    if "validate_problem" in by_name:
        measures += _of_verifiers(by_name["validate_problem"], config)
    if "label_trajectory" in by_name:
        is_simulated = config.models.solver.backend == "simulated"
        labels = list(_labels(by_name["label_trajectory"], is_simulated))
        measures += _of_labels(labels, is_simulated)
    forms = [
        _of_form(form, [label for label in labels if label.form == form])
        for form in sorted({label.form for label in labels})
    ]
    return Audit(measures=measures, forms=forms) if measures else None


def _measure(name: str, count: int, total: int) -> Measure:
    share = count / total if total else None
    return Measure(name=name, count=count, total=total, share=share, interval=wilson(count, total))


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
    return [_measure("wrong reference answers drafted", wrong, len(truths))] if truths else []


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
    measures = [_measure("wrong ones among those judged", len(wrong), len(judged))]
    for verifier in standing.node.roles:
        for kind, rows in (("wrong", wrong), ("right", right)):
            count = sum(verifier in row.declined_by for row in rows)
            measures.append(_measure(f"{kind} ones that {verifier} declined", count, len(rows)))
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
        _measure("panel precision: right of those accepted", passed, accepted),
        _measure("panel recall: accepted of the right ones", passed, len(right)),
    ]


def _through(name: str, rows: Sequence[_Judged]) -> Measure:
    return _measure(name, sum(row.is_accepted for row in rows), len(rows))


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


# ---- labels ---------------------------------------------------------------------------------


def _labels(standing: Standing, is_simulated: bool) -> Iterator[_Label]:
    """A standing and whether its solver is simulated → the labels whose truth is known."""
    from chimera_ray.backends.simulated_answers import is_true_answer, same_answer
    from chimera_ray.backends.simulated_endings import read_ending
    from chimera_ray.backends.simulated_world import find_item

    outputs = standing.outputs()
    for _, payload in outputs.rows(np.arange(len(outputs.ids))):
        row = Example.model_validate_json(payload)
        item = find_item(row.problem)
        if item is None:
            continue
        read = committed = row.predicted_answer
        if is_simulated:
            ending = read_ending(row.final_part)
            committed = None if ending is None else ending.answer
        has_answer = committed is not None
        yield _Label(
            form=item.form,
            says_equal=row.is_correct,
            is_by_rule=row.decided_by == "rule",
            is_equal=has_answer and same_answer(item, row.reference_answer, committed or ""),
            is_true=has_answer and is_true_answer(item, committed or ""),
            has_true_reference=is_true_answer(item, row.reference_answer),
            is_misread=read is not None
            and not (has_answer and same_answer(item, read, committed or "")),
            is_unread=read is None and has_answer,
        )


def _of_labels(labels: Sequence[_Label], is_simulated: bool) -> list[Measure]:
    if not labels:
        return []
    equal = [label for label in labels if label.is_equal]
    called = [label for label in labels if label.says_equal]
    ruled = [label for label in labels if label.is_by_rule]
    graded = [label for label in labels if not label.is_by_rule]
    wrong_by_rule = [label for label in ruled if label.is_error]
    measures = [
        _share("wrong references among the published", labels, "has_true_reference", is_not=True),
        _share("label errors", labels, "is_error"),
        _share("label errors by rule: wrong accepts", ruled, "is_error"),
        _share("label errors by grader", graded, "is_error"),
        _share(
            "grader's false accepts",
            [label for label in graded if not label.is_equal],
            "says_equal",
        ),
        _share(
            "grader's false rejects",
            [label for label in graded if label.is_equal],
            "says_equal",
            is_not=True,
        ),
        _share("label precision: truly equal of those called correct", called, "is_equal"),
        _share("label recall: called correct of the truly equal", equal, "says_equal"),
        _share("left open by the rules", labels, "is_by_rule", is_not=True),
        _share("left open of the truly equal", equal, "is_by_rule", is_not=True),
        _measure(
            "labels that differ from the truth",
            sum(label.says_equal != label.is_true for label in labels),
            len(labels),
        ),
    ]
    if is_simulated:
        measures += [
            _share("answers read that were not committed to", labels, "is_misread"),
            _share("of these, among the wrong accepts by rule", wrong_by_rule, "is_misread"),
            _share("committed answers that were not read", labels, "is_unread"),
        ]
    return measures


def _of_form(form: str, labels: Sequence[_Label]) -> FormAudit:
    ruled = [label for label in labels if label.is_by_rule]
    graded = [label for label in labels if not label.is_by_rule]
    equal = [label for label in labels if label.is_equal]
    return FormAudit(
        form=form,
        labels=len(labels),
        by_rule=_share("equal pairs decided by rule", equal, "is_by_rule"),
        wrong_by_rule=_share("wrong accepts by rule", ruled, "is_error"),
        wrong_by_grader=_share("label errors by grader", graded, "is_error"),
    )


def _share(name: str, labels: Iterable[_Label], field: str, is_not: bool = False) -> Measure:
    held = [bool(getattr(label, field)) != is_not for label in labels]
    return _measure(name, sum(held), len(held))
