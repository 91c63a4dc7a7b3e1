"""A model's reply → the JSON object it was asked for, or ParseError; knows no prompt and no stage.

Everything here is linear in the length of the text, because the text is not to be trusted.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from chimera_ray.errors import ParseError
from chimera_ray.text.latex_escapes import repaired
from chimera_ray.text.reasoning import split_reasoning

MAX_REPLY_CHARS = 2_000_000
MAX_DEPTH = 50

# An unclosed brace is read to the end of the reply, so only so many of them are followed.
_MAX_UNCLOSED = 16
_MAX_SPANS = 1_000

_OBJECT_START = re.compile(r'\{\s*+["}]')
_TOKEN = re.compile(r'[{}\[\]]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")

T = TypeVar("T", bound=BaseModel)


def json_object(text: str) -> dict[str, Any]:
    """Reply → its one JSON object: bare, fenced or inside prose, after the reasoning.

    Two equal objects count as one. An empty object counts only where there is no other.

    Raises:
        ParseError: no object or several, over 2,000,000 characters, deeper than 50, a repeated key,
            NaN or an infinity, or half of a surrogate pair.
    """
    if len(text) > MAX_REPLY_CHARS:
        raise ParseError(f"the reply is longer than {MAX_REPLY_CHARS} characters")
    if (whole := _whole_object(text)) is not None:
        return whole
    found: dict[str, Any] | None = None
    problem = "there is no JSON object in the reply"
    for index, span in enumerate(_object_spans(split_reasoning(text)[1])):
        if index == _MAX_SPANS:
            raise ParseError(f"the reply has over {_MAX_SPANS} passages in braces")
        try:
            value = _load(repaired(span))
        except ValueError as error:
            problem = f"the JSON object cannot be read: {str(error)[:80]}"
            continue
        if found and value and value != found:
            raise ParseError("the reply has different JSON objects, where one was asked for")
        found = found or value
    if found is None:
        raise ParseError(problem)
    return found


def _whole_object(text: str) -> dict[str, Any] | None:
    """A reply that is one plain JSON object → that object: most are, and need no search."""
    is_plain = text.startswith("{") and "\\" not in text and "</think>" not in text
    if not is_plain or text.count("{") + text.count("[") > MAX_DEPTH:
        return None
    try:
        return _load(text)
    except ValueError:
        return None


def fields(text: str, shape: type[T]) -> T:
    """Reply → its JSON object as `shape`, if every field is as asked.

    Raises:
        ParseError: no such object (see `json_object`), or a field is wrong: the first one is named.
    """
    value = json_object(text)
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"])[:80] or "the object"
        raise ParseError(f"{name} is wrong in the reply: {first['type']}") from None


def _object_spans(text: str) -> Iterator[str]:
    start, num_unclosed = 0, 0
    while num_unclosed < _MAX_UNCLOSED and (opening := _OBJECT_START.search(text, start)):
        end = _closing(text, opening.start())
        if end is None:
            num_unclosed += 1
            start = opening.start() + 1
        else:
            yield text[opening.start() : end]
            start = end


def _closing(text: str, start: int) -> int | None:
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
        if depth > MAX_DEPTH:
            raise ParseError(f"the JSON object is nested deeper than {MAX_DEPTH}")
        if depth == 0:
            return token.end()
    return None


def _load(span: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(
        span,
        strict=False,
        object_pairs_hook=_unique,
        parse_constant=_refuse_constant,
        parse_float=_finite,
    )
    if _SURROGATE.search(span):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ParseError("the JSON object has half of a surrogate pair") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ParseError("the JSON object repeats a key")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ParseError("the JSON object has a number that is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"the JSON object has {name}, which is no JSON number")
