"""Batches against the stub server: the same replies as call by call, none lost, none paid twice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batch_runs
import pytest
from batch_runs import (
    PROMPT,
    Counting,
    Memory,
    ask_all,
    asked,
    config_at,
    one_by_one,
    requests_of,
    said,
    with_model,
)
from runs import Run, config_of
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limits import SLOT
from chimera_ray.backends.openai import call_key
from chimera_ray.errors import (
    BudgetError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import Message, Model, Reply, ReplySchema, Request
from chimera_ray.runners.slots import Slots

pytestmark = pytest.mark.process

KEY = "sk-planted-0123456789"


@pytest.fixture(scope="module")
def running() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def server(running: StubServer) -> StubServer:
    """The server as new, but for its earlier batches."""
    running.set(**Behaviour().model_dump())
    running.reset()
    return running


def test_batch_replies_are_those_of_call_by_call(server: StubServer) -> None:
    counting, config, requests = Counting(server), config_at(server.url), requests_of(25)
    replies = asked(config, Memory(), [*requests, requests[3]])
    assert (counting.num_batches, server.counts()["requests"]) == (1, 0)
    assert counting.finished() == [1] * 25
    keys = server.keys()
    for request, reply in zip(requests, replies, strict=False):
        assert keys[call_key(config.identity(), request)].request_ids == [reply.request_id]
    assert {reply.attempts for reply in replies} == {1}
    assert replies[25] == replies[3]
    assert said(replies[:25]) == one_by_one(server, requests)


@pytest.mark.parametrize(
    ("batch", "num_batches"),
    [
        ({"max_requests": 10, "gather_s": 0.2}, 3),
        ({"max_requests": 1}, 25),
        ({"max_bytes": 10 * (len(PROMPT) + 300)}, 3),
        ({"max_bytes": 1_000}, 25),  # each of them alone is larger
    ],
    ids=["requests", "one", "bytes", "one_by_bytes"],
)
def test_batch_that_is_full_is_handed_in(
    server: StubServer, batch: dict[str, Any], num_batches: int
) -> None:
    counting = Counting(server)
    replies = asked(config_at(server.url, batch), Memory(), requests_of(25))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert counting.num_batches == num_batches
    assert counting.finished() == [1] * 25


@pytest.mark.parametrize("fault", ["batch_expired", "batch_item_error"])
def test_batch_items_that_were_not_answered_go_into_the_next(
    server: StubServer, fault: str
) -> None:
    server.set(**{fault: 0.5})
    counting, requests = Counting(server), requests_of(40)
    replies = asked(config_at(server.url), Memory(), requests)
    assert counting.num_batches >= 2
    assert counting.finished() == [1] * 40
    assert {reply.attempts for reply in replies} >= {1, 2}
    server.set(**{fault: 0.0})
    assert said(replies) == one_by_one(server, requests)


def test_batch_items_that_are_never_answered_fail_after_a_second_batch(server: StubServer) -> None:
    server.set(batch_expired=1.0)
    counting = Counting(server)
    config = config_at(server.url, retry=batch_runs.RETRY | {"deadline_s": 0.001})
    (error,) = asked(config, Memory(), requests_of(1))
    assert isinstance(error, TransientProviderError)
    assert "batch_expired" in str(error)
    assert counting.num_batches == 1  # such a deadline leaves no room for a second
    config = config_at(server.url, retry=batch_runs.RETRY | {"deadline_s": 0.1})
    assert isinstance(asked(config, Memory(), requests_of(1))[0], TransientProviderError)
    assert counting.num_batches >= 3


def test_batch_item_that_is_refused_fails_alone(server: StubServer) -> None:
    server.set(banned=["FORBIDDEN"], max_prompt_chars=2 * len(PROMPT))
    texts = [PROMPT, f"{PROMPT} FORBIDDEN", 3 * PROMPT]
    requests = [Request((Message("user", text),), None, 0) for text in texts]
    counting = Counting(server)
    good, banned, long = asked(config_at(server.url), Memory(), requests)
    assert isinstance(good, Reply)
    assert isinstance(banned, RefusalError)
    assert isinstance(long, ContextError)
    assert counting.num_batches == 1
    assert not any(PROMPT[:16] in str(error) for error in (banned, long))


def test_batch_for_an_unknown_model_or_without_a_key_stops_the_run(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_KEY", KEY)
    unknown = asked(config_at(server.url, name="gpt-0"), Memory(), requests_of(3))
    server.set(keys=["sk-another"])
    config = config_at(server.url, api_key_env="STUB_KEY")
    denied = asked(config, Memory(), requests_of(3))
    assert {type(error) for error in (*unknown, *denied)} == {EndpointError}
    assert all("STUB_KEY" in str(error) and KEY not in str(error) for error in denied)


def test_batch_that_fails_fails_its_rows_with_the_code(server: StubServer) -> None:
    server.set(batch_fails=True)
    counting = Counting(server)
    errors = asked(config_at(server.url), Memory(), requests_of(3))
    assert [type(error) for error in errors] == [ProviderError] * 3
    assert all("batch_failed" in str(error) for error in errors)
    assert (counting.num_batches, counting.finished()) == (1, [])


def test_batch_asks_in_a_weaker_way_where_schemas_are_not_known(server: StubServer) -> None:
    server.set(supports_schema=False)
    schema = ReplySchema("drafted", {"type": "object", "properties": {}})
    counting = Counting(server)
    requests = [request._replace(schema=schema) for request in requests_of(4)]

    async def use(model: Model) -> list[Any]:
        return [*await ask_all(model, requests[:2]), *await ask_all(model, requests[2:])]

    replies = with_model(config_at(server.url), Memory(), use)
    assert [reply.attempts for reply in replies] == [2, 2, 1, 1]
    assert counting.num_batches == 3


def test_batch_fills_with_all_rows_however_few_slots_there_are(server: StubServer) -> None:
    counting, slots = Counting(server), Slots(2)

    async def use(model: Model) -> list[Reply]:
        async def row(request: Request) -> Reply:
            async with slots.take() as slot:
                SLOT.set(slot)
                return await model.complete(request)

        return await asyncio.gather(*(row(request) for request in requests_of(60)))

    patient = config_at(server.url, {"gather_s": 0.3})
    assert len(with_model(patient, Memory(), use)) == 60
    assert counting.num_batches == 1


# ---- a run that stops, and one that does not -------------------------------------------------


def test_batch_that_was_handed_in_ends_after_the_budget_has(server: StubServer) -> None:
    server.set(batch_s=0.3)
    counting, halt = Counting(server), Halt()
    config = config_at(server.url, {"max_requests": 3, "gather_s": 60.0})

    async def use(model: Model) -> list[Any]:
        first = asyncio.create_task(ask_all(model, requests_of(3)))
        while await asyncio.to_thread(lambda: counting.num_batches) < 1:
            pass
        late = asyncio.create_task(ask_all(model, requests_of(2, start=3)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        halt.stop(BudgetError("spent"))
        return [await first, await late, await ask_all(model, requests_of(1))]

    first, late, last = with_model(config, Memory(), use, halt)
    assert all(isinstance(reply, Reply) for reply in first)
    assert [type(error) for error in (*late, *last)] == [BudgetError] * 3
    assert counting.num_batches == 1


def test_batch_row_that_is_cancelled_before_it_is_handed_in_is_not_asked(
    server: StubServer,
) -> None:
    counting = Counting(server)

    async def use(model: Model) -> Any:
        first, second = (asyncio.create_task(model.complete(r)) for r in requests_of(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        return await second

    patient = config_at(server.url, {"gather_s": 0.3})
    assert isinstance(with_model(patient, Memory(), use), Reply)
    assert counting.finished() == [1]


def test_run_in_batches_ends_as_call_by_call_for_half_the_price(
    server: StubServer, tmp_path: Path
) -> None:
    def run(name: str, batch: dict[str, Any] | None, num_slots: int) -> Run:
        fields = {"api_key_env": None, "base_url": server.url, "retry": batch_runs.RETRY}
        models = {
            role: {"backend": "openai", "batch": batch, **fields} for role in ("drafter", "solver")
        }
        config = config_of(tmp_path / name, drafts=3, models=models)
        runtime = config.runtime.model_copy(
            update={"pool": config.runtime.pool.model_copy(update={"max_in_flight": num_slots})}
        )
        return Run(config.model_copy(update={"runtime": runtime}))

    singly = run("one", None, 8)
    counting = Counting(server)
    server.reset()
    in_batches = run("batches", batch_runs.BATCH | {"gather_s": 0.3}, 8)
    assert in_batches.outcomes == singly.outcomes
    assert len(in_batches.ids) > 0
    assert set(counting.finished()) == {1}
    assert counting.num_batches <= 4  # though a stage has but 8 slots
    for role in ("drafter", "solver"):
        whole, half = singly.paid[role], in_batches.paid[role]
        assert half.calls == whole.calls > 8
        assert whole.cost_usd > 0
        assert half.cost_usd == pytest.approx(whole.cost_usd / 2)
    assert in_batches.store.names("batches")
