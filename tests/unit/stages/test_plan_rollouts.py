"""Problem → the attempts to be made, silent on verdicts and drafts."""

import pytest
from fakes import PROBLEM, ROLLOUT, perform_on, rows_of
from pydantic import ValidationError

from chimera_ray.schemas import Check, Rollout, ValidProblem, Verdict
from chimera_ray.stages.plan_rollouts import PlanRolloutsParams


@pytest.mark.parametrize("count", [0, -1, 1.5, "many", None], ids=repr)
def test_plan_rollouts_impossible_count_is_refused(count: object) -> None:
    with pytest.raises(ValidationError):
        PlanRolloutsParams.model_validate({"rollouts_per_problem": count})


def test_plan_rollouts_default_is_one_attempt() -> None:
    assert rows_of(perform_on("plan_rollouts", PROBLEM), Rollout) == [ROLLOUT]


def test_plan_rollouts_more_attempts_leave_the_earlier_ones_as_they_are() -> None:
    few = perform_on("plan_rollouts", PROBLEM, rollouts_per_problem=2)
    many = perform_on("plan_rollouts", PROBLEM, rollouts_per_problem=5)
    assert many.outputs[:2] == few.outputs
    assert [row.rollout_index for row in rows_of(many, Rollout)] == [0, 1, 2, 3, 4]
    assert len({output.row_id for output in many.outputs}) == 5


def test_plan_rollouts_other_verdicts_and_solution_lead_to_the_same_attempts() -> None:
    check = Check(is_passed=True, reason="Fine.")
    verdict = Verdict(
        verifier="verifier_a",
        is_on_topic=check,
        is_clear=check,
        is_verifiable=check,
        is_answer_correct=check,
    )
    anew = PROBLEM.model_copy(update={"draft_solution": "Otherwise.", "facet": "another"})
    validated = ValidProblem(**anew.model_dump(), verdicts=(verdict,))
    plain = perform_on("plan_rollouts", PROBLEM, rollouts_per_problem=3)
    assert perform_on("plan_rollouts", validated, rollouts_per_problem=3).outputs == plain.outputs
