"""Rows through stages on Ray Data: with `ray_counters`, the only file that knows Ray.

Every stage of a segment is a pool of actors in one streaming plan. Ray hands an actor calls of many
rows, several at once; inside, one event loop and one set of slots serve them all, and a row that is
done and durable leaves through whichever call is open, so that no slow row holds others back.

Ray's blocks are only a way to travel. A killed actor may lose rows on the road or send them twice:
the ledger knows what is done, the driver looks again, and a row in hand is not taken up twice.
"""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, Dataset

from chimera_ray.backends.budget import Purse
from chimera_ray.backends.halt import Halt
from chimera_ray.config import Config
from chimera_ray.errors import CarrierError, StopError
from chimera_ray.frontier import Standing
from chimera_ray.graph import Node, rebuild_node
from chimera_ray.ledger.index import PartLostError
from chimera_ray.ledger.store import Store
from chimera_ray.model_config import OpenAIModel
from chimera_ray.runners.live import Live
from chimera_ray.runners.parcels import lines, parcel, unpack
from chimera_ray.runners.ray_counters import (
    start_budget,
    start_limiter,
    way_to_budget,
    way_to_limiter,
)
from chimera_ray.runners.ray_session import cause_of, init_ray, set_context
from chimera_ray.runners.reins import Reins
from chimera_ray.runners.worker import Item, StageWorker, accepted, open_model

T = TypeVar("T")
CHUNK_ROWS = 500
CHUNK_CHARS = 4 << 20
"""an actor holds the chunks of all its open calls, so long rows make small chunks"""
GROUP_ROWS = 512
CALLS_PER_ACTOR = 32
MOST_BLOCKS = 8
"""blocks that one call gives in ordinary weather"""
SHIP_S = 0.02
STALE_DAYS = 14
MAX_BIRTHS = 5
"""of one actor in one plan"""


class RayCarrier:
    """Carries rows by Ray Data; Ray starts with the first row that there is to carry."""

    def __init__(self, config: Config, run_id: str) -> None:
        """Starts nothing yet."""
        self._config, self._run_id = config, run_id
        self._store = Store(config.output_dir)
        self._todo, self._live = f"runs/.todo/{run_id}", Live(self._store, run_id)
        self._is_ours = False
        self._counters: list[object] = []

    def carry(self, standings: Sequence[Standing]) -> None:
        """Works off what is to be done at each stage of a segment, in one streaming plan.

        Raises:
            StopError: the run is to stop; what was in hand has ended or is to be done again.
            ChimeraError: what a stage's actor raised, or that Ray itself gave up.
        """
        self._start()
        for role in {role for standing in standings for role in standing.node.roles}:
            model = self._config.models.of(role)
            if isinstance(model, OpenAIModel):
                start_limiter(model)  # from here, so that it lives where the driver does
        try:
            plan = self._plan(standings)
            for bundle in plan.iter_internal_ref_bundles():
                del bundle  # receipts: what counts is in the ledger
            if (reason := self._live.halt()) is not None:
                raise reason
        except (PartLostError, StopError):
            raise
        except Exception as exc:  # (Ray wraps whatever an actor raised in errors of its own)
            raise cause_of(exc) from exc
        finally:
            self._sweep()

    def in_flight(self) -> dict[str, int]:
        """Stage → rows that are being worked on, as of the actors' last word."""
        return self._live.in_flight()

    def close(self) -> None:
        """Ends the Ray that this carrier started; leaves a cluster as it is."""
        if self._is_ours:
            ray.shutdown()
        self._sweep()

    def _sweep(self) -> None:
        self._store.delete_folder(self._todo)
        self._live.delete()

    def _start(self) -> None:
        runtime = self._config.runtime
        if not ray.is_initialized():
            self._is_ours = True
            try:
                init_ray(runtime.kind, runtime.ray_address, runtime.num_cpus)
            except (ConnectionError, ray.exceptions.RayError, RuntimeError) as exc:
                raise CarrierError(f"Ray did not start: {exc}") from exc
            if runtime.max_cost_usd is not None or runtime.max_total_tokens is not None:
                self._counters.append(start_budget(self._config, self._run_id))
        set_context()
        for kind in ("runs/.todo", "runs/.live"):  # left by runs that were killed long ago
            for name in self._store.names(kind):
                if name < _days_ago(STALE_DAYS):
                    self._store.delete_folder(f"{kind}/{name}")

    def _plan(self, standings: Sequence[Standing]) -> Dataset:
        """One operator for each host: rows come from the host before, or from the todo."""
        arriving: Dataset | None = None
        where = self._store.root if self._store.is_local else self._store.location
        said = self._config.model_copy(update={"output_dir": where}).model_dump_json()
        for host in _hosts(standings):
            paths = [path for standing in host for path in self._chunks(standing)]
            if paths:
                todo = ray.data.from_blocks([parcel(b"@" + path.encode()) for path in paths])
                arriving = todo if arriving is None else arriving.union(todo)
            if arriving is None:
                continue
            arriving = arriving.map_batches(
                StageActor,
                fn_constructor_kwargs={
                    "said": said,
                    "nodes": [
                        (standing.node.name, standing.node.takes.__name__, standing.fingerprint)
                        for standing in host
                    ],
                    "run_id": self._run_id,
                    "is_last": host[-1] is standings[-1],
                },
                batch_size=None,
                batch_format="pyarrow",
                num_cpus=0,  # an actor waits for models; slots bound it, and CPUs never deadlock it
                compute=ActorPoolStrategy(
                    size=self._num_actors(host),
                    max_tasks_in_flight_per_actor=CALLS_PER_ACTOR,
                    max_concurrent_calls_per_actor=CALLS_PER_ACTOR,
                    enable_true_multi_threading=True,
                ),
            )
        if arriving is None:
            raise CarrierError("there was nothing to carry")
        return arriving

    def _num_actors(self, host: Sequence[Standing]) -> int:
        """As many as the stage that asks models is to have."""
        pools = [self._config.runtime.pool_of(standing.node.name) for standing in host]
        asking = [pool for pool, s in zip(pools, host, strict=True) if s.node.roles]
        return (asking or pools)[0].actors

    def _chunks(self, standing: Standing) -> list[str]:
        """Writes what is to be done at a stage as chunks, so that no row waits in the driver."""
        paths: list[str] = []
        chunk: list[Item] = []
        num_chars = 0

        def write() -> None:
            path = f"{self._todo}/{standing.node.name}-{len(paths):06d}"
            content = lines(chunk)
            self._store.write(path, lambda sink: sink.write(content))
            paths.append(path)
            chunk.clear()

        for place, payload in standing.inputs.rows(standing.todo):
            chunk.append((standing.inputs.ids[place], payload))
            num_chars += len(payload)
            if len(chunk) == CHUNK_ROWS or num_chars > CHUNK_CHARS:
                write()
                num_chars = 0
        if chunk:
            write()
        return paths


def _hosts(standings: Sequence[Standing]) -> list[list[Standing]]:
    """Stages → those that share an actor: one that asks models, after those that ask none.

    A stage that asks no model takes microseconds a row; a process of its own would cost seconds.
    """
    hosts: list[list[Standing]] = []
    for standing in standings:
        if hosts and not any(other.node.roles for other in hosts[-1]):
            hosts[-1].append(standing)
        else:
            hosts.append([standing])
    if len(hosts) > 1 and not any(standing.node.roles for standing in hosts[-1]):
        last = hosts.pop()
        hosts[-1] += last
    return hosts


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
        self, said: str, nodes: list[tuple[str, str, str]], run_id: str, is_last: bool
    ) -> None:
        """Opens the models; what crosses the process border are names and the configuration."""
        config = Config.model_validate_json(said)
        self._is_last = is_last
        self._store = Store(config.output_dir)
        self._names = [name for name, _, _ in nodes]
        context = ray.get_runtime_context()
        self._id, self._live = context.get_actor_id(), Live(self._store, run_id)
        self._is_reborn = context.was_current_actor_reconstructed
        self._require_few_births()
        self._calls: list[_Call] = []
        self._ready: deque[Item] = deque()
        self._is_shipping = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=nodes[-1][0], daemon=True).start()
        rebuilt = [rebuild_node(config, *node) for node in nodes]
        self._workers, self._halt = self._run(_open(config, rebuilt, run_id, self._id)).result()
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
        """Keeps the driver's display and the other actors informed, and hears whether to stop."""
        told = dict.fromkeys(self._names, 0)
        while True:
            await asyncio.sleep(1)
            for worker in self._workers:
                name, count = worker.node.name, worker.num_in_flight
                if told[name] != count:
                    told[name] = count
                    await asyncio.to_thread(self._live.tell_in_flight, name, self._id, count)
            if self._halt.reason is None:
                reason = await asyncio.to_thread(self._live.halt)
                if reason is not None:
                    self._halt.stop(reason)


async def _open(
    config: Config, nodes: Sequence[Node], run_id: str, actor: str
) -> tuple[list[StageWorker], Halt]:
    """Opens the stages of an actor, under the run's budget and the endpoints' limiters."""
    runtime = config.runtime
    has_cap = runtime.max_cost_usd is not None or runtime.max_total_tokens is not None
    purse = Purse(way_to_budget(run_id), actor) if has_cap else None
    reins = Reins(actor, way_to_limiter, purse)
    live = Live(Store(config.output_dir), run_id)
    reins.halt.listen(lambda reason: live.tell_halt(actor, reason))
    workers = [StageWorker(config, node, run_id, reins, open_model) for node in nodes]
    return workers, reins.halt


def _days_ago(days: int) -> str:
    """A time, as an execution's id begins with it."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() - days * 86_400))
