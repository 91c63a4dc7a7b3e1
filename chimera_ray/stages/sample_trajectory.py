"""Module R of the paper: the solver's long trajectory."""

from collections.abc import AsyncIterator

from chimera_ray.errors import ProviderError, TruncatedError
from chimera_ray.llm import Reply, complete
from chimera_ray.parsing import split_reasoning
from chimera_ray.prompts import render
from chimera_ray.schemas import Rollout, Trajectory
from chimera_ray.stage import Models, Params, Reject, stage


class SampleTrajectoryParams(Params):
    """What becomes of a trajectory that was cut short."""

    retry_truncated: bool = False
    """False: rejected for good, since asking again costs the same again; True: failed, and the
    next run asks again"""


@stage(takes=Rollout, gives=Trajectory, params=SampleTrajectoryParams, roles=("solver",))
async def sample_trajectory(
    row: Rollout, models: Models, params: SampleTrajectoryParams
) -> AsyncIterator[Trajectory | Reject]:
    """Rollout → the solver's trajectory, thinking and final part split, if it came to its end.

    Rejects:
        truncated: cut at the token limit or ended for its loops; the text stays in the call.

    Source:
        paper section 2.3, module R: the bare problem in one user turn, no system prompt.
    """
    prompt = render("sample_trajectory", problem=row.problem)
    reply = await complete(models["solver"], prompt, _whole if params.retry_truncated else _any)
    if reply.finish_reason != "stop":
        yield Reject("truncated", f"finish reason: {reply.finish_reason}")
        return
    thinking, final_part = split_reasoning(reply.text)
    yield Trajectory(
        **row.model_dump(),
        reasoning=thinking or "" if reply.reasoning is None else reply.reasoning,
        final_part=final_part,
        finish_reason=reply.finish_reason,
    )


def _any(reply: Reply) -> Reply:
    if reply.finish_reason == "abort":
        raise ProviderError("the trajectory was aborted before its end")
    return reply


def _whole(reply: Reply) -> Reply:
    if _any(reply).finish_reason != "stop":
        raise TruncatedError(f"the trajectory ended early: {reply.finish_reason}")
    return reply
