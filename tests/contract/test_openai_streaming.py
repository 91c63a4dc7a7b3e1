"""Streamed calls and `/v1/responses` through the backend, against the stub: as whole ones, or lost.

A call goes through `llm.complete`, as a stage makes it, so that what is asserted is in the ledger.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from stub_events import CUT_STREAMS, STREAMS
from stub_faults import FAULTS, Behaviour
from stub_quirks import THOUGHT
from stub_server import StubServer

from chimera_ray.backends.delivered import Delivered
from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.openai import OpenAI
from chimera_ray.call_log import CallLog
from chimera_ray.errors import ChimeraError, EndpointError
from chimera_ray.llm import BoundModel, complete, whole
from chimera_ray.model_config import OpenAIModel
from chimera_ray.prompts import render
from chimera_ray.schemas import Call
from chimera_ray.stages.draft_problem import SCHEMA

pytestmark = pytest.mark.process

PROMPT = render(
    "draft_problem",
    language="English",
    subject="Mathematics",
    area="Algebra",
    topic="Sums",
    facet="",
)
QUICK = {"first_wait_s": 0.01, "max_wait_s": 0.02, "deadline_s": 20.0, "unreachable_s": 20.0}
APIS = ("chat", "responses")
CHAT_ALONE = {"usage_in_every_chunk", "no_done", "no_usage"}
"""what cannot happen to a response's stream, whose last event is the whole response"""
WHOLE_STREAMS = [
    (api, quirk)
    for api in APIS
    for quirk in sorted(STREAMS.keys() - CUT_STREAMS)
    if api == "chat" or quirk not in CHAT_ALONE
]


class Asked(NamedTuple):
    """What came of some calls of one model, one after the other."""

    texts: Sequence[str]
    error: ChimeraError | None
    calls: Sequence[Call]
    delivered: Mapping[str, int]


@pytest.fixture(scope="module")
def running() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def server(running: StubServer) -> StubServer:
    """The server as new."""
    running.set(**Behaviour().model_dump())
    running.reset()
    return running


async def _ask(server: StubServer, num_calls: int, changes: Mapping[str, Any]) -> Asked:
    config = OpenAIModel.model_validate(
        {
            "backend": "openai",
            "name": "simulated-drafter",
            "base_url": server.url,
            "api_key_env": None,
            "retry": QUICK,
            **changes,
        }
    )
    gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "test")
    delivered = Delivered()
    model = OpenAI(config, gate, Halt(), 1, delivered)
    calls: list[Call] = []
    texts: list[str] = []
    error: ChimeraError | None = None
    try:
        for nth in range(num_calls):
            log = CallLog(f"work {nth}", ())
            bound = BoundModel("drafter", model, log)
            try:
                texts.append(await complete(bound, PROMPT, lambda reply: whole(reply).text, SCHEMA))
            except ChimeraError as exc:
                error = exc
            calls += log.calls
    finally:
        await model.close()
        await gate.close()
    return Asked(texts, error, calls, delivered.counts())


def _asked(server: StubServer, num_calls: int = 1, **changes: Any) -> Asked:
    return asyncio.run(_ask(server, num_calls, changes))


def _said(call: Call) -> tuple[object, ...]:
    """What a streamed call has in common with a whole one."""
    usage = call.input_tokens, call.output_tokens, call.reasoning_tokens
    return (call.text, call.reasoning, call.finish_reason, call.status, *usage)


@pytest.mark.parametrize(("api", "quirk"), WHOLE_STREAMS)
def test_streamed_reply_is_the_whole_one_with_its_times(
    server: StubServer, api: str, quirk: str
) -> None:
    server.set(mode="fixed")
    (plain,) = _asked(server).calls
    server.set(stream_quirk=quirk, latency_mean_s=0.3, stream_share=0.5)
    server.reset()
    asked = _asked(server, stream="always", api=api)
    (call,) = asked.calls
    assert (plain.first_token_s, plain.decode_s) == (0.0, 0.0)
    assert call.first_token_s >= 0.15
    assert call.decode_s > 0
    assert call.is_usage_estimated == (quirk == "no_usage")
    if quirk == "no_usage":
        assert (call.text, call.status) == (plain.text, "ok")
    else:
        assert _said(call) == _said(plain)
    assert server.counts()["finished"] == server.counts()["requests"] == 1


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("quirk", sorted(CUT_STREAMS))
def test_stream_that_broke_off_is_made_again_and_its_part_is_kept_and_paid(
    server: StubServer, api: str, quirk: str
) -> None:
    server.set(mode="fixed")
    (text,) = _asked(server).texts
    server.set(script=[f"stream:{quirk}"])
    server.reset()
    asked = _asked(server, stream="always", api=api, timeouts={"idle_s": 0.3})
    lost, call = asked.calls
    assert asked.texts == [text]
    assert (lost.status, lost.attempts, call.status, call.attempts) == ("error", 1, "ok", 2)
    assert lost.seed == call.seed
    assert 0 < len(lost.text) < len(text)
    assert text.startswith(lost.text)
    assert lost.is_usage_estimated
    assert lost.input_tokens > 0
    assert lost.output_tokens >= len(lost.text) // 4
    assert lost.error
    assert server.counts()["requests"] == 2


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("api", APIS)
def test_fault_comes_to_the_same_by_either_api_streamed_or_not(
    server: StubServer, api: str, fault: str
) -> None:
    times = {"idle_s": 1.0, "first_byte_s": 1.0}
    outcomes = []
    for changes in ({}, {"stream": "always", "api": api}):
        server.set(mode="fixed", script=[fault], retry_after=0.01, huge_chars=200_000)
        calls = _asked(server, timeouts=times, **changes).calls
        last = calls[-1]
        outcomes.append((last.text, last.status, last.finish_reason, last.attempts))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", ["never", "always"])
def test_thinking_is_kept_apart_by_either_api(server: StubServer, api: str, stream: str) -> None:
    server.set(quirk="reasoning_details")
    (call,) = _asked(server, stream=stream, api=api).calls
    assert (call.reasoning, call.status) == (THOUGHT, "ok")
    assert THOUGHT not in call.text


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ["length", "content_filter", "refusal"])
@pytest.mark.parametrize("stream", ["never", "always"])
def test_ending_means_the_same_by_either_api(
    server: StubServer, api: str, fault: str, stream: str
) -> None:
    server.set(script=[fault] * 2)
    (plain,) = _asked(server).calls
    server.set(script=[fault] * 2)
    (call,) = _asked(server, stream=stream, api=api).calls
    assert (call.status, call.finish_reason) == (plain.status, plain.finish_reason)
    assert call.status != "ok"


# auto: what an endpoint teaches


@pytest.mark.parametrize("api", APIS)
def test_server_that_only_streams_is_asked_for_streams_from_then_on(
    server: StubServer, api: str
) -> None:
    server.set(stream="only")
    asked = _asked(server, 3, api=api)
    assert [call.status for call in asked.calls] == ["ok"] * 3
    assert all(call.first_token_s > 0 for call in asked.calls)
    assert server.counts()["requests"] == 4


def test_server_that_only_streams_stops_a_run_that_never_does_and_says_what_to_set(
    server: StubServer,
) -> None:
    server.set(stream="only")
    asked = _asked(server, stream="never")
    assert isinstance(asked.error, EndpointError)
    assert "set stream: auto" in str(asked.error)
    assert server.counts()["requests"] == 1


@pytest.mark.parametrize(
    ("behaviour", "num_more"),
    [
        ({"rejects": ["stream_options"]}, 1),
        ({"stream": "refused"}, 1),
        ({"stream": "refused", "rejects": ["stream_options"]}, 1),
    ],
    ids=str,
)
def test_server_that_refuses_how_a_call_is_streamed_is_asked_without_it_from_then_on(
    server: StubServer, behaviour: dict[str, Any], num_more: int
) -> None:
    server.set(**behaviour)
    asked = _asked(server, 3, stream="always")
    is_streamed = "stream" not in behaviour
    assert [call.status for call in asked.calls] == ["ok"] * 3
    assert [call.first_token_s > 0 for call in asked.calls] == [is_streamed] * 3
    assert [call.is_usage_estimated for call in asked.calls] == [is_streamed] * 3
    assert server.counts()["requests"] == 3 + num_more


@pytest.mark.parametrize("status", ["504", "524", "408"])
def test_silent_call_that_a_gateway_cut_is_streamed_when_it_is_made_again(
    server: StubServer, status: str
) -> None:
    server.set(script=[f"status:{status}"] if status != "504" else [], gateway_s=0.1)
    server.set(latency_mean_s=0.3, stream_share=0.9)
    asked = _asked(server, 2)
    assert [call.status for call in asked.calls] == ["ok"] * 2
    assert [call.attempts for call in asked.calls] == [2, 1]
    assert all(call.first_token_s > 0 for call in asked.calls)
    assert server.counts()["requests"] == 3


@pytest.mark.parametrize(
    ("changes", "is_streamed"),
    [
        ({"sampling": {"max_tokens": 16_384}}, True),
        ({"extra_body": {"max_tokens": 32_768}}, True),
        ({"sampling": {"max_tokens": 16_384}, "stream": "never"}, False),
        ({"sampling": {"max_tokens": 16_384}, "timeouts": {"total_s": 90.0}}, False),
        ({"sampling": {"max_tokens": 2_000}}, False),
        ({}, False),
    ],
    ids=str,
)
def test_call_is_streamed_from_the_first_if_its_reply_may_take_longer_than_gateways_wait(
    server: StubServer, changes: dict[str, Any], is_streamed: bool
) -> None:
    (call,) = _asked(server, **changes).calls
    assert (call.first_token_s > 0) == is_streamed
    assert server.counts()["requests"] == 1


@pytest.mark.parametrize("script", [[], ["stream:cut"], ["stream:no_usage"]], ids=str)
@pytest.mark.parametrize("stream", ["never", "always"])
def test_delivered_tokens_are_those_of_the_replies_that_came(
    server: StubServer, stream: str, script: list[str]
) -> None:
    server.set(script=script)
    asked = _asked(server, 2, stream=stream)
    num_tokens = sum(call.output_tokens for call in asked.calls if call.status == "ok")
    found = asked.delivered["simulated-drafter"]
    if script == ["stream:cut"] and stream == "always":
        assert found > num_tokens
    else:
        assert found == num_tokens
