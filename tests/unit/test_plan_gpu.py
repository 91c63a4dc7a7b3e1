"""What a plan says of GPUs: which node, how many sequences, how many hours, and at what price."""

import json
from pathlib import Path
from typing import Any

import pytest
from runs import config_of

from chimera_ray.config import Config
from chimera_ray.errors import ConfigError
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.plan import Plan, plan_run
from chimera_ray.plan_config import PlanConfig
from chimera_ray.plan_estimate import constant
from chimera_ray.plan_gpu import EnginePlan, Gpus, gpus_of
from chimera_ray.plan_node import NodePlan
from chimera_ray.plan_time import RoleLoad, StageLoad, times_of
from chimera_ray.report_plan import plan as shown
from chimera_ray.terminal import console

SHAPE = {
    "num_layers": 32,
    "hidden_size": 1024,
    "num_heads": 16,
    "num_kv_heads": 8,
    "head_dim": 64,
    "intermediate_size": 4096,
    "vocab_size": 32000,
    "max_position": 65536,
}
"""64 KiB a token in 16 bits"""
SERVED = {
    "backend": "vllm",
    "name": "served",
    "prices": {},
    "shape": SHAPE,
    "max_model_len": 8192,
    "kv_cache_gib": 1.0,  # 16,384 tokens
    "sampling": {"max_tokens": 4000},
}
NODES = {
    "large": {"gpu": "H200", "num_gpus": 8, "gpu_gib": 139.8, "usd_per_hour": 40.0},
    "small": {"gpu": "L4", "num_gpus": 1, "gpu_gib": 22.0},
}
RATES = {"served": {"H200": {"tokens_per_s": [500, 500], "source": "measured"}}}
CALL_S = 100.0


def _config(
    tmp_path: Path, drafter: dict[str, Any] | None = None, plan: Any = None, **solver: Any
) -> Config:
    models = {"solver": {**SERVED, **solver}}
    if drafter is not None:
        models["drafter"] = {**SERVED, **drafter}
    config = config_of(tmp_path, models=models)
    said = {"nodes": NODES, "gpu_rates": RATES, "load_minutes": [30, 30], **(plan or {})}
    return config.model_copy(update={"plan": PlanConfig.model_validate(said)})


def _load(role: str = "solver", calls: float = 1000) -> RoleLoad:
    """Calls of 100 tokens in and 1,900 out, of 100 s each."""
    tokens = constant(calls * 1900)
    return RoleLoad(role, constant(calls), constant(calls * 2000), constant(CALL_S), tokens)


def _gpus(config: Config, *loads: RoleLoad) -> Gpus:
    return gpus_of(config, loads or [_load()])


def _engine(config: Config, *loads: RoleLoad) -> EnginePlan:
    (engine,) = _gpus(config, *loads).engines
    return engine


def _node(config: Config, *loads: RoleLoad) -> NodePlan:
    node = _engine(config, *loads).chosen
    assert node is not None
    return node


def _point(found: Any) -> float:
    assert found is not None
    point: float = found.point
    return point


# ---- what fits ------------------------------------------------------------------------------


def test_gpus_hold_as_many_sequences_as_their_cache(tmp_path: Path) -> None:
    node = _node(_config(tmp_path))
    assert (node.node, node.gpu, node.num_nodes, node.num_gpus) == ("large", "H200", 1, 1)
    assert (node.cache_tokens, node.kv_kib_per_token) == (16_384, 64.0)
    assert (node.mean_sequences, node.longest_sequences, node.bound_by) == (8, 2, "cache")


def test_gpus_are_bound_by_the_setting_where_the_cache_holds_more(tmp_path: Path) -> None:
    node = _node(_config(tmp_path, max_num_seqs=4))
    assert (node.mean_sequences, node.bound_by) == (8, "max_num_seqs")


def test_gpus_hold_no_sequence_beyond_the_limit(tmp_path: Path) -> None:
    config = _config(tmp_path, max_model_len=1024, sampling={"max_tokens": 512})
    assert (_node(config).mean_sequences, _engine(config).mean_tokens) == (16, 1024)


def test_gpus_are_planned_on_the_first_node_that_fits(tmp_path: Path) -> None:
    config = _config(tmp_path, kv_cache_gib=30.0)
    nodes = {node.node: node for node in _engine(config).nodes}
    assert nodes["large"].misfit == ""
    assert "does not fit" in nodes["small"].misfit
    assert _engine(config).chosen == nodes["large"]


def test_gpus_of_an_accelerator_are_on_its_nodes_alone(tmp_path: Path) -> None:
    assert [node.node for node in _engine(_config(tmp_path, accelerator="L4")).nodes] == ["small"]
    assert _engine(_config(tmp_path, accelerator="B200")).nodes == []


@pytest.mark.parametrize(
    ("settings", "num_nodes", "num_gpus"),
    [
        ({"replicas": 3}, 1, 3),
        ({"replicas": 9}, 2, 9),
        ({"replicas": 3, "tensor_parallel_size": 4}, 2, 12),
        ({"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "num_nodes": 2}, 2, 16),
        ({"replicas": 2, "pipeline_parallel_size": 8, "num_nodes": 2}, 2, 16),
    ],
    ids=["part", "full", "whole_engines", "over_nodes", "shared_nodes"],
)
def test_gpus_take_whole_nodes(
    tmp_path: Path, settings: dict[str, Any], num_nodes: int, num_gpus: int
) -> None:
    node = _node(_config(tmp_path, accelerator="H200", **settings))
    assert (node.num_nodes, node.num_gpus) == (num_nodes, num_gpus)


def test_gpus_of_the_weights_folder_have_the_shape_that_it_says(tmp_path: Path) -> None:
    said = {
        "num_hidden_layers": 32,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "intermediate_size": 4096,
        "vocab_size": 32000,
        "max_position_embeddings": 65536,
    }
    (tmp_path / "config.json").write_text(json.dumps(said))
    config = _config(tmp_path, shape=None, path=str(tmp_path))
    assert _node(config).cache_tokens == 16_384
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: "):
        _gpus(config)


def test_gpus_of_an_unknown_shape_are_not_planned(tmp_path: Path) -> None:
    found = _gpus(_config(tmp_path, shape=None))
    assert (found.engines[0].nodes, found.speeds, found.cost_usd.sum()) == ([], {}, 0.0)


def test_gpus_of_a_cpu_are_none(tmp_path: Path) -> None:
    found = _gpus(_config(tmp_path, device="cpu"))
    (node,) = found.engines[0].nodes
    assert (node.node, node.num_gpus, node.cache_tokens) == ("cpu", 0, 16_384)
    assert (node.hours, node.cost_usd, found.cost_usd.sum()) == (None, None, 0.0)


# ---- what is refused ------------------------------------------------------------------------


def test_gpus_of_settings_that_cannot_be_are_refused_by_their_keys(tmp_path: Path) -> None:
    config = _config(tmp_path, tensor_parallel_size=3, max_model_len=70_000)
    with pytest.raises(ConfigError) as caught:
        _gpus(config)
    said = str(caught.value)
    assert "models.solver: tensor_parallel_size 3: it does not divide the 16 heads" in said
    assert "models.solver: max_model_len 70000: the model takes 65536 tokens" in said
    assert "\n" not in said


def test_gpus_of_a_role_are_judged_by_its_own_sampling(tmp_path: Path) -> None:
    config = _config(tmp_path, drafter={"sampling": {"max_tokens": 9000}})
    with pytest.raises(ConfigError, match=r"^models\.drafter: sampling\.max_tokens 9000"):
        _gpus(config, _load(), _load("drafter"))
    assert _gpus(config).engines[0].roles == ["solver"], "no stage asks the drafter"


def test_gpus_that_fit_on_no_node_are_refused_by_how_much(tmp_path: Path) -> None:
    config = _config(tmp_path, kv_cache_gib=150.0)
    with pytest.raises(ConfigError) as caught:
        _gpus(config)
    said = str(caught.value)
    assert said.startswith("models.solver: fits on no node of plan.nodes: large: does not fit")
    assert "15.3 GiB too much for a GPU of 139.8 GiB; small: does not fit" in said


def test_gpus_of_more_than_a_node_are_refused(tmp_path: Path) -> None:
    config = _config(tmp_path, tensor_parallel_size=8, pipeline_parallel_size=2)
    with pytest.raises(ConfigError, match=r"16 GPUs on one node .*num_nodes.*, it has 8"):
        _gpus(config)


# ---- hours and money ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "settings", "hours"),
    [
        # 1.9 M tokens at 500 a second and GPU
        (1000, {"max_num_seqs": 64, "kv_cache_gib": 64.0}, 3800 / 3600),
        (1000, {"max_num_seqs": 64, "kv_cache_gib": 64.0, "replicas": 2}, 1900 / 3600),
        # 100,000 seconds of calls in 8 slots of the cache, or in 4
        (1000, {}, 100_000 / 8 / 3600),
        (1000, {"max_num_seqs": 4}, 100_000 / 4 / 3600),
        # one reply of 4,000 tokens at 19 a second
        (1, {}, 4000 / 19 / 3600),
        (0, {}, -0.5),
    ],
    ids=["tokens", "replicas", "cache", "slots", "longest", "nothing"],
)
def test_gpu_hours_are_those_of_the_slowest_bound_and_of_loading(
    tmp_path: Path, calls: float, settings: dict[str, Any], hours: float
) -> None:
    node = _node(_config(tmp_path, **settings), _load(calls=calls))
    assert _point(node.hours) == pytest.approx(hours + 0.5)
    assert _point(node.gpu_hours) == pytest.approx(8 * (hours + 0.5))
    assert _point(node.cost_usd) == pytest.approx(40 * (hours + 0.5))


def test_gpu_hours_of_roles_at_one_engine_add_up(tmp_path: Path) -> None:
    sampling = {"sampling": {"max_tokens": 100, "temperature": 0.1}}
    config = _config(tmp_path, drafter=sampling)
    (engine,) = _gpus(config, _load(), _load("drafter", 500)).engines
    assert engine.roles == ["solver", "drafter"]
    assert _point(engine.nodes[0].hours) == pytest.approx(150_000 / 8 / 3600 + 0.5)


def test_gpu_hours_of_two_engines_are_both_paid(tmp_path: Path) -> None:
    config = _config(tmp_path, drafter={"max_num_seqs": 4})
    found = _gpus(config, _load(), _load("drafter"))
    each = [_point(engine.nodes[0].cost_usd) for engine in found.engines]
    assert found.cost_usd[0] == pytest.approx(sum(each))
    assert each[1] > each[0]


@pytest.mark.parametrize(
    ("plan", "is_timed"),
    [
        ({"gpu_rates": {}}, False),
        ({"nodes": {"large": {**NODES["large"], "usd_per_hour": None}}}, True),
    ],
    ids=["rate", "price"],
)
def test_gpu_hours_without_a_rate_or_price_are_not_invented(
    tmp_path: Path, plan: Any, is_timed: bool
) -> None:
    found = _gpus(_config(tmp_path, plan=plan))
    node = found.engines[0].nodes[0]
    assert (node.cost_usd, found.cost_usd.sum()) == (None, 0.0)
    assert (node.hours is not None) == is_timed


# ---- in the whole plan ----------------------------------------------------------------------


def _planned(config: Config, outputs: float = 1900) -> Plan:
    def role(tokens: float) -> dict[str, list[float]]:
        asked = {"calls_per_row": 1.0, "input_tokens": 100.0, "output_tokens": tokens}
        return {name: [value, value] for name, value in asked.items()}

    roles = {
        "expand_topics": ["expander"],
        "draft_problem": ["drafter"],
        "validate_problem": ["verifier_a", "verifier_b"],
        "label_trajectory": ["grader"],
    }
    stages = {stage: {"roles": dict.fromkeys(names, role(10))} for stage, names in roles.items()}
    stages["sample_trajectory"] = {"roles": {"solver": role(outputs)}}
    said = config.plan.model_dump() | {"stages": stages, "tokens_per_s": {"vllm": [19, 19]}}
    plan = PlanConfig.model_validate(said)
    config = config.model_copy(update={"plan": plan})
    return plan_run(config, build_graph(config), Store(config.output_dir))


def test_plan_adds_gpu_hours_to_the_total_and_leaves_the_calls_alone(tmp_path: Path) -> None:
    found = _planned(_config(tmp_path))
    assert _point(found.gpu_usd) == pytest.approx(
        40 * (0.5 + _point(found.segments[-1].seconds) / 3600)
    )
    assert found.total_usd.point == pytest.approx(found.in_all.cost_usd.point + found.gpu_usd.point)
    without = _planned(_config(tmp_path, shape=None))
    assert without.in_all == found.in_all
    assert without.total_usd == without.in_all.cost_usd


def _said(config: Config) -> str:
    screen = console()
    with screen.capture() as captured:
        screen.print(shown(_planned(config), config))
    return " ".join(captured.get().split())


def test_plan_shows_what_fits_and_what_it_costs(tmp_path: Path) -> None:
    said = _said(_config(tmp_path))
    assert "GPUs: weights, cache of an engine" in said
    assert "1 x H200" in said
    assert "served is planned on 1 x large at 40.00 USD an hour (no source, no date)" in said
    assert "GPU hours to come: " in said
    assert "Calls, paid and to come, and GPU hours to come: " in said
    assert "Rate of served on H200: measured, not dated." in said
    assert "GPUs are not in this plan" not in said


def test_plan_says_what_of_the_gpus_it_does_not_know(tmp_path: Path) -> None:
    without_rate = _said(_config(tmp_path, plan={"gpu_rates": {}}))
    assert "rate not known" in without_rate
    assert "set plan.gpu_rates.served.H200, measured or read" in without_rate
    without_price = _said(
        _config(tmp_path, plan={"nodes": {"large": {**NODES["large"], "usd_per_hour": None}}})
    )
    assert "price not known" in without_price
    assert "plan.nodes.large.usd_per_hour is not known" in without_price
    assert "its shape is not known (models.solver.shape)" in _said(_config(tmp_path, shape=None))
    lost = _said(_config(tmp_path, accelerator="B200"))
    assert "a node of its accelerator is not known (plan.nodes)" in lost


def test_plan_on_a_cpu_says_no_word_of_hours(tmp_path: Path) -> None:
    said = _said(_config(tmp_path, device="cpu"))
    assert "GPU hours are not in" not in said
    assert "USD in all" not in said


def test_time_of_an_engine_is_bound_by_its_pool_and_by_the_rows_in_flight(tmp_path: Path) -> None:
    config = _config(tmp_path, replicas=2, max_num_seqs=4)
    load = _load()
    speeds = _gpus(config, load).speeds
    assert [speed.slots[0] for speed in speeds.values()] == [8]
    found = _planned(config).segments[-1]
    assert found.bound_by == "longest reply of served"
    stage = StageLoad("sample_trajectory", load.calls, load.calls * load.call_s, (load,))
    (timed,), _ = times_of([[stage]], config, speeds)
    assert (timed.seconds.point, timed.bound_by) == (pytest.approx(12_500), "slots at served")
    narrow = config.runtime.pool.model_copy(update={"max_in_flight": 2})
    runtime = config.runtime.model_copy(update={"pool": narrow})
    (timed,), _ = times_of([[stage]], config.model_copy(update={"runtime": runtime}), speeds)
    assert timed.bound_by == "slots of sample_trajectory"
    assert timed.seconds.point == pytest.approx(50_000)
