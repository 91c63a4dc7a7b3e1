"""Two verifiers, four checks each; what one says is kept whatever becomes of the other."""

import json
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
from chimera_ray.schemas import CHECKS, Call, Record, ValidProblem

ROLES = ("verifier_a", "verifier_b")


def _checks(*declined: str, reason: str = "Because.") -> dict[str, Any]:
    return {name: {"is_passed": name not in declined, "reason": reason} for name in CHECKS}


def _validate(
    *said: Said | None, earlier: tuple[Call, ...] = (), **params: Any
) -> tuple[Record, dict[str, ScriptedModel]]:
    """What each verifier says, None: it must not be asked."""
    models = {
        role: ScriptedModel(*([] if reply is None else [reply]), name=f"model of {role}")
        for role, reply in zip(ROLES, said, strict=True)
    }
    return perform_on("validate_problem", PROBLEM, models, earlier, **params), models


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
        {"is_clear": {"is_passed": None, "reason": ""}},
        {"is_clear": {"is_passed": "perhaps", "reason": ""}},
        {"is_clear": {"is_passed": 2, "reason": ""}},
        {"is_clear": {"is_passed": True}},
        {"is_clear": {"is_passed": True, "reason": None}},
        {"is_clear": {"is_passed": True, "reason": "", "confidence": 9}},
        {"verdict": "VALID"},
    ],
    ids=str,
)
def test_validate_problem_check_that_is_wrong_fails_the_row(change: dict[str, Any]) -> None:
    require_failed(_validate(_checks(), {**_checks(), **change})[0], "unparsable")


@pytest.mark.parametrize("missing", CHECKS)
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


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("declining", ROLES)
def test_validate_problem_one_failed_check_of_one_verifier_declines(
    declining: str, check: str
) -> None:
    said = [_checks(check, reason="No.") if role == declining else _checks() for role in ROLES]
    record, _ = _validate(*said)
    assert (record.outcome, record.reason) == ("rejected", "verifiers_declined")
    assert json.loads(record.detail) == {
        role: {check: "No."} if role == declining else {} for role in ROLES
    }


def test_validate_problem_one_acceptance_is_enough_where_one_is_asked_for() -> None:
    record, _ = _validate(_checks(), _checks("is_clear"), min_accepting_verifiers=1)
    (problem,) = rows_of(record, ValidProblem)
    assert [verdict.failed_checks for verdict in problem.verdicts] == [(), ("is_clear",)]


@pytest.mark.parametrize(
    "reason",
    [
        "x" * 30_000,
        "é" * 5_000,
        r"\frac" * 100,
        '"' * 400,
        "\x00" * 400,
    ],
    ids=["long", "accents", "latex", "quotes", "zeros"],
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
