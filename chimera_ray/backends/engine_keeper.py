"""Keeps the engines of one model up: starts them, sees them die, starts others in their place.

A model whose engines start on some machines only goes on with those; it fails once none is left.
Knows neither vLLM nor Ray: what launches an engine is given to it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import uuid4

from chimera_ray.backends.engines import Generate
from chimera_ray.backends.vllm import Loaded
from chimera_ray.errors import ChimeraError, ConfigError, EngineError
from chimera_ray.model_config import VllmModel

log = logging.getLogger(__name__)
WAITING, LOADING, FAILED = "waiting for a machine", "loading", "failed to start"
MAX_STARTS = 3
"""in a row that fail, each on another node if there is one"""
MAX_FRUITLESS = 20
"""engines in a row that died before they had given a single reply"""
POLL_S = 1.0
PAUSE_S = 2.0
"""before another start"""
LATER_S = 600.0
"""before another start of an engine that others serve in place of"""
REASON_CHARS = 200


class Stats(NamedTuple):
    """What an engine has done since it came up."""

    num_running: int = 0
    num_finished: int = 0
    num_generated: int = 0
    """tokens"""


class Launched(Protocol):
    """An engine that is up."""

    node: str
    loaded: Loaded

    @property
    def generate(self) -> Generate:
        """What its calls are made through."""
        ...

    async def stats(self) -> Stats | None:
        """What it has done; None once it is dead."""
        ...

    async def close(self) -> None:
        """Ends it, dead or alive, and gives back what it held."""
        ...


class LaunchError(EngineError):
    """An engine did not start."""

    node = ""
    """where; empty: nowhere yet"""


Launch = Callable[[Set[str], Callable[[str], None]], Awaitable[Launched]]
"""nodes to be avoided, and what is told of the way → an engine that is up"""


@dataclass
class Place:
    """One of the model's engines, as it stands."""

    state: str = "waiting"
    since: float = 0.0
    key: str = ""
    """of the engine that is up; empty: none is"""
    node: str = ""
    cache_tokens: int = 0
    stats: Stats = field(default_factory=Stats)
    num_generated_before: int = 0
    """by its predecessors"""

    def turn(self, state: str) -> None:
        """Takes a state, from now on."""
        self.state, self.since = state, time.time()


class Keeper:
    """The engines of one model; lives inside one event loop."""

    def __init__(self, config: VllmModel, launch: Launch, wait_s: float) -> None:
        """Starts nothing yet.

        Args:
            config: the model, with the number of its engines.
            launch: starts one.
            wait_s: how long the first of them may take to find its machine.
        """
        self.config = config
        self.version = 0
        self.failure: ChimeraError | None = None
        self.places = [Place() for _ in range(config.replicas)]
        self.up: dict[str, Launched] = {}
        self._launch, self._wait_s = launch, wait_s
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._num_keys = 0

    def start(self) -> None:
        """Begins to bring the engines up."""
        self._tasks = [asyncio.create_task(self._keep(place)) for place in self.places]
        self._tasks.append(asyncio.create_task(self._require_one()))

    async def after(self, version: int, timeout_s: float) -> int:
        """Waits until something has changed since a version, or so long; the version then."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.version <= version:
                    await self._changed.wait()
        return self.version

    async def close(self) -> None:
        """Ends every engine."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, place: Place) -> None:
        avoided: set[str] = set()
        num_failed = num_fruitless = 0
        while self.failure is None:
            place.turn(WAITING)
            try:
                engine = await self._launch(frozenset(avoided), place.turn)
            except ConfigError as exc:
                self._fail(exc)
                return
            except Exception as exc:  # noqa: BLE001 - nobody else looks at this task
                num_failed += 1
                log.warning("start %d of at most %d failed: %s", num_failed, MAX_STARTS, exc)
                avoided |= {exc.node} - {""} if isinstance(exc, LaunchError) else set()
                if num_failed >= MAX_STARTS:
                    await self._do_without(place, f"{num_failed} starts failed; the last: {exc}")
                else:
                    place.turn(FAILED)
                    await asyncio.sleep(PAUSE_S)
                continue
            num_failed = 0
            await self._watch(place, engine)
            num_fruitless = 0 if place.stats.num_finished else num_fruitless + 1
            if num_fruitless >= MAX_FRUITLESS:
                why = f"{num_fruitless} engines in a row died before they had given a reply"
                await self._do_without(place, f"model {self.config.name}: {why}")

    async def _do_without(self, place: Place, why: str) -> None:
        """An engine that cannot be had → for a while the others serve alone, if there are any."""
        place.turn(f"off: {' '.join(why.split())[:REASON_CHARS]}")
        others = [other for other in self.places if other is not place]
        if not self.up and not any(other.state in (LOADING, FAILED) for other in others):
            self._fail(EngineError(why))
        await asyncio.sleep(LATER_S)

    async def _watch(self, place: Place, engine: Launched) -> None:
        """An engine that is up → its death."""
        self._num_keys += 1
        place.key, place.node = f"{self.config.engine_id[:8]}-{uuid4().hex}", engine.node
        place.cache_tokens, place.stats = engine.loaded.cache_tokens, Stats()
        self.up[place.key] = engine
        place.turn("up")
        self._tell()
        try:
            while (stats := await engine.stats()) is not None:
                place.stats = stats
                await asyncio.sleep(POLL_S)
            log.warning("%s: an engine died on %s", self.config.name, engine.node)
        except Exception as exc:  # noqa: BLE001 - whom nobody can ask is dead, and another starts
            log.warning("%s: an engine on %s is lost: %s", self.config.name, engine.node, exc)
        finally:
            place.num_generated_before += place.stats.num_generated
            del self.up[place.key]
            place.key = ""
            self._tell()
            await self._end(engine)

    async def _end(self, engine: Launched) -> None:
        try:
            await engine.close()
        except Exception as exc:  # noqa: BLE001 - it goes with its process, at the latest
            log.warning("%s: an engine on %s did not end: %s", self.config.name, engine.node, exc)

    async def _require_one(self) -> None:
        await asyncio.sleep(self._wait_s)
        states = {place.state for place in self.places}
        if self._num_keys == 0 and states == {WAITING}:
            self._fail(
                EngineError(
                    f"model {self.config.name}: no machine with {self.config.num_gpus} free GPUs "
                    f"came up in {self._wait_s:.0f} s (runtime.engine_wait_s)"
                )
            )

    def _fail(self, reason: ChimeraError) -> None:
        self.failure = self.failure or reason
        self._tell()

    def _tell(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()


def notes_of(models: Mapping[str, Keeper]) -> list[dict[str, object]]:
    """Keepers → what a display shows of each engine."""
    return [
        {
            "model": keeper.config.name,
            "state": place.state,
            "since": place.since,
            "node": place.node,
            "cache_tokens": place.cache_tokens,
            "num_running": place.stats.num_running if place.key else 0,
            "num_generated": place.num_generated_before
            + (place.stats.num_generated if place.key else 0),
        }
        for keeper in models.values()
        for place in keeper.places
    ]
