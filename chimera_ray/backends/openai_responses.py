"""`/v1/responses`, for models that have nothing else: a chat call's request and reply in its words.

What comes back is a chat completion again, so that errors, endings, thinking and usage are read in
one place, whichever of the two was asked.
"""

from collections.abc import Mapping
from typing import Any

from chimera_ray.backends.openai_message import plain_text
from chimera_ray.backends.openai_stream import LAST

PATH = "responses"
_FORMAT = "response_format"
_LIMITS = ("max_completion_tokens", "max_tokens")
_DELTAS = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning_content",
    "response.reasoning_summary_text.delta": "reasoning_content",
}
"""event → the field of a chat message that it goes on with"""
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.done"})
_FINISH = {"completed": "stop", "max_output_tokens": "length", "content_filter": "content_filter"}


def request_body(chat: Mapping[str, Any]) -> dict[str, Any]:
    """A chat call's body → the body that asks the same here, of which nothing is to be stored.

    There is no seed here. Fields that this API has by another name are renamed, the others are
    passed on, so that a server that does not know one says so.
    """
    renamed = {"messages", "seed", "reasoning_effort", "stream_options", _FORMAT, *_LIMITS}
    body = {"store": False, **{name: chat[name] for name in chat if name not in renamed}}
    body["input"] = chat["messages"]
    for name in _LIMITS:
        if name in chat:
            body["max_output_tokens"] = chat[name]
    if "reasoning_effort" in chat:
        body["reasoning"] = {**_fields(body, "reasoning"), "effort": chat["reasoning_effort"]}
    if _FORMAT in chat:
        said = chat[_FORMAT]
        form = {"type": said["type"], **said.get("json_schema", {})}
        body["text"] = {**_fields(body, "text"), "format": form}
    return body


def chat_body(said: object) -> object:
    """What was answered → the chat completion or the error that it is; as it is, if it is neither.

    Whatever is of another shape is for the reader of chat completions to judge.
    """
    if not isinstance(said, dict) or not isinstance(said.get("output"), list):
        return said
    status = said.get("status")
    usage = {"usage": _usage(said["usage"])} if isinstance(said.get("usage"), dict) else {}
    if status == "failed" or said.get("error"):
        error = said.get("error") or {"message": "the response failed, without a reason"}
        return {"id": said.get("id"), "error": error, **usage}
    details = said.get("incomplete_details")
    reason = details.get("reason") if status == "incomplete" and isinstance(details, dict) else None
    end = status if reason is None else reason
    choice = {
        "index": 0,
        "message": _message(said),
        "finish_reason": _FINISH.get(end, end) if isinstance(end, str) else None,
    }
    is_said = any(map(_is_said, said["output"])) or bool(said.get("output_text"))
    choices = [choice] if status != "completed" or is_said else []
    return {"id": said.get("id"), "object": "chat.completion", "choices": choices, **usage}


def chat_error(body: bytes) -> bytes:
    """The body of a refusal → the same, with a field of the request named as a chat call has it."""
    return body.replace(b"reasoning.effort", b"reasoning_effort")


def chat_chunk(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """An event of a streamed response → the chunk of a chat completion that it stands for."""
    kind, delta = said.get("type"), said.get("delta")
    if not isinstance(kind, str):
        return said
    if kind in _DELTAS:
        return {"choices": [{"index": 0, "delta": {_DELTAS[kind]: delta}}]}
    if kind in _ENDS:
        return _last_chunk(_fields(said, "response"))
    if kind == "error":
        return {"error": said.get("error") or said}
    return {"choices": []}


def _fields(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def _last_chunk(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """A response that ended → the last chunk: the whole reply, or the end alone of what came."""
    output = response.get("output")
    whole = chat_body({**response, "output": output if isinstance(output, list) else []})
    found = whole if isinstance(whole, dict) else {}
    if "error" in found or found.get("choices"):
        return found
    return {**found, "choices": [], LAST: True}


def _is_said(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") in ("message", "reasoning")


def _message(said: Mapping[str, Any]) -> dict[str, Any]:
    """A response's output items → the message of an assistant.

    What a model says about its work, before its answer, is reasoning.
    """
    texts, refusals, thoughts, summaries = [], [], [], []
    for item in filter(_is_said, said["output"]):
        if item["type"] == "reasoning":
            thoughts += _texts(item.get("content"))
            summaries += _texts(item.get("summary"))
        elif item.get("phase") == "commentary":
            thoughts += _texts(item.get("content"))
        else:
            texts += _texts(item.get("content"))
            refusals += _texts(item.get("content"), "refusal")
    content = "".join(texts) or plain_text(said.get("output_text"))
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if refusals:
        message["refusal"] = "".join(refusals)
    if thoughts or summaries:
        message["reasoning_content"] = "".join(thoughts) or "\n\n".join(summaries)
    return message


def _texts(parts: object, field: str = "text") -> list[str]:
    """Content parts, whatever they are called → the texts in one of their fields."""
    listed = parts if isinstance(parts, list) else ()
    found = [part.get(field) for part in listed if isinstance(part, dict)]
    return [text for text in found if isinstance(text, str)]


def _usage(said: Mapping[str, Any]) -> dict[str, Any]:
    """A response's usage → a chat completion's."""
    names = {
        "input_tokens": "prompt_tokens",
        "input_tokens_details": "prompt_tokens_details",
        "output_tokens": "completion_tokens",
        "output_tokens_details": "completion_tokens_details",
    }
    return {names.get(name, name): value for name, value in said.items()}
