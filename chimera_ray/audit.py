"""The pipeline measured against truth, where truth is known: the simulated world's problems.

How many wrong reference answers were drafted, which verifier caught them, what got through both,
and how many labels are wrong.
"""

import json
from collections.abc import Iterator, Sequence

import numpy as np
from pydantic import BaseModel

from chimera_ray.config import Config
from chimera_ray.frontier import Standing
from chimera_ray.ledger.index import REJECTED
from chimera_ray.metrics.intervals import wilson
from chimera_ray.schemas import Example, Problem, ValidProblem
from chimera_ray.stages.validate_problem import DECLINED


class Measure(BaseModel):
    """A share: so many of so many."""

    name: str
    count: int
    total: int
    share: float | None
    interval: tuple[float, float] | None
    """95%, Wilson; None of nothing"""


class Audit(BaseModel):
    """What the pipeline let through, measured."""

    measures: list[Measure]


def _measure(name: str, count: int, total: int) -> Measure:
    share = count / total if total else None
    return Measure(name=name, count=count, total=total, share=share, interval=wilson(count, total))


def audit_of(config: Config, standings: Sequence[Standing]) -> Audit | None:
    """The standings of a run on simulated problems → its audit; None if no truth is known.

    Where a real model drafted, the simulated world is not even opened.
    """
    if config.models.drafter.backend != "simulated":
        return None
    by_name = {standing.node.name: standing for standing in standings}
    measures: list[Measure] = []
    if "draft_problem" in by_name:
        measures += _of_drafts(by_name["draft_problem"])
    if "validate_problem" in by_name:
        measures += _of_verifiers(by_name["validate_problem"])
    if "label_trajectory" in by_name:
        measures += _of_labels(by_name["label_trajectory"])
    return Audit(measures=measures) if measures else None


def _of_drafts(standing: Standing) -> list[Measure]:
    from chimera_ray.backends.simulated_world import find_item, is_true_answer

    drafted = standing.outputs()
    truths = []
    for _, payload in drafted.rows(np.arange(len(drafted.ids))):
        row = Problem.model_validate_json(payload)
        item = find_item(row.problem)
        if item is not None:
            truths.append(is_true_answer(item, row.reference_answer))
    wrong = len(truths) - sum(truths)
    return [_measure("wrong reference answers drafted", wrong, len(truths))] if truths else []


def _of_verifiers(standing: Standing) -> list[Measure]:
    from chimera_ray.backends.simulated_world import find_item, is_true_answer

    is_right: dict[bool, int] = {True: 0, False: 0}
    passed: dict[bool, int] = {True: 0, False: 0}
    declined: dict[str, dict[bool, int]] = {}
    for row, is_accepted, by_verifier in _judged(standing):
        item = find_item(row.problem)
        if item is None:
            continue
        truth = is_true_answer(item, row.reference_answer)
        is_right[truth] += 1
        passed[truth] += is_accepted
        for verifier, says_no in by_verifier.items():
            declined.setdefault(verifier, {True: 0, False: 0})[truth] += says_no
    if not sum(is_right.values()):
        return []
    measures = [_measure("wrong ones among those judged", is_right[False], sum(is_right.values()))]
    for verifier, counts in sorted(declined.items()):
        measures.append(
            _measure(f"wrong ones that {verifier} declined", counts[False], is_right[False])
        )
        measures.append(
            _measure(f"right ones that {verifier} declined", counts[True], is_right[True])
        )
    return [
        *measures,
        _measure("wrong ones that got through the panel", passed[False], is_right[False]),
        _measure("panel precision: right of those accepted", passed[True], sum(passed.values())),
        _measure("panel recall: accepted of the right ones", passed[True], is_right[True]),
    ]


def _of_labels(standing: Standing) -> list[Measure]:
    from chimera_ray.backends.simulated_world import find_item, is_true_answer

    counts = {(said, truth): 0 for said in (True, False) for truth in (True, False)}
    outputs = standing.outputs()
    for _, payload in outputs.rows(np.arange(len(outputs.ids))):
        row = Example.model_validate_json(payload)
        item = find_item(row.problem)
        if item is not None:
            truth = row.predicted_answer is not None and is_true_answer(item, row.predicted_answer)
            counts[row.is_correct, truth] += 1
    if not any(counts.values()):
        return []
    right, wrong = counts[True, True], counts[True, False]
    missed, total = counts[False, True], sum(counts.values())
    return [
        _measure("label errors", wrong + missed, total),
        _measure("label precision: truly right of those called correct", right, right + wrong),
        _measure("label recall: called correct of the truly right", right, right + missed),
    ]


def _judged(standing: Standing) -> Iterator[tuple[Problem, bool, dict[str, bool]]]:
    """Every judged problem, whether it was accepted, and which verifiers declined it."""
    found, inputs = standing.found, standing.inputs
    accepted = standing.outputs()
    for _, payload in accepted.rows(np.arange(len(accepted.ids))):
        row = ValidProblem.model_validate_json(payload)
        yield row, True, {verdict.verifier: not verdict.is_valid for verdict in row.verdicts}
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
                yield problem, False, {verifier: bool(failed) for verifier, failed in declined}
