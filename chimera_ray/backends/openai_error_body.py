"""The body of an error, in whatever shape → its words, its code, and what it can be judged by.

Knows the shapes of OpenAI, FastAPI, Gemini (a list), xAI, OpenRouter (JSON within a text), problem
details, plain text and pages of HTML. Judges nothing.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from chimera_ray.backends.rate_headers import window_s

MAX_WORDS, MAX_MARKS, MAX_LEAVES = 1_000, 1_500, 100
MAX_DEPTH = 6
_MESSAGES = (
    *("message", "error", "detail", "details", "msg", "error_description", "error_message"),
    *("errors", "status_msg", "base_resp", "title", "description", "reason"),
)
"""names under which an error says what is wrong, the likeliest first"""
_CODES = ("code", "type", "status", "error_type", "error_code", "reason", "status_code")
_QUOTING = frozenset({"input", "flagged_input", "failed_generation", "messages", "prompt", "body"})
"""fields that hold what was sent or generated, so nothing is judged by them"""
_WAITS = frozenset({"retryDelay", "retry_after"})
"""fields that hold the seconds until it is worth another attempt"""
_WINDOW = "x-ratelimit-reset"
"""the header, which OpenRouter puts into the body"""
_TITLE = re.compile(r"<(title|message|h1|pre)[^>]*>(.{1,400}?)</\1>", re.IGNORECASE | re.DOTALL)

_TAG = re.compile(r"<[^<>]*>")


class ErrorBody(NamedTuple):
    """What an error says."""

    code: str = ""
    words: str = ""
    """as they came, bounded"""
    param: str = ""
    """the field of the request that it is about"""
    marks: str = ""
    """its codes and words, in lower case"""
    status: int | None = None
    """a status of HTTP that it holds itself"""


def error_body(content: bytes) -> ErrorBody:
    """The bytes of an answer → what they say."""
    text = decoded(content[: 1 << 20])
    if text.startswith(("data:", "event:")):  # an error within a stream
        text = text.partition("data:")[2].partition("\n")[0].strip()
    try:
        return error_in(json.loads(text))
    except (ValueError, RecursionError):
        pass
    words = text.strip()[:MAX_WORDS]
    if words.startswith("<"):
        titles = (html.unescape(_TAG.sub(" ", found[2])).strip() for found in _TITLE.finditer(text))
        words = next((title for title in titles if title.lower() != "error"), "")
    elif words.startswith(("{", "[", '"')) or not words.replace("\ufffd", "").strip():
        words = ""  # JSON that was cut
    return ErrorBody(words=words, marks=words.lower()[:MAX_MARKS])


def error_in(said: object) -> ErrorBody:
    """JSON → what it says."""
    fields = [*_objects(said)]
    code = next((code for each in fields if (code := _code(each))), "")
    words = _words(said)[:MAX_WORDS]
    leaves = [leaf for _, leaf in zip(range(MAX_LEAVES), _leaves(said), strict=False)]
    marks = " ".join([code, words, *leaves]).lower()[:MAX_MARKS]
    statuses = (_status(each.get(name)) for each in fields for name in ("code", "status", *_CODES))
    status = next((status for status in statuses if status is not None), None)
    return ErrorBody(code, words, _param(fields), marks, status)


def decoded(content: bytes) -> str:
    """Bytes → their text, without a byte-order mark; what is no UTF becomes U+FFFD."""
    encoding = json.detect_encoding(content) if content[:4] else "utf-8"
    return content.decode(encoding, "replace").removeprefix("\ufeff")


def _objects(said: object, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """JSON → the objects that may hold a code: the error itself before what is around it."""
    if isinstance(said, list):
        for part in said[:3]:
            yield from _objects(part, depth + 1)
    if not isinstance(said, dict) or depth > MAX_DEPTH:
        return
    for name in ("error", "errors", "detail", "message", "base_resp"):
        yield from _objects(said.get(name), depth + 1)
    yield said


def _code(said: Mapping[str, Any]) -> str:
    values = (said.get(name) for name in _CODES)
    named = (v for v in values if isinstance(v, str | int) and not isinstance(v, bool))
    codes = (str(value) for value in named if value)
    return next((code for code in codes if not code.startswith(("about:", "http"))), "")


def _status(said: object) -> int | None:
    if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) == 3:
        said = int(said)
    is_status = isinstance(said, int) and not isinstance(said, bool) and 400 <= said < 600
    return said if is_status and isinstance(said, int) else None


def _param(fields: list[Mapping[str, Any]]) -> str:
    """An error's objects → the field that it names as such."""
    for each in fields:
        if isinstance(each.get("param"), str) and each["param"]:
            return str(each["param"])
        place = each.get("loc")
        if isinstance(place, list) and place and isinstance(place[-1], str):
            return str(place[-1])
    return ""


def _words(said: object, depth: int = 0) -> str:
    """JSON → what it says in words."""
    if depth > MAX_DEPTH:
        return ""
    if isinstance(said, str):
        return _unwrapped(said, depth)
    if isinstance(said, list):
        return "; ".join(filter(None, (_words(part, depth + 1) for part in said[:3])))
    if not isinstance(said, dict):
        return ""
    found = (_words(said.get(name), depth + 1) for name in _MESSAGES)
    words = next(filter(None, found), "")
    place, more = said.get("loc"), said.get("metadata")
    if isinstance(place, list) and words:
        words = f"{'.'.join(map(str, place[:6]))}: {words}"
    raw = _words(more.get("raw"), depth + 1) if isinstance(more, dict) else ""
    return f"{words}: {raw}" if raw else words


def _unwrapped(text: str, depth: int) -> str:
    """A text → the words of the JSON that it is, if it is JSON that has any; else itself."""
    if text.lstrip().startswith(("{", "[")) and len(text) < MAX_WORDS * 20:
        try:
            return _words(json.loads(text), depth + 1) or text
        except (ValueError, RecursionError):
            return text
    return text


def _leaves(said: object, name: str = "", depth: int = 0) -> Iterator[str]:
    """JSON → its texts, but for what is quoted of the request."""
    if name in _QUOTING or depth > MAX_DEPTH:
        return
    if isinstance(said, str):
        yield said[:400]
    elif isinstance(said, dict):
        for key, value in said.items():
            if key in _WAITS and isinstance(value, str | int):
                yield f"retry after {value}".removesuffix("s") + "s"
            if key.lower() == _WINDOW and (wait_s := window_s(str(value))) is not None:
                yield f"retry after {wait_s:.3f}s"
            yield from _leaves(value, key, depth + 1)
    elif isinstance(said, list):
        for value in said:
            yield from _leaves(value, name, depth + 1)
