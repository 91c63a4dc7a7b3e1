"""The body of an error, in whatever shape → its words, its code, and what it can be judged by.

Knows the shapes of OpenAI, FastAPI, Gemini (a list), xAI, OpenRouter (JSON within a text), problem
details, plain text and pages of HTML. Of any other shape it takes the first text. Judges nothing.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from chimera_ray.backends.rate_headers import window_s

MAX_WORDS, MAX_MARKS, MAX_LEAVES = 1_000, 1_500, 100
MAX_TITLED = 1 << 16
"""characters of a page among which its title is looked for"""
MAX_DEPTH = 6
_MESSAGES = (
    *("message", "error", "detail", "details", "msg", "error_description", "error_message"),
    *("error_msg", "errors", "status_msg", "base_resp", "fault", "faultstring", "response"),
    *("description", "reason", "err", "title"),
)
"""names under which an error says what is wrong, in small letters, the likeliest first"""
_CODES = ("code", "type", "status", "error_type", "error_code", "errorcode", "reason")
_STATUSES = ("code", "status", "status_code", "http_status_code", "error_code", "httpcode", "error")
_HOLDERS = ("error", "errors", "detail", "message", "base_resp", "fault", "response")
"""fields whose objects are the error itself"""
_QUOTING = frozenset({"input", "flagged_input", "failed_generation", "messages", "prompt", "body"})
"""fields that hold what was sent or generated, so nothing is judged by them"""
_LABELS = frozenset(
    {"object", "id", "request_id", "requestid", "trace", "trace_id", "timestamp", "path", "loc"}
    | {"instance", "documentation_url", "provider_name", "metadata", "param", *_CODES}
)
"""fields that do not say in words what is wrong"""
_WAITS = {"retrydelay": "s", "retry_after": "s", "retryafter": "s", "retry_after_ms": "ms"}
"""field that holds how long to wait before another attempt → its unit"""
_WINDOW = "x-ratelimit-reset"
"""the header, which OpenRouter puts into the body"""
_TITLE = re.compile(r"<(title|message|h1|pre)[^<>]*>(.{1,400}?)</\1>", re.IGNORECASE | re.DOTALL)
_UNSHOWN = (
    re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", re.IGNORECASE | re.DOTALL),
    re.compile(r"<head\b(?:(?!<head\b).)*?</head\s*>", re.IGNORECASE | re.DOTALL),
)
_TAG = re.compile(r"<[^<>]*>")
_EVENT = re.compile(r"(?:event:[^\n]*\n)?(?:data|error):([^\n]*)")


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
    is_json: bool = True
    """False: a text, a page or nothing, as what stands before an endpoint may answer"""


def error_body(content: bytes) -> ErrorBody:
    """The bytes of an answer → what they say."""
    text = decoded(content[: 1 << 20])
    if (event := _EVENT.match(text)) is not None:  # an error within a stream
        text = event[1].strip()
    try:
        return error_in(json.loads(text))
    except (ValueError, RecursionError):
        pass
    words = text.strip()[:MAX_WORDS]
    is_json = words.startswith(("{", "[", '"')) and not words.startswith("{'")  # but cut
    words = _page_words(text) if words.startswith("<") else words
    if is_json or not words.replace("\ufffd", "").strip():
        words = ""
    return ErrorBody(words=words, marks=words.lower()[:MAX_MARKS], is_json=is_json)


def error_in(said: object) -> ErrorBody:
    """JSON → what it says."""
    fields = [*_objects(said)]
    code = next((code for each in fields if (code := _code(each))), "")
    words = (_words(said) or _first_text(said))[:MAX_WORDS]
    leaves = [leaf for _, leaf in zip(range(MAX_LEAVES), _leaves(said), strict=False)]
    marks = " ".join([code, words, *leaves]).lower()[:MAX_MARKS]
    statuses = (_status(each.get(name)) for each in fields for name in _STATUSES)
    status = next((status for status in statuses if status is not None), None)
    return ErrorBody(code, words, _param(fields), marks, status)


def decoded(content: bytes) -> str:
    """Bytes → their text, without a byte-order mark; what is no UTF becomes U+FFFD."""
    encoding = json.detect_encoding(content) if content[:4] else "utf-8"
    return content.decode(encoding, "replace").removeprefix("\ufeff")


def _page_words(page: str) -> str:
    """A page → its first title that says something, else the beginning of its text."""
    found = _TITLE.finditer(page, 0, MAX_TITLED)
    titles = (html.unescape(_TAG.sub(" ", each[2])).strip() for each in found)
    title = next((title for title in titles if title.lower() != "error"), "")
    text = title or page[: MAX_WORDS * 20]
    for unshown in (*_UNSHOWN, _TAG) if not title else ():
        text = unshown.sub(" ", text)
    text = " ".join(text.split())[: MAX_WORDS * 2]  # no number in it is too long to be one
    return " ".join(html.unescape(text).split())[:MAX_WORDS]


def _lowered(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """An object → the same with its names in small letters."""
    return {name.lower(): value for name, value in said.items()}


def _objects(said: object, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """JSON → the objects that may hold a code: the error itself before what is around it."""
    if isinstance(said, list):
        for part in said[:3]:
            yield from _objects(part, depth + 1)
    if not isinstance(said, dict) or depth > MAX_DEPTH:
        return
    fields = _lowered(said)
    for name in _HOLDERS:
        yield from _objects(fields.get(name), depth + 1)
    yield fields


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
    fields = _lowered(said)
    found = (_words(fields.get(name), depth + 1) for name in _MESSAGES)
    by_field = fields.get("errors")  # the names there are those of the request's fields
    words = _first_text(by_field, frozenset()) if isinstance(by_field, dict) else ""
    words = words or next(filter(None, found), "")
    place, more = fields.get("loc"), fields.get("metadata")
    if isinstance(place, list) and words:
        words = f"{'.'.join(map(str, place[:6]))}: {words}"
    raw = _words(more.get("raw"), depth + 1) if isinstance(more, dict) else ""
    return f"{words}: {raw}" if raw else words


def _first_text(said: object, unread: frozenset[str] = _LABELS | _QUOTING) -> str:
    """JSON that says nothing under a name that we know → the first of its texts with a blank.

    Args:
        said: the JSON.
        unread: fields whose text is not what is wrong.
    """
    texts = [text for _, text in zip(range(MAX_LEAVES), _texts(said, unread), strict=False)]
    return next((text for text in texts if " " in text.strip()), texts[0] if texts else "")


def _texts(said: object, unread: frozenset[str], depth: int = 0) -> Iterator[str]:
    if isinstance(said, str):
        yield said
    if depth > MAX_DEPTH or not isinstance(said, dict | list):
        return
    fields = said.items() if isinstance(said, dict) else (("", part) for part in said[:3])
    for name, value in fields:
        if name.lower() not in unread:
            yield from _texts(value, unread, depth + 1)


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
            unit = _WAITS.get(key.lower())
            if unit is not None and isinstance(value, str | int | float):
                yield f"retry after {value}".removesuffix(unit) + unit
            if key.lower() == _WINDOW and (wait_s := window_s(str(value))) is not None:
                yield f"retry after {wait_s:.3f}s"
            yield from _leaves(value, key, depth + 1)
    elif isinstance(said, list):
        for value in said:
            yield from _leaves(value, name, depth + 1)
