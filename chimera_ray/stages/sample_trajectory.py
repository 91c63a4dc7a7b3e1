"""Module R of the paper: the solver's long trajectory."""

from collections.abc import AsyncIterator, Mapping
from typing import Annotated

from pydantic import Field

from chimera_ray.errors import ParseError
from chimera_ray.llm import Reply, complete, whole
from chimera_ray.prompts import render
from chimera_ray.schemas import MAX_TRAJECTORY_CHARS, FinishReason, Rollout, Trajectory
from chimera_ray.stage import AskingParams, Models, Reject, stage
from chimera_ray.text.reasoning import is_blank, split_reasoning


class SampleTrajectoryParams(AskingParams):
    """The sampling belongs to the model; its limit alone can be raised, for what it has cut."""

    second_chance_tokens: Annotated[int, Field(ge=1)] | None = None
    """a trajectory that was cut at the model's limit is asked for once more, with this larger one;
    None: it is not"""

    def misfit(self, limits: Mapping[str, int | None]) -> str:
        """A second chance is paid for, and has to be larger than the first."""
        first, second = limits["solver"], self.second_chance_tokens
        if second is None or (first is not None and second > first):
            return ""
        return (
            f"second_chance_tokens: {second}, which is no larger limit than "
            f"models.solver.sampling.max_tokens, {'null' if first is None else first}"
        )


@stage(takes=Rollout, gives=Trajectory, params=SampleTrajectoryParams, roles=("solver",))
async def sample_trajectory(
    row: Rollout, models: Models, params: SampleTrajectoryParams
) -> AsyncIterator[Trajectory | Reject]:
    """Rollout → the solver's trajectory, thinking and final part split, if it came to its end.

    Rejects:
        truncated: cut at the token limit, in its second chance too if the recipe gives one, or
            ended for its loops; the text stays in the call.
        no_final_part: it ended within its thinking, so there is no answer that it commits to.
        too_long: thinking and final part have over 2,000,000 characters.

    Source:
        paper section 2.3, module R: the bare problem in one user turn, no system prompt.
    """
    prompt = render("sample_trajectory", problem=row.problem)
    finish_reason, thinking, final_part = await complete(
        models["solver"], prompt, _parse, second_chance_tokens=params.second_chance_tokens
    )
    num_chars = len(thinking) + len(final_part)
    if num_chars > MAX_TRAJECTORY_CHARS:
        yield Reject("too_long", f"{num_chars:,} characters")
    elif is_blank(final_part):
        yield Reject("no_final_part", f"{len(thinking):,} characters of thinking alone")
    else:
        yield Trajectory(
            **row.model_dump(),
            reasoning=thinking,
            final_part=final_part,
            finish_reason=finish_reason,
        )


def _parse(reply: Reply) -> tuple[FinishReason, str, str]:
    """Reply → why it ended, its thinking and its final part, if it says anything at all."""
    split, final_part = split_reasoning(whole(reply).text)
    thinking = split or "" if reply.reasoning is None else reply.reasoning
    if is_blank(thinking) and is_blank(final_part):
        raise ParseError("the reply has neither thinking nor a final part")
    return reply.finish_reason, thinking, final_part
