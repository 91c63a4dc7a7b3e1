"""How a server says that a reply ended → what that means, in the words of every server we know.

What no server is known to say is judged by what the reply shows, and named in the log.
"""

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from chimera_ray.credentials import redacted
from chimera_ray.llm import Request
from chimera_ray.schemas import FinishReason

NAMED_CHARS = 40
_STOP = (
    *("stop", "eos", "eos_token", "end_turn", "end_of_turn", "end_of_text", "eot", "stop_sequence"),
    *("stop_str", "stop_token", "stop_word", "complete", "completed", "finish", "finished", "done"),
    *("end", "endturn", "eot_id", "im_end", "endoftext", "normal", "success"),
)
_LENGTH = (
    *("length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens"),
    *("max_length", "model_length", "token_limit", "limit", "error_limit", "context_length"),
    *("model_context_window_exceeded", "max_context_length", "incomplete", "truncated"),
)
_REFUSAL = (
    *("content_filter", "content_filtered", "refusal", "refused", "safety", "recitation"),
    *("blocklist", "blocked", "prohibited_content", "spii", "sensitive", "moderation", "flagged"),
    *("guardrail_intervened", "error_toxic", "image_safety", "language", "policy_violation"),
)
_PASSING = (
    *("insufficient_system_resource", "error", "abort", "aborted", "cancel", "cancelled"),
    *("canceled", "failed", "failure", "network_error", "engine_overloaded", "overloaded"),
    *("timeout", "interrupted", "preempted", "server_error", "model_error", "in_progress"),
    *("other", "rate_limit_exceeded", "resource_exhausted", "malformed_response"),
)
_MEANINGS: dict[str, FinishReason] = {
    **dict.fromkeys(_STOP, "stop"),
    **dict.fromkeys(_LENGTH, "length"),
    **dict.fromkeys(_REFUSAL, "refusal"),
    **dict.fromkeys(_PASSING, "abort"),
    "repetition": "repetition",
}
_LIKE: dict[FinishReason, re.Pattern[str]] = {
    "refusal": re.compile(
        "filter|policy|safety|moderat|guardrail|refus|prohibit|blocked|(?:block|black)list|recitation"
        "|sensitive|armor|copyright|illegal"
    ),
    "abort": re.compile(
        "cancel|fail|error|malformed|unexpected|missing|time_?(?:out|limit)|deadline|rate_?limit"
        "|(?:un|not_)finished|pause|shed|interrupt|abort|overload|unavailable|unload|exhausted"
        "|user_stop|disconnect|no_image"
    ),
    "length": re.compile(
        "length|limit|max_(?:\\w*tokens?|len|out)|predicted_tokens|context|truncat"
    ),
    "repetition": re.compile("repetition|loop"),
}
"""what a word means that is not one of these but speaks of the same, the first that fits"""
_ENDINGS = ("finish_reason", "finishReason", "stop_reason", "native_finish_reason")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_BRACKETS = {"{": "}", "[": "]"}
_LOG = logging.getLogger(__name__)


def ending_in(choice: Mapping[str, Any]) -> object:
    """A choice → how it says that it ended, if it says so.

    What the server behind a router said counts where the router tells nothing, or a stop in place
    of another ending that we know.
    """
    said = next((choice[name] for name in _ENDINGS if choice.get(name)), None)
    native = choice.get("native_finish_reason")
    if native is None or native is said:
        return said
    is_hidden = meaning_of(said) == "stop" and meaning_of(native) in ("length", "refusal", "abort")
    return native if is_hidden else said


def meaning_of(said: object) -> FinishReason | None:
    """A finish reason as it came → what it means; None: no server is known to say so.

    `abort` is a reply that broke off for a reason of the server's, which may pass.
    """
    if said == "stop":  # nearly all
        return "stop"
    word = _word(said)
    like = (meant for meant, words in _LIKE.items() if words.search(word))
    return _MEANINGS.get(word) or next(like, None)


def shown_ending(
    said: object, request: Request, limit: int | None, text: str, output_tokens: int
) -> FinishReason:
    """A finish reason that says nothing we know, and the reply → how it ended, by what it shows.

    Args:
        said: the finish reason, to be named.
        request: what was asked.
        limit: the model's own limit of output tokens, if the request has none.
        text: the reply's final part.
        output_tokens: as the server counts them.

    Shapes:
        length, if the limit is used up; abort, if there is no final part, or JSON that was asked
        for and is cut; else stop.
    """
    limit = limit if request.max_tokens is None else request.max_tokens
    bare = text.strip()
    is_cut = request.schema is not None and _BRACKETS.get(bare[:1], bare[-1:]) != bare[-1:]
    meant: FinishReason = "stop" if bare and not is_cut else "abort"
    if limit is not None and output_tokens >= limit:
        meant = "length"
    named = redacted(said) if isinstance(said, str) else said
    _name_once(_word(named)[:NAMED_CHARS] or "none", meant)
    return meant


def _word(said: object) -> str:
    """A finish reason as it came → one word: `FinishReason.MAX_TOKENS` is max_tokens."""
    if isinstance(said, list) and len(said) == 1:
        (said,) = said
    if isinstance(said, dict):  # SGLang's own
        said = said.get("type")
    if not isinstance(said, str) or len(said) > 100:
        return ""
    word = _HUMP.sub("_", said.partition(":")[0].rpartition(".")[2].strip()).lower()
    word = word.strip("<|>").replace("-", "_").replace(" ", "_").removeprefix("finish_reason_")
    return "" if word in ("null", "none", "unknown", "unspecified") else word


@lru_cache(maxsize=64)
def _name_once(word: str, meant: FinishReason) -> None:
    _LOG.warning("finish reason %r is not one that we know: read as %s", word, meant)
