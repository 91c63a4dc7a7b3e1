"""What is told of an engine before anything is loaded; neither vLLM nor a GPU is needed here."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from chimera_ray.backends.vllm_start import IN_ENGINE_CORE, check_engine, engine_args
from chimera_ray.errors import ConfigError
from chimera_ray.model_config import VllmModel

CONF = Path(__file__).parents[2] / "conf/model"
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 512,
    "max_position_embeddings": 16_384,
}
SHAPE = {
    "num_layers": 2,
    "hidden_size": 64,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 32,
    "intermediate_size": 128,
    "vocab_size": 512,
    "max_position": 16_384,
}
CPU = {"device": "cpu", "kv_cache_gib": 0.25, "max_model_len": 8_192, "weight_bits": 32}


def _model(**settings: Any) -> VllmModel:
    return VllmModel.model_validate({"backend": "vllm", "name": "served"} | settings)


def _shipped(name: str, **settings: Any) -> VllmModel:
    """A model file of ours, changed."""
    return VllmModel.model_validate(yaml.safe_load((CONF / f"{name}.yaml").read_text()) | settings)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some package of vLLM's name can be found, and would break if it were imported."""
    (tmp_path / "site/vllm").mkdir(parents=True)
    (tmp_path / "site/vllm/__init__.py").write_text("raise AssertionError('not to be loaded')")
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with what can be told of weights without them."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(SMALL))
    (folder / "tokenizer.json").write_text("{}")
    return folder


def _has_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *mib: int) -> None:
    """From now on the driver's tool says that this machine has these GPUs."""
    tool = tmp_path / "bin/nvidia-smi"
    tool.parent.mkdir()
    said = "\n".join(f"echo {size}" for size in mib) if mib else "echo 'No devices' >&2; exit 9"
    tool.write_text(f"#!/bin/sh\n{said}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


# ---- the package ----------------------------------------------------------------------------


def test_check_engine_without_the_package_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ConfigError, match=r"served.*pip install '\.\[vllm\]'"):
        check_engine(_model(), is_here=True)


def test_check_engine_elsewhere_needs_no_package_and_no_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    check_engine(_model(path="/on/another/machine", tensor_parallel_size=4), is_here=False)


# ---- the weights ----------------------------------------------------------------------------


@pytest.mark.usefixtures("package")
def test_check_engine_of_a_whole_folder_finds_nothing_in_the_way(weights: Path) -> None:
    check_engine(_model(path=str(weights), **CPU), is_here=True)
    check_engine(_model(path=str(weights), shape=SHAPE, **CPU), is_here=True)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.json", "tekken.json"])
def test_check_engine_takes_any_kind_of_tokenizer(weights: Path, name: str) -> None:
    (weights / "tokenizer.json").rename(weights / name)
    check_engine(_model(path=str(weights), **CPU), is_here=True)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("lacking", "told"),
    [("config.json", "no config.json in"), ("tokenizer.json", "no tokenizer in")],
)
def test_check_engine_of_a_folder_that_lacks_a_file_names_it(
    weights: Path, lacking: str, told: str
) -> None:
    (weights / lacking).unlink()
    with pytest.raises(ConfigError, match=f"served.*{told} {weights}"):
        check_engine(_model(path=str(weights), **CPU), is_here=True)


@pytest.mark.usefixtures("package")
def test_check_engine_of_no_folder_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}/nowhere"):
        check_engine(_model(path=f"{tmp_path}/nowhere", **CPU), is_here=True)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("said", ["{", "", '{"hidden_size": 64}'], ids=["half", "empty", "lacking"])
def test_check_engine_of_a_broken_config_json_is_refused(weights: Path, said: str) -> None:
    (weights / "config.json").write_text(said)
    with pytest.raises(ConfigError, match=r"config\.json"):
        check_engine(_model(path=str(weights), **CPU), is_here=True)


@pytest.mark.usefixtures("package")
def test_check_engine_of_a_config_json_that_is_no_object_is_refused(weights: Path) -> None:
    (weights / "config.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"config\.json"):
        check_engine(_model(path=str(weights), **CPU), is_here=True)


@pytest.mark.usefixtures("package")
def test_check_engine_of_weights_that_are_others_names_each_difference(weights: Path) -> None:
    shape = SHAPE | {"num_layers": 94, "vocab_size": 151_936}
    with pytest.raises(ConfigError, match="shape") as caught:
        check_engine(_model(path=str(weights), shape=shape, **CPU), is_here=True)
    assert "num_layers 94, there 2" in str(caught.value)
    assert "vocab_size 151936, there 512" in str(caught.value)
    assert "hidden_size" not in str(caught.value)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kv_cache_gib": None}, "kv_cache_gib"),
        ({"max_model_len": 20_000}, "max_model_len 20000"),
        ({"num_nodes": 2}, "num_nodes"),
        ({"expert_parallel": True}, "expert_parallel"),
    ],
    ids=lambda said: said if isinstance(said, str) else "",
)
def test_check_engine_of_settings_that_do_not_fit_the_weights_names_them(
    weights: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=f"served: .*{told}"):
        check_engine(_model(path=str(weights), **CPU | settings), is_here=True)


# ---- the GPUs -------------------------------------------------------------------------------


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("mib", [(), (81_559,), (81_559,) * 3], ids=["none", "one", "three"])
def test_check_engine_with_too_few_gpus_says_how_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mib: tuple[int, ...]
) -> None:
    _has_gpus(tmp_path, monkeypatch, *mib)
    with pytest.raises(ConfigError, match=f"takes 4 GPUs .* this machine has {len(mib)}$"):
        check_engine(_model(tensor_parallel_size=4), is_here=True)


@pytest.mark.usefixtures("package")
def test_check_engine_without_the_driver_s_tool_has_no_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"takes 1 GPUs .* this machine has 0$"):
        check_engine(_model(), is_here=True)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("2", 1), ("GPU-1a, GPU-2b", 2)]
)
def test_check_engine_counts_only_gpus_that_this_process_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, count: int
) -> None:
    _has_gpus(tmp_path, monkeypatch, *[81_559] * 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ConfigError, match=f"this machine has {count}$"):
        check_engine(_model(tensor_parallel_size=4), is_here=True)


@pytest.mark.usefixtures("package")
def test_check_engine_over_nodes_does_not_ask_this_one_for_all_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _has_gpus(tmp_path, monkeypatch, *[143_771] * 8)
    wide = {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "num_nodes": 2}
    check_engine(_model(**wide), is_here=True)


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("mib", "fits"), [(143_771, True), (40_960, False)], ids=["H200", "A100-40GB"]
)
def test_check_engine_of_the_solver_fits_its_gpus_or_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mib: int, fits: bool
) -> None:
    _has_gpus(tmp_path, monkeypatch, *[mib] * 4)
    solver = _shipped("qwen3_235b_thinking")
    if fits:
        check_engine(solver, is_here=True)
        return
    with pytest.raises(ConfigError, match="does not fit"):
        check_engine(solver, is_here=True)


@pytest.mark.usefixtures("package")
def test_check_engine_holds_the_smallest_gpu_against_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _has_gpus(tmp_path, monkeypatch, 143_771, 143_771, 40_960, 143_771)
    with pytest.raises(ConfigError, match="does not fit"):
        check_engine(_shipped("qwen3_235b_thinking"), is_here=True)


def test_check_engine_of_fp8_experts_cut_by_eight_is_refused_anywhere() -> None:
    with pytest.raises(ConfigError, match=r"1536 / 8 = 192 .* use tensor_parallel_size 4"):
        check_engine(_shipped("qwen3_235b_thinking", tensor_parallel_size=8), is_here=False)


# ---- vLLM's arguments -----------------------------------------------------------------------


def test_engine_args_of_the_solver_are_those_of_its_file() -> None:
    args = engine_args(_shipped("qwen3_235b_thinking"))
    expected = {
        "model": "Qwen/Qwen3-235B-A22B-Thinking-2507-FP8",
        "tensor_parallel_size": 4,
        "pipeline_parallel_size": 1,
        "data_parallel_size": 1,
        "enable_expert_parallel": False,
        "max_model_len": 98_304,
        "max_num_seqs": 80,
        "gpu_memory_utilization": 0.9,
        "kv_cache_dtype": "auto",
        "reasoning_parser": "deepseek_r1",
        "distributed_executor_backend": "mp",
        "trust_remote_code": False,
    }
    assert {key: args[key] for key in expected} == expected
    assert not {"enforce_eager", "kv_cache_memory_bytes", "max_num_batched_tokens"} & set(args)


@pytest.mark.parametrize(
    ("settings", "backend"),
    [
        ({}, None),
        ({"data_parallel_size": 2}, "mp"),
        ({"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "num_nodes": 2}, "ray"),
        (CPU, IN_ENGINE_CORE),
        ({**CPU, "tensor_parallel_size": 2}, None),
    ],
    ids=["one_gpu", "one_node", "two_nodes", "cpu", "cpu_in_two_parts"],
)
def test_engine_args_processes_are_started_by_what_reaches_them(
    settings: dict[str, Any], backend: str | None
) -> None:
    assert engine_args(_model(**settings)).get("distributed_executor_backend") == backend


@pytest.mark.parametrize(("copies", "each"), [(1, 81), (2, 41), (8, 11)])
def test_engine_args_sequences_are_shared_by_the_copies(copies: int, each: int) -> None:
    args = engine_args(_model(max_num_seqs=81, data_parallel_size=copies))
    assert args["max_num_seqs"] == each


def test_engine_args_weights_are_those_of_the_folder_or_of_the_hub_at_a_revision() -> None:
    assert engine_args(_model(path="/weights", revision="abc"))["model"] == "/weights"
    hub = engine_args(_model(revision="abc"))
    assert (hub["model"], hub["revision"]) == ("served", "abc")


def test_engine_args_on_the_cpu_read_each_prompt_whole() -> None:
    args = engine_args(_model(**CPU))
    assert args["kv_cache_memory_bytes"] == 2**28
    assert args["enforce_eager"] is True
    assert args["enable_chunked_prefill"] is False
    assert args["max_num_batched_tokens"] >= args["max_model_len"] == 8_192


def test_engine_args_on_the_cpu_take_the_length_from_the_shape_if_need_be() -> None:
    args = engine_args(_model(**CPU | {"max_model_len": None, "shape": SHAPE}))
    assert args["max_num_batched_tokens"] == 16_384


def test_engine_args_on_the_cpu_without_a_length_say_what_to_set() -> None:
    with pytest.raises(ConfigError, match="max_model_len"):
        engine_args(_model(**CPU | {"max_model_len": None}))


def test_engine_args_of_the_file_s_own_win_over_ours() -> None:
    own = {"seed": 7, "enforce_eager": False, "swap_space": 4, "max_num_seqs": 5}
    args = engine_args(_model(**CPU, engine_args=own))
    assert {key: args[key] for key in own} == own
