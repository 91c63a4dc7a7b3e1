"""What an endpoint answers → our errors: what passes, what ends the row, what ends the run.

A server's words may quote the prompt or the key: they are shown only where they do neither.
"""

import json
import os
import re
import ssl
from collections.abc import Iterable

import httpx2
import openai

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.rate_headers import retry_after_s
from chimera_ray.errors import (
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import Request
from chimera_ray.model_config import OpenAIModel

SHOWN_CHARS, CODE_CHARS = 200, 60
QUOTE_CHARS = 16
"""so long a run of the prompt in a server's words is a quotation"""
KEY_CHARS, MIN_KEY_CHARS = 8, 4
"""so long a run of the key is too much of it; what is shorter is no key"""
_PASSING = frozenset({408, 409, 425, 429})
_FATAL = frozenset({401, 402, 403, 404, 405, 407})
_SPENT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_REFUSED = ("content_filter", "content_policy_violation", "invalid_prompt", "moderation_blocked")
_TOO_LONG = re.compile(
    r"context.{0,20}(length|window)|maximum.{0,20}(context|length)|too (long|large)"
)
_UNSUPPORTED = re.compile(
    r"unsupported|unknown_?parameter|unrecognized|unexpected|extra inputs|not (supported|permitted)"
)
_ESCAPES = re.compile(r"\\+[nrt]?|[\s\"']")
"""what a quotation may write in another way than the prompt does"""
_FIELDS = (
    "response_format",
    "reasoning_effort",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "presence_penalty",
    "seed",
)


def error_of(answer: Answer, config: OpenAIModel, request: Request) -> ChimeraError:
    """An answer that is no success → its error, in words that quote neither prompt nor key."""
    return translated(_status_error(answer), config, request)


def transport_error(exc: Exception, config: OpenAIModel) -> ChimeraError:
    """What kept an answer from coming → its error; a certificate that is not trusted is final."""
    cause: BaseException | None = exc
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__
    if cause is None:
        return translated(exc, config, Request((), None, 0))
    return EndpointError(
        f"{config.name} at {config.base_url or 'the provider'} has a certificate that is not "
        f"trusted here ({cause.verify_message}): check base_url, or name a file with the "
        "authority's certificate in the environment variable SSL_CERT_FILE"
    )


def is_format_refused(answer: Answer, request: Request, structured: str) -> bool:
    """Whether the way in which fields were asked for may be why an answer is a 400 or 422.

    It may, whatever the answer says, unless that names another field of the request.
    """
    if answer.status not in (400, 422) or request.schema is None or structured == "none":
        return False
    return refused_field(_status_error(answer)) in (None, "response_format")


def _status_error(answer: Answer) -> openai.APIStatusError:
    try:
        said = json.loads(answer.body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        said = None
    body = said.get("error", said) if isinstance(said, dict) else said
    request = httpx2.Request("POST", "https://endpoint/v1/chat/completions")
    headers = httpx2.Headers(dict(answer.headers), encoding="latin-1")
    response = httpx2.Response(answer.status, headers=headers, request=request)
    return openai.APIStatusError("", response=response, body=body)


def translated(exc: Exception, config: OpenAIModel, request: Request) -> ChimeraError:
    """An error of the SDK or its transport → ours, in words that quote neither prompt nor key."""
    name = config.name
    if not isinstance(exc, openai.APIStatusError):
        kind = kind_of(exc)
        what = "timed out" if "Timeout" in kind else "the connection failed"
        return TransientProviderError(f"{name}: {what} ({kind})")
    status, code = exc.status_code, str(exc.code or exc.type or "")[:CODE_CHARS]
    where = f"{name} at {config.base_url or 'the provider'}"
    said = _said(exc, config, request)
    if code in _SPENT or status in _FATAL or 300 <= status < 400:
        return EndpointError(f"{where} {_no(status, config)}{said}")
    if status in _PASSING or status >= 500:
        return _passing(exc, f"{name}: HTTP {status}{said}")
    if code in _REFUSED:
        return RefusalError(f"{name}: declined by the endpoint ({code})")
    field = refused_field(exc, config.extra_body)
    if field is not None:
        return EndpointError(
            f"{where} does not take the field {field}: leave it out of the model's settings{said}"
        )
    is_too_long = "context_length" in code or _TOO_LONG.search(_words(exc).lower())
    return (ContextError if is_too_long else ProviderError)(f"{name}: HTTP {status}{said}")


def kind_of(exc: BaseException) -> str:
    """An error → what its first cause is called: the SDK's transport says timeout for much else."""
    while exc.__cause__ is not None:
        exc = exc.__cause__
    return type(exc).__name__


def refused_field(exc: openai.APIStatusError, extra_fields: Iterable[str] = ()) -> str | None:
    """An error → the field of our request that the server does not know; None if it is not that."""
    fields = (*_FIELDS, *extra_fields)
    if exc.status_code not in (400, 422):
        return None
    said = f"{exc.code} {_words(exc)}".lower()
    if not _UNSUPPORTED.search(said):
        return None
    param = str(exc.param or "").split(".")[0]
    if param:
        return param if param in fields else None
    named = (field for field in fields if re.search(rf"\b{re.escape(field.lower())}\b", said))
    return next(named, None)


def _passing(exc: openai.APIStatusError, text: str) -> TransientProviderError:
    error = TransientProviderError(text)
    error.is_limited = exc.status_code == 429
    error.retry_after_s = retry_after_s(exc.response.headers)
    return error


def _no(status: int, config: OpenAIModel) -> str:
    """What a refusal for good means, and what to do."""
    key = f"the key in {config.api_key_env}" if config.api_key_env else "calls without a key"
    meanings = {
        401: f"refuses {key} (HTTP 401): check the key",
        402: "asks to be paid first (HTTP 402): top up the account",
        403: f"does not let {key} do this (HTTP 403): check what the key may use",
        404: "does not know this model, or is no chat endpoint (HTTP 404): check name and base_url",
        429: f"has no quota left for {key}: top up the account or raise its limit",
    }
    if status < 400:
        return f"sends calls elsewhere (HTTP {status}): give the final address as base_url"
    return meanings.get(status, f"refuses every call (HTTP {status})")


def _said(exc: openai.APIStatusError, config: OpenAIModel, request: Request) -> str:
    """What the server said besides, if it may be shown."""
    code = _shown(str(exc.code or exc.type or "")[:CODE_CHARS], config, request)
    words = _shown(_words(exc), config, request)
    # A server may echo the key masked, or another one, when it says that it is wrong.
    if exc.status_code in (401, 403) or not words:
        return f" [{code}]" if code else ""
    return f" [{code}: {words}]"


def _shown(said: str, config: OpenAIModel, request: Request) -> str:
    words = " ".join(said.split())[:SHOWN_CHARS]
    if _quotes(words, config, request):
        return ""
    return "".join(char if char.isprintable() else "\ufffd" for char in words)


def _words(exc: openai.APIStatusError) -> str:
    """A server's own words; a page of HTML has none."""
    body = exc.body
    said = body.get("message") if isinstance(body, dict) else None
    return said if isinstance(said, str) else ""


def _quotes(words: str, config: OpenAIModel, request: Request) -> bool:
    key = os.environ.get(config.api_key_env or "", "").strip()
    if len(key) >= MIN_KEY_CHARS and _shares(words, key, min(KEY_CHARS, len(key))):
        return True
    plain = _ESCAPES.sub("", words)
    prompts = (_ESCAPES.sub("", message.content) for message in request.messages)
    return any(_shares(plain, prompt, QUOTE_CHARS) for prompt in prompts)


def _shares(words: str, secret: str, num_chars: int) -> bool:
    runs = {words[at : at + num_chars] for at in range(len(words) - num_chars + 1)}
    return any(run in secret for run in runs)
