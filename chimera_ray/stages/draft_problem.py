"""Module G of the paper: one problem with one verifiable answer."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from chimera_ray.llm import ReplySchema, ask
from chimera_ray.prompts import render, repeats_prompt
from chimera_ray.schemas import Draft, Problem
from chimera_ray.stage import Models, PromptParams, Reject, stage
from chimera_ray.text.json_reply import fields
from chimera_ray.text.placeholders import is_placeholder, is_placeholder_answer
from chimera_ray.text.reply_types import Text


class DraftProblemParams(PromptParams):
    """Nothing else to set: the prompt says what is wanted."""


class Drafted(BaseModel):
    """The reply: four parts, kept apart."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    problem: str = Field(min_length=1)
    reasoning: str
    solution: str
    answer: Annotated[Text, Field(min_length=1)]


SCHEMA = ReplySchema("draft_problem", Drafted.model_json_schema())


@stage(takes=Draft, gives=Problem, params=DraftProblemParams, roles=("drafter",))
async def draft_problem(
    row: Draft, models: Models, params: DraftProblemParams
) -> AsyncIterator[Problem | Reject]:
    """Draft → a problem with its reference answer, reasoning and solution.

    Rejects:
        copied_prompt: a part is a placeholder, or a copy of the prompt's own words; the detail
            names it.

    Source:
        paper section 2.3, module G. Deviations: a facet for each draft; answers that are proofs are
        not asked for, since nothing could verify them.
    """
    prompt = render(
        "draft_problem",
        language=params.language,
        subject=row.subject,
        area=row.area,
        topic=row.topic,
        facet=row.facet,
    )
    reply = await ask(models["drafter"], prompt, partial(fields, shape=Drafted), SCHEMA)
    copied = [name for name, part in reply if part and _is_copied(name, part, row.facet)]
    if copied:
        yield Reject("copied_prompt", f"{', '.join(copied)}: {getattr(reply, copied[0])[:200]}")
        return
    yield Problem(
        **row.model_dump(),
        problem=reply.problem,
        reference_answer=reply.answer,
        draft_reasoning=reply.reasoning,
        draft_solution=reply.solution,
    )


def _is_copied(name: str, part: str, facet: str) -> bool:
    """A draft's part → whether it is a placeholder, or says the prompt or the facet again."""
    is_empty = is_placeholder_answer if name == "answer" else is_placeholder
    return is_empty(part) or repeats_prompt("draft_problem", part, facet)
