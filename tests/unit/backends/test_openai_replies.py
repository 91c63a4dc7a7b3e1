"""Bodies that an endpoint may send: hostile, cut and odd ones first, then those that are right."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_errors import DoubtfulError
from chimera_ray.backends.openai_replies import reply_from, reply_of
from chimera_ray.backends.openai_usage import MAX_COUNT
from chimera_ray.errors import (
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import LostAttempt, Message, Reply, ReplySchema, Request, Usage
from chimera_ray.model_config import OpenAIModel, Sampling

CONFIG = OpenAIModel(backend="openai", name="some-model")
PROMPT = "THE-PROMPT " * 8
REQUEST = Request((Message("user", PROMPT),), None, 1)
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 20,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 15},
}


def _body(**changes: Any) -> dict[str, Any]:
    """A whole chat completion; the changes are those of its message and of what is around it."""
    message = {"role": "assistant", "content": "text", "refusal": None}
    around: dict[str, Any] = {"id": "chatcmpl-1", "usage": USAGE}
    finish_reason = changes.pop("finish_reason", "stop")
    beside = changes.pop("around", {})
    message |= {name: changes.pop(name) for name in list(changes) if name not in ("id", "usage")}
    around |= changes
    choice = {"message": message, "finish_reason": finish_reason, **beside}
    return {**around, "choices": [choice]}


def _reply(content: bytes, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reply_of(Answer(200, named, content), CONFIG, REQUEST)


def _replied(**changes: Any) -> Reply:
    return _reply(json.dumps(_body(**changes)).encode())


WHOLE = json.dumps(_body()).encode()
NO_REPLY = {
    "empty": b"",
    "html": b"<!DOCTYPE html><html>THE-PROMPT THE-PROMPT THE-PROMPT</html>",
    "truncated": WHOLE[: len(WHOLE) // 2],
    "malformed": WHOLE.replace(b'"choices": [', b'"choices": [[,'),
    "two_values": WHOLE + WHOLE,
    "event_stream_without_a_reply": b": ping\n\ndata: {}\n\ndata: [DONE]\n\n",
    "event_stream_that_was_cut": b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n',
    "null": b"null",
    "list": b"[1, 2]",
    "text": b'"THE-PROMPT THE-PROMPT THE-PROMPT"',
    "no_choices": b'{"id": "a"}',
    "choices_null": b'{"choices": null}',
    "choices_empty": b'{"choices": []}',
    "choices_object": b'{"choices": {"0": {"message": {"content": "a"}}}}',
    "choice_null": b'{"choices": [null]}',
    "message_missing": b'{"choices": [{"finish_reason": "stop"}]}',
    "message_text": b'{"choices": [{"message": "a"}]}',
    "error_with_200": b'{"error": {"message": "THE-PROMPT THE-PROMPT THE-PROMPT"}}',
    "too_deep": b"[" * 100_000,
    "number_too_long": b'{"choices": ' + b"9" * 10_000 + b"}",
    "nothing_but_bytes": bytes(range(128, 256)),
}


@pytest.mark.parametrize("content", NO_REPLY.values(), ids=NO_REPLY)
def test_reply_of_a_body_that_is_none_is_worth_another_attempt(content: bytes) -> None:
    with pytest.raises(TransientProviderError) as caught:
        _reply(content, content_type="text/html; charset=utf-8")
    said = str(caught.value)
    assert said.startswith("some-model: ")
    assert "\n" not in said
    assert "THE-PROMPT" not in said
    assert len(said) < 200
    (lost,) = caught.value.lost
    assert isinstance(lost, LostAttempt)
    assert (lost.error, lost.is_usage_estimated) == (said, True)
    assert lost.usage.input_tokens == len(PROMPT) // 4


def test_reply_of_a_content_type_that_no_file_could_hold_has_an_error_that_can_be_kept() -> None:
    with pytest.raises(TransientProviderError) as caught:
        _reply(b"", content_type="text/\udce9" + "x" * 1_000)
    assert len(str(caught.value).encode()) < 200


@pytest.mark.parametrize("depth", [10, 240, 400, 2_000])
def test_reply_of_parts_within_parts_is_text_or_worth_another_attempt(depth: int) -> None:
    nested = '[{"text": ' * depth + '"x"' + "}]" * depth
    body = '{"choices": [{"message": {"content": ' + nested + '}, "finish_reason": "stop"}]}'
    with suppress(TransientProviderError):  # deeper than JSON may be
        assert _reply(body.encode()).text == ""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KNOWN_NAMES = st.sampled_from(["content", "refusal", "reasoning", "reasoning_content", "role"])
COMPLETIONS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"message": st.dictionaries(KNOWN_NAMES, JSON, max_size=5)},
                optional={"finish_reason": JSON},
            ),
            min_size=1,
            max_size=2,
        )
    },
    optional={
        "id": JSON,
        "usage": st.dictionaries(st.sampled_from([*USAGE, "total_tokens"]), JSON) | JSON,
    },
)


@settings(max_examples=60, deadline=None)
@given(body=COMPLETIONS | JSON)
def test_reply_of_any_json_is_a_reply_that_can_be_kept_or_one_error(body: Any) -> None:
    try:
        reply = reply_from(body, "", CONFIG, REQUEST)
    except (TransientProviderError, ContextError):
        return
    usage = reply.usage
    assert min(usage) >= 0
    assert max(usage) < 2 * MAX_COUNT
    assert usage.cached_tokens <= usage.input_tokens
    assert usage.reasoning_tokens <= usage.output_tokens
    assert len(reply.request_id.encode()) <= 800
    assert isinstance(reply.text, str)
    assert reply.reasoning is None or reply.reasoning


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_reply_of_a_spoiled_body_is_a_reply_or_one_error(place: int, byte: int, cut: bool) -> None:
    spoiled = WHOLE[:place] + bytes([byte]) + (b"" if cut else WHOLE[place + 1 :])
    try:
        reply = _reply(spoiled)
    except TransientProviderError:
        return
    assert not cut or place == len(WHOLE) - 1
    assert min(reply.usage) >= 0


def test_reply_of_bytes_that_are_no_utf8_keeps_the_rest() -> None:
    content = WHOLE.replace(b'"text"', b'"\xff\xfetext\xc3"')
    assert _reply(content).text == "\ufffd\ufffdtext\ufffd"


def test_reply_of_duplicate_keys_takes_the_last() -> None:
    assert _reply(b'{"choices": [], ' + WHOLE[1:]).text == "text"


def test_reply_of_a_whole_body_has_all_that_it_says() -> None:
    reply = _reply(WHOLE, x_request_id="req_1")
    assert reply == Reply(
        text="text",
        finish_reason="stop",
        reasoning=None,
        usage=Usage(10, 4, 20, 15),
        is_usage_estimated=False,
        request_id="req_1",
        attempts=1,
    )
    assert _reply(WHOLE).request_id == "chatcmpl-1"


def test_reply_of_a_huge_body_is_whole() -> None:
    text = "длинный " * 100_000
    assert _replied(content=text).text == text


@pytest.mark.parametrize("header", ["", "r" * 10_000, "\udcff"], ids=["none", "long", "surrogate"])
@pytest.mark.parametrize("said", ["i" * 10_000, "\ud800", 7, None], ids=["long", "half", "7", "no"])
def test_reply_request_id_can_be_kept(header: str, said: object) -> None:
    body = json.dumps(_body(id=said)).encode()
    assert len(_reply(body, x_request_id=header).request_id.encode()) <= 200


STOPS = ["stop", "eos", "eos_token", "end_turn", "STOP", "FinishReason.STOP", "stop_sequence"]
STOPS += ["completed", "COMPLETE", "stop_str", "done", "end-turn"]
LENGTHS = ["length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens", "incomplete"]
LENGTHS += ["model_context_window_exceeded", "ERROR_LIMIT", "max_new_tokens"]
REFUSALS = ["content_filter", "content-filter", "SAFETY", "RECITATION", "content_filtered"]
REFUSALS += ["BLOCKLIST", "PROHIBITED_CONTENT", "sensitive", "guardrail_intervened", "refusal"]
REFUSALS += ["content_filter: PROHIBITED_CONTENT"]
PASSING = ["insufficient_system_resource", "error", "abort", "aborted", "network_error", "OTHER"]
PASSING += ["failed", "engine_overloaded", "in_progress", "ERROR", "cancelled"]
FINISHED = {
    **dict.fromkeys(STOPS, "stop"),
    **dict.fromkeys(LENGTHS, "length"),
    **dict.fromkeys(REFUSALS, "refusal"),
    "repetition": "repetition",
}


@pytest.mark.parametrize(("said", "meant"), FINISHED.items(), ids=FINISHED)
def test_reply_ends_as_the_server_says_in_its_own_words(said: str, meant: str) -> None:
    assert _replied(finish_reason=said).finish_reason == meant
    assert (
        _replied(finish_reason=None, around={"native_finish_reason": said}).finish_reason == meant
    )


@pytest.mark.parametrize("said", PASSING)
def test_reply_that_broke_off_is_worth_another_attempt_and_is_paid_for(said: str) -> None:
    with pytest.raises(TransientProviderError, match="broke off") as caught:
        _replied(finish_reason=said, reasoning="thought")
    assert said.lower() in str(caught.value).lower()
    (lost,) = caught.value.lost
    assert isinstance(lost, LostAttempt)
    assert (lost.text, lost.reasoning) == ("text", "thought")
    assert (lost.usage, lost.is_usage_estimated) == (Usage(10, 4, 20, 15), False)


UNKNOWN = [
    None,
    "",
    "null",
    "unknown",
    "tool_calls",
    "whatever",
    7,
    {},
    [],
    ["a", "b"],
    "x" * 9_999,
]


@pytest.mark.parametrize("said", UNKNOWN, ids=lambda said: repr(said)[:20])
def test_reply_whose_ending_nobody_knows_ends_as_it_shows(said: object) -> None:
    assert _replied(finish_reason=said).finish_reason == "stop"
    limited = REQUEST._replace(max_tokens=20)
    body = _body(finish_reason=said)
    assert reply_from(body, "", CONFIG, limited).finish_reason == "length"
    limited = REQUEST._replace(max_tokens=21)
    assert reply_from(body, "", CONFIG, limited).finish_reason == "stop"
    config = CONFIG.model_copy(update={"sampling": Sampling(max_tokens=20)})
    assert reply_from(body, "", config, REQUEST).finish_reason == "length"
    with pytest.raises(TransientProviderError):
        _replied(finish_reason=said, content=None, reasoning="thought")


@pytest.mark.parametrize(
    ("said", "meant"),
    [(["stop"], "stop"), ({"type": "length", "length": 9}, "length"), ({"type": "stop"}, "stop")],
)
def test_reply_ending_may_be_wrapped(said: object, meant: str) -> None:
    assert _replied(finish_reason=said).finish_reason == meant


def test_reply_with_a_refusal_is_one_whatever_its_finish_reason() -> None:
    reply = _replied(content=None, refusal="No.")
    assert (reply.text, reply.finish_reason) == ("No.", "refusal")
    assert _replied(content="text", refusal="").finish_reason == "stop"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reply_reasoning_is_kept_under_either_name(field: str) -> None:
    reply = _replied(content=None, **{field: "First, "}, finish_reason="length")
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("", "First, ", "length")


def test_reply_without_usage_is_estimated_and_says_so() -> None:
    reply = _replied(content="text" * 10, reasoning="thought " * 4, usage=None)
    assert (reply.usage, reply.is_usage_estimated) == (Usage(len(PROMPT) // 4, 0, 18, 8), True)


SHAPES: dict[str, Any] = {
    "byte_order_mark": b"\xef\xbb\xbf" + WHOLE,
    "utf_16": json.dumps(_body()).encode("utf-16"),
    "white_space": b"\n\n  " + WHOLE + b"\n",
    "delta": {"choices": [{"delta": {"content": "text"}, "finish_reason": "stop"}], "usage": USAGE},
    "text": {"choices": [{"text": "text", "finish_reason": "stop"}], "usage": USAGE},
    "usage_of_the_choice": {
        "choices": [{"message": {"content": "text"}, "finish_reason": "stop", "usage": USAGE}]
    },
    "error_null": {**_body(), "error": None},
    "error_empty": {**_body(), "error": {}},
    "message_beside_choices": {**_body(), "message": "", "detail": None, "base_resp": {"a": 0}},
    "events": b"data: "
    + json.dumps({"choices": [{"delta": {"content": "te"}}]}).encode()
    + b"\n\ndata: "
    + json.dumps(
        {"choices": [{"delta": {"content": "xt"}, "finish_reason": "stop"}], "usage": USAGE}
    ).encode()
    + b"\n\ndata: [DONE]\n\n",
}


@pytest.mark.parametrize("body", SHAPES.values(), ids=SHAPES)
def test_reply_in_an_odd_shape_is_whole(body: Any) -> None:
    reply = _reply(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (reply.text, reply.finish_reason, reply.reasoning) == ("text", "stop", None)
    assert (reply.usage, reply.is_usage_estimated) == (Usage(10, 4, 20, 15), False)


NO_MESSAGE = {"content_filter": "refusal", "length": "length"}


@pytest.mark.parametrize(("said", "meant"), NO_MESSAGE.items(), ids=NO_MESSAGE)
def test_reply_without_a_message_ends_as_it_says(said: str, meant: str) -> None:
    reply = reply_from({"choices": [{"finish_reason": said}]}, "", CONFIG, REQUEST)
    assert (reply.text, reply.finish_reason) == ("", meant)


def test_reply_refusal_in_a_content_part_is_one() -> None:
    reply = _replied(content=[{"type": "refusal", "refusal": "No."}])
    assert (reply.text, reply.finish_reason) == ("No.", "refusal")


def test_reply_json_in_the_place_of_the_reasoning_is_read_where_fields_are_asked_for() -> None:
    body = _body(content=None, reasoning_content='{"answer": 4}')
    asked = REQUEST._replace(schema=ReplySchema("answer", {"type": "object"}))
    reply = reply_from(body, "", CONFIG, asked)
    assert (reply.text, reply.reasoning) == ('{"answer": 4}', None)
    assert reply_from(body, "", CONFIG, REQUEST).text == ""


# ---- errors that come as a 200 ----------------------------------------------------------------


def _inside(code: object, message: str = "As it happens.", **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


PAID = {"prompt_tokens": 9, "completion_tokens": 3}
INSIDE: dict[str, tuple[object, type[ChimeraError], bool]] = {
    "key": (_inside(401), EndpointError, False),
    "key_in_words": (_inside("invalid_api_key"), EndpointError, False),
    "payment": (_inside(402), EndpointError, False),
    "payment_as_text": (_inside("402"), EndpointError, False),
    "quota": (_inside("insufficient_quota"), EndpointError, False),
    "no_model": (_inside(404), EndpointError, False),
    "content": (_inside(403, "Your input was flagged"), RefusalError, False),
    "forbidden": (_inside(403, "Forbidden"), DoubtfulError, False),
    "forbidden_and_paid": ({**_inside(403), "usage": PAID}, DoubtfulError, True),
    "forbidden_for_the_key": (_inside(403, "Invalid API key"), EndpointError, False),
    "limit": (_inside(429), TransientProviderError, False),
    "limit_as_text": (_inside("429"), TransientProviderError, False),
    "limit_in_words": (_inside("rate_limit_exceeded"), TransientProviderError, False),
    "limit_in_a_sentence": ({"error": "Rate limit exceeded"}, TransientProviderError, False),
    "provider": (_inside(502, "Provider returned error"), TransientProviderError, False),
    "overloaded": (_inside(None, type="overloaded_error"), TransientProviderError, False),
    "wrong_request": (_inside(400), ProviderError, False),
    "too_long": (_inside(None, "maximum context length is 9"), ContextError, False),
    "vllm": (
        {"object": "error", "message": "It broke.", "type": "BadRequestError", "code": 400},
        ProviderError,
        False,
    ),
    "gemini": ([_inside(429)], TransientProviderError, False),
    "in_the_choice": (
        {"choices": [{"message": {"content": ""}, **_inside(502)}]},
        TransientProviderError,
        False,
    ),
    "beside_a_null_choice": ({"choices": None, **_inside(401)}, EndpointError, False),
    "vague": (_inside(None), TransientProviderError, True),
    "vague_text": ({"error": "It broke."}, TransientProviderError, True),
    "vague_message": ({"message": "It broke."}, TransientProviderError, True),
    "vague_detail": ({"detail": [{"msg": "It broke."}]}, TransientProviderError, True),
    "vague_code": (_inside(1_234), TransientProviderError, True),
    "minimax": (
        {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        EndpointError,
        False,
    ),
    "gemini_blocked": ({"promptFeedback": {"blockReason": "SAFETY"}}, RefusalError, False),
}


@pytest.mark.parametrize(("body", "kind", "is_paid"), INSIDE.values(), ids=INSIDE)
def test_error_inside_a_200_counts_as_the_status_that_it_holds(
    body: object, kind: type[ChimeraError], is_paid: bool
) -> None:
    with pytest.raises(ChimeraError) as caught:
        _reply(json.dumps(body).encode(), retry_after="7")
    assert type(caught.value) is kind
    assert bool(caught.value.lost) == is_paid


def test_error_inside_a_200_keeps_its_words_and_when_to_come_again() -> None:
    with pytest.raises(
        TransientProviderError, match=r"status 429 \[429: As it happens.\]"
    ) as caught:
        _reply(json.dumps(_inside(429)).encode(), retry_after="7")
    assert (caught.value.is_limited, caught.value.retry_after_s) == (True, 7)


def test_error_inside_a_200_never_quotes_the_prompt() -> None:
    with pytest.raises(ChimeraError) as caught:
        _reply(json.dumps(_inside(502, f"Failed on {PROMPT}")).encode())
    assert "THE-PROMPT" not in str(caught.value)


def test_error_beside_a_reply_that_broke_off_keeps_what_was_paid() -> None:
    body = _body(finish_reason="error", around=_inside(502))
    with pytest.raises(TransientProviderError) as caught:
        _reply(json.dumps(body).encode())
    (lost,) = caught.value.lost
    assert isinstance(lost, LostAttempt)
    assert (lost.text, lost.usage, lost.is_usage_estimated) == ("text", Usage(10, 4, 20, 15), False)


def test_error_in_a_stream_that_nobody_asked_for_is_one() -> None:
    with pytest.raises(EndpointError):
        _reply(b"data: " + json.dumps(_inside(402)).encode() + b"\n\n")


def test_stream_that_was_cut_keeps_what_came() -> None:
    event = json.dumps({"choices": [{"delta": {"content": "half", "reasoning": "why"}}]})
    with pytest.raises(TransientProviderError) as caught:
        _reply(f"data: {event}\n\n".encode())
    (lost,) = caught.value.lost
    assert isinstance(lost, LostAttempt)
    assert (lost.text, lost.reasoning, lost.is_usage_estimated) == ("half", "why", True)


LOSSES: dict[str, bytes] = {
    "cut": WHOLE[:-20],
    "page": b"<html>",
    "too_deep": b"[" * 100_000,
    "no_reply": b'{"id": "chatcmpl-1"}',
    "broke_off": json.dumps(_body(finish_reason="abort")).encode(),
    "error": json.dumps(_body(around=_inside(502))).encode(),
    "stream_cut": b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n',
}


@pytest.mark.parametrize("content", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("said", ["req_1", f"req {'k' * 30} 2", "x" * 1_000])
def test_lost_attempt_has_the_name_of_its_answer_without_the_key(
    content: bytes, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 30)
    with pytest.raises(ChimeraError) as caught:
        _reply(content, x_request_id=said)
    (lost,) = caught.value.lost
    assert isinstance(lost, LostAttempt)
    assert lost.request_id == said.replace("k" * 30, "[hidden]")[:200]


def test_lost_attempt_without_a_header_has_the_name_in_its_body_without_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 30)
    with pytest.raises(TransientProviderError) as caught:
        _reply(json.dumps({"id": f"a {'k' * 30}", "choices": []}).encode())
    (lost,) = caught.value.lost
    assert isinstance(lost, LostAttempt)
    assert lost.request_id == "a [hidden]"
