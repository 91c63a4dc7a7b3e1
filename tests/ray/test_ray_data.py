"""The Ray runner against the reference, and against death; one local cluster for all of them."""

import os
import signal
import threading
import time
from itertools import islice
from pathlib import Path

import psutil
import pytest
import yaml
from runs import Run, config_of

from chimera_ray.build import new_run_id
from chimera_ray.config import Config
from chimera_ray.frontier import walk
from chimera_ray.graph import build_graph
from chimera_ray.ledger.journal import is_journal
from chimera_ray.ledger.store import Store
from chimera_ray.runners.perform import StageBugError
from chimera_ray.runners.ray_data import RayCarrier, _hosts

DEMO = Path(__file__).parents[2] / "conf/recipe/demo.yaml"
pytestmark = [
    pytest.mark.ray,
    # Ray leaves sockets and files to the end of the process.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def ray_run(config: Config) -> Run:
    """A configuration → the run of it on Ray."""
    run_id = new_run_id()
    return Run(config, RayCarrier(config, run_id), run_id)


def test_ray_runner_leaves_the_same_ledger_as_the_local_one(tmp_path: Path) -> None:
    rates = {"malformed_rate": 0.1, "truncation_rate": 0.1, "wrong_answer_rate": 0.2}
    stages = tuple(yaml.safe_load(DEMO.read_text())["stages"])
    params = {"label_trajectory": {"use_rules": True}, "nominate_topics": {"min_similarity": 50}}
    local = Run(config_of(tmp_path / "local", stages=stages, params=params, **rates))
    carried = ray_run(config_of(tmp_path / "ray", stages=stages, params=params, **rates))
    assert carried.outcomes == local.outcomes
    assert carried.ids == local.ids
    assert len(carried.ids)


@pytest.mark.parametrize(
    ("stages", "hosts"),
    [
        (("expand_topics", "plan_drafts"), [["expand_topics", "plan_drafts"]]),
        (
            ("expand_topics", "plan_drafts", "draft_problem", "validate_problem"),
            [["expand_topics"], ["plan_drafts", "draft_problem"], ["validate_problem"]],
        ),
        (
            ("expand_topics", "plan_drafts", "draft_problem", "decontaminate_problem"),
            [["expand_topics"], ["plan_drafts", "draft_problem", "decontaminate_problem"]],
        ),
    ],
    ids=["silent_last", "silent_before", "silent_on_both_sides"],
)
def test_hosts_stages_that_ask_no_model_join_one_that_does(
    tmp_path: Path, stages: tuple[str, ...], hosts: list[list[str]]
) -> None:
    config = config_of(tmp_path, stages=stages)
    standings = list(walk(build_graph(config), Store(config.output_dir)))
    assert [[s.node.name for s in host] for host in _hosts(standings)] == hosts


def test_ray_runner_segment_that_ends_without_a_model_is_carried_whole(tmp_path: Path) -> None:
    stages = ("expand_topics", "plan_drafts", "draft_problem", "decontaminate_problem")
    local = Run(config_of(tmp_path / "local", stages=stages))
    carried = ray_run(config_of(tmp_path / "ray", stages=stages))
    assert carried.outcomes == local.outcomes
    assert carried.ids == local.ids


def test_ray_runner_finished_run_again_calls_nobody(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    first = ray_run(config)
    again = ray_run(config)
    assert again.num_calls == {}
    assert again.ids == first.ids


def test_ray_runner_goes_on_from_where_the_local_one_was_stopped(tmp_path: Path) -> None:
    whole = Run(config_of(tmp_path / "whole"))
    Run(config_of(tmp_path / "half", drafts=1))
    carried = ray_run(config_of(tmp_path / "half"))
    assert carried.ids == whole.ids
    assert 0 < carried.num_calls["drafter"] < whole.num_calls["drafter"]


def test_ray_runner_killed_actor_is_replaced_and_no_row_is_lost(tmp_path: Path) -> None:
    undisturbed = Run(config_of(tmp_path / "calm", drafts=6))
    slow = {"latency": {"mean_s": 0.4, "sigma": 0.5}}
    config = config_of(tmp_path / "killed", drafts=6, **slow)
    killed: list[int] = []
    killer = threading.Thread(
        target=_kill_an_actor, args=(tmp_path / "killed/ledger/sample_trajectory", killed)
    )
    killer.start()
    carried = ray_run(config)
    killer.join()
    assert killed
    assert carried.ids == undisturbed.ids
    assert len(set(carried.ids)) == len(carried.ids)


def _kill_an_actor(folder: Path, killed: list[int]) -> None:
    """kill -9 of the actors once the solver's first records are durable."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not killed:
        has_journal = any(is_journal(path.name) for path in folder.glob("*/*"))
        actors = [
            child.pid
            for child in psutil.Process().children(recursive=True)
            if has_journal and "MapWorker" in " ".join(child.cmdline())
        ]
        for pid in actors:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        threading.Event().wait(0.05)


def test_ray_runner_rows_that_fail_end_as_failed_and_the_rest_is_done(tmp_path: Path) -> None:
    rates = dict.fromkeys(
        ("malformed_rate", "refusal_rate", "truncation_rate", "transient_error_rate"), 0.2
    )
    carried = ray_run(config_of(tmp_path, drafts=4, **rates))
    for stage in carried.account.stages:
        assert stage.inputs == stage.accepted + stage.rejected + stage.failed
        assert stage.todo == 0
    assert sum(stage.failed for stage in carried.account.stages) > 0


def test_ray_runner_broken_stage_stops_the_run_with_its_own_error(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    Run(config_of(tmp_path, stages=("expand_topics",)))
    _, fold = islice(walk(build_graph(config), Store(config.output_dir)), 2)
    with pytest.raises(StageBugError):
        # A fold is no row stage: its actor refuses it, and the refusal must arrive here.
        RayCarrier(config, new_run_id()).carry([fold])
