"""The audit against hand-made truth: what it counts is what happened."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runs import STAGES, Run, config_of, payloads_of, records_of

from chimera_ray.audit import Measure, audit_of
from chimera_ray.backends.simulated_world import find_item, is_true_answer
from chimera_ray.frontier import walk
from chimera_ray.ledger.index import ACCEPTED, REJECTED
from chimera_ray.ledger.parts import is_part, part_name, write_part
from chimera_ray.schemas import Example, Problem, Record

WRONG = "wrong ones among those judged"
THROUGH = "wrong ones that got through the panel"
PRECISION = "panel precision: right of those accepted"
RECALL = "panel recall: accepted of the right ones"
LABEL_ERRORS = "label errors"
LABEL_PRECISION = "label precision: truly right of those called correct"
LABEL_RECALL = "label recall: called correct of the truly right"


def _measures(run: Run) -> dict[str, Measure]:
    audit = audit_of(run.config, run.standings)
    assert audit is not None
    return {measure.name: measure for measure in audit.measures}


def _run(tmp_path: Path, models: Mapping[str, Mapping[str, Any]], **changes: Any) -> Run:
    return Run(config_of(tmp_path, subjects={"Physics": 4}, models=models, **changes))


def _counts(measures: Mapping[str, Measure], *names: str) -> list[tuple[int, int]]:
    return [(measures[name].count, measures[name].total) for name in names]


def test_audit_of_an_infallible_teacher_finds_nothing_wrong(tmp_path: Path) -> None:
    run = _run(tmp_path, {})
    num_problems = len(run.stage("validate_problem").inputs.ids)
    num_examples = len(run.ids)
    found = _measures(run)
    assert _counts(found, WRONG, THROUGH) == [(0, num_problems), (0, 0)]
    assert _counts(found, PRECISION, RECALL) == [(num_problems, num_problems)] * 2
    assert _counts(found, LABEL_ERRORS) == [(0, num_examples)]
    assert _counts(found, LABEL_PRECISION, LABEL_RECALL) == [(num_examples, num_examples)] * 2
    assert (found[PRECISION].share, found[THROUGH].share) == (1.0, None)
    assert found[THROUGH].interval is None
    assert (found[PRECISION].interval or (0, 0))[1] == 1.0


def test_audit_of_wrong_answers_before_sharp_verifiers_lets_none_through(tmp_path: Path) -> None:
    run = _run(tmp_path, {"drafter": {"wrong_answer_rate": 1.0}}, stages=STAGES[:5])
    number = len(run.stage("validate_problem").inputs.ids)
    found = _measures(run)
    assert _counts(found, WRONG) == [(number, number)]
    assert _counts(found, THROUGH, PRECISION, RECALL) == [(0, number), (0, 0), (0, 0)]
    for verifier in ("verifier_a", "verifier_b"):
        assert _counts(found, f"wrong ones that {verifier} declined") == [(number, number)]
        assert _counts(found, f"right ones that {verifier} declined") == [(0, 0)]


def test_audit_of_wrong_answers_before_blind_verifiers_lets_all_through(tmp_path: Path) -> None:
    blind = {"false_accept_rate": 1.0}
    models = {"drafter": {"wrong_answer_rate": 1.0}, "verifier_a": blind, "verifier_b": blind}
    run = _run(tmp_path, models, stages=STAGES[:5])
    number = len(run.stage("validate_problem").inputs.ids)
    found = _measures(run)
    assert _counts(found, WRONG, THROUGH, PRECISION) == [(number, number)] * 2 + [(0, number)]
    assert _counts(found, "wrong ones that verifier_a declined") == [(0, number)]


def test_audit_of_one_blind_verifier_says_which_of_the_two_it_is(tmp_path: Path) -> None:
    models = {"drafter": {"wrong_answer_rate": 1.0}, "verifier_b": {"false_accept_rate": 1.0}}
    run = _run(tmp_path, models, stages=STAGES[:5])
    number = len(run.stage("validate_problem").inputs.ids)
    found = _measures(run)
    assert _counts(found, "wrong ones that verifier_a declined") == [(number, number)]
    assert _counts(found, "wrong ones that verifier_b declined") == [(0, number)]
    assert _counts(found, THROUGH) == [(0, number)]


def test_audit_of_fallible_verifiers_equals_a_count_by_hand(tmp_path: Path) -> None:
    models = {
        "drafter": {"wrong_answer_rate": 0.5},
        "verifier_a": {"false_accept_rate": 0.4, "false_reject_rate": 0.3},
        "verifier_b": {"false_accept_rate": 0.4, "malformed_rate": 0.1},
    }
    run = _run(tmp_path, models, stages=STAGES[:5], drafts=6)
    standing = run.stage("validate_problem")
    counts = {"wrong": 0, "right": 0, "wrong passed": 0, "right passed": 0, "a right": 0}
    records = {record.input_id: record for record in records_of(standing)}
    for input_id, payload in zip(standing.inputs.ids, payloads_of(standing), strict=True):
        problem, record = Problem.model_validate_json(payload), records[input_id]
        item = find_item(problem.problem)
        assert item is not None
        truth = "right" if is_true_answer(item, problem.reference_answer) else "wrong"
        if record.outcome == "failed":
            continue
        counts[truth] += 1
        counts[f"{truth} passed"] += record.outcome == "accepted"
        if record.outcome == "rejected":
            counts["a right"] += truth == "right" and bool(json.loads(record.detail)["verifier_a"])
    assert min(standing.count(ACCEPTED), standing.count(REJECTED), *counts.values()) > 0
    found = _measures(run)
    judged = counts["right"] + counts["wrong"]
    assert _counts(found, WRONG, THROUGH, PRECISION, RECALL) == [
        (counts["wrong"], judged),
        (counts["wrong passed"], counts["wrong"]),
        (counts["right passed"], standing.count(ACCEPTED)),
        (counts["right passed"], counts["right"]),
    ]
    assert _counts(found, "right ones that verifier_a declined") == [
        (counts["a right"], counts["right"])
    ]


def test_audit_of_labels_counts_each_kind_of_error(tmp_path: Path) -> None:
    run = _run(tmp_path, {})
    last = run.standings[-1]
    records = records_of(last)
    assert len(records) >= 4
    labels = [(True, True), (True, False), (False, True), (False, False)]  # said, truth
    told = [_labelled(record, *labels[n % 4]) for n, record in enumerate(records)]
    for name in filter(is_part, run.store.names(last.folder)):
        run.store.delete(f"{last.folder}/{name}")
    write_part(run.store, last.folder, part_name("tests", 0), told)
    run.standings = list(walk(run.graph, run.store))
    found = _measures(run)
    kinds = [labels[n % 4] for n in range(len(records))]
    right = kinds.count((True, True))
    false_alarms, missed = kinds.count((True, False)), kinds.count((False, True))
    assert _counts(found, LABEL_ERRORS, LABEL_PRECISION, LABEL_RECALL) == [
        (false_alarms + missed, len(kinds)),
        (right, right + false_alarms),
        (right, right + missed),
    ]


def _labelled(record: Record, is_correct: bool, is_true: bool) -> Record:
    example = Example.model_validate_json(record.outputs[0].payload)
    item = find_item(example.problem)
    assert item is not None
    predicted = item.answer if is_true else None
    told = example.model_copy(update={"is_correct": is_correct, "predicted_answer": predicted})
    return record._replace(outputs=(record.outputs[0]._replace(payload=told.model_dump_json()),))


def test_audit_of_a_recipe_without_problems_is_none(tmp_path: Path) -> None:
    run = _run(tmp_path, {}, stages=STAGES[:3])
    assert audit_of(run.config, run.standings) is None


def test_audit_of_a_recipe_without_verifiers_counts_the_wrong_drafts(tmp_path: Path) -> None:
    run = _run(tmp_path, {"drafter": {"wrong_answer_rate": 1.0}}, stages=STAGES[:4])
    audit = audit_of(run.config, run.standings)
    assert audit is not None
    (drafted,) = audit.measures
    assert drafted.count == drafted.total == len(run.ids) > 0


def test_audit_of_problems_whose_truth_is_unknown_is_none(tmp_path: Path) -> None:
    run = _run(tmp_path, {}, stages=STAGES[:5])
    standing = run.stage("draft_problem")
    records = [_unknown(record) for record in records_of(standing)]
    for name in filter(is_part, run.store.names(standing.folder)):
        run.store.delete(f"{standing.folder}/{name}")
    write_part(run.store, standing.folder, part_name("tests", 0), records)
    rerun = Run(run.config)
    assert rerun.stage("validate_problem").count(REJECTED) == len(records)
    assert audit_of(rerun.config, rerun.standings) is None


def test_audit_of_a_run_in_which_a_verifier_was_cut_counts_the_judged_ones(tmp_path: Path) -> None:
    run = _run(tmp_path, {"verifier_b": {"truncation_rate": 0.5}}, drafts=4)
    standing = run.stage("validate_problem")
    reasons = [record.reason for record in records_of(standing)]
    assert 0 < reasons.count("truncated") < len(reasons)
    measures = _measures(run)
    assert measures[WRONG].total == len(reasons) - reasons.count("truncated")


def _unknown(record: Record) -> Record:
    payload = record.outputs[0].payload.replace("Catalogue number", "No number")
    output = record.outputs[0]._replace(row_id=record.work_id, payload=payload)
    return record._replace(outputs=(output,))
