"""A stage's actor: one event loop for all rows, whichever of Ray's calls brought them.

Ray hands an actor calls of many rows, several at once; inside, one event loop and one set of slots
serve them all, and a row that is done and durable leaves through whichever call is open, so that no
slow row holds others back.
"""

import asyncio
import gc
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future
from typing import Any, TypeVar

import pyarrow as pa
import ray

from chimera_ray.backends.delivered import Delivered
from chimera_ray.backends.engines import EnginePool
from chimera_ray.backends.gate import Exchange
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.purse import Purse
from chimera_ray.config import Config
from chimera_ray.errors import CarrierError, StopError
from chimera_ray.graph import Node, rebuild_node
from chimera_ray.ledger.store import Store
from chimera_ray.model_config import OpenAIModel, VllmModel
from chimera_ray.runners.live import Live
from chimera_ray.runners.parcels import lines, parcel, unpack
from chimera_ray.runners.ray_counters import way_to_budget, way_to_limiter
from chimera_ray.runners.ray_engines import way_to_engines
from chimera_ray.runners.reins import OwnLimiters, Reins
from chimera_ray.runners.shared_rows import Item
from chimera_ray.runners.worker import StageWorker, accepted, open_model

log = logging.getLogger(__name__)
T = TypeVar("T")
GROUP_ROWS = 512
MOST_BLOCKS = 8
"""blocks that one call gives in ordinary weather"""
SHIP_S = 0.3
"""rows gather for a block: each costs Ray's scheduler milliseconds of the driver's CPU"""
TELL_S = 1.0
GC_OBJECTS = 10_000
"""made and not freed, between two looks of the collector; Python's own 700 is one row's"""
MAX_BIRTHS = 5
"""of one actor in one plan"""


class _Call:
    """One Ray call inside an actor: the queue that its thread sleeps on."""

    def __init__(self) -> None:
        self.outbox: queue.SimpleQueue[list[Item] | BaseException | None] = queue.SimpleQueue()
        self.num_sent = 0

    def send(self, items: list[Item]) -> None:
        self.outbox.put(items)
        self.num_sent += 1


class StageActor:
    """Stages in one actor: an event loop in a thread of its own, and a Ray thread per call."""

    def __init__(
        self,
        said: str,
        nodes: list[tuple[str, str, str]],
        run_id: str,
        is_last: bool,
        shared: list[str],
    ) -> None:
        """Opens the models; what crosses the process border are names and the configuration.

        Args:
            said: the configuration as JSON.
            nodes: name, row type and fingerprint of each stage.
            run_id: this execution.
            is_last: nothing in the plan comes after these stages.
            shared: endpoints that other actors call too.
        """
        config = Config.model_validate_json(said)
        self._is_last = is_last
        self._store = Store(config.output_dir)
        self._names = [name for name, _, _ in nodes]
        context = ray.get_runtime_context()
        self._id, self._live = context.get_actor_id(), Live(self._store, run_id)
        self._is_reborn = context.was_current_actor_reconstructed
        self._is_halt_told = False
        self._told_counts: Mapping[str, int] = {}
        self._require_few_births()
        self._calls: list[_Call] = []
        self._ready: deque[Item] = deque()
        self._is_shipping = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=nodes[-1][0], daemon=True).start()
        rebuilt = [rebuild_node(config, *node) for node in nodes]
        opening = _open(config, rebuilt, run_id, self._id, frozenset(shared), self._tell_halt)
        self._workers, self._halt, self._delivered = self._run(opening).result()
        self._run(self._tell())

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Parcels of rows → parcels of rows that are durable, whichever call brought them."""
        if self._is_reborn:
            # Ray throws away as many blocks as the call had given before its actor died.
            for _ in range(MOST_BLOCKS):
                yield parcel(b"")
        call = _Call()
        self._run(self._serve(call, unpack(table, self._store)))
        while (group := call.outbox.get()) is not None:
            if isinstance(group, BaseException):
                raise group
            yield parcel(lines(group))

    def _require_few_births(self) -> None:
        """Ends the plan when this actor keeps dying: Ray alone would go on for ever, unseen.

        The driver then looks again, and ends the run if nothing was brought forward.
        """
        count = self._live.count_birth(self._id)
        if count >= MAX_BIRTHS:
            raise CarrierError(
                f"an actor of {', '.join(self._names)} died {count} times: perhaps one row kills "
                "it, or it has too little memory"
            )

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _serve(self, call: _Call, arrived: Sequence[tuple[str, list[Item]]]) -> None:
        self._calls.append(call)
        end: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for stage, items in arrived:
                    place = self._names.index(stage) if stage else 0
                    group.create_task(self._work(group, place, items))
        except BaseExceptionGroup as exc:  # it is raised again, in the call's own thread
            end = exc.exceptions[0]
        if end is None and self._halt.reason is not None and not self._is_halt_told:
            end = self._halt.reason  # no file could say so, as on a full disk: the call does
        if len(self._calls) == 1:
            self._ship()
        self._calls.remove(call)
        call.outbox.put(end)

    async def _work(self, group: asyncio.TaskGroup, place: int, items: list[Item]) -> None:
        """Takes rows through the stages from a place on; what is durable at the last is ready."""
        async for records in self._workers[place].work(items):
            given = accepted(records)
            if place + 1 < len(self._workers):
                if given:
                    group.create_task(self._work(group, place + 1, given))
            elif not self._is_last:
                self._ready.extend(given)
                self._ship_soon()

    def _ship_soon(self) -> None:
        if not self._is_shipping:
            self._is_shipping = True
            self._loop.call_later(SHIP_S, self._ship)

    def _ship(self) -> None:
        """Sends what is durable through open calls: few blocks, none held back by a slow row."""
        self._is_shipping = False
        while self._ready and self._calls:
            count = min(GROUP_ROWS, len(self._ready))
            group = [self._ready.popleft() for _ in range(count)]
            self._calls_to_use()[0].send(group)

    def _calls_to_use(self) -> list[_Call]:
        return sorted(self._calls, key=lambda c: (c.num_sent >= MOST_BLOCKS, c.outbox.qsize()))

    async def _tell(self) -> None:
        """Keeps the driver's display and the other actors informed, and hears whether to stop.

        It outlives any error: an actor that hears nothing would never stop.
        """
        told: dict[str, tuple[int, str]] = {}
        while True:
            await asyncio.sleep(TELL_S)
            try:
                await self._tell_once(told)
            except Exception as exc:  # noqa: BLE001 - nobody else looks at this task
                log.warning("the display is behind: %s", exc)

    async def _tell_once(self, told: dict[str, tuple[int, str]]) -> None:
        reason = await asyncio.to_thread(self._live.halt)
        if reason is not None:
            self._is_halt_told = True
            self._halt.stop(reason)
        elif self._halt.reason is not None:
            await asyncio.to_thread(self._tell_halt, self._halt.reason)
        for worker in self._workers:
            name, count, trouble = worker.node.name, worker.num_in_flight, worker.trouble
            before = told.get(name, (0, ""))
            told[name] = count, trouble
            if before[0] != count:
                await asyncio.to_thread(self._live.tell_in_flight, name, self._id, count)
            if before[1] != trouble:
                await asyncio.to_thread(self._live.tell_trouble, name, self._id, trouble)
        counts = self._delivered.counts()
        if counts != self._told_counts:
            self._told_counts = counts
            await asyncio.to_thread(self._live.tell_delivered, self._id, counts)

    def _tell_halt(self, reason: StopError) -> None:
        self._is_halt_told = self._live.tell_halt(self._id, reason) or self._is_halt_told


async def _open(
    config: Config,
    nodes: Sequence[Node],
    run_id: str,
    actor: str,
    shared: Set[str],
    tell_halt: Callable[[StopError], None],
) -> tuple[list[StageWorker], Halt, Delivered]:
    """Opens the stages of an actor, under the run's budget and the endpoints' limiters."""
    runtime = config.runtime
    has_cap = runtime.max_cost_usd is not None or runtime.max_total_tokens is not None
    purse = Purse(way_to_budget(run_id), actor) if has_cap else None
    own = OwnLimiters()

    def connect(model: OpenAIModel) -> Exchange:
        return way_to_limiter(model) if model.endpoint in shared else own.way_to(model)

    def open_pool(model: VllmModel) -> EnginePool:
        return way_to_engines(model, run_id)

    reins = Reins(actor, connect, purse, Store(config.output_dir), open_pool)
    reins.halt.listen(tell_halt)
    try:
        workers = [StageWorker(config, node, run_id, reins, open_model) for node in nodes]
    except StopError as exc:
        reins.halt.stop(exc)  # told by file: of an actor that is not born Ray passes on the text
        raise
    # What was imported stays, and rows leave few cycles: looking for them took a tenth of the CPU.
    gc.freeze()
    gc.set_threshold(GC_OBJECTS, 10, 10)
    return workers, reins.halt, reins.delivered
