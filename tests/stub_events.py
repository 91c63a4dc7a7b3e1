"""How the stub server sends a reply: as a chat completion or a response, whole or event by event.

Takes the answer that an unstreamed chat call would have had, whatever is wrong with it. What a
stream can do otherwise than OpenAI's is in `STREAMS`, each named after what it does.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from stub_faults import Answer, as_json

Body = dict[str, Any]
CHUNK = {"object": "chat.completion.chunk", "model": "stub"}
DONE = "[DONE]"
PING = b": ping\n\n"
_FIELD = re.compile(rb', "(choices|delta|response|item)":')
FAILURE = {"message": "The server had an error in the middle.", "code": "server_error"}


class Form(NamedTuple):
    """How a reply was asked for."""

    is_chat: bool = True
    """False: through /v1/responses"""
    is_streamed: bool = False
    has_usage: bool = False


def form_of(path: str, body: bytes) -> Form:
    """A request's path and body → how the reply is to be sent."""
    is_chat = path != "/v1/responses"
    if b'"stream"' not in body:
        return Form(is_chat)
    try:
        asked = json.loads(body)
    except ValueError:
        return Form(is_chat)
    options = asked.get("stream_options") or {}
    return Form(is_chat, asked.get("stream") is True, options.get("include_usage") is True)


def chat_request(asked: Body) -> Body:
    """The body of a request to /v1/responses → what it would be to chat completions."""
    chat = {key: asked[key] for key in ("model", "temperature", "stream") if key in asked}
    said = asked.get("input")
    chat["messages"] = [{"role": "user", "content": said}] if isinstance(said, str) else said
    form = (asked.get("text") or {}).get("format")
    if form:
        rest = {key: value for key, value in form.items() if key != "type"}
        chat["response_format"] = {"type": form["type"], "json_schema": rest}
    return {**{key: asked[key] for key in asked.keys() - chat.keys()}, **chat}


def sent_as(answer: Answer, form: Form, quirk: str, event_chars: int) -> Answer:
    """A chat completion → the answer in the form that was asked for; any other as it is."""
    if answer.status != 200 or form == Form() or answer.content_type == "text/event-stream":
        return answer
    body, events = _sent(answer.body, form, quirk, event_chars)
    kind = "text/event-stream; charset=utf-8" if form.is_streamed else answer.content_type
    return answer._replace(body=body, events=events, content_type=kind)


@lru_cache(maxsize=64)
def _sent(content: bytes, form: Form, quirk: str, event_chars: int) -> tuple[bytes, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):  # a fault's bytes: the same inside an event
        one = b"data: " + content.replace(b"\n", b" ") + b"\n\n"
        return (b"", (one, b"data: [DONE]\n\n")) if form.is_streamed else (content, ())
    if not form.is_streamed:
        return as_json(_response(body)), ()
    said = _chunks(body, event_chars, form) if form.is_chat else _steps(body, event_chars)
    return b"", STREAMS[quirk]([_event(each) for each in said], body)


def _event(said: Body | str) -> bytes:
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
    name = f"event: {said['type']}\n" if isinstance(said, dict) and "type" in said else ""
    return f"{name}data: {text}\n\n".encode("utf-8", "replace")


def _pieces(text: str, event_chars: int) -> Iterator[str]:
    return (text[at : at + event_chars] for at in range(0, len(text), event_chars))


def _chunks(body: Body, event_chars: int, form: Form) -> Iterator[Body | str]:
    """A chat completion → its chunks, thinking first, and the mark of the end."""
    head = {**CHUNK, "id": body.get("id", "")}

    def chunk(delta: Body, finish_reason: object = None, **fields: object) -> Body:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return {**head, "choices": [choice], **fields}

    for choice in (body.get("choices") or ())[:1]:
        message = {**choice["message"]}
        content = message.pop("content", None)
        yield chunk({"role": "assistant", "content": ""})
        for field, value in (*message.items(), ("content", content)):
            if isinstance(value, str) and field != "role":
                yield from (chunk({field: piece}) for piece in _pieces(value, event_chars))
            elif isinstance(value, list):
                yield from (chunk({field: [part]}) for part in value)
        yield chunk({}, choice.get("finish_reason"))
    if form.has_usage and "usage" in body:
        yield {**head, "choices": [], "usage": body["usage"]}
    if "error" in body:
        yield {"error": body["error"]}
    yield DONE


def _response(body: Body) -> Body:
    """A chat completion → the object of /v1/responses."""
    said = {"id": body.get("id", ""), "object": "response", "error": body.get("error")}
    if body.get("usage"):
        usage = body["usage"]
        said["usage"] = {
            "input_tokens": usage["prompt_tokens"],
            "output_tokens": usage["completion_tokens"],
            "total_tokens": usage["total_tokens"],
            "output_tokens_details": usage["completion_tokens_details"],
        }
    choice = (body.get("choices") or [{"message": {}}])[0]
    message, ending = choice["message"], choice.get("finish_reason")
    thinking = message.get("reasoning_content") or message.get("reasoning")
    refusal = message.get("refusal")
    part = {"type": "output_text", "text": message.get("content") or "", "annotations": []}
    if refusal:
        part = {"type": "refusal", "refusal": refusal}
    output: list[Body] = [{"type": "message", "role": "assistant", "content": [part]}]
    if not body.get("choices"):
        output = []
    if thinking:
        summary = [{"type": "summary_text", "text": thinking}]
        output.insert(0, {"type": "reasoning", "summary": summary})
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(ending)
    status = "failed" if body.get("error") else "incomplete" if reason else "completed"
    details = {"reason": reason} if reason else None
    return {**said, "status": status, "incomplete_details": details, "output": output}


def _steps(body: Body, event_chars: int) -> Iterator[Body]:
    """A chat completion → the events of /v1/responses."""
    whole = _response(body)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    for item in whole["output"]:
        yield {"type": "response.output_item.added", "item": {**item, "content": []}}
        kind = "output_text" if item["type"] == "message" else "reasoning_summary_text"
        for part in item.get("content") or item.get("summary") or ():
            for piece in _pieces(part.get("text", ""), event_chars):
                yield {"type": f"response.{kind}.delta", "delta": piece}
        yield {"type": "response.output_item.done", "item": item}
    yield {"type": f"response.{whole['status']}", "response": whole}


Events = list[bytes]
Stream = Callable[[Events, Body], tuple[bytes, ...]]


def _half(events: Events) -> Events:
    return events[: max(len(events) // 2, 2)]


def _with_usage(events: Events, body: Body) -> tuple[bytes, ...]:
    """Usage that grows from chunk to chunk, as some servers send it."""
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    usage, num = body["usage"], len(chunks)
    for place, chunk in enumerate(chunks, 1):
        so_far = usage["completion_tokens"] * place // num
        total = usage["prompt_tokens"] + so_far
        chunk["usage"] = {**usage, "completion_tokens": so_far, "total_tokens": total}
    return (*map(_event, chunks), events[-1])


def _multi_line(events: Events, body: Body) -> tuple[bytes, ...]:
    """JSON that goes on in a second line."""
    return tuple(_FIELD.sub(rb',\ndata: "\1":', event, count=1) for event in events)


def _error(events: Events, body: Body) -> tuple[bytes, ...]:
    return (*_half(events), _event({"error": FAILURE}))


def _named_error(events: Events, body: Body) -> tuple[bytes, ...]:
    return (*_half(events), b"event: error\n" + _event({**FAILURE}))


STREAMS: Mapping[str, Stream] = {
    "": lambda events, body: tuple(events),
    "cut": lambda events, body: (*_half(events), b'data: {"cho'),
    "ends_early": lambda events, body: tuple(_half(events)),
    "hangs": lambda events, body: tuple(_half(events)),
    "error_event": _error,
    "named_error": _named_error,
    "garbled": lambda events, body: (*_half(events), b"data: {]\n\n", *events[-1:]),
    "no_done": lambda events, body: tuple(events[:-1]),
    "no_usage": lambda events, body: tuple(e for e in events if b'"usage"' not in e),
    "usage_in_every_chunk": _with_usage,
    "crlf": lambda events, body: tuple(event.replace(b"\n", b"\r\n") for event in events),
    "pings": lambda events, body: tuple(PING + event for event in events),
    "byte_order_mark": lambda events, body: (b"\xef\xbb\xbf" + events[0], *events[1:]),
    "multi_line": _multi_line,
}
"""how a stream's events are sent"""
CUT_STREAMS = frozenset({"cut", "ends_early", "hangs", "error_event", "named_error", "garbled"})
"""whose reply no client can use"""
