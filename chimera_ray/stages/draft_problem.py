"""Module G of the paper: one problem with one verifiable answer."""

from collections.abc import AsyncIterator
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from chimera_ray.llm import ReplySchema, ask
from chimera_ray.prompts import render
from chimera_ray.schemas import Draft, Problem
from chimera_ray.stage import AskingParams, Models, Reject, stage
from chimera_ray.text.json_reply import fields


class DraftProblemParams(AskingParams):
    """Nothing else to set: the prompt says what is wanted."""


class Drafted(BaseModel):
    """The reply: four parts, kept apart."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    problem: str = Field(min_length=1)
    reasoning: str
    solution: str
    answer: str = Field(min_length=1)


SCHEMA = ReplySchema("draft_problem", Drafted.model_json_schema())


@stage(takes=Draft, gives=Problem, params=DraftProblemParams, roles=("drafter",))
async def draft_problem(
    row: Draft, models: Models, params: DraftProblemParams
) -> AsyncIterator[Problem | Reject]:
    """Draft → a problem with its reference answer, reasoning and solution.

    Source:
        paper section 2.3, module G. Deviations: a facet for each draft; answers that are proofs are
        not asked for, since nothing could verify them.
    """
    prompt = render(
        "draft_problem", subject=row.subject, area=row.area, topic=row.topic, facet=row.facet
    )
    reply = await ask(models["drafter"], prompt, partial(fields, shape=Drafted), SCHEMA)
    yield Problem(
        **row.model_dump(),
        problem=reply.problem,
        reference_answer=reply.answer,
        draft_reasoning=reply.reasoning,
        draft_solution=reply.solution,
    )
