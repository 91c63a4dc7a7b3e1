"""Two verifiers, four checks and an own answer each; what one says is kept in any case."""

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from fakes import (
    FAULTS,
    PROBLEM,
    Said,
    ScriptedModel,
    each_fault,
    perform_on,
    require_failed,
    rows_of,
)

from chimera_ray.errors import LedgerError, RefusalError
from chimera_ray.prompts import render
from chimera_ray.schemas import CHECKS, Call, Record, ValidProblem
from chimera_ray.stages.validate_problem import SCHEMA

ROLES = ("verifier_a", "verifier_b")
WHY = "The text shows it."
FIELDS = {
    "language": "English",
    "subject": PROBLEM.subject,
    "topic": PROBLEM.topic,
    "problem": PROBLEM.problem,
    "answer": PROBLEM.reference_answer,
}


def _checks(*declined: str, reason: str = WHY, own: str | None = "6") -> dict[str, Any]:
    checks = {name: {"reason": reason, "is_passed": name not in declined} for name in CHECKS}
    return {**checks, "own_answer": own}


def _same(is_same: bool) -> dict[str, Any]:
    return {"comparison": "Both name one number.", "is_same": is_same}


def _validate(
    *said: Said | Sequence[Said] | None, earlier: tuple[Call, ...] = (), **params: Any
) -> tuple[Record, dict[str, ScriptedModel]]:
    """What each verifier says, one reply or several; None: it must not be asked."""
    models = {
        role: ScriptedModel(*_script(replies), name=f"model of {role}")
        for role, replies in zip(ROLES, said, strict=True)
    }
    return perform_on("validate_problem", PROBLEM, models, earlier, **params), models


def _script(replies: Said | Sequence[Said] | None) -> Sequence[Said]:
    if replies is None:
        return []
    return replies if isinstance(replies, list) else [replies]


def _marks(record: Record) -> set[tuple[str, str, bool]]:
    return {(call.role, call.status, call.is_replayed) for call in record.calls}


@each_fault
@pytest.mark.parametrize("at_fault", ROLES)
def test_validate_problem_one_verifier_unusable_fails_the_row_and_keeps_the_other(
    at_fault: str, fault: Said, reason: str, status: str
) -> None:
    said = [fault if role == at_fault else _checks() for role in ROLES]
    record, _ = _validate(*said)
    require_failed(record, reason)
    statuses = {call.role: call.status for call in record.calls}
    assert statuses == {role: status if role == at_fault else "ok" for role in ROLES}


@each_fault
def test_validate_problem_unusable_reply_is_never_outvoted(
    fault: Said, reason: str, status: str
) -> None:
    accepted, _ = _validate(_checks(), fault, min_accepting_verifiers=1)
    require_failed(accepted, reason)
    declined, _ = _validate(fault, _checks(*CHECKS))
    require_failed(declined, reason)


@pytest.mark.parametrize(
    "change",
    [
        {"is_clear": True},
        {"is_clear": None},
        {"is_clear": {"is_passed": None, "reason": "The text shows it."}},
        {"is_clear": {"is_passed": "perhaps", "reason": "The text shows it."}},
        {"is_clear": {"is_passed": "true", "reason": "The text shows it."}},
        {"is_clear": {"is_passed": "yes", "reason": "The text shows it."}},
        {"is_clear": {"is_passed": 1, "reason": "The text shows it."}},
        {"is_clear": {"is_passed": True}},
        {"is_clear": {"is_passed": True, "reason": None}},
        {"is_clear": {"is_passed": True, "reason": ""}},
        {"is_clear": {"is_passed": True, "reason": "..."}},
        {"is_clear": {"is_passed": True, "reason": "<why>"}},
        {"is_clear": {"is_passed": False, "reason": "n/a"}},
        {
            "is_clear": {
                "is_passed": True,
                "reason": "It is self-contained and unambiguous, with everything it needs defined.",
            }
        },
        {"own_answer": None},
        {"own_answer": ""},
        {"own_answer": "..."},
        {"own_answer": "<your own final answer>"},
        {"own_answer": ["6"]},
        {"own_answer": True},
    ],
    ids=str,
)
def test_validate_problem_check_that_is_wrong_fails_the_row(change: dict[str, Any]) -> None:
    require_failed(_validate(_checks(), {**_checks(), **change})[0], "unparsable")


@pytest.mark.parametrize("missing", [*CHECKS, "own_answer"])
def test_validate_problem_missing_check_fails_the_row(missing: str) -> None:
    checks = {name: check for name, check in _checks().items() if name != missing}
    require_failed(_validate(_checks(), checks)[0], "unparsable")


def test_validate_problem_both_accept_gives_the_problem_with_both_verdicts() -> None:
    record, _ = _validate(_checks(), _checks())
    (problem,) = rows_of(record, ValidProblem)
    assert problem.model_dump(exclude={"verdicts"}) == PROBLEM.model_dump()
    assert [verdict.verifier for verdict in problem.verdicts] == list(ROLES)
    assert all(verdict.is_valid for verdict in problem.verdicts)
    assert {call.model for call in record.calls} == {"model of verifier_a", "model of verifier_b"}


def test_validate_problem_example_of_the_prompt_is_no_verdict() -> None:
    shape = render("validate_problem", **FIELDS).rpartition("\n{")[2]
    for bare in ("{" + shape, re.sub(r"<bool>", "true", "{" + shape)):
        quoted = re.sub(r"<[^>]*>", '"..."', bare)
        for reply in (bare, quoted):
            require_failed(_validate(_checks(), reply)[0], "unparsable")


def test_validate_problem_more_than_was_asked_for_is_read_past() -> None:
    said = {**_checks(), "verdict": "VALID", "is_clear": {**_checks()["is_clear"], "score": 9}}
    (problem,) = rows_of(_validate(said, _checks())[0], ValidProblem)
    assert all(verdict.is_valid for verdict in problem.verdicts)


def test_validate_problem_reason_is_asked_for_before_its_verdict() -> None:
    _, models = _validate(_checks(), _checks())
    (prompt,) = models["verifier_a"].prompts
    schema = SCHEMA.json_schema
    assert list(schema["properties"]) == [*CHECKS[:3], "own_answer", CHECKS[3]]
    assert list(schema["$defs"]["JudgedCheck"]["properties"]) == ["reason", "is_passed"]
    shape = prompt.rpartition("\n{")[2]
    names = re.findall(r'"(\w+)"', shape)
    assert names == [
        *(name for check in CHECKS[:3] for name in (check, "reason", "is_passed")),
        *("own_answer", CHECKS[3], "reason", "is_passed"),
    ]


@pytest.mark.parametrize(
    ("own", "rule"), [("6", "text"), ("$6$", "text"), ("6.0", "number")], ids=str
)
def test_validate_problem_own_answer_equal_by_rule_backs_its_yes(own: str, rule: str) -> None:
    record, _ = _validate(_checks(own=own), _checks())
    (problem,) = rows_of(record, ValidProblem)
    verdict = problem.verdicts[0]
    assert (verdict.own_answer, verdict.is_backed, verdict.backed_by) == (own, True, rule)


def test_validate_problem_own_answer_that_rules_leave_open_the_verifier_compares() -> None:
    record, models = _validate([_checks(own="six, by Ramsey"), _same(True)], _checks())
    (problem,) = rows_of(record, ValidProblem)
    verdict = problem.verdicts[0]
    assert verdict.is_valid
    assert (verdict.is_backed, verdict.backed_by) == (True, "comparison")
    comparison = models["verifier_a"].prompts[1]
    assert "<own_answer>\nsix, by Ramsey\n</own_answer>" in comparison
    assert f"<reference_answer>\n{PROBLEM.reference_answer}\n</reference_answer>" in comparison


@pytest.mark.parametrize(
    "reply",
    [
        {"comparison": "...", "is_same": True},
        {"comparison": "Both.", "is_same": "true"},
        {"comparison": "<your sentence>", "is_same": True},
        "They are the same.",
    ],
    ids=str,
)
def test_validate_problem_comparison_that_says_nothing_fails_the_row(reply: Said) -> None:
    record, _ = _validate([_checks(own="six"), reply], _checks())
    require_failed(record, "unparsable")


def test_validate_problem_yes_beside_another_answer_fails_and_is_asked_anew() -> None:
    first, _ = _validate([_checks(own="seven"), _same(False)], _checks())
    require_failed(first, "unparsable")
    statuses = sorted((call.role, call.status) for call in first.calls)
    assert statuses == [("verifier_a", "ok"), ("verifier_a", "unparsable"), ("verifier_b", "ok")]
    second, models = _validate(_checks(), None, earlier=first.calls)
    assert len(rows_of(second, ValidProblem)) == 1
    assert models["verifier_a"].requests[0].seed not in {call.seed for call in first.calls}
    assert sum(not call.is_replayed for call in second.calls) == 1


def test_validate_problem_yes_beside_another_answer_is_a_no_by_the_switch() -> None:
    said = [_checks(own="seven"), _same(False)]
    record, _ = _validate(said, _checks(), decline_contradicted=True)
    assert (record.outcome, record.reason) == ("rejected", "verifiers_declined")
    assert json.loads(record.detail) == {"verifier_a": {"own_answer": "seven"}, "verifier_b": {}}


def test_validate_problem_one_backed_yes_is_enough_where_one_is_asked_for() -> None:
    said = [_checks(own="seven"), _same(False)]
    record, _ = _validate(said, _checks(), min_accepting_verifiers=1)
    (problem,) = rows_of(record, ValidProblem)
    assert [verdict.failed_checks for verdict in problem.verdicts] == [("own_answer",), ()]


def test_validate_problem_a_no_compares_nothing() -> None:
    declined = _checks("is_clear", own="seven")
    record, _ = _validate(declined, _checks(own="the sixth"))
    assert (record.outcome, record.reason) == ("rejected", "verifiers_declined")
    assert len(record.calls) == 2


def test_validate_problem_no_own_answer_is_no_fault_of_a_no() -> None:
    record, _ = _validate(_checks("is_answer_correct", own=None), _checks())
    assert (record.outcome, record.reason) == ("rejected", "verifiers_declined")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("declining", ROLES)
def test_validate_problem_one_failed_check_of_one_verifier_declines(
    declining: str, check: str
) -> None:
    said = [
        _checks(check, reason="It is not so.") if role == declining else _checks() for role in ROLES
    ]
    record, _ = _validate(*said)
    assert (record.outcome, record.reason) == ("rejected", "verifiers_declined")
    assert json.loads(record.detail) == {
        role: {check: "It is not so."} if role == declining else {} for role in ROLES
    }


def test_validate_problem_one_acceptance_is_enough_where_one_is_asked_for() -> None:
    record, _ = _validate(_checks(), _checks("is_clear"), min_accepting_verifiers=1)
    (problem,) = rows_of(record, ValidProblem)
    assert [verdict.failed_checks for verdict in problem.verdicts] == [(), ("is_clear",)]


@pytest.mark.parametrize(
    "reason",
    [
        "as said " * 4_000,
        "été là " * 900,
        r"It is \frac" * 100,
        'It is "' * 400,
        "It is \U0001f600" * 400,
    ],
    ids=["long", "accents", "latex", "quotes", "emoji"],
)
def test_validate_problem_hostile_reasons_leave_the_detail_readable(reason: str) -> None:
    record, _ = _validate(_checks(*CHECKS, reason=reason), _checks(*CHECKS, reason=reason))
    assert {role: set(failed) for role, failed in json.loads(record.detail).items()} == {
        role: set(CHECKS) for role in ROLES
    }


def test_validate_problem_verifiers_see_the_same_and_nothing_of_the_drafters_work() -> None:
    _, models = _validate(_checks(), _checks())
    (prompt,) = models["verifier_a"].prompts
    assert models["verifier_b"].prompts == [prompt]
    assert PROBLEM.problem in prompt
    assert f"<answer>\n{PROBLEM.reference_answer}\n</answer>" in prompt
    assert PROBLEM.draft_reasoning not in prompt
    assert PROBLEM.draft_solution not in prompt
    seeds = {model.requests[0].seed for model in models.values()}
    assert len(seeds) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_validate_problem_second_try_asks_only_the_verifier_that_failed(fault: str) -> None:
    said, _, status = FAULTS[fault]
    first, _ = _validate(_checks(), said)
    second, models = _validate(None, _checks(), earlier=first.calls)
    assert len(rows_of(second, ValidProblem)) == 1
    assert _marks(second) == {
        ("verifier_a", "ok", True),
        ("verifier_b", "ok", False),
        ("verifier_b", status, True),
    }
    failed = next(call for call in first.calls if call.role == "verifier_b")
    assert models["verifier_b"].requests[0].seed != failed.seed


def test_validate_problem_third_try_draws_a_third_seed_and_keeps_every_call() -> None:
    first, _ = _validate(_checks(), "no")
    second, _ = _validate(None, "no", earlier=first.calls)
    third, _ = _validate(None, _checks(), earlier=second.calls)
    assert len(rows_of(third, ValidProblem)) == 1
    assert len(third.calls) == 4
    assert sum(not call.is_replayed for call in third.calls) == 1
    assert len({call.seed for call in third.calls}) == 4
    assert sum(call.cost_usd for call in third.calls) == pytest.approx(0.08)


def test_validate_problem_everything_paid_for_asks_nobody() -> None:
    first, _ = _validate(_checks(), _checks("is_clear"))
    again, _ = _validate(None, None, earlier=first.calls)
    assert (again.outcome, again.detail) == (first.outcome, first.detail)
    assert all(call.is_replayed for call in again.calls)
    assert [call.text for call in again.calls] == [call.text for call in first.calls]


def test_validate_problem_dead_engine_is_not_hidden_by_the_other_verifier() -> None:
    with pytest.raises(LedgerError):
        _validate(RefusalError("no"), LedgerError("gone"))


def test_valid_problem_of_an_earlier_release_is_read() -> None:
    check = {"is_passed": True, "reason": "Because."}
    verdicts = [{"verifier": role, **dict.fromkeys(CHECKS, check)} for role in ROLES]
    payload = json.dumps({**PROBLEM.model_dump(), "verdicts": verdicts})
    problem = ValidProblem.model_validate_json(payload)
    assert all(verdict.is_valid for verdict in problem.verdicts)
    assert {verdict.own_answer for verdict in problem.verdicts} == {None}
