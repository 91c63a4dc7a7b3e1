"""The body of an answer → a reply, or the error that it turns out to be."""

import json
from collections.abc import Mapping
from typing import Any

from chimera_ray.backends.forecast import estimated_tokens
from chimera_ray.backends.openai_answer import Answer
from chimera_ray.errors import TransientProviderError
from chimera_ray.llm import Reply, Request, Usage
from chimera_ray.model_config import OpenAIModel
from chimera_ray.schemas import FinishReason

MAX_TOKENS_SAID = 1 << 40
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "refusal",
    "repetition": "repetition",
}
"""anything else is an end that we do not know, and so no whole reply: abort"""


def reply_of(answer: Answer, config: OpenAIModel, request: Request) -> Reply:
    """A 200 → its reply; a byte that is no UTF-8 becomes U+FFFD.

    Raises:
        TransientProviderError: the body is no chat completion: cut, garbled, a proxy's page.
    """
    try:
        body = json.loads(answer.body.decode("utf-8", "replace"))
    except ValueError:
        kind = _storable(answer.headers.get("content-type", "nothing"))[:40]
        raise TransientProviderError(
            f"{config.name}: the answer is no JSON ({len(answer.body)} bytes that say to be {kind})"
        ) from None
    except RecursionError:
        raise TransientProviderError(f"{config.name}: the answer's JSON is too deep") from None
    return reply_from(body, answer.headers.get("x-request-id", ""), config, request)


def reply_from(body: object, request_id: str, config: OpenAIModel, request: Request) -> Reply:
    """A chat completion as JSON → its reply.

    Raises:
        TransientProviderError: it is none.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(body, dict) or not isinstance(choice, dict) or not isinstance(message, dict):
        raise TransientProviderError(f"{config.name}: the answer holds no reply")
    text, refusal = _text(message.get("content")), _text(message.get("refusal"))
    reasoning = _text(message.get("reasoning_content")) or _text(message.get("reasoning"))
    finish_reason = _FINISH.get(str(choice.get("finish_reason")), "abort")
    if refusal:
        text, finish_reason = refusal, "refusal"
    usage = _usage(body.get("usage"))
    is_estimated = usage is None
    if usage is None:
        asked = sum(len(message.content) for message in request.messages)
        thought = estimated_tokens(len(reasoning))
        usage = Usage(estimated_tokens(asked), 0, estimated_tokens(len(text)) + thought, thought)
    return Reply(
        text=text,
        finish_reason=finish_reason,
        reasoning=reasoning or None,
        usage=usage,
        is_usage_estimated=is_estimated,
        request_id=_storable(request_id or _text(body.get("id")))[:200],
    )


def _text(said: object) -> str:
    """A message's field → its text; some servers give parts instead of one text."""
    if isinstance(said, str):
        return said
    parts = said if isinstance(said, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def _storable(said: str) -> str:
    """A text → the same without halves of surrogate pairs, which no file can hold."""
    return said.encode("utf-8", "replace").decode()


def _usage(said: object) -> Usage | None:
    if not isinstance(said, dict):
        return None
    given = _count(said.get("prompt_tokens"))
    taken = _count(said.get("completion_tokens"))
    if given is None or taken is None:
        return None
    cached = _count(_detail(said, "prompt_tokens_details", "cached_tokens")) or 0
    thought = _count(_detail(said, "completion_tokens_details", "reasoning_tokens")) or 0
    return Usage(given, min(cached, given), taken, min(thought, taken))


def _detail(said: Mapping[str, Any], group: str, name: str) -> object:
    details = said.get(group)
    return details.get(name) if isinstance(details, dict) else None


def _count(said: object) -> int | None:
    is_count = isinstance(said, int) and not isinstance(said, bool) and 0 <= said < MAX_TOKENS_SAID
    return said if is_count and isinstance(said, int) else None
