"""Fan out before paying: one row per attempt that the solver is to make."""

from collections.abc import AsyncIterator

from pydantic import Field

from chimera_ray.schemas import Problem, Rollout
from chimera_ray.stage import Models, Params, Reject, stage


class PlanRolloutsParams(Params):
    """How often each problem is attempted."""

    rollouts_per_problem: int = Field(default=1, ge=1)
    """the paper makes one; more of them leave the earlier ones as they are"""


@stage(takes=Problem, gives=Rollout, params=PlanRolloutsParams)
async def plan_rollouts(
    row: Problem, models: Models, params: PlanRolloutsParams
) -> AsyncIterator[Rollout | Reject]:
    """Problem → the attempts to be made at it.

    A rollout leaves the verdicts and the draft behind: the same problem, validated anew, has the
    same rollouts, so that no trajectory is paid for twice.
    """
    for index in range(params.rollouts_per_problem):
        yield Rollout(
            subject=row.subject,
            area=row.area,
            topic=row.topic,
            problem=row.problem,
            reference_answer=row.reference_answer,
            rollout_index=index,
        )
