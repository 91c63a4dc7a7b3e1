"""Remote models on the Ray runner: what the cluster counts together, and what stops it."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
import ray
from runs import Run, config_of
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.build import new_run_id
from chimera_ray.config import ROLES, Config, Pool
from chimera_ray.errors import BudgetError, EndpointError
from chimera_ray.ledger.journal import recover
from chimera_ray.ledger.store import Store
from chimera_ray.runners.ray_counters import NAMESPACE
from chimera_ray.runners.ray_data import RayCarrier

pytestmark = [
    pytest.mark.ray,
    # Ray leaves sockets and files to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
PLANTED_KEY = os.environ["NODE_KEY"]
MODELS = {role: {"name": "simulated"} for role in ROLES}
SOLVER = ("expand_topics", "plan_drafts", "draft_problem", "plan_rollouts", "sample_trajectory")


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer(Behaviour(keys=(PLANTED_KEY,))) as running:
        yield running


def _config(server: StubServer, output_dir: Path, **changes: Any) -> Config:
    reached = {"base_url": server.url, "api_key_env": "NODE_KEY", "retry": {"first_wait_s": 0.1}}
    runtime = changes.pop("runtime", {})
    fields = {"backend": "openai", **reached, **changes.pop("every_model", {})}
    config = config_of(output_dir, models=MODELS, **fields, **changes)
    return config.model_copy(update={"runtime": config.runtime.model_copy(update=runtime)})


def _run(config: Config) -> Run:
    run_id = new_run_id()
    return Run(config, RayCarrier(config, run_id), run_id)


def _beside(wait: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Does something, once a condition holds, beside the run."""

    def work() -> None:
        for _ in range(1_200):
            if wait():
                then()
                return
            threading.Event().wait(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_ray_remote_run_keeps_the_key_to_itself_and_pays_each_call_once(
    server: StubServer, tmp_path: Path
) -> None:
    carried = _run(_config(server, tmp_path))
    assert carried.ids
    assert all(count.finished == 1 for count in server.keys().values())
    assert sum(carried.num_calls.values()) == server.counts()["finished"]
    again = _run(_config(server, tmp_path))
    assert again.num_calls == {}
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    said = [json.dumps(dict(ray.get_runtime_context().runtime_env))]
    said += [str(pq.read_table(path).to_pydict()) for path in tmp_path.rglob("*.parquet")]
    files = [*tmp_path.rglob("*"), *logs.rglob("*")]
    said += [path.read_bytes().decode("latin-1") for path in files if path.is_file()]
    assert len(said) > 20
    assert not [text for text in said if PLANTED_KEY in text]


def test_ray_remote_limiter_that_is_killed_comes_back_and_the_run_goes_on(
    server: StubServer, tmp_path: Path
) -> None:
    server.set(latency_mean_s=0.3)
    limits = {"limits": {"requests_per_minute": 1_500}}
    wide = {"pool": Pool(actors=2, max_in_flight=32)}
    config = _config(server, tmp_path, drafts=8, every_model=limits, runtime=wide)

    def kill() -> None:
        ray.kill(ray.get_actor("limiters", namespace=NAMESPACE), no_restart=False)

    killer = _beside(lambda: server.counts()["finished"] > 110, kill)
    carried = _run(config)
    killer.join()
    assert carried.ids
    assert all(count.finished == 1 for count in server.keys().values())
    for stage in carried.account.stages:
        assert (stage.todo, stage.inputs) == (0, stage.accepted + stage.rejected + stage.failed)


def test_ray_remote_places_at_the_endpoint_hold_for_all_actors_together(
    server: StubServer, tmp_path: Path
) -> None:
    Run(_config(server, tmp_path, stages=SOLVER[:-1], drafts=10))
    server.reset()
    server.set(latency_mean_s=0.2)
    config = _config(
        server,
        tmp_path,
        stages=SOLVER,
        drafts=10,
        every_model={"limits": {"max_in_flight": 5}},
        runtime={"pool": Pool(actors=2, max_in_flight=20)},
    )
    assert len(_run(config).ids) > 50
    assert server.counts()["max_in_flight"] <= 5


def test_ray_remote_budget_stops_all_and_loses_nothing_and_goes_on_with_more(
    server: StubServer, tmp_path: Path
) -> None:
    server.set(latency_mean_s=0.2)
    cap = {"max_cost_usd": 0.1, "pool": Pool(max_in_flight=8)}
    with pytest.raises(BudgetError, match=r"of 0\.1 USD"):
        _run(_config(server, tmp_path, drafts=6, runtime=cap))
    paid = server.counts()["finished"]
    assert paid == sum(_kept(tmp_path))
    run = _run(_config(server, tmp_path, drafts=6))
    assert run.ids
    assert all(count.finished == 1 for count in server.keys().values())
    assert server.counts()["finished"] == paid + sum(run.num_calls.values())


def test_ray_remote_quota_that_ends_stops_the_run_and_what_was_done_stays(
    server: StubServer, tmp_path: Path
) -> None:
    server.set(quota_calls=30, latency_mean_s=0.1)
    with pytest.raises(EndpointError, match="no quota left for the key in NODE_KEY"):
        _run(_config(server, tmp_path, drafts=6))
    assert sum(_kept(tmp_path)) == server.counts()["finished"] == 30
    server.set(quota_calls=None)
    assert _run(_config(server, tmp_path, drafts=6)).ids
    assert all(count.finished == 1 for count in server.keys().values())


def test_ray_remote_actor_that_is_killed_gives_its_places_back(
    server: StubServer, tmp_path: Path
) -> None:
    server.set(latency_mean_s=0.5)
    limits = {"limits": {"max_in_flight": 4}}
    config = _config(server, tmp_path, stages=SOLVER, drafts=8, every_model=limits)

    def kill() -> None:
        for child in psutil.Process().children(recursive=True):
            if "MapWorker" in " ".join(child.cmdline()):
                os.kill(child.pid, 9)

    killer = _beside(lambda: server.counts()["finished"] > 60, kill)
    carried = _run(config)
    killer.join()
    assert len(carried.ids) > 40
    repeated = sum(count.finished - 1 for count in server.keys().values() if count.finished)
    assert repeated <= 3 * 4 + 10  # in flight at each of the actors, and one flush window


def test_ray_remote_key_that_the_nodes_lack_is_named_in_one_line(
    server: StubServer, tmp_path: Path
) -> None:
    lacking = {"api_key_env": "NOT_ON_THE_NODES"}
    with pytest.raises(EndpointError, match="NOT_ON_THE_NODES is not set"):
        _run(_config(server, tmp_path, every_model=lacking))


def _kept(output_dir: Path) -> list[int]:
    """The paid calls of each part of a ledger."""
    counts = []
    for folder in output_dir.glob("ledger/*/*"):  # what the dead left in journals becomes parts
        recover(Store(str(output_dir)), str(folder.relative_to(output_dir)))
    for path in output_dir.glob("ledger/*/*/part-*.parquet"):
        rows = pq.read_table(path, columns=["calls"]).to_pylist()
        calls = [call for row in rows for call in row["calls"]]
        counts.append(sum(not c["is_replayed"] and c["status"] != "error" for c in calls))
    return counts
