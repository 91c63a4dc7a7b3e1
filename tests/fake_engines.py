"""An engine for Ray that needs no vLLM: it counts down, writes down how far it is, and goes on.

Its model's `engine_args` say how it behaves, so that a test has its engines in hand on any node:

- token_s: seconds that a token takes
- fails: it does not start, for this reason
- fails_on: so many nodes, the first that it is tried on, are too small for it
- hangs: so many starts, the first ones, never come to an end
"""

import asyncio
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from chimera_ray.backends.engine_keeper import Stats
from chimera_ray.backends.engines import Ask, Vllm
from chimera_ray.backends.partials import packed, unpacked
from chimera_ray.backends.vllm import Loaded
from chimera_ray.build import new_run_id
from chimera_ray.config import Config
from chimera_ray.errors import EngineError
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Message, Reply, Request, Usage
from chimera_ray.model_config import VllmModel
from chimera_ray.runners.ray_counters import NAMESPACE, at_the_driver
from chimera_ray.runners.ray_engine_actor import ELSEWHERE_S
from chimera_ray.runners.ray_engines import EnginesActor, News, way_to_engines
from chimera_ray.runners.stored_partials import StoredPartials

VOCAB = 100_000


class CountingEngine:
    """What Ray makes an actor of, in place of `EngineActor`."""

    def __init__(self, said: str, output_dir: str, every_tokens: int) -> None:
        self._config = VllmModel.model_validate_json(said)
        self._partials, self._folder = StoredPartials(Store(output_dir)), Path(output_dir)
        self._every, self._num_finished, self._num_generated = every_tokens, 0, 0
        self._running: dict[str, asyncio.Task[Reply]] = {}

    async def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())

    async def start(self) -> Loaded:
        plan = self._config.engine_args
        if "fails" in plan:
            raise EngineError(plan["fails"])
        tried = self._folder / f"tried-{self._config.name}"
        tried.mkdir(parents=True, exist_ok=True)
        here = tried / await self.node()
        before = {path.name for path in tried.iterdir()} - {here.name}
        with here.open("a") as log:
            log.write("x")
        if len(before) < plan.get("fails_on", 0):
            raise EngineError("too little memory")
        if sum(len(path.read_text()) for path in tried.iterdir()) <= plan.get("hangs", 0):
            await asyncio.get_running_loop().create_future()
        return Loaded(1_000, 1_000, 0.0, "fake")

    async def generate(self, ask: Ask) -> Reply:
        if ask.name not in self._running:
            task = self._running[ask.name] = asyncio.create_task(self._count_down(ask))
            task.add_done_callback(lambda _: self._running.pop(ask.name, None))
        return await asyncio.shield(self._running[ask.name])

    async def _count_down(self, ask: Ask) -> Reply:
        length, plan = int(ask.messages[-1].content), self._config.engine_args
        ids = unpacked(self._partials.read(ask.name), VOCAB)
        num_resumed = len(ids)
        while len(ids) < length:
            await asyncio.sleep(plan.get("token_s", 0.0))
            ids.append(length - len(ids))
            self._num_generated += 1
            if len(ids) % self._every == 0:
                self._partials.write(ask.name, packed(ids))
        self._num_finished += 1
        self._note(ask, num_resumed)
        return Reply(
            " ".join(map(str, ids)),
            usage=Usage(output_tokens=len(ids)),
            resumed_tokens=num_resumed,
            request_id=f"{os.getpid()} {ask.num_deaths} {ask.sampling.temperature}",
        )

    def _note(self, ask: Ask, num_resumed: int) -> None:
        folder = self._folder / "finished" / ask.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / uuid.uuid4().hex).write_text(str(num_resumed))

    async def running(self) -> frozenset[str]:
        return frozenset(self._running)

    async def stats(self) -> Stats | None:
        return Stats(len(self._running), self._num_finished, self._num_generated)

    async def pids(self) -> list[int]:
        return [os.getpid()]

    async def close(self) -> None:
        return


def start_engines(config: Config, elsewhere_s: float = ELSEWHERE_S) -> tuple[Any, str]:
    """A configuration → what keeps its (counting) engines, and the run that it keeps them for."""
    run_id = new_run_id()
    options = {"name": f"engines-{run_id}", "namespace": NAMESPACE, **at_the_driver()}
    # Under pytest this module has a name that Ray's workers may not be able to import.
    ray.cloudpickle.register_pickle_by_value(__import__(__name__))
    try:
        keeper = ray.remote(EnginesActor).options(**options)
        said = config.model_dump_json()
        return keeper.remote(said, run_id, CountingEngine, elsewhere_s), run_id
    finally:
        ray.cloudpickle.unregister_pickle_by_value(__import__(__name__))


async def need(keeper: Any, *models: VllmModel) -> None:
    """The engines of these models are to be up, and no others."""
    await keeper.need.remote([model.model_dump_json() for model in models])


async def up(keeper: Any, model: VllmModel, count: int = 1, timeout_s: float = 60.0) -> News:
    """Waits until so many engines of a model are up; what is told of them then."""
    version = -1
    async with asyncio.timeout(timeout_s):
        while True:
            news: News = await keeper.news.remote(model.model_dump_json(), version)
            if len(news.engines) == count or news.failure is not None:
                return news
            version = news.version


async def asked(model: VllmModel, run_id: str, lengths: Sequence[int]) -> list[Reply]:
    """Countdowns of these lengths, all at once → the replies."""
    pool = way_to_engines(model, run_id)
    asking = Vllm(model, pool)
    requests = [
        Request((Message("user", str(length)),), None, seed=place)
        for place, length in enumerate(lengths)
    ]
    return await asyncio.gather(*map(asking.complete, requests))


def countdown(length: int) -> str:
    """What a whole reply of a length says."""
    return " ".join(str(number) for number in range(length, 0, -1))


def finished(output_dir: str) -> list[int]:
    """How often each call was brought to its end, by whichever engine."""
    return [len(list(call.iterdir())) for call in Path(output_dir, "finished").iterdir()]
