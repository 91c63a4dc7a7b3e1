"""A model's check without vLLM: what an engine is asked, what is said of it, the plan's error."""

import asyncio
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console, RenderableType
from runs import config_of

from chimera_ray import report_check
from chimera_ray.backends.engines import Ask, EnginePool
from chimera_ray.config import Config, read_config
from chimera_ray.errors import ChimeraError, ConfigError, EngineError, ProviderError
from chimera_ray.graph import build_graph
from chimera_ray.llm import Reply, Usage
from chimera_ray.model_check import ANSWER, BURST_TOKENS, Answer, Burst, Part, Started, check
from chimera_ray.model_config import VllmModel
from chimera_ray.plan_config import PlanConfig
from chimera_ray.plan_error import Comparison, Served, compare, served_models

CONF = str(Path(__file__).parents[2] / "conf")
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
    "name": "made/served-1.5",
    "prices": {},
    "shape": SHAPE,
    "tensor_parallel_size": 2,
    "max_num_seqs": 5,
    "max_model_len": 8192,
    "kv_cache_gib": 1.0,  # 32,768 tokens over two GPUs
    "sampling": {"max_tokens": 4000},
}
NODES = {
    "large": {"gpu": "H200", "num_gpus": 8, "gpu_gib": 139.8},
    "small": {"gpu": "L4", "num_gpus": 2, "gpu_gib": 22.0},
}
RATES = {"made/served-1.5": {"H200": {"tokens_per_s": [100, 400]}}}
HOSTILE = "[/nope][bold]\x1b[2J\x07\u202e \\boxed{5{,}050}"


def _config(tmp_path: Path, plan: Any = None, **models: dict[str, Any]) -> Config:
    """On a cluster, so that nothing is looked for on this machine."""
    config = config_of(tmp_path, models=models)
    said = {"nodes": NODES, "gpu_rates": RATES, "load_minutes": [10, 40], **(plan or {})}
    runtime = config.runtime.model_copy(update={"kind": "cluster"})
    return config.model_copy(update={"plan": PlanConfig.model_validate(said), "runtime": runtime})


def _served(config: Config) -> Served:
    (served,) = served_models(config, build_graph(config))
    return served


class _Engines:
    """One engine that says the same always, and leaves unfinished output behind."""

    def __init__(self, output_dir: Path, said: Reply | ChimeraError, loads: bool = False) -> None:
        self._partials, self._said = output_dir / "partials", said
        self._states = [("loading", 100.0), ("up", 160.5)] if loads else [("up", 160.5)]
        self.asks: list[Ask] = []
        self.models: list[VllmModel] = []
        self.num_resumable = 0
        self.is_closed = False

    def pool(self, model: VllmModel) -> EnginePool:
        self.models.append(model)
        pool = EnginePool(model.max_num_seqs)
        if isinstance(self._said, EngineError):
            pool.fail(self._said)
        else:
            pool.add("engine", self._generate)
        return pool

    async def _generate(self, ask: Ask) -> Reply:
        self.asks.append(ask)
        self.num_resumable += (self._partials / ask.name).exists()
        self._partials.mkdir(parents=True, exist_ok=True)
        (self._partials / ask.name).write_bytes(b"ids")
        await asyncio.sleep(0.001)
        if isinstance(self._said, ChimeraError):
            raise self._said
        return self._said

    def notes(self) -> list[dict[str, Any]]:
        state, since = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        note = {"model": "m", "state": state, "since": since, "cache_tokens": 32_000}
        return [{**note, "num_running": 0, "num_generated": 0}]

    def close(self) -> None:
        self.is_closed = True

    @property
    def left(self) -> list[str]:
        """Unfinished output that is there now."""
        return [path.name for path in self._partials.glob("*")]


def _text(*shown: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=140)
    console.print(*shown)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _reply(text: str) -> Reply:
    usage = Usage(input_tokens=20, output_tokens=121, reasoning_tokens=100)
    return Reply(text, "length", usage=usage, resumed_tokens=20, first_token_s=0.5, decode_s=4.0)


def test_model_check_asks_one_problem_and_then_a_burst_and_leaves_nothing(tmp_path: Path) -> None:
    config = _config(tmp_path, solver={**SERVED, "replicas": 3, "sampling": {"temperature": 0.7}})
    engines, parts = _Engines(tmp_path, _reply(HOSTILE)), list[Part]()
    model = _served(config).model
    for _ in range(2):
        check(config, model, engines, lambda notes: None, parts.append)
    first, *burst = engines.asks[:6]
    assert {model.replicas for model in engines.models} == {1}
    assert first.messages[0].content.startswith("What is the sum")
    assert (first.max_tokens, first.sampling.temperature) == (None, 0.7)
    assert {ask.max_tokens for ask in burst} == {BURST_TOKENS}
    assert len({ask.seed for ask in engines.asks}) == 6
    assert [type(part) for part in parts[:3]] == [Started, Answer, Burst]
    assert (engines.num_resumable, engines.left, engines.is_closed) == (0, [], True)
    assert not (tmp_path / "ledger").exists()


def test_model_check_says_what_was_answered_and_how_fast(tmp_path: Path) -> None:
    config = _config(tmp_path, solver=SERVED)
    engines = _Engines(tmp_path, _reply(f"thought</think>It is \\boxed{{{ANSWER}}}."), loads=True)
    noted: list[str] = []
    started, answer, burst = check(
        config,
        _served(config).model,
        engines,
        lambda notes: noted.append(notes[0]["state"]),
        lambda part: None,
    )
    assert started == Started(32_000, 60.5)
    assert noted[:2] == ["loading", "up"]
    assert (answer.final_part, answer.final_answer) == (f"It is \\boxed{{{ANSWER}}}.", ANSWER)
    assert answer.is_right
    assert answer.tokens_per_s == (121 - 20 - 1) / 4.0
    assert (burst.num_calls, burst.tokens) == (5, 5 * 101)
    assert 0 < burst.mean_at_once <= 5


@pytest.mark.parametrize(
    "error", [EngineError("no GPU"), ProviderError("refused")], ids=["no_engine", "no_reply"]
)
def test_model_check_that_fails_ends_its_engine_and_leaves_nothing(
    error: ChimeraError, tmp_path: Path
) -> None:
    config, engines = _config(tmp_path, solver=SERVED), _Engines(tmp_path, error)
    with pytest.raises(type(error), match=str(error)):
        check(config, _served(config).model, engines, lambda notes: None, lambda part: None)
    assert (engines.left, engines.is_closed) == ([], True)


def _answered(text: str | None) -> Answer:
    return Answer("stop", Usage(), 0.0, None, "", text)


@pytest.mark.parametrize(
    ("text", "is_right"),
    [("5050", True), ("5,050", True), ("5{,}050", True), ("5051", False), (None, False)],
)
def test_answer_is_right_however_it_is_written(text: str | None, is_right: bool) -> None:
    assert _answered(text).is_right is is_right


def test_served_models_are_each_engine_once_with_the_solver_s_sampling(tmp_path: Path) -> None:
    cold = {**SERVED, "sampling": {"max_tokens": 10}}
    other = {**SERVED, "name": "other", "accelerator": "H200"}
    config = _config(tmp_path, drafter=cold, solver=SERVED, grader=other)
    found = served_models(config, build_graph(config))
    assert [served.plan.roles for served in found] == [["drafter", "solver"], ["grader"]]
    assert found[0].model == config.models.solver
    assert [node.cache_tokens for node in found[0].plan.nodes] == [32_768, 32_768]
    assert [node.node for node in found[1].plan.nodes] == ["large"]


@pytest.mark.parametrize(
    ("solver", "said"),
    [
        ({}, "none of its roles is bound to a model that vLLM serves"),
        ({**SERVED, "tensor_parallel_size": 3}, "tensor_parallel_size 3: it does not divide"),
        ({**SERVED, "kv_cache_gib": 150.0}, "fits on no node of plan.nodes"),
    ],
    ids=["no_vllm", "parallel", "too_large"],
)
def test_served_models_that_cannot_work_are_bad_input(
    solver: dict[str, Any], said: str, tmp_path: Path
) -> None:
    config = _config(tmp_path, solver=solver)
    with pytest.raises(ConfigError, match=said):
        served_models(config, build_graph(config))


def _compared(config: Config, tokens_per_s: float) -> dict[str, Comparison]:
    burst = Burst(num_calls=5, tokens=1_000, seconds=1_000 / tokens_per_s, calls_s=50.0)
    found = compare(config.plan, _served(config), Started(32_000, 600.0), burst)
    return {comparison.what: comparison for comparison in found}


def test_compare_gives_the_plan_over_what_was_measured(tmp_path: Path) -> None:
    plan = {"tokens_per_s": {"vllm": [40, 40]}}
    found = _compared(_config(tmp_path, plan=plan, solver=SERVED), 800.0)
    assert found["cache tokens on large"].ratio == pytest.approx(32_768 / 32_000)
    rate = found["tokens/s of one H200"]
    assert (rate.measured, rate.planned) == (400.0, (100.0, 200.0, 400.0))
    assert (rate.ratio, rate.is_foreseen) == (0.5, True)
    assert found["tokens/s of one of 5 calls"].ratio == 2.0
    assert found["minutes of loading"].ratio == pytest.approx(2.0)


def _composed(override: str) -> PlanConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        composed = compose("config", overrides=[override])
    return read_config(OmegaConf.to_container(composed, resolve=True)).plan  # type: ignore[arg-type]


@pytest.mark.parametrize("tokens_per_s", [0.3, 2_468.0], ids=["slow", "fast"])
def test_compare_gives_an_override_that_the_command_line_takes(
    tokens_per_s: float, tmp_path: Path
) -> None:
    found = _compared(_config(tmp_path, solver=SERVED), tokens_per_s)
    rate, one = found["tokens/s of one L4"], found["tokens/s of one of 5 calls"]
    assert (rate.planned, rate.ratio, rate.is_foreseen) == (None, None, False)
    each = tokens_per_s / 2
    said = _composed(rate.override).gpu_rates["made/served-1.5"]["L4"]
    assert said.tokens_per_s == pytest.approx((each / 2, each), rel=0.01)
    assert _composed(one.override).tokens_per_s["made/served-1.5"] == (10.0, 20.0)


def test_compare_without_a_shape_or_a_word_of_vllm_says_not_known(tmp_path: Path) -> None:
    config = _config(tmp_path, solver={**SERVED, "shape": None, "accelerator": "B300"})
    burst = Burst(5, 1_000, 1.0, 5.0)
    found = compare(config.plan, _served(config), Started(0, 60.0), burst)
    assert found[0] == Comparison("cache tokens", None, None)
    assert (found[1].what, found[1].planned) == ("tokens/s of one B300", None)
    shown = _text(report_check.foreseen(_served(config)), report_check.error(found))
    assert "not known: its shape is missing" in shown
    assert "'++plan.gpu_rates={made/served-1.5: {B300:" in shown


def test_report_shows_error_as_a_percentage_and_as_a_range(tmp_path: Path) -> None:
    found = _compared(_config(tmp_path, solver=SERVED), 5_000.0)
    shown = _text(report_check.error(list(found.values())))
    assert "+2.40%" in shown
    assert "outside its range" in shown
    assert "long trajectories are slower" in shown


def test_report_shows_a_model_s_text_as_text(tmp_path: Path) -> None:
    config = _config(tmp_path, solver=SERVED)
    answer = _answered(HOSTILE)._replace(final_part="x" * 1_000 + HOSTILE)
    shown = _text(report_check.part(answer, _served(config).model))
    assert shown.count("[/nope][bold]") == 2
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert shown.count("x") < 400


@pytest.fixture
def lines() -> Iterator[Callable[[list[dict[str, Any]]], str]]:
    console = Console(file=io.StringIO(), width=140)
    told = report_check.EngineLines(console, every_s=3_600)

    def tell(notes: list[dict[str, Any]]) -> str:
        told(notes)
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue()

    return tell


def test_engine_lines_come_when_a_state_changes(
    lines: Callable[[list[dict[str, Any]]], str],
) -> None:
    note: dict[str, Any] = {"model": "[red]m", "state": "loading", "since": time.time()}
    note |= {"num_generated": 0, "num_running": 0, "cache_tokens": 7}
    assert lines([]) == ""
    assert lines([note]) == lines([note]) == "engine 1 of [red]m: loading, 0:00:00\n"
    assert lines([{**note, "state": "up"}]).count("\n") == 2
