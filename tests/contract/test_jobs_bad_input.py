"""The job as a user starts it: bad input ends it in one line, before anything is begun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chimera_ray.config import ROLES, Config, read_config
from chimera_ray.errors import ConfigError
from chimera_ray.graph import Graph, build_graph
from chimera_ray.ledger.store import Store

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.process

BENCHMARK = "recipe.params.decontaminate_problem.benchmarks=[{name: hle, path: /none/hle.jsonl}]"
OPENAI = "model@models.solver=openai_compatible"
AS_A_PROCESS = {
    "value_where_a_variable_is_named": (
        [OPENAI, "models.solver.headers={X-Secret: {env: hunter2}}"],
        "use +models.solver.headers=...",
    ),
    "misspelt_key": (["recipe.params.plan_drafts.draft_per_topic=3"], "draft_per_topic"),
    "unreadable_benchmark": ([BENCHMARK], "benchmark hle: cannot read /none/hle.jsonl: No such"),
}
HERE = {
    "unknown_group": ["recpie=demo"],
    "unknown_recipe": ["recipe=dmeo"],
    "unknown_role": ["models.judge=simulated"],
    "unknown_key_of_a_model": ["models.solver.temprature=1"],
    "no_subjects": ["recipe.subjects=[]"],
    "stage_order": ["recipe.stages=[plan_drafts]"],
    "missing_value": ["output_dir=???"],
    "no_such_interpolation": ["output_dir=${nowhere}"],
}


def _started(*arguments: str, cwd: Path, job: str = "build_dataset") -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *arguments]
    env = {**os.environ, "PYTHONPATH": str(cwd.parent / "no_ray")}
    return subprocess.Popen(
        command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def _judged(overrides: list[str]) -> Graph:
    """A command line → its graph, by the steps that the job takes."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("config", overrides=overrides)
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    return build_graph(read_config(plain))  # type: ignore[arg-type]


def _forbid_ray(folder: Path) -> None:
    """Whoever imports Ray in a process that is started below this folder fails."""
    (folder / "no_ray").mkdir()
    (folder / "no_ray" / "ray.py").write_text("raise RuntimeError('Ray was imported')")


def test_job_bad_input_ends_in_one_line_with_code_2_and_starts_nothing(tmp_path: Path) -> None:
    _forbid_ray(tmp_path)
    blocked = tmp_path / "file" / "out"
    blocked.parent.write_text("not a folder")
    cases = {
        **AS_A_PROCESS,
        "unwritable_output": ([f"output_dir={blocked}"], f"output_dir: cannot write to {blocked}"),
    }
    processes = {}
    for name, (arguments, _) in cases.items():
        (tmp_path / name).mkdir()
        processes[name] = _started(*arguments, cwd=tmp_path / name)
    for name, (_, said) in cases.items():
        printed, complaint = processes[name].communicate(timeout=60)
        assert processes[name].returncode == 2, name
        assert printed == "", name
        assert complaint.startswith("bad input: "), name
        assert complaint.count("\n") == 1, name
        assert said in complaint, name
        assert "Traceback" not in complaint
        assert "hunter2" not in complaint
        assert list((tmp_path / name).iterdir()) == [], name


def test_job_asked_for_its_configuration_prints_yaml_and_does_nothing(tmp_path: Path) -> None:
    _forbid_ray(tmp_path)
    (tmp_path / "here").mkdir()
    process = _started("--cfg", "job", "recipe=chimera_9k", cwd=tmp_path / "here")
    printed, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (0, "")
    assert set(yaml.safe_load(printed)) == set(Config.model_fields)
    assert list((tmp_path / "here").iterdir()) == []


def test_job_plan_of_the_papers_recipe_needs_no_key_no_ray_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _forbid_ray(tmp_path)
    (tmp_path / "here").mkdir()
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    process = _started("recipe=chimera_9k", cwd=tmp_path / "here", job="plan_run")
    printed, complaint = process.communicate(timeout=60)
    assert (process.returncode, complaint) == (0, "")
    for role in ROLES:
        assert role in printed
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("plan.stages.draft_problem.roles.drafter.output_tokens=[2, 1]", "output_tokens"),
        ("plan.tokens_per_s.openai=[0, 1]", "tokens_per_s.openai"),
        ("~plan.stages.draft_problem", "plan.stages.draft_problem.roles.drafter: missing"),
    ],
    ids=["order", "no_speed", "no_prior"],
)
def test_job_plan_bad_input_ends_in_one_line_with_code_2(
    tmp_path: Path, argument: str, said: str
) -> None:
    (tmp_path / "here").mkdir()
    process = _started("recipe=chimera_9k", argument, cwd=tmp_path / "here", job="plan_run")
    printed, complaint = process.communicate(timeout=60)
    assert (process.returncode, printed) == (2, "")
    assert complaint.startswith("bad input: ")
    assert complaint.count("\n") == 1
    assert said in complaint


@pytest.mark.parametrize("overrides", HERE.values(), ids=HERE)
def test_job_bad_override_is_an_error_that_the_job_knows(overrides: list[str]) -> None:
    """The errors that `jobs/composing.py` ends in one line, code 2."""
    with pytest.raises((HydraException, OmegaConfBaseException, ConfigError)) as caught:
        _judged(overrides)
    assert str(caught.value).strip()


@pytest.mark.parametrize("name", ["file", "file/out", "file/out/deeper"])
def test_store_below_a_regular_file_cannot_be_written_to(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ConfigError, match=r"^output_dir: cannot write to ") as caught:
        Store(str(tmp_path / name)).require_writable()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("location", ["gopher://bucket/out", "file://relative", "~nobody-here/out"])
def test_store_location_that_cannot_be_opened_is_bad_input(location: str) -> None:
    with pytest.raises(ConfigError):
        Store(location)
