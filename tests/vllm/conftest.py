"""Real vLLM engines on CPU, with models of random weights made here; each is started once."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_bench import Bench

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    HF_HUB_OFFLINE="1",
    VLLM_LOGGING_LEVEL="ERROR",
)
COUNTDOWN = 3_000


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of weights: one that draws at random, one that counts down."""
    from make_tiny_model import make

    folders = {name: tmp_path_factory.mktemp(name) for name in ("random", "countdown")}
    make(folders["random"])
    make(folders["countdown"], countdown=COUNTDOWN)
    return folders


@pytest.fixture(scope="session")
def model_of(models: dict[str, Path]) -> Callable[..., Any]:
    """A kind of weights and changes → the model file of its engine."""
    from chimera_ray.model_config import VllmModel

    def model(kind: str, **changes: Any) -> VllmModel:
        said: dict[str, Any] = {
            "backend": "vllm",
            "name": f"tiny-{kind}",
            "path": str(models[kind]),
            "device": "cpu",
            "dtype": "float32",
            "weight_bits": 32,
            "kv_cache_gib": 0.25,
            "max_model_len": 8192 if kind == "random" else 4096,
            "max_num_seqs": 16,
            "reasoning_parser": "deepseek_r1",
            "repetition": None,
            "sampling": {"temperature": 1.0 if kind == "random" else 0.0, "max_tokens": 3_500},
        }
        return VllmModel.model_validate(said | changes)

    return model


@pytest.fixture(scope="module")
def countdown(model_of: Callable[..., Any]) -> Iterator[Bench]:
    """The engine that counts down."""
    bench = Bench(model_of("countdown"))
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def chance(model_of: Callable[..., Any]) -> Iterator[Bench]:
    """The engine that draws at random."""
    bench = Bench(model_of("random"))
    yield bench
    bench.close()
