"""A chat message as servers send it → its text and its reasoning, each once and apart.

Reasoning comes as a field of its own, as content parts, or inside the text; often as two of these.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from chimera_ray.text.reasoning import split_reasoning

MAX_DEPTH = 5
"""of parts within parts"""
MAX_SPLITS = 4
"""reasoning in the text, one passage after the other"""
_THOUGHT = re.compile(r"think|thought|reason|(?:^|_)cot(?:_|$)", re.IGNORECASE)
_NO_THOUGHT = re.compile(
    r"signature|opaque|encrypted|tokens|effort|duration|_(?:id|ms|time|type)$|.reason$",
    re.IGNORECASE,
)
"""names of fields that hold reasoning, and of those that only have to do with it"""
_TEXTS = ("text", "value", "content", "thinking", "reasoning", "summary")
"""of a content part, the first that says anything"""


class Said(NamedTuple):
    """What a message says."""

    text: str
    reasoning: str


def said_by(message: Mapping[str, Any], is_json: bool) -> Said:
    """A message → its text and its reasoning; neither holds a part of the other.

    Args:
        message: as the server sent it.
        is_json: JSON was asked for. Then a server that puts it where the reasoning goes, and
            leaves the content empty, is understood.
    """
    content = message.get("content")
    apart = [plain_text(value) for name, value in _fields(message) if is_thought(name)]
    if is_json and isinstance(content, dict) and not any(map(content.get, ("text", "type"))):
        return Said(json.dumps(content, ensure_ascii=False), _joined(apart))
    if isinstance(content, str):
        text, thoughts = content, list[str]()
    else:
        parts = [*_parts(content)]
        thoughts = [part for is_thought, part in parts if is_thought]
        text = "".join(part for is_thought, part in parts if not is_thought)
    inline: list[str] = []
    for _ in range(MAX_SPLITS):
        passage, rest = split_reasoning(text)
        if rest == text:
            break
        inline.append(passage or "")
        text = rest
    reasoning = _joined([*apart, "\n\n".join(thoughts), "\n\n".join(filter(None, inline))])
    if is_json and not text.strip() and _is_json(reasoning):
        return Said(reasoning, "")
    return Said(text, reasoning)


@lru_cache(maxsize=256)  # servers have few names, and this is a share of what a call costs
def is_thought(name: str) -> bool:
    """A field's name → whether it holds reasoning."""
    return _THOUGHT.search(name) is not None and _NO_THOUGHT.search(name) is None


def plain_text(said: object, depth: int = 0) -> str:
    """A field, which may be a text, a part or a list of them → its text."""
    if isinstance(said, str):
        return said
    if depth == MAX_DEPTH:
        return ""
    if isinstance(said, list):
        return "".join(plain_text(part, depth + 1) for part in said)
    if isinstance(said, dict):
        names = (*_TEXTS, *filter(is_thought, said))
        return next(filter(None, (plain_text(said.get(name), depth + 1) for name in names)), "")
    return ""


def _parts(content: object) -> Iterator[tuple[bool, str]]:
    """Content → its parts' texts, each with whether it is reasoning."""
    for part in content if isinstance(content, list) else [content]:
        kind = str(part.get("type", "")) if isinstance(part, dict) else ""
        is_marked = isinstance(part, dict) and (part.get("thought") is True or _is_bare(part))
        yield is_marked or is_thought(kind), plain_text(part)


def _is_bare(part: Mapping[str, Any]) -> bool:
    """Whether a content part without a type holds nothing but reasoning, as Bedrock's."""
    return not any(map(part.get, ("type", "text"))) and any(map(is_thought, part))


def _fields(message: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """A message → its fields, and those that a gateway put into an object of its own."""
    for name, value in message.items():
        yield name, value
        if isinstance(value, dict) and name != "content" and not is_thought(name):
            yield from value.items()


def _joined(sources: Sequence[str]) -> str:
    """Reasoning from several places → one text, without what repeats another place's."""
    kept: dict[str, str] = {}
    for source in filter(str.strip, sources):
        bare = "".join(source.split())
        if not any(bare in other for other in kept):
            kept = {other: text for other, text in kept.items() if other not in bare}
            kept[bare] = source
    return "\n\n".join(kept.values())


def _is_json(text: str) -> bool:
    if not text.strip().startswith(("{", "[", "```")):
        return False
    try:
        value = json.loads(text.strip().removeprefix("```json").strip("`"))
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict | list)
