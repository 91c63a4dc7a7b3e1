"""Engines on a Ray cluster: what keeps all of a run's up, and how a process finds and asks them.

All of it belongs to the driver and ends with it.
"""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, cast

import ray

from chimera_ray.backends.engine_keeper import Keeper, notes_of
from chimera_ray.backends.engines import Ask, EnginePool, Generate
from chimera_ray.config import Config
from chimera_ray.errors import ChimeraError, EngineError, EngineLostError
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply
from chimera_ray.model_config import VllmModel
from chimera_ray.runners.live import Live
from chimera_ray.runners.ray_counters import NAMESPACE, at_the_driver
from chimera_ray.runners.ray_engine_actor import (
    ELSEWHERE_S,
    EngineActor,
    Handle,
    Launched,
    first_line,
    launcher,
)

NEWS_S = 20.0
LOST_S = 180.0
"""without an answer from the keeper"""
CLOSE_S = 30.0


class News(NamedTuple):
    """What a process is told of a model's engines."""

    version: int
    engines: dict[str, Any]
    """actors by key"""
    nodes: dict[str, str]
    failure: ChimeraError | None


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
        up = {key: cast(Launched, engine) for key, engine in keeper.up.items()}
        actors = {key: engine.actor for key, engine in up.items()}
        nodes = {key: engine.node for key, engine in up.items()}
        return News(version, actors, nodes, keeper.failure)

    def _keeper(self, model: VllmModel) -> Keeper:
        """A model → its keeper, anew if this actor had died with the one before."""
        if model.engine_id not in self._keepers:
            launch = launcher(model, self._config, self._engine, self._elsewhere_s)
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
        pool.fail(exc if isinstance(exc, ChimeraError) else EngineError(first_line(exc)))


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
                raise EngineError(f"what keeps the engines is gone: {first_line(exc)}") from exc
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
            lost = EngineLostError(f"the engine's actor ended: {first_line(exc)}")
            lost.is_gone = not isinstance(exc, ray.exceptions.ActorUnavailableError)
            lost.is_counted = not await asyncio.to_thread(_is_gone, node)
            raise lost from None
        return reply

    return generate


def _is_gone(node: str) -> bool:
    return not any(found["Alive"] and found["NodeID"] == node for found in ray.nodes())
