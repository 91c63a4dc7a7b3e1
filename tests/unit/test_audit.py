"""The audit against hand-made truth: what it counts is what happened."""

import json
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from rich.console import Console, RenderableType
from runs import STAGES, Run, built, config_of, payloads_of, records_of

from chimera_ray.audit import Audit, audit_of, shared_models
from chimera_ray.audit_labels import Measure
from chimera_ray.backends.simulated_answers import (
    is_in_blind_spot,
    is_true_answer,
    wrong_answer,
)
from chimera_ray.backends.simulated_world import find_item
from chimera_ray.config import Config, read_config
from chimera_ray.frontier import walk
from chimera_ray.graph import build_graph
from chimera_ray.ledger.index import ACCEPTED, REJECTED
from chimera_ray.ledger.parts import is_part, part_name, write_part
from chimera_ray.ledger.store import Store
from chimera_ray.report import FORM_LABELS, status, summary
from chimera_ray.schemas import Example, Problem, Record
from chimera_ray.status import read_status

WRONG = "wrong ones among those judged"
THROUGH = "wrong ones that got through the panel"
PRECISION = "panel precision: right of those accepted"
RECALL = "panel recall: accepted of the right ones"
LABEL_ERRORS = "label errors"
LABEL_PRECISION = "label precision: truly equal of those called correct"
LABEL_RECALL = "label recall: called correct of the truly equal"
BY_RULE = "label errors by rule: wrong accepts"
BY_GRADER = "label errors by grader"
FALSE_ACCEPTS = "grader's false accepts"
FALSE_REJECTS = "grader's false rejects"
WRONG_REFERENCES = "wrong references among the published"
FROM_TRUTH = "labels that differ from the truth"
LEFT_OPEN = "left open by the rules"
EQUAL_LEFT_OPEN = "left open of the truly equal"
MISREAD = "answers read that were not committed to"
MISREAD_BY_RULE = "of these, among the wrong accepts by rule"
UNREAD = "committed answers that were not read"
INSIDE = "of these, inside the verifiers' shared blind spot"
OUTSIDE = "of these, outside of it"


def _audit(run: Run) -> Audit:
    audit = audit_of(run.config, run.standings)
    assert audit is not None
    return audit


def _measures(run: Run) -> dict[str, Measure]:
    return {measure.name: measure for measure in _audit(run).measures}


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


class _Told(NamedTuple):
    """A label as it is made by hand: what the trajectory says, and what is said of it."""

    final_part: str
    says_equal: bool
    by: Literal["rule", "grader"] = "grader"
    reference: str = "{true}"
    read: str | None = None
    """None: what the final part commits to"""


TOLD = (
    _Told("\\boxed{{{true}}}", True, "rule"),
    _Told("\\boxed{{{true}}}", True),
    _Told("\\boxed{{{true}}}", False),  # a false reject
    _Told("\\boxed{{{wrong}}}", False),
    _Told("\\boxed{{{wrong}}}", True),  # a false accept
    _Told("\\boxed{{{wrong}}}", True, "rule"),  # a wrong accept by rule, of another answer
    # Right of the reference, not of the truth; and the other way round.
    _Told("\\boxed{{{wrong}}}", True, "rule", "{wrong}"),
    _Told("\\boxed{{{true}}}", False, "grader", "{wrong}"),
    # A wrong accept by rule, of an answer that was taken back.
    _Told(
        "\\boxed{{{true}}}\n\nWait, that is wrong. It should be {wrong}.",
        True,
        "rule",
        read="{true}",
    ),
    _Told("The answer is either {true} or {wrong}; I cannot tell which.", False, read=""),
    _Told("\\boxed{{{true}}}", True, read=""),  # an answer that was not read
)


def test_audit_of_labels_counts_each_kind_of_error_once(tmp_path: Path) -> None:
    run = _run(tmp_path, {}, drafts=4)
    num_labels = len(records_of(run.standings[-1]))
    assert num_labels >= len(TOLD)
    _tell(run, [*TOLD, *[_Told("\\boxed{{{true}}}", True)] * (num_labels - len(TOLD))])
    found, num_more = _measures(run), num_labels - len(TOLD)
    assert _counts(found, LABEL_ERRORS, BY_RULE, BY_GRADER) == [
        (4, num_labels),
        (2, 4),
        (2, num_labels - 4),
    ]
    assert _counts(found, FALSE_ACCEPTS, FALSE_REJECTS) == [(1, 4), (1, 3 + num_more)]
    assert _counts(found, LABEL_PRECISION, LABEL_RECALL) == [
        (4 + num_more, 7 + num_more),
        (4 + num_more, 5 + num_more),
    ]
    assert _counts(found, WRONG_REFERENCES, FROM_TRUTH) == [(2, num_labels), (6, num_labels)]
    assert _counts(found, LEFT_OPEN, EQUAL_LEFT_OPEN) == [
        (num_labels - 4, num_labels),
        (3 + num_more, 5 + num_more),
    ]
    assert _counts(found, MISREAD, MISREAD_BY_RULE, UNREAD) == [
        (1, num_labels),
        (1, 2),
        (1, num_labels),
    ]


def test_audit_of_labels_by_form_adds_up_to_all_of_them(tmp_path: Path) -> None:
    run = _run(tmp_path, {}, drafts=8, params={"label_trajectory": {"use_rules": False}})
    num_labels = len(records_of(run.standings[-1]))
    _tell(run, [TOLD[n % len(TOLD)] for n in range(num_labels)])
    audit = _audit(run)
    found = {measure.name: measure for measure in audit.measures}
    assert len(audit.forms) >= 4
    assert sum(form.labels for form in audit.forms) == num_labels
    for name, sums in (
        (BY_RULE, [form.wrong_by_rule for form in audit.forms]),
        (BY_GRADER, [form.wrong_by_grader for form in audit.forms]),
    ):
        added = sum(m.count for m in sums), sum(m.total for m in sums)
        assert _counts(found, name) == [added]
    ruled = sum(form.by_rule.count for form in audit.forms)
    assert ruled == found[EQUAL_LEFT_OPEN].total - found[EQUAL_LEFT_OPEN].count


def test_audit_of_a_real_solver_takes_what_was_read_for_what_was_meant(tmp_path: Path) -> None:
    run = _run(tmp_path, {}, drafts=4)
    num_labels = len(records_of(run.standings[-1]))
    _tell(run, [_Told("It ends in words.", True, "rule", read="{true}")] * num_labels)
    real = {"backend": "openai", "name": "m"}
    models = {**run.config.models.model_dump(mode="json"), "solver": real}
    run.config = read_config({**run.config.model_dump(mode="json"), "models": models})
    found = _measures(run)
    assert _counts(found, LABEL_ERRORS) == [(0, num_labels)]
    assert MISREAD not in found


def _tell(run: Run, told: Sequence[_Told]) -> None:
    """A run and one label by hand for each of its examples → the run with these labels."""
    last = run.standings[-1]
    records = [
        _labelled(record, label) for record, label in zip(records_of(last), told, strict=True)
    ]
    for name in filter(is_part, run.store.names(last.folder)):
        run.store.delete(f"{last.folder}/{name}")
    write_part(run.store, last.folder, part_name("tests", 0), records)
    run.standings = list(walk(run.graph, run.store))


def _labelled(record: Record, label: _Told) -> Record:
    example = Example.model_validate_json(record.outputs[0].payload)
    item = find_item(example.problem)
    assert item is not None
    answers = {"true": item.answer, "wrong": wrong_answer(item, 1)}
    committed = "{wrong}" if "{wrong}" in label.final_part else "{true}"
    read = committed if label.read is None else label.read
    told = example.model_copy(
        update={
            "final_part": label.final_part.format(**answers),
            "reference_answer": label.reference.format(**answers),
            "predicted_answer": read.format(**answers) or None,
            "is_correct": label.says_equal,
            "decided_by": label.by,
        }
    )
    return record._replace(outputs=(record.outputs[0]._replace(payload=told.model_dump_json()),))


def test_audit_of_a_shared_blind_spot_counts_its_problems_apart(tmp_path: Path) -> None:
    blind = {"shared_blind_spot_rate": 0.4, "blind_spot_seed": 3}
    models = {"drafter": {"wrong_answer_rate": 1.0}, "verifier_a": blind, "verifier_b": blind}
    run = _run(tmp_path, models, stages=STAGES[:5], drafts=8)
    items = [find_item(payload) for payload in payloads_of(run.stage("validate_problem"))]
    inside = sum(item is not None and is_in_blind_spot(item, 0.4, 3) for item in items)
    assert 0 < inside < len(items)
    found = _measures(run)
    assert _counts(found, THROUGH, INSIDE, OUTSIDE) == [
        (inside, len(items)),
        (inside, inside),
        (0, len(items) - inside),
    ]


def test_audit_of_blind_spots_that_are_not_shared_speaks_of_none(tmp_path: Path) -> None:
    models = {
        "drafter": {"wrong_answer_rate": 1.0},
        "verifier_a": {"shared_blind_spot_rate": 0.4, "blind_spot_seed": 3},
        "verifier_b": {"shared_blind_spot_rate": 0.4, "blind_spot_seed": 4},
    }
    found = _measures(_run(tmp_path, models, stages=STAGES[:5], drafts=8))
    assert INSIDE not in found
    assert found[THROUGH].count < found[WRONG].count * 0.4


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        ({}, []),
        ({"drafter": "m", "verifier_a": "m"}, [("drafter", "verifier_a")]),
        ({"verifier_a": "m", "verifier_b": "m"}, [("verifier_a", "verifier_b")]),
        ({"solver": "m", "grader": "m"}, [("solver", "grader")]),
        ({"drafter": "m", "solver": "m"}, [("drafter", "solver")]),
        ({"expander": "m", "drafter": "m"}, []),
    ],
    ids=["none", "drafter", "verifiers", "grader", "solver", "expander"],
)
def test_shared_models_of_one_name_are_warned_of(
    tmp_path: Path, names: Mapping[str, str], pairs: list[tuple[str, str]]
) -> None:
    models = {role: {"name": name} for role, name in names.items()}
    config = config_of(tmp_path, models=models)
    found = shared_models(config, build_graph(config))
    assert [warning.split(" are ")[0] for warning in found] == [
        f"{one} and {other}" for one, other in pairs
    ]
    assert all("m: their errors may be shared" in warning for warning in found)


def test_shared_models_are_named_by_manifest_summary_status_and_card(tmp_path: Path) -> None:
    config = config_of(tmp_path, models={"verifier_a": {"name": "m"}, "drafter": {"name": "m"}})
    manifest = built(config)
    (warning,) = manifest.warnings
    assert warning.startswith("drafter and verifier_a are the same model, m: their errors may be")
    assert manifest.published is not None
    card = Path(manifest.published.folder, "README.md").read_text(encoding="utf-8")
    assert f"> **One model in two roles.** {warning}\n" in card
    found = read_status(Store(config.output_dir), manifest.run)
    for shown in (summary(manifest), status(found)):
        assert warning in " ".join(_printed(shown).split())
    assert "One model" not in _card_of(config_of(tmp_path / "other"))


def _card_of(config: Config) -> str:
    published = built(config).published
    assert published is not None
    return Path(published.folder, "README.md").read_text(encoding="utf-8")


def _printed(shown: RenderableType) -> str:
    text = StringIO()
    Console(file=text, width=140).print(shown)
    return text.getvalue()


def test_summary_shows_the_forms_of_many_labels_and_those_with_errors(tmp_path: Path) -> None:
    careless = {"grader": {"false_accept_rate": 0.5}, "solver": {"wrong_answer_rate": 0.5}}
    manifest = built(config_of(tmp_path, drafts=6, models=careless))
    assert manifest.audit is not None
    shown = _printed(summary(manifest))
    are_shown = []
    for form in manifest.audit.forms:
        is_wrong = form.wrong_by_rule.count + form.wrong_by_grader.count > 0
        are_shown.append(is_wrong or form.labels >= FORM_LABELS)
        found = re.search(rf"│ {form.form} +│ +{form.labels} │", shown)
        assert (found is not None) == are_shown[-1]
    assert set(are_shown) == {True, False}


def test_shared_models_of_roles_that_the_recipe_does_not_ask_are_no_matter(tmp_path: Path) -> None:
    config = config_of(tmp_path, stages=STAGES[:5], models={"solver": {"name": "simulated-grader"}})
    assert shared_models(config, build_graph(config)) == []


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
