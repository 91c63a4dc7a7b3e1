"""A model's verdict on topics that look alike."""

from collections.abc import AsyncIterator
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from chimera_ray.errors import ParseError
from chimera_ray.llm import ReplySchema, ask
from chimera_ray.prompts import render, repeats_prompt
from chimera_ray.schemas import NominatedTopic, Topic
from chimera_ray.stage import Models, PromptParams, Reject, stage
from chimera_ray.text.json_reply import fields
from chimera_ray.text.placeholders import is_placeholder


class ConfirmTopicParams(PromptParams):
    """Nothing else to set: `nominate_topics` says who is asked about."""


class Sameness(BaseModel):
    """The reply."""

    model_config = ConfigDict(extra="forbid", strict=True)
    reason: str
    same_as: int | None = Field(ge=1)
    """number of the candidate, from 1"""


SCHEMA = ReplySchema("confirm_topic", Sameness.model_json_schema())


@stage(takes=NominatedTopic, gives=Topic, params=ConfirmTopicParams, roles=("expander",))
async def confirm_topic(
    row: NominatedTopic, models: Models, params: ConfirmTopicParams
) -> AsyncIterator[Topic | Reject]:
    """Nominated topic → the topic, unless the model finds it the same as an earlier one.

    A topic without candidates passes and nobody is asked.

    Rejects:
        near_duplicate_topic: the detail names the topic that it equals, and why.
    """
    topic = Topic(**row.model_dump(exclude={"candidates"}))
    if not row.candidates:
        yield topic
        return
    prompt = render(
        "confirm_topic",
        language=params.language,
        subject=row.subject,
        topic=row.topic,
        candidates=row.candidates,
    )
    parse = partial(_parse, num_candidates=len(row.candidates))
    verdict = await ask(models["expander"], prompt, parse, SCHEMA)
    if verdict.same_as is None:
        yield topic
    else:
        same = row.candidates[verdict.same_as - 1]
        yield Reject("near_duplicate_topic", f"equals: {same} ({verdict.reason})")


def _parse(text: str, num_candidates: int) -> Sameness:
    verdict = fields(text, Sameness)
    if is_placeholder(verdict.reason) or repeats_prompt("confirm_topic", verdict.reason):
        raise ParseError("reason says nothing of its own")
    if verdict.same_as is not None and verdict.same_as > num_candidates:
        raise ParseError(f"same_as is {verdict.same_as}, of {num_candidates} candidates")
    return verdict
