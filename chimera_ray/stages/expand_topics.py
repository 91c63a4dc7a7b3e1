"""Module E of the paper: a broad subject into the topics that problems are drafted for."""

from collections.abc import AsyncIterator

from pydantic import BaseModel, ConfigDict, Field

from chimera_ray.errors import ParseError
from chimera_ray.llm import ReplySchema, ask
from chimera_ray.metrics.topic_key import topic_key
from chimera_ray.prompts import render
from chimera_ray.schemas import Subject, Topic
from chimera_ray.stage import Models, PromptParams, Reject, stage
from chimera_ray.text.json_reply import fields
from chimera_ray.text.placeholders import is_placeholder_name


class ExpandTopicsParams(PromptParams):
    """How a subject is expanded."""

    max_rounds: int = Field(default=1, ge=1)
    """rounds of asking; 1 is the paper's one-shot list"""
    topics_per_round: int = Field(default=100, ge=1)
    """topics asked for in one round, at most"""


class Area(BaseModel):
    """One area of the reply, and its topics."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    area: str = Field(min_length=1, max_length=200)
    topics: list[str]


class Areas(BaseModel):
    """The reply."""

    model_config = ConfigDict(extra="forbid")
    areas: list[Area]


def reply_schema(wanted: int) -> ReplySchema:
    """Topics that are wanted → the reply's schema: no list longer, so that none goes on and on."""
    schema = Areas.model_json_schema()
    schema["properties"]["areas"]["maxItems"] = wanted
    schema["$defs"]["Area"]["properties"]["topics"]["maxItems"] = wanted
    return ReplySchema("expand_topics", schema)


@stage(takes=Subject, gives=Topic, params=ExpandTopicsParams, roles=("expander",))
async def expand_topics(
    row: Subject, models: Models, params: ExpandTopicsParams
) -> AsyncIterator[Topic | Reject]:
    """Subject → its topics in a hierarchy, asked for in rounds until there are enough.

    A round that adds nothing new ends it. Repeated names are given too: `dedupe_topics` says what
    becomes of them. What a last round lists beyond the target is left out.

    Rejects:
        no_topics: the model listed none.

    Source:
        paper section 2.3, module E. Deviations: rounds that name what is known, areas between
        subject and topic; one round and one area is the paper's list.
    """
    known: dict[str, list[str]] = {}
    keys: set[str] = set()
    num_given = 0
    for _ in range(params.max_rounds):
        wanted = min(params.topics_per_round, row.target_topics - len(keys))
        prompt = render(
            "expand_topics",
            language=params.language,
            subject=row.subject,
            wanted=wanted,
            known=known,
        )
        reply = await ask(models["expander"], prompt, _parse, reply_schema(wanted))
        num_known = len(keys)
        for area, topic in _names(reply):
            if len(keys) == row.target_topics:
                break
            known.setdefault(area, []).append(topic)
            keys.add(topic_key(topic))
            yield Topic(
                subject=row.subject,
                area=area,
                topic=topic,
                expansion_index=row.expansion_index,
                topic_index=num_given,
            )
            num_given += 1
        if len(keys) in (num_known, row.target_topics):
            break
    if not num_given:
        yield Reject("no_topics")


def _parse(text: str) -> Areas:
    """Reply → its areas, if no name in it is a placeholder."""
    reply = fields(text, Areas)
    names = (name for area in reply.areas for name in (area.area, *area.topics))
    if any(is_placeholder_name(name) for name in names if name.strip()):
        raise ParseError("the names of areas or topics are placeholders")
    return reply


def _names(reply: Areas) -> list[tuple[str, str]]:
    names = [(area.area.strip(), topic.strip()) for area in reply.areas for topic in area.topics]
    return [(area, topic) for area, topic in names if topic_key(topic) and len(topic) <= 200]
