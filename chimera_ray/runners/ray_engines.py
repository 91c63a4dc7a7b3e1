"""Engines on a Ray cluster: an actor for each, and one that keeps them all up.

An engine's GPUs follow from its model file. No actor here asks for CPUs, so that their number never
keeps a run from starting. All of it belongs to the driver and ends with it.
"""

import asyncio
import json
import os
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias, cast

import ray
from ray.util.placement_group import (
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from chimera_ray.backends.engine_keeper import Keeper, Launch, LaunchError, Stats, notes_of
from chimera_ray.backends.engines import Ask, EnginePool, Generate
from chimera_ray.backends.vllm import Engine, Loaded
from chimera_ray.backends.vllm_start import open_engine
from chimera_ray.config import Config
from chimera_ray.errors import ChimeraError, ConfigError, EngineError, EngineLostError
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply
from chimera_ray.model_config import VllmModel
from chimera_ray.runners.live import Live
from chimera_ray.runners.ray_counters import NAMESPACE, at_the_driver
from chimera_ray.runners.stored_partials import StoredPartials

DEATH_THROES_S = 5.0
"""for the calls in flight to be told, before a dead engine's actor ends"""
NEWS_S = 20.0
LOST_S = 180.0
"""without an answer from the keeper"""
CLOSE_S = 30.0
ELSEWHERE_S = 60.0
"""waited for a machine where no start has failed; if others hold it for longer, any will do"""
Handle: TypeAlias = Any
"""Ray's: an actor or a placement group, which have no static type"""
CALLS = 10_000


class News(NamedTuple):
    """What a process is told of a model's engines."""

    version: int
    engines: dict[str, Any]
    """actors by key"""
    nodes: dict[str, str]
    failure: ChimeraError | None


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


class _Launched:
    """An engine's actor, as its keeper sees it."""

    def __init__(self, actor: Handle, node: str, loaded: Loaded, group: Handle) -> None:
        self.actor, self.node, self.loaded, self._group = actor, node, loaded, group

    @property
    def generate(self) -> Generate:
        generate: Generate = self.actor.generate.remote
        return generate

    async def stats(self) -> Stats | None:
        try:
            stats: Stats | None = await self.actor.stats.remote()
        except ray.exceptions.RayError:
            return None
        return stats

    async def close(self) -> None:
        with suppress(ray.exceptions.RayError, TimeoutError):
            async with asyncio.timeout(DEATH_THROES_S):
                await self.actor.close.remote()
        ray.kill(self.actor)
        if self._group is not None:
            remove_placement_group(self._group)


class EnginesActor:
    """The engines of a run: a keeper for each model that its stages need now."""

    def __init__(
        self,
        said: str,
        run_id: str,
        engine: type = EngineActor,
        elsewhere_s: float = ELSEWHERE_S,
    ) -> None:
        """Takes the run's configuration as JSON, and an engine's actor; starts nothing yet."""
        self._config, self._engine = Config.model_validate_json(said), engine
        self._elsewhere_s = elsewhere_s
        self._live = Live(Store(self._config.output_dir), run_id)
        self._keepers: dict[str, Keeper] = {}
        self._needed: set[str] | None = None
        """None: nobody has said so since this actor was born"""
        self._display = asyncio.ensure_future(self._show())

    async def need(self, models: list[str]) -> None:
        """The model files, as JSON, that are needed from now on; engines of others end."""
        wanted = {model.engine_id: model for model in map(VllmModel.model_validate_json, models)}
        self._needed = set(wanted)
        for engine_id in [name for name in self._keepers if name not in wanted]:
            await self._keepers.pop(engine_id).close()
        for model in wanted.values():
            self._keeper(model)

    async def news(self, said: str, version: int) -> News:
        """A model and the version that the asker knows → its engines, once they have changed."""
        model = VllmModel.model_validate_json(said)
        if self._needed is not None and model.engine_id not in self._needed:
            return News(version, {}, {}, EngineError(f"{model.name}: needed no more"))
        keeper = self._keeper(model)
        version = await keeper.after(version, NEWS_S)
        up = {key: cast(_Launched, engine) for key, engine in keeper.up.items()}
        actors = {key: engine.actor for key, engine in up.items()}
        nodes = {key: engine.node for key, engine in up.items()}
        return News(version, actors, nodes, keeper.failure)

    def _keeper(self, model: VllmModel) -> Keeper:
        """A model → its keeper, anew if this actor had died with the one before."""
        if model.engine_id not in self._keepers:
            launch = _launcher(model, self._config, self._engine, self._elsewhere_s)
            keeper = Keeper(model, launch, self._config.runtime.engine_wait_s)
            self._keepers[model.engine_id] = keeper
            keeper.start()
        return self._keepers[model.engine_id]

    async def _show(self) -> None:
        shown: list[dict[str, object]] = []
        while True:
            notes = notes_of(self._keepers)
            if notes != shown:
                shown = notes
                await asyncio.to_thread(self._live.tell_engines, json.dumps(notes))
            await asyncio.sleep(1)


def _launcher(model: VllmModel, config: Config, engine: type, elsewhere_s: float) -> Launch:
    """A model and an engine's actor → what starts one of its engines."""
    args = (model.model_dump_json(), config.output_dir, config.runtime.partial_every_tokens)

    def begin(options: dict[str, Any]) -> Handle:
        return ray.remote(engine).options(**options).remote(*args)

    async def launch(avoided: Set[str], told: Callable[[str], None]) -> _Launched:
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
            cause = getattr(exc, "cause", exc)
            if not isinstance(exc, ray.exceptions.RayError | LaunchError):
                raise
            if isinstance(cause, ConfigError):
                raise cause from None
            failed = LaunchError(f"{cause if isinstance(cause, EngineError) else _first(exc)}")
            failed.node = node
            raise failed from None
        return _Launched(actor, node, loaded, group)

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


def need_engines(
    keeper: Handle | None, models: Sequence[VllmModel], config: Config, run_id: str
) -> Handle:
    """What keeps a run's engines and the models needed → the same, their engines on the way up.

    Args:
        keeper: of an earlier segment; None: there is none yet. The engines end with its handle.
        models: those whose engines are to be up; the engines of others end.
        config: with an output directory that every node sees.
        run_id: this execution.
    """
    if keeper is None:
        name = f"engines-{run_id}"
        options = {"name": name, "namespace": NAMESPACE, **at_the_driver()}
        keeper = ray.remote(EnginesActor).options(**options)
        keeper = keeper.remote(config.model_dump_json(), run_id)
    ray.get(keeper.need.remote([model.model_dump_json() for model in models]))
    return keeper


def end_engines(keeper: Handle) -> None:
    """Ends a run's engines and what keeps them."""
    with suppress(ray.exceptions.RayError, TimeoutError):
        ray.get(keeper.need.remote([]), timeout=CLOSE_S)
    ray.kill(keeper)


def way_to_engines(model: VllmModel, run_id: str) -> EnginePool:
    """A model → the pool of its engines, followed for as long as this process lives."""
    pool = EnginePool(model.max_num_seqs)
    following = _follow(model.model_dump_json(), run_id, pool)
    task = asyncio.get_running_loop().create_task(following)
    task.add_done_callback(lambda ended: _fail_by(ended, pool))
    pool.on_close(task.cancel)  # which also holds on to it: a loop alone may forget a task
    return pool


def _fail_by(task: "asyncio.Task[None]", pool: EnginePool) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        pool.fail(exc if isinstance(exc, ChimeraError) else EngineError(_first(exc)))


async def _follow(said: str, run_id: str, pool: EnginePool) -> None:
    """Learns of engines as they come and go."""
    loop = asyncio.get_running_loop()
    version, heard = -1, loop.time()
    keeper: Any = None
    while True:
        try:
            if keeper is None:
                name = f"engines-{run_id}"
                keeper = await asyncio.to_thread(ray.get_actor, name, NAMESPACE)
            news: News = await keeper.news.remote(said, version)
            heard = loop.time()
        except (ray.exceptions.RayError, ValueError) as exc:
            if loop.time() - heard > LOST_S:
                raise EngineError(f"what keeps the engines is gone: {_first(exc)}") from exc
            keeper, version = None, -1  # the next one counts anew
            await asyncio.sleep(1)
            continue
        version = news.version
        pool.keep(set(news.engines))
        for key, actor in news.engines.items():
            if not pool.knows(key):
                names: frozenset[str] = frozenset()
                with suppress(ray.exceptions.RayError):
                    names = await actor.running.remote()
                pool.add(key, _asking(actor, news.nodes[key]), names)
        if news.failure is not None:
            pool.fail(news.failure)
            return


def _asking(actor: Handle, node: str) -> Generate:
    """An engine's actor → how its calls are made."""

    async def generate(ask: Ask) -> Reply:
        try:
            reply: Reply = await actor.generate.remote(ask)
        except ray.exceptions.RayTaskError as exc:
            raise exc.cause from None
        except ray.exceptions.RayError as exc:
            lost = EngineLostError(f"the engine's actor ended: {_first(exc)}")
            lost.is_gone = not isinstance(exc, ray.exceptions.ActorUnavailableError)
            lost.is_counted = not await asyncio.to_thread(_is_gone, node)
            raise lost from None
        return reply

    return generate


def _is_gone(node: str) -> bool:
    return not any(found["Alive"] and found["NodeID"] == node for found in ray.nodes())


def _first(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0][:300] if lines else type(exc).__name__
