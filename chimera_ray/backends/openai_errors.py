"""The SDK's errors → ours: what passes, what is final for the row, what is final for the run.

A server's words may quote the prompt or the key: they are shown only where they do neither.
"""

import re

import openai

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

SHOWN_CHARS = 200
QUOTE_CHARS = 16
"""so long a run of the prompt in a server's words is a quotation"""
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


def translated(exc: openai.OpenAIError, config: OpenAIModel, request: Request) -> ChimeraError:
    """An SDK's error → ours, in words that quote neither prompt nor key."""
    name = config.name
    if isinstance(exc, openai.APITimeoutError):
        return TransientProviderError(f"{name}: timed out")
    if not isinstance(exc, openai.APIStatusError):
        kind = type(exc.__cause__ or exc).__name__
        return TransientProviderError(f"{name}: the connection failed ({kind})")
    status, code = exc.status_code, str(exc.code or exc.type or "")[:60]
    where = f"{name} at {config.base_url or 'the provider'}"
    if code in _SPENT or status in _FATAL:
        return EndpointError(f"{where} {_no(status, config)}{_said(exc, request, code)}")
    if status in _PASSING or status >= 500:
        return _passing(exc, f"{name}: HTTP {status}{_said(exc, request, code)}")
    said = _words(exc).lower()
    if code in _REFUSED:
        return RefusalError(f"{name}: declined by the endpoint ({code})")
    field = refused_field(exc)
    if field is not None:
        return EndpointError(
            f"{where} does not take the field {field}: leave it out of the model's settings"
            f"{_said(exc, request, code)}"
        )
    kind_of = ContextError if "context_length" in code or _TOO_LONG.search(said) else ProviderError
    return kind_of(f"{name}: HTTP {status}{_said(exc, request, code)}")


def refused_field(exc: openai.APIStatusError) -> str | None:
    """An error → the field of our request that the server does not know; None if it is not that."""
    if exc.status_code not in (400, 422):
        return None
    said = f"{exc.code} {_words(exc)}".lower()
    if not _UNSUPPORTED.search(said):
        return None
    param = str(exc.param or "").split(".")[0]
    if param:
        return param if param in _FIELDS else None
    return next((field for field in _FIELDS if re.search(rf"\b{field}\b", said)), None)


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
    return meanings.get(status, f"refuses every call (HTTP {status})")


def _said(exc: openai.APIStatusError, request: Request, code: str) -> str:
    """What the server said besides, if it may be shown."""
    words = " ".join(_words(exc).split())[:SHOWN_CHARS]
    # A server may echo the key, whole or in part, when it says that it is wrong.
    may_show = exc.status_code not in (401, 403) and not _quotes(words, request)
    shown = "".join(char if char.isprintable() else "\ufffd" for char in words)
    return f" [{code}: {shown}]" if may_show and shown else f" [{code}]" if code else ""


def _words(exc: openai.APIStatusError) -> str:
    """A server's own words; a page of HTML has none."""
    body = exc.body
    said = body.get("message") if isinstance(body, dict) else None
    return said if isinstance(said, str) else ""


def _quotes(words: str, request: Request) -> bool:
    runs = {words[at : at + QUOTE_CHARS] for at in range(max(len(words) - QUOTE_CHARS + 1, 0))}
    return any(run in message.content for message in request.messages for run in runs)
