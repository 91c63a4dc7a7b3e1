"""Engines on Ray, with one that counts down in vLLM's place: shared, killed, moved, ended."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from fake_engines import asked, countdown, finished, need, start_engines, up
from runs import config_of

from chimera_ray.build import new_run_id
from chimera_ray.config import Config
from chimera_ray.errors import ConfigError, EngineError
from chimera_ray.ledger.store import Store
from chimera_ray.model_config import VllmModel
from chimera_ray.runners.live import Live
from chimera_ray.runners.ray_engines import end_engines, need_engines

pytestmark = [
    pytest.mark.ray,
    # Ray leaves sockets and files to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
HERE = Path(__file__).parent
EVERY = 10
CPU = {"device": "cpu", "kv_cache_gib": 0.25, "max_model_len": 8_192}


def _model(name: str = "served", token_s: float = 0.0, **settings: Any) -> VllmModel:
    plan = {"token_s": token_s, **settings.pop("plan", {})}
    said = {"backend": "vllm", "name": name, "engine_args": plan, **CPU, **settings}
    return VllmModel.model_validate(said)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = config_of(tmp_path)
    runtime = config.runtime.model_copy(update={"partial_every_tokens": EVERY})
    return config.model_copy(update={"runtime": runtime})


@pytest.fixture
def engines(config: Config) -> Iterator[tuple[Any, str]]:
    """What keeps the engines, and the run's id."""
    keeper, run_id = start_engines(config)
    yield keeper, run_id
    end_engines(keeper)


def _within(coroutine: Coroutine[Any, Any, Any], timeout_s: float = 60.0) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, timeout_s))


def _wait_gone(pids: list[int]) -> bool:
    """Whether these processes end in a while."""
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(processes, timeout=20)[1]


def test_ray_engines_share_the_calls_of_their_model_and_need_no_cpu(
    engines: tuple[Any, str], config: Config
) -> None:
    keeper, run_id = engines
    model = _model(token_s=0.02, replicas=2, max_num_seqs=3)
    live = Live(Store(config.output_dir), run_id)

    class Busy:
        def ready(self) -> None:
            return

    async def work() -> Any:
        busy = ray.remote(Busy).options(num_cpus=2).remote()
        await busy.ready.remote()
        await need(keeper, model)
        await up(keeper, model, count=2)
        replies = await asked(model, run_id, [25] * 16)
        ray.kill(busy)
        while sum(note["num_generated"] for note in live.engines()) < 16 * 25:
            await asyncio.sleep(0.1)
        return replies, live.engines()

    replies, notes = _within(work())
    assert [reply.text for reply in replies] == [countdown(25)] * 16
    assert len({reply.request_id.split()[0] for reply in replies}) == 2
    assert finished(config.output_dir) == [1] * 16
    assert [(note["model"], note["state"]) for note in notes] == [("served", "up")] * 2


def test_ray_engine_that_is_killed_costs_a_call_only_what_was_not_durable(
    engines: tuple[Any, str], config: Config
) -> None:
    keeper, run_id = engines
    model = _model(token_s=0.02, max_num_seqs=4)

    async def work() -> Any:
        await need(keeper, model)
        (actor,) = (await up(keeper, model)).engines.values()
        asking = asyncio.create_task(asked(model, run_id, [100, 99, 98]))
        while len(list(Path(config.output_dir).glob("partials/*"))) < 3:
            await asyncio.sleep(0.05)
        (pid,) = await actor.pids.remote()
        os.kill(pid, 9)
        return pid, await asking

    pid, replies = _within(work())
    assert [reply.text for reply in replies] == [countdown(length) for length in (100, 99, 98)]
    assert all(EVERY <= reply.resumed_tokens < 98 for reply in replies)
    assert {reply.request_id.split()[1] for reply in replies} == {"1"}
    assert str(pid) not in {reply.request_id.split()[0] for reply in replies}
    assert finished(config.output_dir) == [1] * 3


def test_ray_keeper_that_is_killed_comes_back_with_new_engines_and_calls_go_on(
    engines: tuple[Any, str], config: Config
) -> None:
    keeper, run_id = engines
    model = _model(token_s=0.02)

    async def work() -> Any:
        await need(keeper, model)
        await up(keeper, model)
        asking = asyncio.create_task(asked(model, run_id, [100]))
        while not list(Path(config.output_dir).glob("partials/*")):
            await asyncio.sleep(0.05)
        ray.kill(keeper, no_restart=False)
        return await asking

    (reply,) = _within(work())
    assert reply.text == countdown(100)
    assert reply.resumed_tokens >= EVERY
    assert finished(config.output_dir) == [1]


def test_ray_engines_of_roles_that_differ_in_sampling_alone_are_the_same(
    engines: tuple[Any, str],
) -> None:
    keeper, run_id = engines
    models = [_model(sampling={"temperature": warmth}) for warmth in (0.0, 0.6)]

    async def work() -> Any:
        await need(keeper, *models)
        return [(await asked(model, run_id, [3]))[0].request_id.split() for model in models]

    (first, second) = _within(work())
    assert first[0] == second[0]
    assert (first[2], second[2]) == ("0.0", "0.6")


def test_ray_engines_of_models_that_are_needed_no_more_end(
    engines: tuple[Any, str], config: Config
) -> None:
    keeper, run_id = engines
    first, kept, last = _model("first"), _model("kept"), _model("last")
    live = Live(Store(config.output_dir), run_id)

    async def pid_of(model: VllmModel) -> int:
        return int((await asked(model, run_id, [3]))[0].request_id.split()[0])

    async def work() -> Any:
        await need(keeper, first, kept)
        before = [await pid_of(first), await pid_of(kept)]
        await need(keeper, kept, last)
        after = [await pid_of(kept), await pid_of(last)]
        while "last" not in (names := {note["model"] for note in live.engines()}):
            await asyncio.sleep(0.1)
        return before, after, names

    before, after, names = _within(work())
    assert before[1] == after[0]
    assert _wait_gone([before[0]])
    end_engines(keeper)
    assert _wait_gone(after)
    assert names == {"kept", "last"}


def test_ray_engine_that_never_comes_up_is_started_again(config: Config) -> None:
    runtime = config.runtime.model_copy(update={"engine_load_s": 2.0})
    keeper, run_id = start_engines(config.model_copy(update={"runtime": runtime}))
    recovering, stuck = _model("recovering", plan={"hangs": 1}), _model("stuck", plan={"hangs": 9})

    async def work() -> Any:
        await need(keeper, recovering, stuck)
        asking = [asked(recovering, run_id, [3]), asked(stuck, run_id, [3])]
        return await asyncio.gather(*asking, return_exceptions=True)

    (reply,), failure = _within(work())
    end_engines(keeper)
    assert reply.text == countdown(3)
    assert isinstance(failure, EngineError)
    assert "3 starts failed" in str(failure)
    assert "engine_load_s" in str(failure)


def test_ray_engines_of_our_own_say_what_is_in_the_way(config: Config, tmp_path: Path) -> None:
    run_id, model = new_run_id(), _model(path=f"{tmp_path}/nowhere")
    keeper = need_engines(None, [model], config, run_id)
    with pytest.raises(ConfigError, match=r"vLLM is not installed|no config\.json"):
        _within(asked(model, run_id, [3]))
    assert need_engines(keeper, [], config, run_id) is keeper
    end_engines(keeper)


# ---- on several nodes, in a process of their own --------------------------------------------


@pytest.fixture(scope="module")
def on_nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `engines_on_nodes.py` saw, scene by scene."""
    folder = tmp_path_factory.mktemp("nodes")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)]),
    }
    command = [sys.executable, str(HERE / "engines_on_nodes.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3_000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


def test_ray_engine_over_two_nodes_gives_its_gpus_to_the_next_model(
    on_nodes: dict[str, Any],
) -> None:
    assert on_nodes["spans"]["free_gpus_while_up"] == 0
    assert on_nodes["spans"]["texts"] == ["3 2 1", "2 1"]


def test_ray_engines_over_two_nodes_that_are_needed_no_more_hold_no_gpus(
    on_nodes: dict[str, Any],
) -> None:
    assert on_nodes["spans"]["num_placements_left"] == 0


def test_ray_engine_waits_for_a_node_that_has_its_gpus(on_nodes: dict[str, Any]) -> None:
    assert on_nodes["waits"]["before"] == "waiting for a machine"
    assert on_nodes["waits"]["is_on_the_new_node"]
    assert on_nodes["waits"]["text"] == "3 2 1"


def test_ray_engine_that_fails_on_nodes_is_started_on_another(on_nodes: dict[str, Any]) -> None:
    assert on_nodes["fails"]["text"] == "3 2 1"
    assert on_nodes["fails"]["num_nodes_tried"] == 3
    assert on_nodes["fails"]["num_starts"] == 3


def test_ray_engine_is_tried_again_where_it_failed_if_others_hold_the_rest(
    on_nodes: dict[str, Any],
) -> None:
    kind, text = on_nodes["held"]["failure"]
    assert kind == "EngineError"
    assert "3 starts failed" in text
    assert "CUDA out of memory" in text
    assert "\n" not in text


def test_ray_call_whose_node_is_lost_goes_on_elsewhere_without_suspicion(
    on_nodes: dict[str, Any],
) -> None:
    assert on_nodes["lost"]["is_whole"]
    assert on_nodes["lost"]["resumed_tokens"] >= EVERY
    assert on_nodes["lost"]["num_deaths"] == "0"
    assert on_nodes["lost"]["times_finished"] == [1]
