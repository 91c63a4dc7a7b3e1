"""One engine on a Ray cluster: its actor, and how it gets its GPUs, its machine and its model.

An engine's GPUs follow from its model file. No actor here asks for CPUs, so that their number never
keeps a run from starting.
"""

import asyncio
import os
from collections.abc import Callable, Set
from contextlib import suppress
from typing import Any, TypeAlias

import ray
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from chimera_ray.backends.engine_keeper import Launch, LaunchError, Stats
from chimera_ray.backends.engines import Ask, Generate
from chimera_ray.backends.vllm import Engine, Loaded
from chimera_ray.backends.vllm_start import open_engine
from chimera_ray.config import Config
from chimera_ray.errors import ConfigError, EngineError, EngineLostError
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply
from chimera_ray.model_config import VllmModel
from chimera_ray.runners.stored_partials import StoredPartials

DEATH_THROES_S = 5.0
"""for the calls in flight to be told, before a dead engine's actor ends"""
ELSEWHERE_S = 60.0
"""waited for a machine where no start has failed; if others hold it for longer, any will do"""
CALLS = 10_000
Handle: TypeAlias = Any
"""Ray's: an actor or a placement group, which have no static type"""


class EngineActor:
    """One engine in a process of its own, on the node that has its GPUs."""

    def __init__(self, said: str, output_dir: str, every_tokens: int) -> None:
        """Loads nothing yet."""
        self._config = VllmModel.model_validate_json(said)
        self._partials = StoredPartials(Store(output_dir))
        self._every, self._num_finished = every_tokens, 0
        self._engine: Engine | None = None

    async def node(self) -> str:
        """The id of the node that it lives on."""
        return str(ray.get_runtime_context().get_node_id())

    async def start(self) -> Loaded:
        """Loads the model.

        Raises:
            ConfigError: what no other try would change.
            EngineError: it did not start here.
        """
        self._engine = await asyncio.to_thread(
            open_engine, self._config, self._partials, self._every
        )
        return self._engine.loaded

    async def generate(self, ask: Ask) -> Reply:
        """A call → its reply; see `Engine.generate`."""
        if self._engine is None:
            raise EngineLostError("the engine is not up")
        reply = await self._engine.generate(ask)
        self._num_finished += 1
        return reply

    async def running(self) -> frozenset[str]:
        """The names of the calls that it works on."""
        return frozenset() if self._engine is None else self._engine.running

    async def stats(self) -> Stats | None:
        """What it has done; None once vLLM is dead, and then this process ends."""
        engine = self._engine
        if engine is None or engine.is_dead:
            asyncio.get_running_loop().call_later(DEATH_THROES_S, os._exit, 1)
            return None
        return Stats(len(engine.running), self._num_finished, engine.num_generated)

    async def close(self) -> None:
        """Ends the engine and gives its memory back."""
        if self._engine is not None:
            await self._engine.close()


class Launched:
    """An engine's actor, as its keeper sees it."""

    def __init__(self, actor: Handle, node: str, loaded: Loaded, group: Handle) -> None:
        self.actor, self.node, self.loaded, self._group = actor, node, loaded, group

    @property
    def generate(self) -> Generate:
        """What its calls are made through."""
        generate: Generate = self.actor.generate.remote
        return generate

    async def stats(self) -> Stats | None:
        """What it has done; None once its engine or the actor itself is dead."""
        try:
            stats: Stats | None = await self.actor.stats.remote()
        except ray.exceptions.RayError:
            return None
        return stats

    async def close(self) -> None:
        """Ends it, and gives back its GPUs."""
        with suppress(ray.exceptions.RayError, TimeoutError):
            async with asyncio.timeout(DEATH_THROES_S):
                await self.actor.close.remote()
        ray.kill(self.actor)
        if self._group is not None:
            remove_placement_group(self._group)


def launcher(model: VllmModel, config: Config, engine: type, elsewhere_s: float) -> Launch:
    """A model and an engine's actor → what starts one of its engines."""
    args = (model.model_dump_json(), config.output_dir, config.runtime.partial_every_tokens)

    def begin(options: dict[str, Any]) -> Handle:
        return ray.remote(engine).options(**options).remote(*args)

    async def launch(avoided: Set[str], told: Callable[[str], None]) -> Launched:
        group = await _group_of(model)
        actor: Any = None
        node = ""
        try:
            options = _options(model, group, avoided)
            actor, node = await _placed(begin, options, elsewhere_s)
            told("loading")
            loaded = await _loaded(actor, config.runtime.engine_load_s)
        except BaseException as exc:
            if actor is not None:
                ray.kill(actor)
            if group is not None:
                remove_placement_group(group)
            if not isinstance(exc, ray.exceptions.RayError | LaunchError):
                raise
            cause = getattr(exc, "cause", exc)
            if isinstance(cause, ConfigError):
                raise cause from None
            failed = LaunchError(f"{cause if isinstance(cause, EngineError) else first_line(exc)}")
            failed.node = node
            raise failed from None
        return Launched(actor, node, loaded, group)

    return launch


async def _placed(
    begin: Callable[[dict[str, Any]], Handle], options: dict[str, Any], elsewhere_s: float
) -> tuple[Handle, str]:
    """What makes an actor → one that has its machine, and which; for a while only elsewhere."""
    actor = begin(options)
    try:
        async with asyncio.timeout(elsewhere_s if "label_selector" in options else None):
            return actor, await actor.node.remote()
    except TimeoutError:
        ray.kill(actor)
        anywhere = {name: option for name, option in options.items() if name != "label_selector"}
        return await _placed(begin, anywhere, elsewhere_s)
    except BaseException:
        ray.kill(actor)
        raise


async def _loaded(actor: Handle, load_s: float) -> Loaded:
    """An actor that has its machine → what it has loaded there.

    Raises:
        LaunchError: it takes too long; vLLM itself waits for ever for a worker that hangs.
    """
    try:
        async with asyncio.timeout(load_s):
            loaded: Loaded = await actor.start.remote()
    except TimeoutError:
        raise LaunchError(f"not up after {load_s:.0f} s (runtime.engine_load_s)") from None
    return loaded


async def _group_of(model: VllmModel) -> Handle | None:
    """A model that spans nodes → the GPUs it gets there, held until its actor ends; else None."""
    if model.num_nodes == 1:
        return None
    bundle = {"GPU": 1.0}
    if model.accelerator is not None:
        bundle[f"accelerator_type:{model.accelerator}"] = 0.001
    group = placement_group([bundle] * model.num_gpus, strategy="PACK")
    try:
        await group.ready()
        nodes = set(placement_group_table(group)["bundles_to_node_id"].values())
        if len(nodes) > model.num_nodes:
            raise LaunchError(
                f"model {model.name}: its {model.num_gpus} GPUs would lie on {len(nodes)} nodes, "
                f"and num_nodes is {model.num_nodes}: others hold GPUs of these nodes"
            )
    except BaseException:
        remove_placement_group(group)
        raise
    return group


def _options(model: VllmModel, group: Handle | None, avoided: Set[str]) -> dict[str, Any]:
    options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, "max_concurrency": CALLS}
    if group is not None:
        options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
            group, placement_group_bundle_index=0, placement_group_capture_child_tasks=True
        )
        return options
    options["num_gpus"] = model.num_gpus
    if model.accelerator is not None:
        options["accelerator_type"] = model.accelerator
    if avoided and _has_other_node(model.num_gpus, avoided):
        options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(avoided))})"}
    return options


def _has_other_node(num_gpus: int, avoided: Set[str]) -> bool:
    """Whether a node that is not to be avoided has so many GPUs."""
    return any(
        node["Alive"]
        and node["NodeID"] not in avoided
        and node["Resources"].get("GPU", 0) >= num_gpus
        for node in ray.nodes()
    )


def first_line(exc: BaseException) -> str:
    """An error of Ray's → what it says first; the rest is traces."""
    lines = str(exc).strip().splitlines()
    return lines[0][:300] if lines else type(exc).__name__
