"""Whole runs on Ray with real engines: nothing lost, nothing dropped, whatever dies.

The kills are those of `benchmarks/vllm_runs.py`, which prints them as a table.
"""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def vllm_runs() -> ModuleType:
    """The benchmark, as a module."""
    import vllm_runs  # late: it sets the environment of engines

    return vllm_runs


@pytest.mark.parametrize("kill", ["engine", "actor", "node", "driver"])
def test_vllm_run_that_is_killed_mid_trajectory_ends_with_the_same_texts(
    kill: str, vllm_runs: ModuleType, models: dict[str, Path], tmp_path: Path
) -> None:
    result = vllm_runs.run(kill, models["countdown"], tmp_path / kill)
    read, lengths = result.read, vllm_runs.LENGTHS
    assert read.failed == {}
    assert read.texts == {length: vllm_runs.expected(length) for length in lengths}
    assert read.ended_at[min(lengths)] < read.ended_at[max(lengths)] - 1  # nobody waits for it
    assert result.in_flight > 0
    assert sum(read.resumed) > 0
    assert result.regenerated <= vllm_runs.EVERY * result.in_flight
    assert list((tmp_path / kill).glob("partials/*")) == []


def test_vllm_prompt_that_kills_its_engine_fails_alone_after_two_tries(
    vllm_runs: ModuleType, models: dict[str, Path], tmp_path: Path
) -> None:
    result = vllm_runs.run("poison", models["countdown"], tmp_path / "poison")
    read, lengths = result.read, vllm_runs.LENGTHS
    assert set(read.failed) == {"engine_died"}
    assert "2 engines died with this row in flight" in read.failed["engine_died"]
    assert read.texts == {length: vllm_runs.expected(length) for length in lengths}


@pytest.mark.parametrize(
    ("roles", "left_out"),
    [
        (("verifier_a", "verifier_b"), ("plan_rollouts", "sample_trajectory", "label_trajectory")),
        (("solver", "grader"), ("validate_problem",)),
        (("expander", "drafter"), ()),
    ],
    ids="-".join,
)
def test_vllm_roles_of_the_demo_on_one_engine_leave_every_row_accounted_for(
    roles: tuple[str, ...], left_out: tuple[str, ...], models: dict[str, Path], tmp_path: Path
) -> None:
    """Weights of no sense say nothing that counts; the offline teacher leads up to them."""
    from chimera_ray.stages import STAGES

    stages = [name for name in STAGES if name not in left_out]
    command = [
        sys.executable,
        str(ROOT / "jobs/build_dataset.py"),
        "recipe=demo",
        f"output_dir={tmp_path}",
        "runtime.num_cpus=2",
        "recipe.subjects=[{name: Physics, target_topics: 3}, {name: Biology, target_topics: 3}]",
        "recipe.params.plan_drafts.drafts_per_topic=1",
        f"recipe.stages=[{','.join(stages)}]",
    ]
    for role in roles:
        command += [f"model@models.{role}=tiny_random", f"models.{role}.path={models['random']}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    said = done.stdout[-3_000:] + done.stderr[-3_000:]
    assert done.returncode in (0, 1), said  # 1: it failed to give a single example
    assert "Traceback" not in said
    (path,) = tmp_path.glob("runs/demo-*/manifest.json")
    account = json.loads(path.read_text())["account"]
    for stage in account["stages"]:
        ended = stage["accepted"] + stage["rejected"] + stage["failed"]
        assert (stage["inputs"], stage["todo"]) == (ended, 0), stage["stage"]
    asked = {role for role, counts in account["roles"].items() if counts["output_tokens"]}
    assert roles[0] in asked
    assert list(tmp_path.glob("partials/*")) == []
