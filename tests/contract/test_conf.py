"""Every shipped YAML file composes, is judged right, and says what each of its fields means."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from pydantic import BaseModel

from chimera_ray.config import ROLES, Config, Pool, Runtime, read_config
from chimera_ray.engine_fit import fit, problems_of
from chimera_ray.graph import build_graph
from chimera_ray.model_config import (
    Latency,
    Limits,
    OpenAIModel,
    Prices,
    Retry,
    Sampling,
    SimulatedModel,
    Timeouts,
    VllmModel,
)
from chimera_ray.plan_config import GpuRate, NodeType, PlanConfig, RolePrior, StagePrior
from chimera_ray.stage import Stage
from chimera_ray.stages import STAGES

CONF = Path(__file__).parents[2] / "conf"
RECIPES, MODELS, RUNTIMES = (
    sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    for group in ("recipe", "model", "runtime")
)
SIMULATED = {
    "expander": "simulated-expander",
    "drafter": "simulated-drafter",
    "verifier_a": "simulated-verifier",
    "verifier_b": "simulated-verifier",
    "solver": "simulated-solver",
    "grader": "simulated-grader",
}
PAPER = {
    "expander": "gpt-5-2025-08-07",
    "drafter": "gpt-5-2025-08-07",
    "verifier_a": "gpt-5-2025-08-07",
    "verifier_b": "o4-mini-2025-04-16",
    "solver": "Qwen/Qwen3-235B-A22B-Thinking-2507-FP8",
    "grader": "o4-mini-2025-04-16",
}


@cache
def _composed(*overrides: str) -> Config:
    """A command line → the configuration, as the job reads it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config", overrides=list(overrides))
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return read_config({str(key): value for key, value in plain.items()})


def _names(config: Config) -> dict[str, str]:
    return {role: config.models.of(role).name for role in ROLES}


def _loaded(*path: str) -> dict[str, Any]:
    loaded = yaml.safe_load(CONF.joinpath(*path).read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_conf_there_is_something_to_check() -> None:
    assert RECIPES == ["chimera_9k", "demo", "demo_real"]
    assert RUNTIMES == ["cluster", "local", "preview"]
    assert {"gpt_5", "o4_mini", "qwen3_235b_thinking", "simulated"} <= set(MODELS)


def test_conf_without_overrides_is_the_demo_here_with_simulated_models() -> None:
    config = _composed()
    assert (config.recipe.name, config.runtime.kind) == ("demo", "local")
    assert _names(config) == SIMULATED
    assert {config.models.of(role).backend for role in ROLES} == {"simulated"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_conf_recipe_builds_a_graph_of_every_stage(recipe: str) -> None:
    config = _composed(f"recipe={recipe}")
    graph = build_graph(config)
    assert config.recipe.name == recipe
    assert [node.name for node in graph.nodes] == list(STAGES)


def test_conf_papers_recipe_has_the_papers_subjects_and_models() -> None:
    config = _composed("recipe=chimera_9k")
    assert _names(config) == PAPER
    assert len(config.recipe.subjects) == 8
    assert sum(subject.target_topics for subject in config.recipe.subjects) == 1179
    panel = {"min_accepting_verifiers": 2, "decline_contradicted": False}
    shared = {"retry_truncated": False, "language": "English"}
    assert build_graph(config).nodes[6].params.model_dump() == panel | shared


@pytest.mark.parametrize(
    "overrides",
    [
        ["recipe=chimera_9k", "model@models.solver=simulated_solver"],
        ["model@models.solver=simulated_solver", "recipe=chimera_9k"],
    ],
    ids=["after", "before"],
)
def test_conf_command_line_goes_before_the_recipes_models(overrides: list[str]) -> None:
    assert _names(_composed(*overrides)) == PAPER | {"solver": "simulated-solver"}


def test_conf_models_can_be_exchanged_from_the_command_line() -> None:
    for start in range(0, len(MODELS), len(ROLES)):
        pairs = {role: MODELS[(start + place) % len(MODELS)] for place, role in enumerate(ROLES)}
        config = _composed(*(f"model@models.{role}={model}" for role, model in pairs.items()))
        said = {role: _loaded("model", f"{model}.yaml")["name"] for role, model in pairs.items()}
        assert _names(config) == said
        assert build_graph(config).nodes


def test_conf_no_key_of_a_provider_is_written_down() -> None:
    for path in CONF.rglob("*.yaml"):
        assert not re.search(r"sk-|hf_[A-Za-z]|api_key:", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_conf_runtime_composes_and_leaves_the_identity_alone(runtime: str) -> None:
    config = _composed(f"runtime={runtime}")
    assert config.runtime.kind == runtime
    assert build_graph(config).fingerprint == build_graph(_composed()).fingerprint


def _require_keys(said: Mapping[str, Any], shape: type[BaseModel], where: str) -> None:
    assert list(said) == list(shape.model_fields), where


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_conf_runtime_shows_every_field(runtime: str) -> None:
    said = _loaded("runtime", f"{runtime}.yaml")
    _require_keys(said, Runtime, runtime)
    _require_keys(said["pool"], Pool, "pool")


@pytest.mark.parametrize("recipe", RECIPES)
def test_conf_recipe_shows_every_parameter_of_every_stage(recipe: str) -> None:
    said = _loaded("recipe", f"{recipe}.yaml")["params"]
    for name, stage in STAGES.items():
        if stage.params.model_fields and name != "plan_drafts":
            _require_keys(said[name], stage.params, name)
    assert list(said["plan_drafts"]) == ["drafts_per_topic"]
    assert list(said) == [name for name in STAGES if name in said]


def test_conf_simulated_model_shows_every_field() -> None:
    said = _loaded("model", "simulated.yaml")
    assert set(said) == set(SimulatedModel.model_fields)
    for key, shape in (("latency", Latency), ("prices", Prices), ("sampling", Sampling)):
        _require_keys(said[key], shape, key)


def test_conf_openai_compatible_model_shows_every_field() -> None:
    said = _loaded("model", "openai_compatible.yaml")
    assert set(said) == set(OpenAIModel.model_fields)
    shapes = {"limits": Limits, "timeouts": Timeouts, "retry": Retry}
    for key, shape in {**shapes, "prices": Prices, "sampling": Sampling}.items():
        _require_keys(said[key], shape, key)


def test_conf_plan_shows_every_field_and_every_stage_and_role() -> None:
    said = _loaded("plan", "default.yaml")
    _require_keys(said, PlanConfig, "plan")
    assert list(said["stages"]) == list(STAGES)
    for name, stage in STAGES.items():
        asked = said["stages"][name]
        roles = stage.roles if isinstance(stage, Stage) else ()
        assert list(asked) == list(StagePrior.model_fields)[: 2 if roles else 1], name
        assert tuple(asked.get("roles", ())) == roles, name
        for role in roles:
            _require_keys(asked["roles"][role], RolePrior, role)


def test_conf_plan_shows_every_field_of_nodes_and_rates() -> None:
    said = _loaded("plan", "default.yaml")
    for name, node in said["nodes"].items():
        _require_keys(node, NodeType, name)
        assert (node["usd_per_hour"] is None) == (node["source"] == ""), name
    for model, rates in said["gpu_rates"].items():
        for gpu, rate in rates.items():
            _require_keys(rate, GpuRate, f"{model} on {gpu}")
            assert rate["source"], "a rate without a source is invented"
            assert gpu in {node["gpu"] for node in said["nodes"].values()}


SERVED = {
    "qwen3_235b_thinking": ("H200", 8),
    "qwen3_235b_thinking_h100": ("H100", 8),
    "qwen3_235b_thinking_bf16": ("H200", 16),
    "qwen3_30b_a3b_thinking": ("H100", 1),
    "qwen3_4b_thinking": ("H100", 1),
    "smollm2_vllm": (None, 0),
    "tiny_random": (None, 0),
}
"""model → the GPU that its file is made for, and how many of them"""


def _served(name: str) -> VllmModel:
    model = _composed(f"model@models.solver={name}").models.solver
    assert isinstance(model, VllmModel)
    return model


def test_conf_every_served_model_is_known_here() -> None:
    said = {name for name in MODELS if "backend: vllm" in (CONF / f"model/{name}.yaml").read_text()}
    inherit = {"qwen3_235b_thinking_h100", "qwen3_235b_thinking_bf16"}
    assert said | inherit == set(SERVED)


@pytest.mark.parametrize("name", SERVED)
def test_conf_served_model_fits_its_gpu_with_the_sequences_that_it_asks_for(name: str) -> None:
    gpu, num_gpus = SERVED[name]
    model = _served(name)
    nodes = _composed().plan.nodes.values()
    gpu_gib = next((node.gpu_gib for node in nodes if node.gpu == gpu), None)
    assert model.shape is not None
    assert problems_of(model, model.shape, gpu_gib) == []
    assert model.num_gpus * model.replicas == num_gpus
    assert model.accelerator in (None, gpu)
    found = fit(model, gpu_gib)
    assert found.cache_tokens is not None
    small = dict.fromkeys(("smollm2_vllm", "tiny_random"), 2_048)
    mean = {"qwen3_30b_a3b_thinking": 11_000, **small}.get(name, 21_000)
    assert min(found.cache_tokens / mean / model.max_num_seqs, 1.0) >= 0.8


def test_conf_one_solver_on_other_gpus_does_the_same_work() -> None:
    here, there, other = (
        _served(f"qwen3_235b_thinking{suffix}") for suffix in ("", "_h100", "_bf16")
    )
    assert here.identity() == there.identity() != other.identity()
    assert here.shape == there.shape == other.shape
    assert len({model.engine_id for model in (here, there, other)}) == 3


def test_conf_plan_leaves_the_identity_alone() -> None:
    other = _composed("plan.stages.draft_problem.roles.drafter.output_tokens=[1, 2]")
    assert other.plan != _composed().plan
    assert build_graph(other).fingerprint == build_graph(_composed()).fingerprint


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_conf_every_value_has_a_comment(path: Path) -> None:
    """Beside it, or as the head of the lines that it stands among."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    is_headed = False
    for before, line in zip(["", *lines], lines, strict=False):
        is_headed = line.strip().startswith("#") or (is_headed and before.strip() != "")
        is_value = re.match(r"\s*\w+: +[^\s#]", line) and line != f"name: {path.stem}"
        assert is_headed or not is_value or " # " in line, f"{path.name}: {line}"
