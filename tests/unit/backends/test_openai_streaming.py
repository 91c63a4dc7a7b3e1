"""When calls are streamed: as configured, as refusals demand, and where silence may be cut."""

import json
from typing import Any

import pytest

from chimera_ray.backends.openai_answer import Answer, StreamResult
from chimera_ray.backends.openai_streaming import Streaming, Way, demands_stream, fields_of
from chimera_ray.llm import Message, Request
from chimera_ray.model_config import OpenAIModel

REPLY = json.dumps({"choices": [{"index": 0, "message": {"content": "a"}}]}).encode()
WHOLE = Answer(200, {}, REPLY)
PROMPT = "The pump only works when a stream\nof water, whose stream_options.speed is 3, is true."
REQUEST = Request((Message("system", "Be brief."), Message("user", PROMPT)), None, 1)
STREAMED = Answer(200, {}, b"", StreamResult({}, is_whole=True))


def _streaming(**changes: Any) -> Streaming:
    fields = {"backend": "openai", "name": "m", "base_url": "http://h/v1", "api_key_env": None}
    return Streaming(OpenAIModel.model_validate({**fields, **changes}))


def _refused(said: object, status: int = 400) -> Answer:
    body = said.encode() if isinstance(said, str) else json.dumps(said).encode()
    return Answer(status, {}, body)


def _error(message: str, **fields: Any) -> Answer:
    return _refused({"error": {"message": message, **fields}})


_SAID = {"choices": [{"message": {"content": 'only "error" streams'}}], "error": None}
_PAID: list[Any] = [
    _SAID,
    {**_SAID, "error": {"message": "only stream"}},
    {"data": _SAID, "error": None},
    {"error": None, "output": [{"content": "only stream"}]},
    {"error": None, "message": "only stream"},
    [_SAID],
]
"""bodies of a 200 that hold a reply, or no error"""
DEMANDS = [
    _error("This model only support stream mode, please enable the stream parameter."),
    _error("parameter.enable_thinking must be set to false for non-streaming calls"),
    _error("Non-streaming calls are not supported for this model. Set stream=true"),
    _error("Streaming is required for operations that may take longer than 10 minutes"),
    _error("该模型仅支持流式输出"),
    _refused({"detail": "Stream must be set to true"}),
    _refused({"detail": [{"loc": ["body", "stream"], "msg": "Input should be True"}]}, 422),
    _refused("only stream=true is supported", 406),
    _refused({"error": {"message": "This model requires streaming"}}, 500),
    _refused({"error": {"message": "only streaming is supported", "code": 400}}, 200),
    _refused(json.dumps({"choices": [], "error": "only stream mode"}, indent=2), 200),
    _refused([{"error": {"message": "only streaming is supported"}}], 200),
    _refused({"data": {"error": {"message": "only streaming is supported"}}}, 200),
    _refused('data: {"error": {"message": "only streaming is supported"}}\n\n', 200),
]
REFUSALS = [
    _error("Unsupported parameter: 'stream' is not supported with this model.", param="stream"),
    _error("Your organization must be verified to stream this model.", param="stream"),
    _error("streaming is not supported"),
    _refused("does not support streaming"),
    _refused({"error": "stream not implemented"}, 501),
]
ABOUT_ELSE = [
    _error("maximum context length is 4096 tokens, and this prompt about streams is longer"),
    _error("your prompt about streams was rejected by the safety system", code="content_filter"),
    _refused({"error": {"message": "invalid key for stream"}}, 401),
    _refused({"error": {"message": "no model of this name streams"}}, 404),
    _refused({"error": {"message": "only streams of 10 calls a minute"}}, 429),
    _refused(b"".decode(), 500),
    WHOLE,
    *(
        Answer(200, {}, form(json.dumps(body, indent=indent).encode()))
        for body in _PAID
        for indent in (None, 1, "\t")
        for form in (bytes, lambda whole: whole[:-5], lambda whole: b"\xef\xbb\xbf" + whole)
    ),
    Answer(200, {}, b'data: {"error": null, "choices": [\t{"delta": {"content": "only stream"}}]}'),
]


@pytest.mark.parametrize("answer", DEMANDS, ids=range(len(DEMANDS)))
def test_demand_for_streams_is_heard_in_whatever_words(answer: Answer) -> None:
    assert _streaming().other("whole", answer, REQUEST) == "streamed"
    assert demands_stream(answer, REQUEST)
    assert _streaming(stream="never").other("whole", answer, REQUEST) is None


def _ways(streaming: Streaming, first: Way, answer: Answer) -> list[Way]:
    """The ways that are tried while all are refused in the same words."""
    ways: list[Way] = [first]
    while (other := streaming.other(ways[-1], answer, REQUEST)) is not None and other not in ways:
        ways.append(other)
    return ways


@pytest.mark.parametrize("stream", ["auto", "always"])
@pytest.mark.parametrize("answer", REFUSALS, ids=range(len(REFUSALS)))
def test_refusal_of_streams_ends_in_a_whole_call(answer: Answer, stream: str) -> None:
    assert _ways(_streaming(stream=stream), "streamed", answer)[-1] == "whole"


@pytest.mark.parametrize("answer", ABOUT_ELSE, ids=range(len(ABOUT_ELSE)))
@pytest.mark.parametrize("way", ["whole", "streamed without usage"])
def test_refusal_for_another_reason_stands(answer: Answer, way: Way) -> None:
    assert _streaming().other(way, answer, REQUEST) is None
    assert not demands_stream(answer, REQUEST)


@pytest.mark.parametrize("status", [200, 400, 406, 422, 500])
@pytest.mark.parametrize("quoted", [PROMPT, PROMPT.upper(), PROMPT[4:60], repr(PROMPT)])
def test_refusal_that_quotes_the_prompt_tells_nothing_of_streams(status: int, quoted: str) -> None:
    answer = _refused({"error": {"message": f"cannot answer: {quoted}", "code": 0}}, status)
    assert not demands_stream(answer, REQUEST)
    assert _streaming().other("whole", answer, REQUEST) is None
    assert _streaming().other("streamed without usage", answer, REQUEST) is None
    taught = _streaming(stream="always")
    assert taught.settle("streamed", "streamed", STREAMED)
    assert taught.other("streamed", answer, REQUEST) is None
    asked = Request((Message("user", "What is 1 + 1?"),), None, 1)
    assert _streaming().other("whole", answer, asked) == "streamed"


@pytest.mark.parametrize("param", ["stream", "body.stream"])
def test_refusal_that_names_the_field_is_heard_whatever_it_quotes(param: str) -> None:
    answer = _error(f"no: {PROMPT}", param=param)
    assert _streaming().other("whole", answer, REQUEST) == "streamed"


@pytest.mark.parametrize(
    "answer",
    [
        _error("Unrecognized request argument supplied: stream_options"),
        _error("Unknown parameter: 'stream_options.include_usage'"),
        _refused({"detail": [{"loc": ["body", "stream_options"], "msg": "not permitted"}]}, 422),
        _error("Bad request"),
    ],
    ids=range(4),
)
def test_refusal_of_the_options_leaves_them_out(answer: Answer) -> None:
    assert _streaming().other("streamed", answer, REQUEST) == "streamed without usage"


def test_vague_refusal_is_not_the_options_fault_once_they_were_taken() -> None:
    streaming = _streaming(stream="always")
    assert streaming.settle("streamed", "streamed", STREAMED)
    assert streaming.other("streamed", _error("Bad request"), REQUEST) is None


def test_way_that_was_taken_is_kept_and_streams_that_were_refused_are_not_tried_again() -> None:
    streaming = _streaming(sampling={"max_tokens": 40_000})
    assert streaming.way == "streamed"
    assert streaming.settle("streamed", "whole", WHOLE)
    assert streaming.way == "whole"
    streaming.heed(Answer(504, {}, b""), 100.0)
    streaming.lost(1_000.0)
    assert streaming.way == "whole"


def test_way_that_was_refused_too_changes_nothing() -> None:
    streaming = _streaming()
    assert not streaming.settle("whole", "streamed", _error("streaming is not supported"))
    assert streaming.way == "whole"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_way_that_failed_for_a_passing_reason_counts_and_is_not_learnt(status: int) -> None:
    streaming = _streaming()
    assert streaming.settle("whole", "streamed", Answer(status, {}, b""))
    assert streaming.way == "whole"


@pytest.mark.parametrize(
    ("answer", "silent_s", "way"),
    [
        (Answer(504, {}, b"<html>"), 0.0, "streamed"),
        (Answer(524, {}, b""), 100.0, "streamed"),
        (_refused({"error": {"code": 504, "message": "upstream"}}, 200), 60.0, "streamed"),
        (Answer(502, {}, b""), 100.0, "streamed"),
        (Answer(502, {}, b""), 1.0, "whole"),
        (Answer(429, {}, b""), 100.0, "whole"),
        (Answer(400, {}, b""), 100.0, "whole"),
        (WHOLE, 31.0, "streamed"),
        (WHOLE, 29.0, "whole"),
    ],
    ids=str,
)
def test_answer_after_silence_teaches_to_stream(answer: Answer, silent_s: float, way: Way) -> None:
    streaming, never = _streaming(), _streaming(stream="never")
    streaming.heed(answer, silent_s)
    never.heed(answer, silent_s)
    assert (streaming.way, never.way) == (way, "whole")


@pytest.mark.parametrize(("silent_s", "way"), [(1.0, "whole"), (11.0, "streamed")])
def test_connection_that_was_lost_in_silence_teaches_to_stream(silent_s: float, way: Way) -> None:
    streaming = _streaming()
    streaming.lost(silent_s)
    assert streaming.way == way


def test_usage_is_asked_for_where_it_has_to_be() -> None:
    assert fields_of("whole", "chat") == {}
    assert fields_of("streamed", "responses") == {"stream": True}
    assert fields_of("streamed without usage", "chat") == {"stream": True}
    assert fields_of("streamed", "chat") == {
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stream": "sometimes"}, "stream"),
        ({"stream": True}, "stream"),
        ({"api": "completions"}, "api"),
        ({"extra_body": {"stream": True}}, "set stream: always"),
        ({"extra_body": {"stream_options": {}}}, "set stream: always"),
        ({"batch": {}, "api": "responses"}, "set api: chat"),
        ({"batch": {}, "stream": "always"}, "set stream: auto"),
        ({"timeouts": {"idle_s": 0}}, "idle_s"),
    ],
    ids=str,
)
def test_configuration_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _streaming(**changes)
