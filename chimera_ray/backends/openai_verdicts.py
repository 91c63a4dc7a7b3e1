"""What an endpoint's refusal is about: the key, the account, the prompt, a field, or nothing lasting.

Judged by status, codes and words, since servers agree on none of them. A verdict that would end the
run is never made from words that quote the prompt.
"""

import re
from collections.abc import Iterable
from typing import Literal

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
LIMITED_STATUSES = frozenset({420, 429, 498})
_FATAL: dict[int, Verdict] = {
    401: "key",
    402: "account",
    404: "model",
    405: "every_call",
    407: "every_call",
}
_FIELDS = (
    *("response_format", "reasoning_effort", "max_completion_tokens", "max_tokens", "temperature"),
    *("top_p", "top_k", "min_p", "presence_penalty", "seed", "stream_options", "stream"),
)
_SPENT_CODES = re.compile(
    r"insufficient_(?:quota|balance|funds|credits)|billing_(?:hard_limit_reached|not_active)"
    r"|exceeded_current_quota_error|arrearage|account_?overdue|blocked_api_access|credit_limit"
)
_SPENT = re.compile(
    r"(?:insufficient|not enough) (?:account )?(?:balance|credit|fund)|balance is too low"
    r"|used all available credits|spend(?:ing)? limit|out of credits|(?:no|n't have any) credits"
    r"|more credits|purchase .{0,20}credits|overdue|余额不足|欠费"
)
_KEY = re.compile(
    r"(?:invalid|incorrect|expired|missing|wrong|malformed|unknown|revoked|no) (?:or missing )?"
    r"(?:or invalid )?(?:api|access|auth\w*|bearer|x-api)[ _-]?(?:key|token|header)"
    r"|api[ _-]?key (?:is )?(?:not valid|not found|invalid|expired|missing|required|incorrect)"
    r"|(?:invalid|expired|incorrect)_(?:api_)?key|api_key_(?:invalid|expired|missing)"
    r"|invalid_(?:auth\w*|token)|authentication_?error|unauthenticated|authentication (?:failed|error)"
    r"|expired token|(?:invalid|expired) credential"
)
_BARRED = re.compile(
    r"(?:account|organi[sz]ation|key|access|project|team|user)\b.{0,40}"
    r"(?:deactivat|disabl|suspend|terminat|banned|revoked|restricted)"
)
_PROMPT_CODES = re.compile(
    r"content_?filter|content_policy|content_moderation|responsibleai|data_?inspection"
    r"|moderation_blocked|invalid_prompt|prohibited_content|safety_check_type|sensitive_?content"
    r"|guardrail_intervened|input_flagged|cyber_policy"
)
_PROMPT = re.compile(
    r"(?:input|prompt|content|request|message|text)s?\b.{0,60}\bflagged|requires moderation"
    r"|content management policy|safety system|violates? .{0,40}(?:guideline|polic)"
    r"|violation of .{0,40}(?:guideline|polic)|violating .{0,40}(?:guideline|polic)"
    r"|inappropriate content|content exists risk|considered high risk|sensitive (?:content|words?)"
    r"|blocked by .{0,40}(?:filter|policy|safety|moderation|guardrail)|content filtering"
    r"|prompt (?:was |has been )?blocked|敏感|不安全"
)
_CONTEXT = re.compile(r"context_length|exceed_context_size|context.{0,20}(?:length|window|size)")
_TOO_LONG = re.compile(
    r"string_above_max_length|maximum.{0,20}(?:context|length|number of tokens)"
    r"|(?:prompt|input|request|messages?|payload|entity|body) (?:is |are |was )?too (?:long|large)"
    r"|(?:input|prompt|token count|inputs?|sequence).{0,60}exceeds?\b.{0,40}(?:limit|max|allowed|length)"
    r"|must have less than \d+ tokens|reduce (?:the length|your (?:message|prompt|input))"
    r"|longer than the (?:model|maximum)|too many (?:input )?tokens in|too_(?:long|large)"
)
_ALSO_TOO_LONG = re.compile(r"too (?:long|large)")
_NEVER_FITS = re.compile(
    r"request too large|must be reduced|\blimit:? (\d[\d,]*)\b.{0,60}?\brequested:? (\d[\d,]*)"
)
_MODEL = re.compile(
    r"model_not_(?:found|available)|invalid_model|unknown model|no such model|model not (?:exist|found)"
    r"|invalid model(?: name|:| id)|not a valid model|model\b.{0,80} (?:does not exist|not found)"
)
_UNKNOWN_FIELD = re.compile(
    r"unsupported|unknown[ _]?(?:parameter|field|name|argument)|unrecognized|unexpected|extra inputs"
    r"|extra fields|extraneous|additional propert|not (?:be )?(?:supported|permitted|allowed|recognized)"
    r"|(?:does not|doesn't|cannot|not) (?:support|accept|take)|unavailable|deprecated|cannot both be"
)
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
    if is_own and (_PROMPT_CODES.search(marks) or _PROMPT.search(marks)):
        return "prompt"
    if status == 403:
        return "key"
    if status == 413 or _is_too_long(status, marks):
        return "too_long"
    if not is_own:
        return "passing"
    if refused_field(status, said, request, extra_fields) is not None:
        return "field"
    return "too_long" if _ALSO_TOO_LONG.search(marks) else "other"


def refused_field(
    status: int, said: ErrorBody, request: Request, extra_fields: Iterable[str] = ()
) -> str | None:
    """An error → the field of the request that the server does not take; None if it is not that."""
    if status not in (400, 422) or not _UNKNOWN_FIELD.search(said.marks):
        return None
    fields = (*_FIELDS, *extra_fields)
    param = said.param.split(".")[0]
    if param:
        return param if param in fields else None
    if quotes_prompt(said.marks, request):
        return None
    named = {field: at for field in fields if (at := _place(field, said.marks)) >= 0}
    return min(named, key=lambda field: named[field], default=None)


def _lasting(status: int, marks: str) -> Verdict | None:
    """What holds for every call, if the refusal is of that kind."""
    if status < 500 and _SPENT_CODES.search(marks):
        return "account"
    if status in _FATAL:
        return _FATAL[status]
    is_client = status < 500 and status not in PASSING_STATUSES
    if (is_client or status == 429) and _SPENT.search(marks):
        return "account"
    if is_client and (_KEY.search(marks) or _BARRED.search(marks)):
        return "key"
    return "model" if is_client and _MODEL.search(marks) else None


def _is_too_long(status: int, marks: str) -> bool:
    """Whether the request is longer than can ever be taken, not only than is free just now."""
    for found in _NEVER_FITS.finditer(marks):
        limit, requested = (int(part.replace(",", "")) if part else 0 for part in found.groups())
        if not limit or requested > limit:
            return True
    if status in PASSING_STATUSES:
        return False
    return bool(_CONTEXT.search(marks) or (status < 500 and _TOO_LONG.search(marks)))


def _place(field: str, marks: str) -> int:
    """A field → where an error first names it, in whatever spelling; -1 if it does not."""
    camel = _CAMEL.sub(lambda found: found[1].upper(), field)
    names = {field.lower(), camel.lower(), field.lower().replace("_", " ")}
    found = re.search(rf"\b(?:{'|'.join(map(re.escape, names))})\b", marks)
    return found.start() if found else -1
