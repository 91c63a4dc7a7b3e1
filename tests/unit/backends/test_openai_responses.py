"""`/v1/responses` in the words of chat completions: requests, replies, errors, streams."""

import json
from typing import Any

import pytest

from chimera_ray.backends.openai_responses import chat_body, chat_chunk, request_body
from chimera_ray.backends.openai_stream import ChatStream, StreamResult, body_of_stream

MESSAGES = [{"role": "user", "content": "Why?"}]
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 16,
}
CHAT_USAGE = {
    "prompt_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens": 7,
    "completion_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 16,
}


def _said(*parts: object) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": list(parts)}


TEXT = {"type": "output_text", "text": "Because.", "annotations": []}


def _response(*output: object, status: str = "completed", **fields: Any) -> dict[str, Any]:
    usual = {"id": "resp_1", "object": "response", "status": status, "error": None}
    return {**usual, "output": list(output), "usage": USAGE, **fields}


def _choice(said: object) -> dict[str, Any]:
    assert isinstance(said, dict)
    return dict(said["choices"][0])


def test_request_says_the_same_in_this_api_s_words() -> None:
    schema = {"type": "object"}
    form = {"name": "drafted", "strict": True, "schema": schema}
    chat = {
        "model": "o1-pro",
        "messages": MESSAGES,
        "temperature": 0.5,
        "reasoning_effort": "high",
        "max_completion_tokens": 100,
        "seed": 3,
        "response_format": {"type": "json_schema", "json_schema": form},
        "stream": True,
        "stream_options": {"include_usage": True},
        "text": {"verbosity": "low"},
        "reasoning": {"summary": "auto"},
    }
    assert request_body(chat) == {
        "model": "o1-pro",
        "input": MESSAGES,
        "store": False,
        "temperature": 0.5,
        "reasoning": {"summary": "auto", "effort": "high"},
        "max_output_tokens": 100,
        "text": {"verbosity": "low", "format": {"type": "json_schema", **form}},
        "stream": True,
    }


def test_request_of_any_json_and_older_limit_is_translated_too() -> None:
    chat = {"messages": MESSAGES, "max_tokens": 5, "response_format": {"type": "json_object"}}
    assert request_body({**chat, "store": True, "text": "odd"}) == {
        "input": MESSAGES,
        "store": True,
        "max_output_tokens": 5,
        "text": {"format": {"type": "json_object"}},
    }


def test_reply_is_a_chat_completion_with_its_usage() -> None:
    thought = {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "x"}
    assert chat_body(_response(thought, _said(TEXT, TEXT))) == {
        "id": "resp_1",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Because.Because."},
                "finish_reason": "stop",
            }
        ],
        "usage": CHAT_USAGE,
    }


@pytest.mark.parametrize(
    ("item", "reasoning"),
    [
        ({"summary": [{"type": "summary_text", "text": "a"}] * 2}, "a\n\na"),
        ({"summary": [], "content": [{"type": "reasoning_text", "text": "b"}] * 2}, "bb"),
        (
            {
                "summary": [{"type": "summary_text", "text": "a"}],
                "content": [{"type": "reasoning_text", "text": "b"}],
            },
            "b",
        ),
    ],
)
def test_thinking_is_kept_and_its_own_words_win_over_a_summary(
    item: dict[str, Any], reasoning: str
) -> None:
    choice = _choice(chat_body(_response({"type": "reasoning", **item}, _said(TEXT))))
    assert choice["message"] == {
        "role": "assistant",
        "content": "Because.",
        "reasoning_content": reasoning,
    }


@pytest.mark.parametrize(
    ("status", "details", "finish_reason"),
    [
        ("completed", None, "stop"),
        ("incomplete", {"reason": "max_output_tokens"}, "length"),
        ("incomplete", {"reason": "content_filter"}, "content_filter"),
        ("incomplete", {"reason": "something_new"}, "something_new"),
        ("incomplete", None, "incomplete"),
        ("in_progress", None, "in_progress"),
        (None, None, None),
        (7, None, None),
    ],
)
def test_status_is_a_finish_reason(status: Any, details: object, finish_reason: str | None) -> None:
    response = _response(_said(TEXT), status=status, incomplete_details=details)
    assert _choice(chat_body(response))["finish_reason"] == finish_reason


def test_words_before_the_answer_are_reasoning() -> None:
    commentary = {**_said({"type": "output_text", "text": "I will add."}), "phase": "commentary"}
    message = _choice(chat_body(_response(commentary, _said(TEXT))))["message"]
    assert (message["content"], message["reasoning_content"]) == ("Because.", "I will add.")


@pytest.mark.parametrize(
    "response",
    [_response(output_text="Because."), _response(_said({"type": "text", "text": "Because."}))],
    ids=["beside_output", "other_kind"],
)
def test_text_of_another_shape_is_read(response: dict[str, Any]) -> None:
    assert _choice(chat_body(response))["message"]["content"] == "Because."


@pytest.mark.parametrize("kind", ["response.completed", "response.done"])
@pytest.mark.parametrize(
    "response",
    [_response(_said(TEXT)), _response(), _response(output=None)],
    ids=["all", "no", "null"],
)
def test_stream_that_ended_is_whole_whether_or_not_its_end_repeats_it(
    kind: str, response: dict[str, Any]
) -> None:
    events = ({"type": "response.output_text.delta", "delta": "Because."},)
    sent = "".join(
        f"data: {json.dumps(e)}\n\n" for e in (*events, {"type": kind, "response": response})
    )
    result = body_of_stream(sent.encode(), chat_chunk)
    assert result.is_whole
    assert _choice(result.body)["message"]["content"] == "Because."
    assert result.body["usage"] == CHAT_USAGE


def test_refusal_stands_apart_from_text() -> None:
    part = {"type": "refusal", "refusal": "No."}
    message = _choice(chat_body(_response(_said(part))))["message"]
    assert message == {"role": "assistant", "content": "", "refusal": "No."}


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {"status": "failed", "error": {"code": "server_error", "message": "m"}},
            {"code": "server_error", "message": "m"},
        ),
        (
            {"status": "failed"},
            {"message": "the response failed, without a reason"},
        ),
        ({"error": {"message": "m"}}, {"message": "m"}),
    ],
)
def test_failed_response_is_an_error_with_its_usage(
    fields: dict[str, Any], error: dict[str, Any]
) -> None:
    said = chat_body(_response(**fields))
    assert said == {"id": "resp_1", "error": error, "usage": CHAT_USAGE}


@pytest.mark.parametrize(
    "said",
    [None, [], "x", {}, {"error": {"message": "m"}}, {"choices": []}, {"output": None}],
    ids=str,
)
def test_what_is_no_response_is_left_as_it_is(said: object) -> None:
    assert chat_body(said) is said


@pytest.mark.parametrize(
    "output",
    [
        [{"type": "message"}],
        [None, "x", {}, {"type": "message"}],
        [{"type": "message", "content": [None, {"type": "output_text", "text": None}]}],
        [{"type": "reasoning", "summary": 7, "content": "x"}],
        [{"type": "web_search_call"}, {"type": "message", "content": "x"}],
    ],
    ids=str,
)
def test_output_of_odd_shape_has_no_text(output: list[object]) -> None:
    message = _choice(chat_body(_response(*output)))["message"]
    assert message == {"role": "assistant", "content": ""}


@pytest.mark.parametrize(
    "output", [[], [None], ["x"], [{}], [{"type": "web_search_call"}]], ids=str
)
def test_output_in_which_nothing_is_said_holds_no_reply(output: list[object]) -> None:
    said = chat_body(_response(*output))
    assert isinstance(said, dict)
    assert (said["choices"], said["usage"]) == ([], CHAT_USAGE)
    cut = chat_body(_response(*output, status="incomplete"))
    assert _choice(cut)["finish_reason"] == "incomplete"


def _streamed(*events: dict[str, Any]) -> StreamResult:
    stream = ChatStream(chat_chunk)
    for event in events:
        stream.feed(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return stream.result()


BEGUN = (
    {"type": "response.created", "response": _response(status="in_progress", usage=None)},
    {"type": "response.output_item.added", "item": {"type": "reasoning"}},
    {"type": "response.reasoning_summary_text.delta", "delta": "Hm"},
    {"type": "response.reasoning_summary_text.done", "text": "Hm"},
    {"type": "response.output_text.delta", "delta": "Beca"},
)


def test_stream_comes_to_the_response_at_its_end() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
    whole = _response(thought, _said(TEXT))
    result = _streamed(*BEGUN, {"type": "response.completed", "response": whole})
    assert result == StreamResult(chat_body(whole), is_whole=True)  # type: ignore[arg-type]


def test_stream_cut_keeps_what_came() -> None:
    result = _streamed(*BEGUN)
    message = _choice(result.body)["message"]
    assert not result.is_whole
    assert (message["content"], message["reasoning_content"]) == ("Beca", "Hm")


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (
            {"type": "error", "code": "server_error", "message": "m"},
            {"type": "error", "code": "server_error", "message": "m"},
        ),
        ({"type": "error", "error": {"message": "m"}}, {"message": "m"}),
        (
            {
                "type": "response.failed",
                "response": _response(status="failed", error={"message": "m"}),
            },
            {"message": "m"},
        ),
    ],
)
def test_error_in_a_stream_is_told_with_what_came(
    event: dict[str, Any], error: dict[str, Any]
) -> None:
    result = _streamed(*BEGUN, event)
    assert (result.is_whole, result.error) == (False, {"error": error})
    assert _choice(result.body)["message"]["content"] == "Beca"
