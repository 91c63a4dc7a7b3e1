"""The check of a model as a user starts it, with a real engine in the job's own process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_CACHE_ERROR = 1.0
"""percent"""
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


def _checked(weights: Path, output_dir: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [
        sys.executable,
        str(ROOT / "jobs/check_model.py"),
        "recipe=demo",
        "runtime=preview",
        "model@models.solver=tiny_random",
        f"models.solver.path={weights}",
        f"output_dir={output_dir}",
        *more,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)


def test_vllm_check_of_a_model_measures_it_and_leaves_nothing(
    models: dict[str, Path], tmp_path: Path
) -> None:
    done = _checked(models["random"], tmp_path, "models.solver.sampling.max_tokens=30")
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    found = re.search(r"cache tokens +│.*?([+-][\d.]+)%", done.stdout)
    assert found is not None, done.stdout
    assert abs(float(found[1])) < MAX_CACHE_ERROR
    assert re.search(r"engine 1 of \S+: loading, 0:", done.stdout)
    for said in ("finish reason", "tokens/s of the engine", "minutes of loading"):
        assert said in done.stdout
    assert list(tmp_path.glob("partials/*")) == []
    assert not (tmp_path / "ledger").exists()


def test_vllm_check_of_a_model_that_cannot_work_ends_in_one_line(
    models: dict[str, Path], tmp_path: Path
) -> None:
    done = _checked(models["random"], tmp_path, "+models.solver.tensor_parallel_size=3")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "tensor_parallel_size 3: it does not divide the 4 heads" in line
    assert "Traceback" not in done.stderr
