"""The body of a 200 → a reply, or the error that it turns out to be.

What cannot be used may have been paid for all the same: its error carries a `LostAttempt` with what
there is of text and tokens.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from chimera_ray.backends.openai_answer import Answer, StreamResult
from chimera_ray.backends.openai_endings import ending_in, meaning_of, shown_ending
from chimera_ray.backends.openai_error_body import ErrorBody, decoded, error_body, error_in
from chimera_ray.backends.openai_errors import judged
from chimera_ray.backends.openai_message import plain_text, said_by
from chimera_ray.backends.openai_quotes import shown, without_key
from chimera_ray.backends.openai_responses import chat_body, chat_chunk
from chimera_ray.backends.openai_stream import body_of_stream, is_event_stream
from chimera_ray.backends.openai_usage import usage_of
from chimera_ray.backends.openai_verdicts import is_limited
from chimera_ray.credentials import redacted
from chimera_ray.errors import ChimeraError, ProviderError, TransientProviderError
from chimera_ray.llm import LostAttempt, Reply, Request
from chimera_ray.model_config import OpenAIModel

ID_CHARS = 200
_STATUS_OF_CODE = {
    **dict.fromkeys(("invalid_api_key", "authentication_error", "unauthenticated"), 401),
    **dict.fromkeys(("insufficient_quota", "insufficient_balance", "billing_not_active"), 402),
    **dict.fromkeys(("permission_denied", "permission_error", "forbidden"), 403),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "too_many_requests"), 429),
    **dict.fromkeys(("resource_exhausted", "rate_limited", "engine_overloaded_error"), 429),
    **dict.fromkeys(("server_error", "internal_error", "internal", "api_error"), 500),
    **dict.fromkeys(("overloaded_error", "overloaded", "unavailable", "service_unavailable"), 503),
    **dict.fromkeys(("timeout", "timeout_error", "deadline_exceeded"), 504),
}
"""what an error inside a 200 calls itself → the status that it would have come with"""
_OF_REPLIES = frozenset(
    {"choices", "content", "output", "response", "data", "result"}
    | {"usage", "id", "object", "created", "model"}
)
"""fields of a 200 that hold what a model said, or name it, so that nothing is judged by them"""
_TELLING = re.compile("(?i:err|fault|msg|message|detail|reason|base_resp)|^Response$")
"""names of fields that tell what is wrong, where there is no reply"""


def reply_of(answer: Answer, config: OpenAIModel, request: Request) -> Reply:
    """A 200 → its reply; a byte that is no UTF-8 becomes U+FFFD.

    Raises:
        TransientProviderError: the body is no chat completion: cut, garbled, a proxy's page.
        ChimeraError: as in `reply_from`.
    """
    is_chat = config.api == "chat"
    request_id = answer.headers.get("x-request-id", "")
    stream = answer.stream
    if stream is None and is_event_stream(answer):  # nobody asked for it
        stream = body_of_stream(answer.body, None if is_chat else chat_chunk)
    if stream is not None:
        return _reply_of_stream(stream, answer.headers, config, request)
    try:
        body = json.loads(decoded(answer.body))
    except ValueError:
        kind = shown(answer.headers.get("content-type", "nothing"), config, request, 40)
        why = f"the answer is no JSON ({len(answer.body)} bytes that say to be {_storable(kind)})"
        words = shown(error_body(answer.body).words, config, request)
        why += f" [{_storable(words)}]" if words else ""
        raise unusable(why, _as_far_as_it_came(answer), config, request, request_id) from None
    except RecursionError:
        why = "the answer's JSON is too deep"
        raise unusable(why, None, config, request, request_id) from None
    body = body if is_chat else chat_body(body)
    return reply_from(body, request_id, config, request, answer.headers)


def _as_far_as_it_came(answer: Answer) -> object:
    """What says to be JSON and is none → a body whose reply is all of it; a page holds none."""
    if "json" not in answer.headers.get("content-type", ""):
        return None
    return {"choices": [{"message": {"content": decoded(answer.body)}}]}


def _reply_of_stream(
    stream: StreamResult, headers: Mapping[str, str], config: OpenAIModel, request: Request
) -> Reply:
    """What a stream of events came to → its reply, with its times where they were taken."""
    body = stream.body if stream.error is None else {**stream.body, **stream.error}
    request_id = headers.get("x-request-id", "")
    if not stream.is_whole and stream.error is None:
        why = f"the stream was cut ({stream.trouble or 'it has no end'})"
        raise unusable(why, body, config, request, request_id)
    reply = reply_from(body, request_id, config, request, headers)
    return replace(reply, first_token_s=stream.first_token_s, decode_s=stream.decode_s)


def reply_from(
    body: object,
    request_id: str,
    config: OpenAIModel,
    request: Request,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """A chat completion as JSON → its reply.

    Raises:
        TransientProviderError: it is none, or broke off for a reason that may pass.
        RefusalError: the prompt was blocked, and the body says so instead of holding a reply.
        ChimeraError: it is an error that came as a 200, judged by the code that it holds.
    """
    body = _unwrapped(body)
    error = _error_inside(body, request_id, headers or {}, config, request)
    if error is not None:
        raise error
    choice = _choice(body)
    message = _message(choice)
    ending = ending_in(choice) or ending_in(message or {}) or ending_in(_fields(body))
    meant = meaning_of(ending)
    if message is None and meant not in ("length", "refusal"):
        raise unusable("the answer holds no reply", body, config, request, request_id)
    said = said_by(message or {}, request.schema is not None)
    refusal = _refusal(message or {})
    text = refusal or said.text
    usage, is_estimated = usage_of(_usage(body, choice), request, text, said.reasoning)
    if refusal:
        meant = "refusal"
    if meant is None:
        limit = config.sampling.max_tokens
        meant = shown_ending(ending, request, limit, text, usage.output_tokens)
    if meant == "abort":
        word = shown(str(ending), config, request, 40)
        why = f"the reply broke off (finish reason: {word})"
        raise unusable(why, body, config, request, request_id)
    return Reply(
        text=without_key(text, config),
        finish_reason=meant,
        reasoning=without_key(said.reasoning, config) or None,
        usage=usage,
        is_usage_estimated=is_estimated,
        request_id=_id(request_id, body, config),
    )


def unusable(
    why: str, body: object, config: OpenAIModel, request: Request, request_id: str
) -> TransientProviderError:
    """Why a 200 cannot be used, and as much of its body as came → an error worth a few attempts."""
    error = TransientProviderError(f"{config.name}: {why}")
    error.lost = (_lost_in(body, str(error), config, request, request_id),)
    return error


def cut_off(why: str, came: Answer, config: OpenAIModel, request: Request) -> LostAttempt:
    """Why a 200 broke off, and what came of it → what may have to be paid for it."""
    request_id = came.headers.get("x-request-id", "")
    return _lost_in(_as_far_as_it_came(came), why, config, request, request_id)


def _lost_in(
    body: object, why: str, config: OpenAIModel, request: Request, request_id: str
) -> LostAttempt:
    """The body of a reply, as far as it came → what there is to be paid and kept of it."""
    choice = _choice(body)
    said = said_by(_message(choice) or {}, is_json=False)
    usage, is_estimated = usage_of(_usage(body, choice), request, said.text, said.reasoning)
    text, reasoning = (without_key(redacted(part), config) for part in said)
    named = _id(request_id, body, config)
    return LostAttempt(0, why, text, reasoning, usage, is_estimated, named)


def _error_inside(
    body: object,
    request_id: str,
    headers: Mapping[str, str],
    config: OpenAIModel,
    request: Request,
) -> ChimeraError | None:
    """A body → the error that came as a 200, if it is one."""
    choice = _choice(body)
    found = next(filter(None, _errors(body, choice)), None)
    if found is None:
        return None
    said = error_in(found)
    status = said.status or _STATUS_OF_CODE.get(said.code.lower())
    label = f"an error inside HTTP 200, status {status}" if status else "an error inside HTTP 200"
    error = judged(status or _guessed(said), said, label, headers, config, request)
    is_vague = status is None and type(error) in (ProviderError, TransientProviderError)
    lost = _lost_in(body, str(error), config, request, request_id)
    if is_vague and not getattr(error, "is_limited", False):
        error = TransientProviderError(str(error))
        error.lost = (lost,)
    elif lost.text or lost.reasoning or not lost.is_usage_estimated:
        error.lost = (lost,)
    return error


def _errors(body: object, choice: Mapping[str, Any]) -> Iterator[object]:
    """A body → what in it says that something is wrong, with the codes beside it."""
    fields = _fields(body)
    beside = {
        name: value
        for name, value in fields.items()
        if name not in _OF_REPLIES and not (isinstance(value, dict) and "role" in value)
    }
    error = fields.get("error")
    yield error if isinstance(error, dict) else error and beside
    yield choice.get("error")
    feedback = fields.get("prompt_feedback") or fields.get("promptFeedback")
    if isinstance(feedback, dict) and any(key.lower().startswith("block") for key in feedback):
        reason = str(feedback.get("blockReason") or feedback.get("block_reason") or "")
        yield {"code": "prohibited_content", "status": 400, "message": f"prompt blocked: {reason}"}
    if not fields.get("choices") and any(_TELLING.search(name) for name in beside if beside[name]):
        yield beside


def _fields(body: object) -> Mapping[str, Any]:
    return body if isinstance(body, dict) else {}


def _unwrapped(body: object) -> object:
    """A body → the chat completion that it holds, alone in a list or in a gateway's field."""
    if isinstance(body, list) and len(body) == 1:
        (body,) = body
    if not isinstance(body, dict) or "choices" in body:
        return body
    held = (value for value in body.values() if isinstance(value, dict) and value.get("choices"))
    return next(held, body)


def _guessed(said: ErrorBody) -> int:
    """An error that names no status → the one that its words are likest to."""
    return 429 if is_limited(400, said) else 400


def _choice(body: object) -> Mapping[str, Any]:
    """A body → the choice that was asked for; empty if there is none."""
    choices = body.get("choices") if isinstance(body, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _message(choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A choice → its message, also where it is named as in a stream or in older servers."""
    for name in ("message", "delta"):
        if isinstance(choice.get(name), dict):
            return choice[name]  # type: ignore[no-any-return]  # it is a dict
    return {"content": choice["text"]} if isinstance(choice.get("text"), str) else None


def _usage(body: object, choice: Mapping[str, Any]) -> object:
    own = body.get("usage") if isinstance(body, dict) else None
    return own or choice.get("usage")


def _refusal(message: Mapping[str, Any]) -> str:
    content, refused = message.get("content"), plain_text(message.get("refusal"))
    if refused or not isinstance(content, list):
        return refused
    return plain_text([part.get("refusal") for part in content if isinstance(part, dict)])


def _id(request_id: str, body: object, config: OpenAIModel) -> str:
    """What an answer is called by its header, or by its body → a name without the key."""
    own = body.get("id") if isinstance(body, dict) else None
    return without_key(_storable(request_id or plain_text(own)), config)[:ID_CHARS]


def _storable(said: str) -> str:
    """A text → the same without halves of surrogate pairs, which no file can hold."""
    return said.encode("utf-8", "replace").decode()
