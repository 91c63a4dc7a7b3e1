"""Streams of events as servers send them, and as they should not → one body, or why none."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from chimera_ray.backends import openai_events, openai_pieces
from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_events import EventParser, OversizeError
from chimera_ray.backends.openai_stream import (
    ChatStream,
    StreamResult,
    body_of_stream,
    is_event_stream,
)

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def _chunk(delta: object = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **fields}


def _sent(*events: object, end: str = "data: [DONE]\n\n") -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + end.encode()


def _message(result: StreamResult) -> dict[str, Any]:
    message = dict(result.body["choices"][0]["message"])
    assert message.pop("role") == "assistant"
    return message


WHOLE = (
    _chunk({"role": "assistant", "content": "", "refusal": None}),
    _chunk({"content": "Größe "}),
    _chunk({"content": "= 7\u20287"}),
    _chunk({}, "stop"),
    {"id": "chatcmpl-1", "choices": [], "usage": USAGE},
)
BODY = {
    "object": "chat.completion",
    "id": "chatcmpl-1",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Größe = 7\u20287"},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
}


def _with_raw(text: str, *events: object) -> bytes:
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events]
    return (text.join(lines) + "data: [DONE]\n\n").encode()


WAYS = {
    "plain": _sent(*WHOLE),
    "raw UTF-8": _with_raw("", *WHOLE),
    "CRLF": _with_raw("", *WHOLE).replace(b"\n", b"\r\n"),
    "CR": _with_raw("", *WHOLE).replace(b"\n", b"\r"),
    "no space": _with_raw("", *WHOLE).replace(b"data: ", b"data:"),
    "byte-order mark": b"\xef\xbb\xbf" + _with_raw("", *WHOLE),
    "comments": _with_raw(": keep-alive\n\n:\n: OPENROUTER PROCESSING\n\n", *WHOLE),
    "ids": _with_raw("id: 7\nretry: 100\nevent: message\n", *WHOLE),
    "pings": _with_raw('event: ping\ndata: {"type": "ping"}\n\nevent: ping\ndata: x\n\n', *WHOLE),
    "empty data": _with_raw("data:\n\ndata: \n\ndata: null\n\n", *WHOLE),
    "no blank lines": _with_raw("", *WHOLE).replace(b"\n\n", b"\n"),
    "no blank line at the end": _with_raw("", *WHOLE).rstrip(b"\n"),
    "no mark of the end": _sent(*WHOLE, end=""),
    "quoted mark": _sent(*WHOLE, end='data: "[DONE]"\n\n'),
    "small mark": _sent(*WHOLE, end="data: [done]"),
    "lines of one event": _sent(*WHOLE).replace(b', "choices', b',\ndata: "choices'),
    "noise after the end": _sent(*WHOLE) + b"data: {oops\n\n",
    "an error after the end": _sent(*WHOLE, {"error": {"message": "late"}}),
    "usage in every event": _sent(
        *({**chunk, "usage": {**USAGE, "completion_tokens": 1}} for chunk in WHOLE[:3]),
        _chunk({}, "stop", usage=USAGE),
    ),
    "usage, then zeros": _sent(*WHOLE, {"choices": [], "usage": dict.fromkeys(USAGE, 0)}),
    "usage is null": _sent(_chunk({"role": "assistant"}, usage=None), *WHOLE, _chunk(usage=None)),
    "usage of Groq": _sent(*WHOLE[:3], _chunk({}, "stop", x_groq={"id": "q", "usage": USAGE})),
    "usage in the choice": _sent(
        *WHOLE[:3],
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]},
    ),
    "filter results first": _sent({"choices": [], "prompt_filter_results": [], "id": ""}, *WHOLE),
    "no index": _sent(*WHOLE).replace(b'"index": 0, ', b""),
    "another choice": _sent(
        *WHOLE[:3], {"choices": [{"index": 1, "delta": {"content": "x"}}]}, *WHOLE[3:]
    ),
    "empty finish reasons": _sent(
        *(json.loads(json.dumps(chunk).replace("null}]", '""}]')) for chunk in WHOLE)
    ),
    "null in quotes": _sent(*WHOLE, _chunk({}, "null")),
    "tool calls": _sent(_chunk({"tool_calls": [{"index": 0}], "function_call": "f"}), *WHOLE),
    "whole completion": _sent(BODY),
    "whole completion alone": f"data: {json.dumps(BODY)}".encode(),
    "whole message last": _sent(
        *WHOLE[:3],
        {
            **WHOLE[3],
            "choices": [{**BODY["choices"][0], "delta": {}}],  # type: ignore[index]
            "usage": USAGE,
        },
    ),
}


@pytest.mark.parametrize("content", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_stream_however_sent_and_cut_is_the_unstreamed_body(content: bytes, size: int) -> None:
    stream = ChatStream()
    for at in range(0, len(content), size or len(content)):
        stream.feed(content[at : at + (size or len(content))])
    assert stream.result() == StreamResult(BODY, is_whole=True)
    assert stream.num_chars >= len("Größe = 77")


@pytest.mark.parametrize("num_events", range(4))
def test_stream_cut_before_its_end_keeps_what_came(num_events: int) -> None:
    content = _sent(*WHOLE[:num_events], end="")
    for half in (b"", b"data", b'data: {"choices": [{"del', b'data: {"choices": []}'):
        result = body_of_stream(content + half)
        assert not result.is_whole
        assert (result.error, result.trouble) == (None, "")
    said = "".join(choice["message"]["content"] or "" for choice in result.body["choices"])
    assert said == "Größe = 7\u20287"[: (0, 0, 6, 12)[num_events]]


@pytest.mark.parametrize("content", [b"", b"\n\n", b": ping\n\n", b"event: x\n\n", b"data"])
def test_stream_without_an_event_is_no_reply(content: bytes) -> None:
    assert body_of_stream(content) == StreamResult(
        {"object": "chat.completion", "id": "", "choices": []}, is_whole=False
    )


def test_stream_that_ends_at_its_mark_alone_is_whole() -> None:
    result = body_of_stream(_sent(*WHOLE[:3]))
    assert result.is_whole
    assert result.body["choices"][0]["finish_reason"] is None


@pytest.mark.parametrize(
    "garbled",
    [b"data: {oops\n\n", b"data: <html>\n\n", b"data: " + b"[" * 100_000 + b"\n\n"],
    ids=["cut", "page", "deep"],
)
def test_stream_with_a_garbled_event_is_given_up_with_its_text(garbled: bytes) -> None:
    result = body_of_stream(_sent(*WHOLE[:2], end="") + garbled + _sent(*WHOLE[2:]))
    assert not result.is_whole
    assert result.trouble
    assert _message(result)["content"] == "Größe "


ERRORS: dict[str, tuple[bytes, dict[str, Any]]] = {
    "object": (b'data: {"error": {"code": 502, "message": "m"}}', {"code": 502, "message": "m"}),
    "text": (b'data: {"error": "m"}', {"error": "m"}),
    "named": (b'event: error\ndata: {"code": 429, "message": "m"}', {"code": 429, "message": "m"}),
    "named, text": (b"event: error\ndata: m", {"message": "m"}),
    "named, quoted": (b'event: error\ndata: "m"', {"message": "m"}),
    "detail": (b'data: {"detail": "m"}', {"detail": "m", "message": "m"}),
    "vLLM's": (
        b'data: {"object": "error", "message": "m", "code": 400}',
        {"object": "error", "message": "m", "code": 400},
    ),
    "no data field": (b'{"error": {"message": "m"}}', {"message": "m"}),
    "in the choice": (
        b'data: {"choices": [{"index": 0, "error": {"message": "m"}}]}',
        {"message": "m"},
    ),
    "beside a choice": (
        b'data: {"error": {"code": 502}, "choices": [{"delta": {}, "finish_reason": "error"}]}',
        {"code": 502},
    ),
}


@pytest.mark.parametrize(("line", "error"), ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("before", [(), WHOLE[:2]], ids=["first", "later"])
def test_error_in_a_stream_is_told_as_an_unstreamed_one(
    line: bytes, error: dict[str, Any], before: Sequence[object]
) -> None:
    result = body_of_stream(_sent(*before, end="") + line + b"\n\ndata: [DONE]\n\n")
    expected = error if set(error) == {"error"} else {"error": error}
    assert (result.is_whole, result.error) == (False, expected)
    assert len(result.body["choices"]) == bool(before)


def test_finish_reason_error_ends_no_reply_before_its_error_comes() -> None:
    result = body_of_stream(_sent(*WHOLE[:2], _chunk({}, "error"), {"error": {"code": 502}}))
    assert (result.is_whole, result.error) == (False, {"error": {"code": 502}})


def test_thinking_and_refusal_are_joined_wherever_they_stand() -> None:
    message = _message(
        body_of_stream(
            _sent(
                _chunk({"reasoning_content": "a", "reasoning": "x"}),
                _chunk({"reasoning_content": "b", "reasoning": "y"}),
                _chunk({"content": "c", "refusal": "d"}),
                _chunk({"refusal": "e"}, "stop"),
            )
        )
    )
    assert message == {
        "content": "c",
        "reasoning_content": "ab",
        "reasoning": "xy",
        "refusal": "de",
    }


def test_thinking_parts_are_joined_before_the_text_that_follows() -> None:
    message = _message(
        body_of_stream(
            _sent(
                _chunk(
                    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}
                ),
                _chunk(
                    {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}]}
                ),
                _chunk({"content": "c"}),
                _chunk({"content": [{"type": "text", "text": "d"}, 5, None]}, "stop"),
            )
        )
    )
    assert message["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]},
        {"type": "text", "text": "cd"},
    ]


def test_reasoning_details_of_one_index_are_one() -> None:
    def detail(index: int, **said: Any) -> dict[str, Any]:
        named = {"type": "reasoning.text", "index": index, "format": "f", **said}
        return _chunk({"reasoning": said.get("text"), "reasoning_details": [named]})

    result = body_of_stream(
        _sent(
            detail(0, text="a"), detail(0, text="b", signature=None), detail(0, signature="s"),
            detail(1, text="c"), _chunk({"content": "d"}, "stop"),
        )
    )  # fmt: skip
    assert _message(result)["reasoning_details"] == [
        {"type": "reasoning.text", "index": 0, "format": "f", "text": "ab", "signature": "s"},
        {"type": "reasoning.text", "index": 1, "format": "f", "text": "c"},
    ]
    assert _message(result)["reasoning"] == "abc"


def test_characters_are_counted_once_where_thinking_comes_twice() -> None:
    stream = ChatStream()
    details = [{"type": "reasoning.text", "text": "1234"}]
    stream.feed(
        _sent(_chunk({"content": "567", "reasoning": "1234", "reasoning_details": details}))
    )
    assert stream.num_chars == 7


def test_character_whose_halves_come_apart_is_whole() -> None:
    halves = (_chunk({"content": "\ud83d"}), _chunk({"content": "\ude00"}, "stop"))
    assert _message(body_of_stream(_sent(*halves)))["content"] == "😀"
    assert _message(body_of_stream(_sent(halves[0])))["content"] == "\ufffd"


@pytest.mark.parametrize(
    "event",
    [
        *({"choices": choices} for choices in (None, 3, "x", {}, [], [None], [[]], [{}])),
        *({"choices": [{"index": 0, "delta": delta}]} for delta in (None, 3, "x", [], [1])),
        *(_chunk({"content": content}) for content in (None, 3, True, {}, [], [1], [[]])),
        *(_chunk({}, usage=usage) for usage in (3, "x", [], True)),
        *(_chunk({}, finish) for finish in (3, [], {})),  # type: ignore[arg-type]
        _chunk({}, id=7, x_groq="x"),
        [],
        7,
    ],
    ids=str,
)
def test_event_of_odd_shape_takes_nothing_away(event: object) -> None:
    result = body_of_stream(_sent(WHOLE[1], event, *WHOLE[2:]))
    assert result.is_whole
    assert _message(result)["content"] == "Größe = 7\u20287"
    assert result.body["usage"]["total_tokens"] == 13


def _fed_by_bytes(content: bytes) -> None:
    parser = EventParser()
    for at in range(len(content)):
        assert not any(event.name for event in parser.feed(content[at : at + 1]))


def test_long_line_stream_and_text_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_events, "MAX_EVENT_BYTES", 1_000)
    monkeypatch.setattr(openai_events, "MAX_STREAM_BYTES", 5_000)
    long = (b"x" * 1_001, b"data: " + b"x" * 1_001, b"data: x\n" * 200, b": ping\n\n" * 1_000)
    for content in long:
        with pytest.raises(OversizeError):
            _fed_by_bytes(content)
    stream = ChatStream()
    stream.feed(_sent(*WHOLE[:2], end="data: " + "x" * 2_000))
    assert stream.is_over
    assert not stream.result().is_whole
    assert _message(stream.result())["content"] == "Größe "


def test_hostile_fields_and_depths_are_bounded() -> None:
    deep: Any = "x"
    for _ in range(openai_pieces.MAX_DEPTH + 1):
        deep = [deep]
    result = body_of_stream(_sent(WHOLE[1], _chunk({"content": [{"type": "text", "text": deep}]})))
    assert not result.is_whole
    many = _chunk({f"f{number}": "x" for number in range(10_000)})
    assert len(_message(body_of_stream(_sent(many)))) < 50


@pytest.mark.parametrize("name", ["id", "type", "format", "index", "content", "text"])
@pytest.mark.parametrize("is_apart", [True, False], ids=["two events", "one event"])
@pytest.mark.parametrize("depth", [9, 300, 450])
def test_parts_within_any_field_of_a_part_are_bounded(
    name: str, is_apart: bool, depth: int
) -> None:
    deep: Any = "x"
    for _ in range(depth):
        deep = [{name: deep}]
    contents = [deep, deep] if is_apart else [deep * 2]
    sent = _sent(WHOLE[1], *(_chunk({"content": content}) for content in contents))
    result = body_of_stream(sent)
    assert not result.is_whole
    assert _message(result)["content"] == "Größe "


@pytest.mark.parametrize(
    ("start", "content_type", "expected"),
    [
        (b"data: {", "", True),
        (b"\xef\xbb\xbfdata:{", "application/json", True),
        (b"\r\n: OPENROUTER PROCESSING", "application/json", True),
        (b"event: error", "text/plain", True),
        (b":\n", "", True),
        (b"", "text/event-stream", True),
        (b"other: x", "Text/Event-Stream; charset=utf-8", True),
        (b'{"choices": []}', "text/event-stream", False),
        (b"\xef\xbb\xbf\n[1]", "text/event-stream", False),
        (b"<html>", "text/event-stream", False),
        (b'{"data": 1}', "application/json", False),
        (b"", "", False),
        (b"database: down", "text/plain", False),
    ],
)
def test_event_stream_is_known_by_its_beginning(
    start: bytes, content_type: str, expected: bool
) -> None:
    assert is_event_stream(Answer(200, {"content-type": content_type}, start)) is expected
