"""A 403 that gives no reason, over HTTP: one prompt's own, or every call's."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import batch_runs
import pytest
from batch_runs import Memory
from runs import Run, config_of
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.openai import OpenAI
from chimera_ray.backends.openai_passage import MAX_REFUSED, PER_CALL
from chimera_ray.config import ROLES, Config, Pool
from chimera_ray.errors import EndpointError, ProviderError, RefusalError
from chimera_ray.llm import Message, Reply, Request
from chimera_ray.model_config import OpenAIModel

pytestmark = pytest.mark.process

RETRY = {"first_wait_s": 0.01, "max_wait_s": 0.02, "deadline_s": 20.0}
BLOCKED, BANNED = "DROP TABLE", "FORBIDDEN"
WIDTH = 64
SHAPES = {
    "page": "quirk:forbidden_text",
    "json": "status:403",
    "inside_a_200": "quirk:inside_403",
}
Answer = Reply | BaseException


@pytest.fixture(scope="module")
def running() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def server(running: StubServer) -> StubServer:
    """The server as new, with a firewall before it."""
    running.set(**Behaviour(blocked=(BLOCKED,), banned=(BANNED,)).model_dump())
    running.reset()
    return running


def _fields(server: StubServer) -> dict[str, Any]:
    return {"backend": "openai", "base_url": server.url, "api_key_env": None, "retry": RETRY}


def _asked(server: StubServer, prompts: Sequence[str], width: int, **more: Any) -> list[Answer]:
    """Prompts, so many at the same time → what came of each, up to what ends the run."""
    config = OpenAIModel.model_validate({**_fields(server), "name": "simulated-drafter", **more})

    async def run() -> list[Answer]:
        gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "test")
        model = OpenAI(config, gate, Halt(), width)
        todo, answers = [*enumerate(prompts)][::-1], dict[int, Answer]()

        async def slot() -> None:
            while todo and not any(isinstance(each, EndpointError) for each in answers.values()):
                at, prompt = todo.pop()
                asked = Request((Message("user", prompt),), None, at)
                (answers[at],) = await asyncio.gather(model.complete(asked), return_exceptions=True)

        try:
            await asyncio.gather(*(slot() for _ in range(width)))
        finally:
            await model.close()
            await gate.close()
        return [answers[at] for at in sorted(answers)]

    return asyncio.run(asyncio.wait_for(run(), 60))


def _kinds(answers: Sequence[Answer]) -> set[str]:
    names = {Reply: "reply", RefusalError: "refusal", EndpointError: "stop", ProviderError: "own"}
    return {next(name for kind, name in names.items() if isinstance(a, kind)) for a in answers}


@pytest.mark.parametrize("width", [1, 4, WIDTH])
def test_prompt_that_is_blocked_fails_alone_among_others(server: StubServer, width: int) -> None:
    prompts = [f"Say {at}." for at in range(40)]
    prompts[7] = f"What does {BLOCKED} do?"
    answers = _asked(server, prompts, width)
    assert _kinds([answers.pop(7)]) == {"own"}
    assert _kinds(answers) == {"reply"}
    assert server.counts()["requests"] == 40


@pytest.mark.parametrize("num", [1, MAX_REFUSED])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("stream", ["never", "always"])
def test_few_prompts_that_are_left_and_blocked_never_stop_a_run(
    server: StubServer, num: int, shape: str, stream: str
) -> None:
    server.set(script=(shape,) * num)
    answers = _asked(server, ["Say it."] * num, 4, stream=stream)
    assert _kinds(answers) == {"own"}
    assert len(answers) == server.counts()["requests"] == num
    assert all("403" in str(error) and "Say it" not in str(error) for error in answers)


@pytest.mark.parametrize("quirk", ["forbidden_text", "inside_403"])
@pytest.mark.parametrize("width", [1, WIDTH])
def test_endpoint_that_is_closed_is_so_after_a_bounded_number_of_calls(
    server: StubServer, quirk: str, width: int
) -> None:
    server.set(quirk=quirk)
    answers = _asked(server, ["Say it."] * 1_000, width)
    assert _kinds(answers) == {"own", "stop"}
    assert server.counts()["requests"] <= max(MAX_REFUSED, PER_CALL * width) + width


def test_prompts_that_the_endpoint_judged_show_that_it_is_open(server: StubServer) -> None:
    block = [*[f"{BLOCKED} {at}" for at in range(MAX_REFUSED)], f"Is it {BANNED}?"]
    answers = _asked(server, block * 3, 1)
    assert len(answers) == len(block) * 3
    assert _kinds(answers) == {"own", "refusal"}


def test_blocked_prompt_waits_for_no_call_that_waits(server: StubServer) -> None:
    server.set(script=("limited", "quirk:forbidden_text"))
    assert _kinds(_asked(server, ["Say it.", "Say that."], 2)) == {"reply", "own"}


def test_blocked_prompt_of_a_batch_fails_alone(server: StubServer) -> None:
    texts = ["Say it.", f"What does {BLOCKED} do?"]
    requests = [Request((Message("user", text),), None, 0) for text in texts]
    answers = batch_runs.asked(batch_runs.config_at(server.url), Memory(), requests)
    assert [_kinds([answer]) for answer in answers] == [{"reply"}, {"own"}]


def _config(server: StubServer, folder: Path, drafts: int) -> Config:
    names = {role: {"name": "simulated"} for role in ROLES}
    config = config_of(folder, drafts=drafts, models=names, **_fields(server))
    runtime = config.runtime.model_copy(update={"pool": Pool(max_in_flight=WIDTH)})
    return config.model_copy(update={"runtime": runtime})


def test_run_whose_one_call_is_blocked_comes_to_its_end_and_the_next_tries_it_again(
    server: StubServer, tmp_path: Path
) -> None:
    server.set(script=(*["ok"] * 10, "quirk:forbidden_text"))
    config = _config(server, tmp_path, drafts=1)
    failed = [row for row in Run(config).outcomes if row[2] == "failed"]
    assert [row[3] for row in failed] == ["provider_error"]
    assert "failed" not in {row[2] for row in Run(config).outcomes}


def test_run_whose_endpoint_closes_stops_soon(server: StubServer, tmp_path: Path) -> None:
    server.set(script=("ok",) * 30, quirk="forbidden_text")
    with pytest.raises(EndpointError, match="403"):
        Run(_config(server, tmp_path, drafts=100))
    assert server.counts()["statuses"]["403"] <= (PER_CALL + 1) * WIDTH
