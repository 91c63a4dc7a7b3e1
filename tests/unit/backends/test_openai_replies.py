"""Bodies that an endpoint may send: hostile, cut and odd ones first, then those that are right."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_replies import MAX_TOKENS_SAID, reply_from, reply_of
from chimera_ray.errors import TransientProviderError
from chimera_ray.llm import Message, Reply, Request, Usage
from chimera_ray.model_config import OpenAIModel

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
    message |= {name: changes.pop(name) for name in list(changes) if name not in ("id", "usage")}
    around |= changes
    return {**around, "choices": [{"message": message, "finish_reason": finish_reason}]}


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
    "event_stream": b"data: " + WHOLE + b"\n\ndata: [DONE]\n\n",
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
    except TransientProviderError:
        return
    usage = reply.usage
    assert min(usage) >= 0
    assert max(usage) < MAX_TOKENS_SAID
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


FINISHED = {
    "stop": ("stop", "stop"),
    "length": ("length", "length"),
    "content_filter": ("content_filter", "refusal"),
    "repetition": ("repetition", "repetition"),
    "tool_calls": ("tool_calls", "abort"),
    "null": (None, "abort"),
    "list": (["stop"], "abort"),
    "upper_case": ("STOP", "abort"),
}


@pytest.mark.parametrize(("said", "meant"), FINISHED.values(), ids=FINISHED)
def test_reply_finish_reason_is_stop_only_where_the_server_says_so(said: Any, meant: str) -> None:
    assert _replied(finish_reason=said).finish_reason == meant


def test_reply_with_a_refusal_is_one_whatever_its_finish_reason() -> None:
    reply = _replied(content=None, refusal="No.")
    assert (reply.text, reply.finish_reason) == ("No.", "refusal")
    assert _replied(content="text", refusal="").finish_reason == "stop"


CONTENTS: dict[str, tuple[Any, str]] = {
    "null": (None, ""),
    "number": (3, ""),
    "parts": ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
    "odd_parts": ([None, "x", {"text": None}, {"text": {"value": "y"}}, {"text": "a"}], "a"),
}


@pytest.mark.parametrize(("said", "text"), CONTENTS.values(), ids=CONTENTS)
def test_reply_content_is_text_whatever_it_is_made_of(said: Any, text: str) -> None:
    assert _replied(content=said).text == text


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reply_reasoning_is_kept_under_either_name(field: str) -> None:
    reply = _replied(content=None, **{field: "First, "}, finish_reason="length")
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("", "First, ", "length")


USAGES: dict[str, tuple[Any, Usage | None]] = {
    "missing": (None, None),
    "list": ([1, 2], None),
    "empty": ({}, None),
    "negative": (USAGE | {"prompt_tokens": -1}, None),
    "text": (USAGE | {"completion_tokens": "20"}, None),
    "fraction": (USAGE | {"completion_tokens": 20.0}, None),
    "bool": (USAGE | {"completion_tokens": True}, None),
    "enormous": (USAGE | {"prompt_tokens": 10**30}, None),
    "details_null": (
        USAGE | {"prompt_tokens_details": None, "completion_tokens_details": None},
        Usage(10, 0, 20, 0),
    ),
    "details_beyond_totals": (
        USAGE
        | {
            "prompt_tokens_details": {"cached_tokens": 11},
            "completion_tokens_details": {"reasoning_tokens": 21},
        },
        Usage(10, 10, 20, 20),
    ),
    "details_negative": (USAGE | {"prompt_tokens_details": {"cached_tokens": -4}}, (10, 0, 20, 15)),
}


@pytest.mark.parametrize(("said", "usage"), USAGES.values(), ids=USAGES)
def test_reply_usage_is_the_servers_or_estimated_and_says_which(
    said: Any, usage: Usage | None
) -> None:
    reply = _replied(content="text" * 10, reasoning="thought " * 4, usage=said)
    assert reply.is_usage_estimated == (usage is None)
    assert reply.usage == (usage or Usage(len(PROMPT) // 4, 0, 10 + 8, 8))
