"""A model's reply → the JSON object it was asked for, or ParseError; knows no prompt and no stage.

Everything here is linear in the length of the text, because the text is not to be trusted. What is
lenient and what is strict, and why, is in docs/replies.md.
"""

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from chimera_ray.errors import ParseError
from chimera_ray.text.json_objects import MAX_DEPTH, object_texts
from chimera_ray.text.json_values import object_value, without_comma
from chimera_ray.text.reasoning import split_reasoning
from chimera_ray.text.skeleton import skeleton

MAX_REPLY_CHARS = 2_000_000

_NOT_IN_NAMES = re.compile(r"[\W_]+")

T = TypeVar("T", bound=BaseModel)


def json_object(text: str) -> dict[str, Any]:
    """Reply → its one JSON object: bare, fenced or inside prose, after the reasoning.

    Two equal objects count as one, an empty one only where there is no other. A passage that sets
    out to be an object and cannot be read makes the reply unparsable, whatever stands beside it.
    One comma too many is forgiven if it is the only flaw of the only object.

    Raises:
        ParseError: no object or several, over 2,000,000 characters, deeper than 50, a repeated key,
            NaN or an infinity, half of a surrogate pair, a control character, or an escape with two
            meanings.
    """
    if len(text) > MAX_REPLY_CHARS:
        raise ParseError(f"the reply is longer than {MAX_REPLY_CHARS} characters")
    if (whole := _whole_object(text)) is not None:
        return whole
    found: dict[str, Any] | None = None
    num_filled = num_mended = 0
    for passage in object_texts(split_reasoning(text)[1]):
        mended = without_comma(passage)
        value = object_value(passage if mended is None else mended)
        num_mended += mended is not None
        num_filled += bool(value)
        if found and value and _canonical(value) != _canonical(found):
            raise ParseError("the reply has different JSON objects, where one was asked for")
        found = found or value
    if found is None:
        raise ParseError("there is no JSON object in the reply")
    if num_mended and num_filled > 1:
        raise ParseError("the reply has several JSON objects, and one of them cannot be read")
    return found


def fields(text: str, shape: type[T]) -> T:
    """Reply → its JSON object as `shape`, if every field that is asked for is as asked.

    Fields are read strictly, but for types that say otherwise (see `reply_types`); a key that was
    not asked for is left out, however the shape's own schema forbids it.

    Raises:
        ParseError: no such object (see `json_object`), a field is wrong: the first one is named, or
            two keys differ by case, spacing or look-alike letters alone.
    """
    value = json_object(text)
    _check_names(value)
    try:
        return shape.model_validate(value, strict=True, extra="ignore")
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"])[:80] or "the object"
        raise ParseError(f"{name} is wrong in the reply: {first['type']}") from None


def _whole_object(text: str) -> dict[str, Any] | None:
    """A reply that is one plain JSON object → that object: most are, and need no search."""
    is_framed = text.startswith("{") and text.rstrip().endswith("}")
    is_plain = is_framed and "\\" not in text and "</think>" not in text
    if not is_plain or text.count("{") + text.count("[") > MAX_DEPTH:
        return None
    try:
        return object_value(text)
    except ParseError:
        return None


def _canonical(value: dict[str, Any]) -> str:
    """An object → one text for all that say the same; true is not 1."""
    return json.dumps(value, sort_keys=True)


def _check_names(value: object) -> None:
    """Raise ParseError where two keys of one object are the same name to a reader."""
    if isinstance(value, dict):
        names = [_name(key) for key in value]
        if len(set(names)) < len(names):
            raise ParseError("the JSON object has two keys of one name")
        for inner in value.values():
            _check_names(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_names(inner)


def _name(key: str) -> str:
    """A key → the same for all that a reader takes for it."""
    seen = key.lower() if key.isascii() else skeleton(key)[0]
    return _NOT_IN_NAMES.sub("", seen) or key
