"""The OpenAI backend against a server that is as wrong as it is told to be."""

import asyncio
import gzip
import json
import multiprocessing
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from stub_faults import FAULTS, Behaviour
from stub_server import StubServer

from chimera_ray.backends import openai_calls, openai_http
from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.limits import MAX_LOST
from chimera_ray.backends.openai import Bodies, OpenAI, call_key
from chimera_ray.errors import (
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import LostAttempt, Message, Reply, ReplySchema, Request
from chimera_ray.model_config import OpenAIModel
from chimera_ray.prompts import render
from chimera_ray.stages.draft_problem import SCHEMA

pytestmark = pytest.mark.process

KEY = "sk-planted-0123456789abcdef"
MARKER = "XYLOPHONE-MARKER-OF-THE-PROMPT"
PROMPT = render(
    "draft_problem",
    language="English",
    subject="Mathematics",
    area="Algebra",
    topic=MARKER,
    facet="",
)
QUICK = {"first_wait_s": 0.01, "max_wait_s": 0.02, "deadline_s": 20.0, "unreachable_s": 20.0}
Answer = Reply | BaseException


@pytest.fixture(scope="module")
def running() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def server(running: StubServer, monkeypatch: pytest.MonkeyPatch) -> StubServer:
    """The server as new, and a key for it."""
    monkeypatch.setenv("STUB_KEY", KEY)
    running.set(**Behaviour().model_dump())
    running.reset()
    return running


def _config(url: str, **changes: Any) -> OpenAIModel:
    fields: dict[str, Any] = {
        "backend": "openai",
        "name": "simulated-drafter",
        "base_url": url,
        "api_key_env": "STUB_KEY",
        **changes,
    }
    fields["retry"] = {**QUICK, **changes.get("retry", {})}
    return OpenAIModel.model_validate(fields)


def _request(seed: int = 3, prompt: str = PROMPT, schema: ReplySchema | None = SCHEMA) -> Request:
    return Request((Message("user", prompt),), schema, seed)


async def _asked(config: OpenAIModel, requests: Sequence[Request]) -> list[Answer]:
    """Requests, all at the same time → what came of each."""
    gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "test")
    model = OpenAI(config, gate, Halt(), len(requests))
    try:
        calls = (model.complete(request) for request in requests)
        return await asyncio.gather(*calls, return_exceptions=True)
    finally:
        await model.close()
        await gate.close()


def _ask(server: StubServer, *requests: Request, **changes: Any) -> list[Answer]:
    return asyncio.run(_asked(_config(server.url, **changes), requests or (_request(),)))


def _reply(server: StubServer, request: Request | None = None, **changes: Any) -> Reply:
    (answer,) = _ask(server, request or _request(), **changes)
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _error(server: StubServer, request: Request | None = None, **changes: Any) -> ChimeraError:
    (answer,) = _ask(server, request or _request(), **changes)
    assert isinstance(answer, ChimeraError)
    _require_discreet(answer)
    return answer


def _require_discreet(error: BaseException) -> None:
    """Holds an error, and whatever would be logged with it, to quote neither prompt nor key."""
    chain: BaseException | None = error
    while chain is not None:
        said = f"{chain} {chain!r}"
        assert MARKER not in said
        assert KEY not in said
        assert KEY[:10] not in said
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    assert "\n" not in str(error)
    assert len(str(error)) < 500


TRIED_AGAIN = (
    *("limited", "error_500_html", "error_503", "wrong_content_type", "dropped", "half_sent"),
    *("hung", "malformed_json", "truncated_json", "empty_choices"),
)
KEPT: dict[str, Callable[[Reply, Reply], bool]] = {
    "length": lambda reply, whole: (
        reply.finish_reason == "length" and whole.text.startswith(reply.text)
    ),
    "refusal": lambda reply, whole: reply.finish_reason == "refusal" and bool(reply.text),
    "content_filter": lambda reply, whole: reply.finish_reason == "refusal",
    "null_content": lambda reply, whole: (reply.text, reply.finish_reason) == ("", "stop"),
    "huge": lambda reply, whole: len(reply.text) == 3_000_000 and reply.is_usage_estimated,
    "duplicate_keys": lambda reply, whole: (reply.text, reply.usage) == (whole.text, whole.usage),
    "invalid_utf8": lambda reply, whole: reply.text == f"\ufffd\ufffd{whole.text}",
    "no_usage": lambda reply, whole: (
        reply.text == whole.text
        and reply.is_usage_estimated
        and reply.usage.output_tokens == -(-len(whole.text) // 4)
    ),
}


def test_every_fault_of_the_stub_has_its_test() -> None:
    assert {*TRIED_AGAIN, *KEPT} == set(FAULTS)


@pytest.mark.parametrize("fault", TRIED_AGAIN)
def test_call_that_meets_a_passing_fault_is_made_again_and_ends_right(
    server: StubServer, fault: str
) -> None:
    whole = _reply(server)
    server.reset()
    server.set(script=[fault, fault], retry_after=0.01)
    reply = _reply(server, timeouts={"first_byte_s": 1.0 if fault == "hung" else 20.0})
    assert (reply.text, reply.usage, reply.finish_reason) == (whole.text, whole.usage, "stop")
    assert (reply.attempts, whole.attempts) == (3, 1)
    counts, keys = server.counts(), server.keys()
    assert (counts["requests"], counts["faults"]) == (3, {fault: 2})
    assert [(key.requests, key.finished) for key in keys.values()] == [(3, 1)]
    assert reply.request_id == next(iter(keys.values())).request_ids[0]


@pytest.mark.parametrize("fault", KEPT)
def test_call_that_has_a_reply_is_not_made_again_whatever_it_says(
    server: StubServer, fault: str
) -> None:
    whole = _reply(server)
    server.reset()
    server.set(**{fault: 1.0, "huge_chars": 3_000_000})
    reply = _reply(server)
    assert KEPT[fault](reply, whole)
    assert reply.attempts == 1
    assert server.counts()["requests"] == 1


def test_call_without_an_end_to_its_faults_fails_at_the_deadline(server: StubServer) -> None:
    server.set(error_503=1.0)
    error = _error(server, retry={"deadline_s": 0.3})
    assert type(error) is TransientProviderError
    assert "HTTP 503" in str(error)
    assert f"in {server.counts()['requests']} attempts" in str(error)


def test_call_told_to_come_again_waits_so_long(server: StubServer) -> None:
    server.set(script=["limited"], retry_after=0.5)
    _reply(server)
    counts = server.counts()
    assert 0.5 <= counts["last_at"] - counts["first_at"] < 1.5


def test_call_told_to_come_again_at_a_date_waits_until_then(server: StubServer) -> None:
    server.set(script=["status:503"], retry_after="date", retry_after_date_s=2)
    _reply(server)
    counts = server.counts()
    assert 0.9 <= counts["last_at"] - counts["first_at"] < 3.5  # a date has whole seconds


def test_call_told_to_come_again_past_the_deadline_fails_at_once(server: StubServer) -> None:
    server.set(script=["limited"], retry_after=3_600)
    began = time.monotonic()
    assert type(_error(server)) is TransientProviderError
    assert time.monotonic() - began < 5


def test_calls_beside_one_that_is_told_to_wait_go_on(server: StubServer) -> None:
    server.set(script=[*["ok"] * 20, "limited"], retry_after=1)
    requests = [_request(seed) for seed in range(60)]
    replies = _ask(server, *requests)
    assert [reply.attempts for reply in replies if isinstance(reply, Reply)].count(1) == 59
    done_at = sorted(key.finished_at[0] for key in server.keys().values())
    assert done_at[-2] - done_at[0] < 0.8
    assert done_at[-1] - done_at[0] >= 0.9


def test_slow_call_ends_after_its_total_time_and_is_made_again(server: StubServer) -> None:
    server.set(latency_mean_s=600)
    timeouts = {"total_s": 0.2, "first_byte_s": 100.0}
    error = _error(server, timeouts=timeouts, retry={"deadline_s": 0.5})
    assert type(error) is TransientProviderError
    assert "no whole reply within 0.2 s" in str(error)
    assert server.counts()["requests"] >= 2


def test_slow_call_within_its_time_is_left_alone(server: StubServer) -> None:
    server.set(latency_mean_s=0.4)
    assert _reply(server, timeouts={"connect_s": 0.2, "first_byte_s": 5.0}).attempts == 1


PERMANENT = {
    "policy": ({"banned": (MARKER,)}, RefusalError),
    "too_long": ({"max_prompt_chars": 9}, ContextError),
    "bad_request": ({"script": ("status:400:bad",) * 2}, ProviderError),
    "unprocessable": ({"script": ("status:422",) * 2}, ProviderError),
    "teapot": ({"script": ("status:418",)}, ProviderError),
}


@pytest.mark.parametrize(("behaviour", "kind"), PERMANENT.values(), ids=PERMANENT)
def test_request_that_is_refused_is_the_rows_own_and_is_not_made_again(
    server: StubServer, behaviour: dict[str, Any], kind: type[ChimeraError]
) -> None:
    server.set(**behaviour)
    assert type(_error(server, _request(schema=None))) is kind
    assert server.counts()["requests"] == 1


@pytest.mark.parametrize(("behaviour", "kind"), PERMANENT.values(), ids=PERMANENT)
def test_request_with_fields_refused_for_no_known_reason_is_sent_once_more_without_them(
    server: StubServer, behaviour: dict[str, Any], kind: type[ChimeraError]
) -> None:
    server.set(**behaviour)
    assert type(_error(server)) is kind
    statuses = server.counts()["statuses"]
    is_told = kind in (RefusalError, ContextError) or "418" in statuses
    assert sum(statuses.values()) == (1 if is_told else 2)


FATAL: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "bad_key": ({"keys": ("other",)}, {}, "the key in STUB_KEY"),
    "unauthorized": ({"script": ("status:401",)}, {}, "the key in STUB_KEY"),
    "forbidden": ({"script": ("status:403:invalid_token",)}, {}, "the key in STUB_KEY"),
    "unknown_model": ({}, {"name": "gpt-0"}, "does not know this model"),
    "no_quota": ({"quota_calls": 0}, {}, "no quota left for the key in STUB_KEY"),
    "quota_by_code": ({"script": ("status:429:insufficient_quota",)}, {}, "STUB_KEY"),
    "unsupported_field": ({"rejects": ("seed",)}, {}, "does not take the field seed"),
    "unsupported_extra": (
        {"rejects": ("top_a",)},
        {"extra_body": {"top_a": 0.5}},
        "does not take the field top_a",
    ),
}


@pytest.mark.parametrize(("behaviour", "changes", "said"), FATAL.values(), ids=FATAL)
def test_endpoint_that_refuses_for_good_is_an_error_of_the_run_in_one_line(
    server: StubServer, behaviour: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    server.set(**behaviour)
    error = _error(server, **changes)
    assert isinstance(error, EndpointError)
    assert str(error).startswith(f"{changes.get('name', 'simulated-drafter')} at {server.url} ")
    assert said in str(error)
    assert server.counts()["requests"] <= 2  # the second without the fields' format


def test_key_that_is_not_set_is_an_error_that_names_the_variable(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in (None, "", "  \n"):
        monkeypatch.delenv("STUB_KEY") if value is None else monkeypatch.setenv("STUB_KEY", value)
        with pytest.raises(EndpointError, match="STUB_KEY is not set"):
            _ask(server)
    assert server.counts()["requests"] == 0


def test_key_is_sent_without_the_blanks_around_it(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_KEY", f" {KEY}\n")
    server.set(keys=(KEY,))
    assert _reply(server).text


def test_endpoint_without_a_key_is_asked_without_one(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STUB_KEY")
    assert _reply(server, api_key_env=None).text


def _free_port() -> int:
    """Not one that the system may give to a client, who would then reach itself."""
    for port in range(20_000 + os.getpid() % 10_000, 32_000):
        with socket.socket() as bound, suppress(OSError):
            bound.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def test_server_that_is_not_there_is_an_error_of_the_run_after_a_while() -> None:
    url = f"http://127.0.0.1:{_free_port()}/v1"
    config = _config(url, api_key_env=None, retry={"unreachable_s": 0.3})
    began = time.monotonic()
    answers = asyncio.run(_asked(config, [_request(1), _request(2)]))
    assert 0.3 <= time.monotonic() - began < 10
    assert all(isinstance(answer, EndpointError) for answer in answers)
    assert f"{url} could not be reached in 0.3 s (ConnectionRefusedError)" in str(answers[0])


def test_server_that_is_not_there_yet_is_waited_for() -> None:
    port = _free_port()
    config = _config(f"http://127.0.0.1:{port}/v1", api_key_env=None)

    async def start_late() -> Answer:
        call = asyncio.create_task(_asked(config, [_request()]))
        await asyncio.sleep(0.1)
        late = StubServer(port=port)
        await asyncio.to_thread(late.__enter__)
        (answer,) = await call
        late.__exit__()
        return answer

    answer = asyncio.run(start_late())
    assert isinstance(answer, Reply)
    assert answer.attempts > 1


def test_server_that_goes_away_after_it_answered_fails_rows_and_not_the_run() -> None:
    async def lose(server: StubServer) -> list[Answer]:
        config = _config(server.url, retry={"unreachable_s": 0.01, "deadline_s": 0.3})
        gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "test")
        model = OpenAI(config.model_copy(update={"api_key_env": None}), gate, Halt(), 2)
        first = await model.complete(_request(1))
        server.__exit__()
        second = await asyncio.gather(model.complete(_request(2)), return_exceptions=True)
        await model.close()
        await gate.close()
        return [first, *second]

    with StubServer() as server:
        first, second = asyncio.run(lose(server))
    assert isinstance(first, Reply)
    assert type(second) is TransientProviderError


@pytest.mark.parametrize("late_s", [0.0, 0.5], ids=["at_once", "long_after_it_was_made"])
def test_server_that_drops_the_first_call_of_all_is_asked_again(
    server: StubServer, late_s: float
) -> None:
    async def ask() -> Reply:
        config = _config(server.url, retry={"unreachable_s": 0.3})
        gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "test")
        model = OpenAI(config, gate, Halt(), 1)
        await asyncio.sleep(late_s)
        try:
            return await model.complete(_request())
        finally:
            await model.close()
            await gate.close()

    server.set(script=["dropped"])
    assert asyncio.run(ask()).attempts == 2


SCHEMA_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "json_object": ({"supports_schema": False}, "json_schema"),
    "none": ({"rejects": ("response_format",)}, "json_schema"),
    "none_from_json_object": ({"rejects": ("response_format",)}, "json_object"),
}


@pytest.mark.parametrize(("behaviour", "set_to"), SCHEMA_REFUSED.values(), ids=SCHEMA_REFUSED)
def test_schema_that_the_server_does_not_take_is_left_out_from_then_on(
    server: StubServer, behaviour: dict[str, Any], set_to: str
) -> None:
    whole = _reply(server)
    server.reset()
    server.set(**behaviour)

    async def ask() -> tuple[Reply, Reply]:
        config = _config(server.url, structured_output=set_to)
        gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "test")
        model = OpenAI(config, gate, Halt(), 1)
        try:
            return await model.complete(_request()), await model.complete(_request(4))
        finally:
            await model.close()
            await gate.close()

    first, second = asyncio.run(ask())
    assert (first.text, first.attempts, second.attempts) == (whole.text, 1, 1)
    keys = list(server.keys().values())
    # What is refused costs nothing, has keys of its own, and comes once.
    assert [key.finished for key in keys if key.finished] == [1, 1]
    assert {key.requests for key in keys} == {1}


def test_schema_refused_by_many_calls_at_once_is_weakened_once(server: StubServer) -> None:
    server.set(supports_schema=False)
    replies = _ask(server, *[_request(seed) for seed in range(30)])
    assert all(isinstance(reply, Reply) for reply in replies)
    assert server.counts()["finished"] == 30
    assert server.counts()["statuses"]["400"] <= 30


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_that_comes_apart_is_kept(server: StubServer, field: str) -> None:
    asked = {"name": "simulated-solver"}
    request = _request(prompt=render("sample_trajectory", problem="What is 2+2?"), schema=None)
    whole = _reply(server, request, **asked)
    server.set(reasoning_field=field)
    apart = _reply(server, request, **asked)
    assert apart.reasoning
    assert apart.reasoning.strip() == whole.reasoning
    assert (apart.text.strip(), apart.usage) == (whole.text, whole.usage)


SENT: dict[str, tuple[dict[str, Any], str]] = {
    "temperature": ({"sampling": {"temperature": 0.5}}, "temperature"),
    "top_p": ({"sampling": {"top_p": 0.5}}, "top_p"),
    "top_k": ({"sampling": {"top_k": 5}}, "top_k"),
    "min_p": ({"sampling": {"min_p": 0.5}}, "min_p"),
    "presence_penalty": ({"sampling": {"presence_penalty": 1}}, "presence_penalty"),
    "reasoning_effort": ({"sampling": {"reasoning_effort": "high"}}, "reasoning_effort"),
    "max_completion_tokens": ({"sampling": {"max_tokens": 9}}, "max_completion_tokens"),
    "max_tokens": (
        {"sampling": {"max_tokens": 9}, "token_limit_field": "max_tokens"},
        "max_tokens",
    ),
    "extra_body": ({"extra_body": {"chat_template_kwargs": {"a": 1}}}, "chat_template_kwargs"),
    "seed": ({}, "seed"),
}


@pytest.mark.parametrize(("changes", "field"), SENT.values(), ids=SENT)
def test_field_reaches_the_server_where_it_is_configured_and_only_there(
    server: StubServer, changes: dict[str, Any], field: str
) -> None:
    server.set(rejects=[field])
    error = _error(server, **changes)
    assert isinstance(error, EndpointError)
    assert f"does not take the field {field}:" in str(error)
    without: dict[str, Any] = {"sends_seed": False} if field == "seed" else {}
    assert _reply(server, **without).text


def test_body_has_nothing_that_is_not_configured() -> None:
    config = _config("http://host.test/v1")
    body = Bodies(config).of(_request(schema=None), "json_schema")
    assert set(body) == {"model", "messages", "seed"}
    assert set(Bodies(config).of(_request(), "none")) == {"model", "messages", "seed"}
    schema = Bodies(config).of(_request(), "json_schema")["response_format"]["json_schema"]
    assert (schema["name"], schema["strict"]) == ("draft_problem", True)
    weak = Bodies(config).of(_request(), "json_object")
    assert weak["response_format"] == {"type": "json_object"}
    assert json.loads(json.dumps(body)) == body


@pytest.mark.parametrize("field", ["max_completion_tokens", "max_tokens"])
def test_body_limit_of_the_request_goes_before_the_models_own(field: str) -> None:
    config = _config("http://host.test/v1", sampling={"max_tokens": 9}, token_limit_field=field)
    request = _request(schema=None)
    assert Bodies(config).of(request, "none")[field] == 9
    body = Bodies(config).of(request._replace(max_tokens=99, continues=2), "none")
    assert body[field] == 99
    assert set(body) == {"model", "messages", "seed", field}
    bare = Bodies(_config("http://host.test/v1", token_limit_field=field))
    assert bare.of(request._replace(max_tokens=99), "none")[field] == 99


def test_idempotency_key_differs_by_the_requests_limit() -> None:
    identity, request = _config("http://host.test/v1").identity(), _request(1)
    requests = [request._replace(max_tokens=limit) for limit in (None, 9, 99)]
    assert len({call_key(identity, limited) for limited in requests}) == 3
    assert call_key(identity, request._replace(continues=7)) == call_key(identity, request)


def _key(seed: int) -> str:
    config = _config("http://host.test/v1")
    return call_key(config.identity(), _request(seed))


def test_idempotency_key_is_the_same_in_any_process_and_differs_by_what_is_asked(
    server: StubServer,
) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_key, [1, 2]) == [_key(1), _key(2)]
    config = _config("http://host.test/v1")
    changed = [
        _config("http://host.test/v1", name="other"),
        _config("http://host.test/v1", sampling={"temperature": 0.5}),
        _config("http://host.test/v1", extra_body={"a": 1}),
    ]
    keys = [call_key(other.identity(), _request(1)) for other in (config, *changed)]
    assert len({*keys, _key(2), call_key(config.identity(), _request(1, "other"))}) == 6
    moved = _config("http://elsewhere.test/v1", api_key_env=None, retry={"deadline_s": 1})
    assert call_key(moved.identity(), _request(1)) == keys[0]
    server.set(script=["status:500"])
    _ask(server, _request(1))
    assert {key: count.requests for key, count in server.keys().items()} == {keys[0]: 2}


@pytest.mark.parametrize("status", [400, 409, 429, 500])
def test_prompt_and_key_that_the_server_echoes_are_in_no_error(status: int) -> None:
    said = f"You said: {PROMPT} with Bearer {KEY}"
    body = json.dumps({"error": {"message": said, "code": said, "param": said, "type": said}})
    (answer,) = _ask_raw(_http(body.encode(), f"{status} {MARKER}"))
    assert isinstance(answer, ProviderError)
    _require_discreet(answer)


def _http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def _ask_raw(sent: bytes, **changes: Any) -> list[Answer]:
    """Bytes that a server sends whatever it is asked → what came of one call."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)
        writer.close()

    async def ask() -> list[Answer]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        retry = {"deadline_s": 0.0001, **changes.pop("retry", {})}
        config = _config(f"http://127.0.0.1:{port}/v1", retry=retry, **changes)
        async with server:
            return await _asked(config, [_request()])

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUB_KEY", KEY)
        return asyncio.run(ask())


REPLY = {"choices": [{"message": {"content": "text"}, "finish_reason": "stop"}], "id": "i"}
WHOLE = json.dumps(REPLY).encode()
NOT_HTTP = {
    "nothing": b"",
    "noise": b"\x16\x03\x01\x00\xff\xfe" * 50,
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "status_cut": b"HTTP/1.1 20",
    "status_no_number": b"HTTP/1.1 OK fine\r\n\r\n",
    "status_too_large": _http(b"", "99999 Odd"),
    "headers_cut": b"HTTP/1.1 200 OK\r\ncontent-le",
    "header_too_long": _http(WHOLE, "200 OK", "x-long: " + "x" * 100_000),
    "length_no_number": b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n" + WHOLE,
    "body_shorter_than_said": _http(WHOLE)[:-10],
    "chunk_no_number": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "chunks_cut": b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{"ch',
    "gzip_that_is_none": _http(WHOLE, "200 OK", "content-encoding: gzip"),
    "gzip_cut": _http(gzip.compress(WHOLE)[:-20], "200 OK", "content-encoding: gzip"),
    "no_content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "odd_content_type": _http(b"", "200 OK", "content-type: text/\udce9"),
}


@pytest.mark.parametrize("sent", NOT_HTTP.values(), ids=NOT_HTTP)
def test_answer_that_is_no_http_is_worth_another_attempt(sent: bytes) -> None:
    (answer,) = _ask_raw(sent)
    assert type(answer) is TransientProviderError
    _require_discreet(answer)
    str(answer).encode()


HEAD = b"HTTP/1.1 200 OK\r\nx-request-id: r1\r\ncontent-type: application/json\r\n"
CUT = {
    "head alone": (HEAD + b"content-length: 900\r\n\r\n", ""),
    "body": (HEAD + b"content-length: 900\r\n\r\n" + WHOLE[:30], WHOLE[:30].decode()),
    "chunks": (HEAD + b'transfer-encoding: chunked\r\n\r\n4\r\n{"ch', '{"ch'),
    "too long": (HEAD + b"\r\n" + WHOLE, ""),
}


@pytest.mark.parametrize(("sent", "text"), CUT.values(), ids=CUT)
@pytest.mark.parametrize("stream", ["never", "always"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_paid_answer_that_broke_off_is_counted_and_made_again_a_few_times(
    sent: bytes, text: str, stream: str, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_long = sent.endswith(WHOLE)
    if is_long:
        for module in (openai_http, openai_calls):
            monkeypatch.setattr(module, "MAX_ANSWER_BYTES", len(WHOLE) - 1)
    (error,) = _ask_raw(sent, stream=stream, api=api, retry={"deadline_s": 20.0})
    assert isinstance(error, ProviderError)
    assert len(error.lost) == error.attempts == (1 if is_long else MAX_LOST)
    for lost in error.lost:
        assert isinstance(lost, LostAttempt)
        assert (lost.text, lost.request_id, lost.is_usage_estimated) == (text, "r1", True)
        assert lost.usage.input_tokens > 0
        assert lost.usage.output_tokens == -(-len(text) // 4)


@pytest.mark.parametrize("stream", ["never", "always"])
def test_refusal_that_broke_off_is_paid_by_nobody(stream: str) -> None:
    (error,) = _ask_raw(_http(b"oops", "503 Busy")[:-2], stream=stream)
    assert isinstance(error, ProviderError)
    assert not error.lost


ODD: dict[str, bytes] = {
    "gzip": _http(gzip.compress(WHOLE), "200 OK", "content-encoding: gzip"),
    "unknown_encoding": _http(WHOLE, "200 OK", "content-encoding: identity"),
    "no_length": b"HTTP/1.1 200 OK\r\n\r\n" + WHOLE,
    "request_id_no_text": _http(WHOLE, "200 OK", "x-request-id: \udce9\udcff"),
    "limits_no_numbers": _http(WHOLE, "200 OK", "x-ratelimit-limit-requests: nan"),
    "limits_of_nothing": _http(
        WHOLE,
        "200 OK",
        *("x-ratelimit-limit-requests: 0", "x-ratelimit-remaining-requests: -5"),
        *("x-ratelimit-reset-requests: 99999999999999d", "x-ratelimit-limit-tokens: 0"),
    ),
    "status_201": _http(WHOLE, "201 Created"),
}


@pytest.mark.parametrize("sent", ODD.values(), ids=ODD)
def test_answer_that_is_only_odd_is_a_reply(sent: bytes) -> None:
    (answer,) = _ask_raw(sent)
    assert isinstance(answer, Reply)
    assert (answer.text, answer.finish_reason) == ("text", "stop")
    answer.request_id.encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_host_is_not_given_the_key(server: StubServer, status: int) -> None:
    server.set(keys=(KEY,))
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    sent = _http(b"", f"{status} Moved", f"location: {elsewhere}/chat/completions")
    (answer,) = _ask_raw(sent)
    assert isinstance(answer, ChimeraError)
    assert server.counts()["finished"] == 0
    _require_discreet(answer)
