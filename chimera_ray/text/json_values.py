"""The text of one JSON object → its value, read strictly but for raw line breaks."""

import json
import math
import re
from typing import Any, NoReturn

from chimera_ray.errors import ParseError
from chimera_ray.text.latex_escapes import is_text, repaired

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_RAW_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]|\r(?!\n)")
_CONTROL = re.compile(r"[\\\x00-\x1f\x7f-\x9f]")
"""a text without any, and without an escape that could make one, has none in its values either"""
_COMMA = re.compile(r'"(?:[^"\\]++|\\.)*+"|,(?=\s*+[}\]])', re.DOTALL)


class Whole(int):
    """A JSON number without a point or an exponent, and how it was written."""

    written: str

    def __new__(cls, written: str) -> "Whole":
        """What was written → the number."""
        number = super().__new__(cls, written)
        number.written = written
        return number


class Real(float):
    """A JSON number with a point or an exponent, and how it was written."""

    written: str

    def __new__(cls, written: str) -> "Real":
        """What was written → the number, if it is finite."""
        number = super().__new__(cls, written)
        if not math.isfinite(number):
            raise ParseError("the JSON object has a number that is too large")
        number.written = written
        return number


def object_value(text: str) -> dict[str, Any]:
    """The text of an object → its value, with its numbers as written and its LaTeX repaired.

    Raises:
        ParseError: it is no JSON, repeats a key, holds NaN, an infinity, half of a surrogate pair
            or a control character that is no text, or its escapes have two meanings.
    """
    if _RAW_CONTROL.search(text):
        raise ParseError("the JSON object has a control character")
    try:
        value: dict[str, Any] = json.loads(
            repaired(text),
            strict=False,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=Real,
            parse_int=Whole,
        )
    except ValueError as error:
        raise ParseError(f"the JSON object cannot be read: {str(error)[:80]}") from None
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ParseError("the JSON object has half of a surrogate pair") from None
    if _CONTROL.search(text):
        _check(value)
    return value


def without_comma(text: str) -> str | None:
    """The text of an object → the same without its one comma too many; None if it has none."""
    commas = [found.start() for found in _COMMA.finditer(text) if found[0] == ","]
    if len(commas) != 1 or text[: commas[0]].rstrip()[-1:] in ("{", "[", ",", ":"):
        return None
    return text[: commas[0]] + text[commas[0] + 1 :]


def _check(value: object) -> None:
    """Raise ParseError unless every string inside is text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(key)
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)
    elif isinstance(value, str) and not is_text(value):
        raise ParseError("the JSON object has a control character, or what is left of a command")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ParseError("the JSON object repeats a key")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"the JSON object has {name}, which is no JSON number")
