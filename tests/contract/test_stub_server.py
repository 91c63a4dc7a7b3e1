"""The stub server: understood by the official client, as wrong as it is told to be, and exact."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import openai
import pytest
import stub_server
import yaml
from pydantic import ValidationError
from stub_faults import FAULTS, Behaviour, draw, duration, rates_of
from stub_replies import Teachers
from stub_server import StubServer

from chimera_ray.backends.simulated import Simulated
from chimera_ray.llm import Message, Reply, Request
from chimera_ray.model_config import SimulatedModel
from chimera_ray.prompts import render

pytestmark = pytest.mark.process

T = TypeVar("T")
CONF = Path(__file__).parents[2] / "conf" / "model"
PROMPT = render(
    "draft_problem",
    language="English",
    subject="Mathematics",
    area="Algebra",
    topic="Groups",
    facet="a count",
)
SAID: list[Any] = [{"role": "user", "content": PROMPT}]
ASKED = {"model": "simulated-drafter", "messages": SAID, "seed": 3}
SCHEMA: Any = {"type": "json_schema", "json_schema": {"name": "drafted", "schema": {}}}


class Seen:
    """An answer as it came over the wire."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def choice(self) -> dict[str, Any]:
        return dict(self.json["choices"][0])


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


def _seen(server: StubServer, *keys: str, key: str = "k", **asked: Any) -> list[Seen]:
    """One request for each key at the same time → their answers."""

    async def ask(session: aiohttp.ClientSession, name: str) -> Seen:
        headers = {"Idempotency-Key": name, "Authorization": f"Bearer {key}"}
        url = f"{server.url}/chat/completions"
        async with session.post(url, json=ASKED | asked, headers=headers) as response:
            return Seen(response, await response.read())

    async def ask_all() -> list[Seen]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as session:
            return await asyncio.gather(*(ask(session, name) for name in keys))

    return asyncio.run(ask_all())


def _by_sdk(server: StubServer, call: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
    async def with_client() -> T:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
            return await call(client)

    return asyncio.run(with_client())


def _teacher(name: str) -> Simulated:
    fields = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return Simulated(SimulatedModel.model_validate(fields))


def _reply(name: str, prompt: str, seed: int) -> Reply:
    request = Request((Message("user", prompt),), None, seed)
    return asyncio.run(_teacher(name).complete(request))


def test_reply_is_the_simulated_teachers(server: StubServer) -> None:
    async def ask(client: openai.AsyncOpenAI) -> Any:
        return await client.chat.completions.create(
            model="simulated-drafter", messages=SAID, seed=3, response_format=SCHEMA
        )

    said, own = _by_sdk(server, ask), _reply("simulated_drafter", PROMPT, 3)
    choice, usage = said.choices[0], said.usage
    assert (choice.message.content, choice.finish_reason) == (own.text, own.finish_reason)
    assert (usage.prompt_tokens, usage.completion_tokens) == own.usage[0::2]
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert said.id.startswith("chatcmpl-")
    assert said._request_id == said.id.replace("chatcmpl-", "req_")


def test_models_are_the_shipped_and_the_added_ones(server: StubServer) -> None:
    async def names(client: openai.AsyncOpenAI) -> list[str]:
        return [model.id async for model in client.models.list()]

    server.set(teachers={"mine": {"refusal_rate": 1.0}})
    known = _by_sdk(server, names)
    assert {"simulated", "simulated-drafter", "simulated-solver", "mine"} <= set(known)
    message = _seen(server, "a", model="mine")[0].choice["message"]
    assert message["content"] is None
    assert message["refusal"]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_field_takes_the_thinking(server: StubServer, field: str) -> None:
    solve: dict[str, Any] = {"model": "simulated-solver", "messages": [{**SAID[0], "content": "?"}]}
    whole = _seen(server, "a", **solve)[0].choice["message"]
    server.set(reasoning_field=field)
    split = _seen(server, "a", **solve)[0].choice["message"]
    assert "</think>" in whole["content"]
    assert f"{split[field]}</think>{split['content']}" == whole["content"]


def test_fixed_reply_is_the_same_for_all_and_has_its_size(server: StubServer) -> None:
    server.set(mode="fixed", reply_chars=5_000)
    one, other = _seen(server, "a", "b", model="whatever")
    assert one.choice == other.choice
    assert one.json["id"] != other.json["id"]
    assert len(one.choice["message"]["content"]) == 5_000
    assert one.json["usage"]["completion_tokens"] == 1_250


def test_transient_error_of_the_teacher_is_a_500(server: StubServer) -> None:
    server.set(teachers={"mine": {"transient_error_rate": 1.0}})
    seen = _seen(server, "a", model="mine")[0]
    assert (seen.status, seen.json["error"]["type"]) == (500, "server_error")


ANSWERED: dict[str, tuple[int, Callable[[Seen], bool]]] = {
    "limited": (429, lambda seen: seen.json["error"]["code"] == "rate_limit_exceeded"),
    "error_500_html": (500, lambda seen: seen.headers["Content-Type"].startswith("text/html")),
    "error_503": (503, lambda seen: seen.json["error"]["type"] == "server_error"),
    "wrong_content_type": (200, lambda seen: seen.body.startswith(b"<!DOCTYPE html>")),
    "refusal": (200, lambda seen: bool(seen.choice["message"]["refusal"])),
    "huge": (200, lambda seen: len(seen.choice["message"]["content"]) == 3_000_000),
    "duplicate_keys": (200, lambda seen: seen.body.count(b'"choices":') == 2 and bool(seen.choice)),
    "no_usage": (200, lambda seen: "usage" not in seen.json),
    "null_content": (200, lambda seen: seen.choice["message"]["content"] is None),
    "empty_choices": (200, lambda seen: seen.json["choices"] == []),
    "length": (200, lambda seen: seen.choice["finish_reason"] == "length"),
    "content_filter": (200, lambda seen: seen.choice["finish_reason"] == "content_filter"),
}
UNREADABLE = {
    "malformed_json": json.JSONDecodeError,
    "truncated_json": json.JSONDecodeError,
    "invalid_utf8": UnicodeDecodeError,
}
BROKEN_OFF = {
    "dropped": aiohttp.ServerDisconnectedError,
    "half_sent": aiohttp.ClientPayloadError,
}
FINISHED = {"refusal", "huge", "duplicate_keys", "no_usage", "length", "content_filter"}


def test_every_fault_is_tested() -> None:
    assert {*ANSWERED, *UNREADABLE, *BROKEN_OFF, "hung"} == set(FAULTS)


@pytest.mark.parametrize("mode", ["simulated", "fixed"])
@pytest.mark.parametrize("fault", ANSWERED)
def test_fault_is_answered_and_counted(server: StubServer, fault: str, mode: str) -> None:
    server.set(**{"mode": mode, fault: 1.0, "huge_chars": 3_000_000})
    status, is_as_told = ANSWERED[fault]
    seen = _seen(server, "a")[0]
    assert seen.status == status
    assert is_as_told(seen)
    counts = server.counts()
    assert counts["faults"] == {fault: 1}
    assert counts["finished"] == (fault in FINISHED)


@pytest.mark.parametrize("fault", UNREADABLE)
def test_fault_leaves_a_whole_body_that_cannot_be_read(server: StubServer, fault: str) -> None:
    server.set(script=[fault])
    broken, sound = _seen(server, "a")[0], _seen(server, "a")[0]
    assert broken.status == 200
    with pytest.raises(UNREADABLE[fault]):
        broken.body.decode() and broken.json
    assert sound.choice
    assert server.counts()["finished"] == 1
    assert server.counts()["wasted"]["output_tokens"] > 0


@pytest.mark.parametrize("fault", BROKEN_OFF)
def test_fault_breaks_the_connection(server: StubServer, fault: str) -> None:
    server.set(**{fault: 1.0})
    with pytest.raises(BROKEN_OFF[fault]):
        _seen(server, "a")
    assert server.counts()["finished"] == 0


def test_hung_call_and_slow_call_end_with_their_client(server: StubServer) -> None:
    server.set(script=["hung"], latency_mean_s=3_600, max_concurrent=2)

    async def ask(client: openai.AsyncOpenAI) -> None:
        for _ in range(2):
            with pytest.raises(openai.APITimeoutError):
                await client.with_options(timeout=0.1).chat.completions.create(
                    model="simulated", messages=SAID
                )

    _by_sdk(server, ask)
    counts = server.counts()
    assert (counts["requests"], counts["finished"]) == (2, 0)
    server.set(latency_mean_s=0, max_concurrent=1)
    assert 200 in (_seen(server, "a")[0].status for _ in range(50))  # nothing is left in flight


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], int, str | None, str | None]] = {
    "key": ({"keys": ["other"]}, {}, 401, "invalid_api_key", None),
    "model": ({}, {"model": "gpt-0"}, 404, "model_not_found", None),
    "quota": ({"quota_calls": 0}, {}, 429, "insufficient_quota", None),
    "context": ({"max_prompt_chars": 9}, {}, 400, "context_length_exceeded", "messages"),
    "policy": ({"banned": ["Algebra"]}, {}, 400, "content_policy_violation", None),
    "schema": ({"supports_schema": False}, {"response_format": SCHEMA}, 400, None, None),
    "field": ({"rejects": ["seed"]}, {"seed": 1}, 400, "unsupported_parameter", "seed"),
    "script": ({"script": ["status:418:teapot"]}, {}, 418, "teapot", None),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_request_gets_the_error_that_openai_gives(server: StubServer, case: str) -> None:
    behaviour, changes, status, code, param = REFUSALS[case]
    server.set(**behaviour)

    async def ask(client: openai.AsyncOpenAI) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(**{**ASKED, **changes})
        return caught.value

    exc = _by_sdk(server, ask)
    assert (exc.status_code, exc.code) == (status, code)
    assert exc.param == (param or ("response_format" if case == "schema" else None))
    assert server.counts()["statuses"] == {str(status): 1}


def test_quota_ends_after_its_calls_and_can_be_raised(server: StubServer) -> None:
    server.set(quota_calls=2)
    assert [_seen(server, "a")[0].status for _ in range(3)] == [200, 200, 429]
    server.set(quota_calls=1)
    assert [_seen(server, "a")[0].status for _ in range(2)] == [200, 429]


def test_script_is_played_once_in_order(server: StubServer) -> None:
    server.set(script=["status:500", "ok", "limited"], retry_after=0.25, error_503=1.0)
    seen = [_seen(server, name)[0] for name in "abcd"]
    assert [answer.status for answer in seen] == [500, 200, 429, 503]
    assert seen[2].headers["Retry-After"] == "0.25"
    server.set(script=["limited"], retry_after="date", retry_after_date_s=3)
    assert _seen(server, "a")[0].headers["Retry-After"].endswith("GMT")


def test_rates_are_drawn_by_attempt_and_repeatably(server: StubServer) -> None:
    server.set(mode="fixed", limited=0.3, error_503=0.2)
    names = [f"key {n}" for n in range(300)]
    first = [answer.status for answer in _seen(server, *names)]
    second = [answer.status for answer in _seen(server, *names)]
    counts = server.counts()
    server.reset()
    assert [answer.status for answer in _seen(server, *names)] == first != second
    assert counts["limited_share"] == pytest.approx(0.3, abs=0.06)
    assert counts["statuses"]["503"] / 600 == pytest.approx(0.2, abs=0.06)
    behaviour = Behaviour(limited=0.3, error_503=0.2)
    drawn = [draw(behaviour, rates_of(behaviour), name, 0) for name in names]
    assert [{"limited": 429, "error_503": 503}.get(fault, 200) for fault in drawn] == first


@pytest.mark.parametrize(("limit", "what"), [("rpm", "requests"), ("tpm", "tokens")])
def test_rate_limit_lets_its_burst_through(server: StubServer, limit: str, what: str) -> None:
    server.set(**{limit: 6.0, "burst_s": 1.0, "sends_limit_headers": True})
    first, second = _seen(server, "a")[0], _seen(server, "b")[0]
    assert (first.status, second.status) == (200, 429)
    assert first.headers[f"x-ratelimit-limit-{what}"] == "6"
    assert first.headers[f"x-ratelimit-remaining-{what}"] == "0"
    assert first.headers[f"x-ratelimit-reset-{what}"] not in ("", "0s")
    assert second.json["error"]["code"] == "rate_limit_exceeded"
    assert int(second.headers["Retry-After"]) >= 5
    server.set(limit_retry_after=False)
    assert "Retry-After" not in _seen(server, "c")[0].headers


def test_rate_limit_refills(server: StubServer) -> None:
    server.set(mode="fixed", rpm=2_400.0, burst_s=0.25)
    statuses = [answer.status for answer in _seen(server, *"abcdefghijklmnopqrstuvwx")]
    assert 429 in statuses
    for _ in range(1_000):  # ten at once, and forty more each second
        statuses += [answer.status for answer in _seen(server, *"abcd")]
        if statuses.count(200) > 20:
            break
    assert statuses.count(200) > 20


def test_max_concurrent_holds(server: StubServer) -> None:
    server.set(max_concurrent=3, latency_mean_s=0.3)
    statuses = [answer.status for answer in _seen(server, *"abcdefgh")]
    assert sorted(statuses) == [200] * 3 + [429] * 5
    assert server.counts()["limited_share"] == 5 / 8


def test_latency_is_waited_and_the_same_for_a_key(server: StubServer) -> None:
    async def timed() -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.to_thread(_seen, server, "a")
        return asyncio.get_running_loop().time() - began

    behaviour = Behaviour(latency_mean_s=0.1, latency_sigma=0.5)
    waits = [Teachers(behaviour).wait_s(key) for key in ("a", "a", "b")]
    assert waits[0] == waits[1] != waits[2]
    server.set(**behaviour.model_dump(exclude_unset=True))
    assert asyncio.run(timed()) >= waits[0]


def test_counts_and_keys_are_true(server: StubServer) -> None:
    server.set(script=["status:500", "half_sent"])
    first = _seen(server, "a")[0]
    with pytest.raises(aiohttp.ClientPayloadError):
        _seen(server, "b")
    seen = [*_seen(server, "a"), *_seen(server, "b", "b")]
    counts, keys = server.counts(), server.keys()
    assert (first.status, counts["requests"], counts["finished"]) == (500, 5, 3)
    assert counts["statuses"] == {"500": 1, "200": 4}
    assert counts["first_at"] < counts["last_at"]
    assert 1 <= counts["num_connections"] <= 5
    assert counts["tokens"] == sum(answer.json["usage"]["total_tokens"] for answer in seen)
    assert {key: (count.requests, count.finished) for key, count in keys.items()} == {
        "a": (2, 1),
        "b": (3, 2),
    }
    ids = [*keys["a"].request_ids, *keys["b"].request_ids]
    assert sorted(ids) == sorted(answer.headers["x-request-id"] for answer in seen)
    assert len(keys["b"].finished_at) == 2


async def _run_batch(client: openai.AsyncOpenAI, bodies: dict[str, dict[str, Any]]) -> Any:
    """Requests by custom_id → the batch that answered them, when it has ended."""
    url = "/v1/chat/completions"
    lines = [
        json.dumps({"custom_id": key, "method": "POST", "url": url, "body": body})
        for key, body in bodies.items()
    ]
    content = "\n".join(lines).encode()
    file = await client.files.create(file=("in.jsonl", content), purpose="batch")
    batch = await client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"run": "r"},
    )
    assert (batch.status, batch.metadata) == ("validating", {"run": "r"})
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        batch = await client.batches.retrieve(batch.id)
    await client.files.delete(file.id)
    return batch


async def _lines(client: openai.AsyncOpenAI, file_id: str | None) -> dict[str, dict[str, Any]]:
    if file_id is None:
        return {}
    content = await client.files.content(file_id)
    lines = [json.loads(line) for line in content.text.splitlines()]
    return {line["custom_id"]: line for line in lines}


def test_batch_answers_every_item_in_some_order(server: StubServer) -> None:
    bodies = {f"item {n}": ASKED | {"seed": n} for n in range(25)}
    bodies["lost"] = ASKED | {"model": "gpt-0"}

    async def run(client: openai.AsyncOpenAI) -> Any:
        batch = await _run_batch(client, bodies)
        output, errors = batch.output_file_id, batch.error_file_id
        return batch, await _lines(client, output), await _lines(client, errors)

    batch, output, errors = _by_sdk(server, run)
    assert batch.status == "completed"
    assert batch.request_counts.model_dump() == {"completed": 25, "failed": 1, "total": 26}
    assert {*output} == {*bodies} - {"lost"}
    assert [*output] != [key for key in bodies if key in output]
    text = output["item 7"]["response"]["body"]["choices"][0]["message"]["content"]
    assert text == _reply("simulated_drafter", PROMPT, 7).text
    assert errors["lost"]["response"]["status_code"] == 404
    counts, keys = server.counts(), server.keys()
    assert (counts["batch_finished"], counts["batch_failed"]) == (25, 1)
    assert counts["requests"] == 0
    assert keys["item 7"].request_ids == [output["item 7"]["response"]["request_id"]]


def test_batch_items_expire_and_fail_at_their_rates(server: StubServer) -> None:
    server.set(batch_expired=0.3, batch_item_error=0.3)
    bodies = {f"item {n}": ASKED | {"seed": n} for n in range(100)}

    async def run(client: openai.AsyncOpenAI) -> Any:
        batch = await _run_batch(client, bodies)
        output, errors = batch.output_file_id, batch.error_file_id
        return batch, await _lines(client, output), await _lines(client, errors)

    batch, output, errors = _by_sdk(server, run)
    assert batch.status == "expired"
    assert {*output, *errors} == {*bodies}
    expired = [line for line in errors.values() if line["error"]]
    assert {line["error"]["code"] for line in expired} == {"batch_expired"}
    assert 15 < len(expired) < 45
    for lines in (output, errors):
        assert 500 in {(line["response"] or {}).get("status_code") for line in lines.values()}


def test_batch_fails_as_a_whole_and_for_a_bad_file(server: StubServer) -> None:
    async def run(client: openai.AsyncOpenAI) -> list[Any]:
        bad = await _run_batch(client, {"a": {"no": "model"}})
        server.set(batch_fails=True)
        return [bad, await _run_batch(client, {"a": ASKED})]

    bad, told = _by_sdk(server, run)
    assert (bad.status, told.status) == ("failed", "failed")
    assert (bad.errors.data[0].code, bad.errors.data[0].line) == ("invalid_json_line", 1)
    assert told.errors.data[0].message


def test_batches_are_cancelled_and_listed_in_pages(server: StubServer) -> None:
    server.set(batch_s=3_600)

    async def run(client: openai.AsyncOpenAI) -> tuple[list[str], list[str], Any]:
        line = json.dumps({"custom_id": "a", "body": ASKED}).encode()
        file = await client.files.create(file=("in.jsonl", line), purpose="batch")
        made = [
            await client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            )
            for _ in range(3)
        ]
        batch = await client.batches.cancel(made[0].id)
        assert batch.status in ("cancelling", "cancelled")
        while batch.status != "cancelled":
            batch = await client.batches.retrieve(batch.id)
        listed = [batch.id async for batch in client.batches.list(limit=2)]
        errors = await _lines(client, batch.error_file_id)
        return [batch.id for batch in reversed(made)], listed, errors

    made, listed, errors = _by_sdk(server, run)
    assert listed[:3] == made
    assert errors["a"]["error"]["code"] == "batch_cancelled"


@pytest.mark.parametrize(
    "wrong", [{"limitted": 1}, {"limited": 0.6, "hung": 0.6}, {"script": ["no"]}], ids=str
)
def test_wrong_behaviour_is_refused_here_and_there(
    server: StubServer, wrong: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        Behaviour(**wrong)
    with pytest.raises(ValueError, match="validation error"):
        server.set(**wrong)


def test_durations_are_written_as_openai_writes_them() -> None:
    assert [duration(s) for s in (0, 0.02, 1, 8.64, 360)] == ["0s", "20ms", "1s", "8.64s", "6m0s"]


def test_server_ends_with_its_parent() -> None:
    command = [sys.executable, stub_server.__file__, "--with-parent", "--behaviour={}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        process.stdin.close()
        assert process.wait(timeout=20) == 0
