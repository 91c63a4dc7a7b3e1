"""Engines inside this process, for a preview: one for each model, whatever `replicas` says."""

import asyncio
import os
import threading
from collections.abc import Callable, Set

from chimera_ray.backends.engine_keeper import Keeper, Launch, Stats, notes_of
from chimera_ray.backends.engines import Ask, EnginePool, Generate
from chimera_ray.backends.vllm import Engine, Loaded
from chimera_ray.backends.vllm_start import open_engine
from chimera_ray.config import Config
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply
from chimera_ray.model_config import VllmModel
from chimera_ray.runners.stored_partials import StoredPartials

FOR_EVER_S = 1e9


class _Launched:
    """An engine of this process, as its keeper sees it."""

    node = "this process"

    def __init__(self, engine: Engine) -> None:
        self.loaded: Loaded = engine.loaded
        self._engine, self._num_finished = engine, 0

    @property
    def generate(self) -> Generate:
        return self._generate

    async def stats(self) -> Stats | None:
        engine = self._engine
        if engine.is_dead:
            return None
        return Stats(len(engine.running), self._num_finished, engine.num_generated)

    async def close(self) -> None:
        await self._engine.close()

    async def _generate(self, ask: Ask) -> Reply:
        reply = await self._engine.generate(ask)
        self._num_finished += 1
        return reply


class OwnEngines:
    """The engines of a process: they live in a loop of their own, from segment to segment."""

    def __init__(self, config: Config) -> None:
        """Starts nothing yet."""
        self._config = config
        self._partials = StoredPartials(Store(config.output_dir))
        self._keepers: dict[str, Keeper] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def pool(self, model: VllmModel) -> EnginePool:
        """A model → the pool of its engines, for the loop that is running here."""
        there = self._started()
        keeper = self._keepers.get(model.engine_id)
        if keeper is None:
            keeper = Keeper(
                model.model_copy(update={"replicas": 1}), self._launcher(model), FOR_EVER_S
            )
            self._keepers[model.engine_id] = keeper
            there.call_soon_threadsafe(keeper.start)
        pool = EnginePool(model.max_num_seqs)
        here = asyncio.get_running_loop()
        following = asyncio.run_coroutine_threadsafe(self._follow(keeper, pool, here), there)
        pool.on_close(following.cancel)
        return pool

    def notes(self) -> list[dict[str, object]]:
        """What a display shows of each engine."""
        return notes_of(self._keepers)

    def close(self) -> None:
        """Ends every engine."""
        if self._loop is None or self._thread is None:
            return
        for keeper in self._keepers.values():
            asyncio.run_coroutine_threadsafe(keeper.close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._keepers.clear()
        self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        """The engines' own loop."""
        if self._loop is None:
            os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it shares the console
            self._loop = asyncio.new_event_loop()
            run = self._loop.run_forever
            self._thread = threading.Thread(target=run, name="engines", daemon=True)
            self._thread.start()
        return self._loop

    def _launcher(self, model: VllmModel) -> Launch:
        every = self._config.runtime.partial_every_tokens

        async def launch(avoided: Set[str], told: Callable[[str], None]) -> _Launched:
            told("loading")
            engine = await asyncio.to_thread(open_engine, model, self._partials, every)
            return _Launched(engine)

        return launch

    async def _follow(
        self, keeper: Keeper, pool: EnginePool, here: asyncio.AbstractEventLoop
    ) -> None:
        version = -1
        while not here.is_closed():
            version = await keeper.after(version, 20.0)
            engines = {key: self._asking(engine.generate) for key, engine in keeper.up.items()}
            here.call_soon_threadsafe(pool.set, engines, keeper.failure)

    def _asking(self, generate: Generate) -> Generate:
        """What runs in the engines' loop → the same for another loop."""

        async def there(ask: Ask) -> Reply:
            return await generate(ask)

        async def ask_there(ask: Ask) -> Reply:
            asked = asyncio.run_coroutine_threadsafe(there(ask), self._started())
            return await asyncio.wrap_future(asked)

        return ask_there
