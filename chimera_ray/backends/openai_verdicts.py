"""What an endpoint refuses: the key, the account, the model, the prompt, a field, or just now.

Judged by status, codes and words, since servers agree on none of them. A verdict that would end the
run is never made from words that quote the prompt.
"""

import re
from collections.abc import Iterable
from typing import Literal

import chimera_ray.backends.openai_refusal_words as words
from chimera_ray.backends.openai_error_body import ErrorBody
from chimera_ray.backends.openai_quotes import quotes_prompt
from chimera_ray.llm import Request

Verdict = Literal[
    "key",  # not known, or not allowed to do this
    "account",  # nothing left to spend
    "model",  # not known
    "every_call",  # refused for another lasting reason
    "prompt",  # what it says is not wanted
    "too_long",  # more than the model, or the limit of a minute, can ever take
    "field",  # of the request, not known or not allowed
    "passing",
    "other",  # this request's own fault
]
LASTING: frozenset[Verdict] = frozenset({"key", "account", "model", "every_call", "field"})
"""they hold for every call"""
PASSING_STATUSES = frozenset({408, 409, 420, 423, 424, 425, 429, 498, 499})
"""besides those from 500 on"""
_ALSO_FOR_PROMPTS = frozenset({424, 498})
"""Cloudflare's and Cohere's for a prompt that is not wanted; of others, what passes"""
_LIMITED_STATUSES = frozenset({420, 429, 498})
_FATAL: dict[int, Verdict] = {
    401: "key",
    402: "account",
    404: "model",
    405: "every_call",
    407: "every_call",
    410: "model",
}
_FIELDS = (
    *("response_format", "reasoning_effort", "max_completion_tokens", "max_tokens", "temperature"),
    *("top_p", "top_k", "min_p", "presence_penalty", "seed", "stream_options", "stream"),
)
_VALUES = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "reasoning_effort")
"""fields whose value is the model file's, the same for every row"""
_OF_THE_ROW = frozenset({"messages", "prompt", "input"})
_ALSO = {"reasoning_effort": ("not support thinking",)}
"""what Ollama says of a field without its name"""
_CAMEL = re.compile(r"_(\w)")


def verdict_of(
    status: int, said: ErrorBody, request: Request, extra_fields: Iterable[str] = ()
) -> Verdict:
    """A status from 300 on and what came with it → what is refused.

    Args:
        status: of the answer, or the one that its body holds.
        said: the body.
        request: what was asked.
        extra_fields: of the request, beside those that every model may have.
    """
    marks = said.marks
    if status < 400:
        return "every_call"
    lasting = _lasting(status, marks)
    if lasting is not None and (status in _FATAL or not quotes_prompt(marks, request)):
        return lasting
    is_own = status < 500 and status not in PASSING_STATUSES
    is_judged = is_own or status in _ALSO_FOR_PROMPTS
    if is_judged and (words.PROMPT_CODES.search(marks) or words.PROMPT.search(marks)):
        return "prompt"
    if is_own and status != 413 and words.THROTTLED.search(marks):
        return "too_long" if _is_too_long(status, marks) else "passing"
    if status == 403:
        return "key"
    if status != 413 and refused_field(status, said, request, extra_fields) is not None:
        return "field"
    if status == 413 or _is_too_long(status, marks):
        return "too_long"
    if not is_own:
        return "passing"
    return "other"


def refused_field(
    status: int, said: ErrorBody, request: Request, extra_fields: Iterable[str] = ()
) -> str | None:
    """An error → the field of the request that the server does not take; None if it is not that."""
    is_value = status in (400, 422) and words.WRONG_VALUE.search(said.marks) is not None
    fields = _VALUES if is_value and not _is_unknown(status, said.marks) else _FIELDS
    if not is_value and not _is_unknown(status, said.marks):
        return None
    fields = (*fields, *extra_fields)
    parts = re.split(r"[.\[\]]", said.param)
    if named_field := next((part for part in parts if part in fields), None):
        return named_field
    if not _OF_THE_ROW.isdisjoint(parts) or quotes_prompt(said.marks, request):
        return None
    named = {field: at for field in fields if (at := _place(field, said.marks)) >= 0}
    return min(named, key=lambda field: named[field], default=None)


def is_limited(status: int, said: ErrorBody) -> bool:
    """Whether what passes is that the server is asked too often."""
    return status in _LIMITED_STATUSES or words.THROTTLED.search(said.marks) is not None


def is_unexplained(status: int, said: ErrorBody, request: Request) -> bool:
    """Whether a refusal ends the run by its status alone, and may be about this request's words."""
    if not request.messages:
        return False
    if status == 405:
        return not said.is_json  # a firewall's page
    is_told = _lasting(status, said.marks) is not None and not quotes_prompt(said.marks, request)
    return status == 403 and not is_told and verdict_of(status, said, request) == "key"


def is_value_refused(said: ErrorBody) -> bool:
    """Whether a refused field is known, and refused for its value."""
    is_unknown = words.UNKNOWN_FIELD.search(said.marks) is not None
    return not is_unknown and words.WRONG_VALUE.search(said.marks) is not None


def names_format(said: ErrorBody) -> bool:
    """Whether an error speaks of the way in which fields are asked for."""
    return words.FORMAT.search(said.marks) is not None


def refuses_format(said: ErrorBody) -> bool:
    """Whether an error surely refuses that way, whatever its status is."""
    return names_format(said) and words.FORMAT_REFUSED.search(said.marks) is not None


def _is_unknown(status: int, marks: str) -> bool:
    if status in (400, 422):
        return words.UNKNOWN_FIELD.search(marks) is not None
    return status in (500, 501) and words.SURELY_UNKNOWN_FIELD.search(marks) is not None


def _lasting(status: int, marks: str) -> Verdict | None:
    """What holds for every call, if the refusal is of that kind."""
    if words.SPENT_CODES.search(marks) or (status != 401 and words.SPENT.search(marks)):
        return "account"
    if status in _FATAL:
        return _FATAL[status]
    is_client = status < 500 and status not in PASSING_STATUSES
    if is_client and words.ELSEWHERE.search(marks):
        return "every_call"
    if is_client and (words.KEY.search(marks) or words.BARRED.search(marks)):
        return "key"
    return "model" if is_client and words.MODEL.search(marks) else None


def _is_too_long(status: int, marks: str) -> bool:
    """Whether the request is longer than can ever be taken, not only than is free just now."""
    for found in words.NEVER_FITS.finditer(marks):
        limit, requested = (int(part.replace(",", "")) if part else 0 for part in found.groups())
        if not limit or requested > limit:
            return True
    if status in PASSING_STATUSES:
        return False
    return bool(words.CONTEXT.search(marks) or (status < 500 and words.TOO_LONG.search(marks)))


def _place(field: str, marks: str) -> int:
    """A field → where an error first names it, in whatever spelling; -1 if it does not."""
    camel = _CAMEL.sub(lambda found: found[1].upper(), field)
    names = {field.lower(), camel.lower(), field.lower().replace("_", " "), *_ALSO.get(field, ())}
    found = re.search(rf"\b(?:{'|'.join(map(re.escape, names))})\b", marks)
    return found.start() if found else -1
