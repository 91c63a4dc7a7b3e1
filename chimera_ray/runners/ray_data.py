"""Rows through stages on Ray Data: the only file that knows Ray.

Every stage of a segment is a pool of actors in one streaming plan. Ray hands an actor calls of many
rows, several at once; inside, one event loop and one set of slots serve them all, and a row that is
done and durable leaves through whichever call is open, so that no slow row holds others back.

Ray's blocks are only a way to travel. A killed actor may lose rows on the road or send them twice:
the ledger knows what is done, the driver looks again, and a row in hand is not taken up twice.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset

from chimera_ray.config import Config
from chimera_ray.errors import CarrierError, ChimeraError
from chimera_ray.frontier import Standing
from chimera_ray.graph import Node, rebuild_node
from chimera_ray.ledger.index import PartLostError
from chimera_ray.ledger.store import Store
from chimera_ray.runners.parcels import lines, parcel, unpack
from chimera_ray.runners.perform import StageBugError
from chimera_ray.runners.worker import Item, StageWorker, accepted

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
QUIET = {
    "ray._private.authentication.authentication_token_setup": logging.ERROR,
    "ray.data._internal.progress": logging.ERROR,
    "ray.data._internal.execution": logging.CRITICAL,
    "ray.data.exceptions": logging.CRITICAL + 1,
}
"""loggers whose news this file tells itself, in one line"""


class RayCarrier:
    """Carries rows by Ray Data; Ray starts with the first row that there is to carry."""

    def __init__(self, config: Config, run_id: str) -> None:
        """Starts nothing yet."""
        self._config, self._run_id = config, run_id
        self._store = Store(config.output_dir)
        self._todo, self._live = f"runs/.todo/{run_id}", live_folder(run_id)
        self._is_ours = False

    def carry(self, standings: Sequence[Standing]) -> None:
        """Works off what is to be done at each stage of a segment, in one streaming plan.

        Raises:
            ChimeraError: what a stage's actor raised, or that Ray itself gave up.
        """
        self._start()
        try:
            plan = self._plan(standings)
            for bundle in plan.iter_internal_ref_bundles():
                del bundle  # receipts: what counts is in the ledger
        except PartLostError:
            raise
        except Exception as exc:  # (Ray wraps whatever an actor raised in errors of its own)
            raise _cause(exc) from exc
        finally:
            for folder in (self._todo, self._live):
                self._store.delete_folder(folder)

    def in_flight(self) -> dict[str, int]:
        """Stage → rows that are being worked on, as of the actors' last word."""
        counts: dict[str, int] = {}
        for name in self._store.names(self._live):
            if name.startswith("."):  # being written
                continue
            stage = name.rsplit("-", 1)[0]
            with suppress(OSError, ValueError):
                told = int(self._store.read_text(f"{self._live}/{name}"))
                counts[stage] = counts.get(stage, 0) + told
        return counts

    def close(self) -> None:
        """Ends the Ray that this carrier started; leaves a cluster as it is."""
        if self._is_ours:
            ray.shutdown()
        for folder in (self._todo, self._live):
            self._store.delete_folder(folder)

    def _start(self) -> None:
        runtime = self._config.runtime
        if not ray.is_initialized():
            self._is_ours = True
            try:
                _init_ray(runtime.kind, runtime.ray_address, runtime.num_cpus)
            except (ConnectionError, ray.exceptions.RayError, RuntimeError) as exc:
                raise CarrierError(f"Ray did not start: {exc}") from exc
        _set_context()
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
        self._live = f"{live_folder(run_id)}/{{}}-{context.get_actor_id()}"
        self._is_reborn = context.was_current_actor_reconstructed
        self._require_few_births(f"{live_folder(run_id)}/.births-{context.get_actor_id()}")
        self._calls: list[_Call] = []
        self._ready: deque[Item] = deque()
        self._is_shipping = False
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name=nodes[-1][0], daemon=True).start()
        rebuilt = [rebuild_node(config, *node) for node in nodes]
        self._workers = self._run(_open(config, rebuilt, run_id)).result()
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

    def _require_few_births(self, path: str) -> None:
        """Ends the plan when this actor keeps dying: Ray alone would go on for ever, unseen.

        The driver then looks again, and ends the run if nothing was brought forward.
        """
        count = int(self._store.read_text(path)) if self._store.exists(path) else 0
        if count >= MAX_BIRTHS:
            raise CarrierError(
                f"an actor of {', '.join(self._names)} died {count} times: perhaps one row kills "
                "it, or it has too little memory"
            )
        self._store.write_text(path, str(count + 1))

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
        told = dict.fromkeys(self._names, 0)
        while True:
            await asyncio.sleep(1)
            for worker in self._workers:
                name, count = worker.node.name, worker.num_in_flight
                if told[name] != count:
                    told[name] = count
                    path = self._live.format(name)
                    await asyncio.to_thread(self._store.write_text, path, str(count))


async def _open(config: Config, nodes: Sequence[Node], run_id: str) -> list[StageWorker]:
    return [StageWorker(config, node, run_id) for node in nodes]


def _days_ago(days: int) -> str:
    """A time, as an execution's id begins with it."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() - days * 86_400))


def live_folder(run_id: str) -> str:
    """An execution's id → where its actors say what is in flight, for the display alone."""
    return f"runs/.live/{run_id}"


def _init_ray(kind: str, address: str | None, num_cpus: int | None) -> None:
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    if kind == "cluster":
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.WARNING)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its notes are for Ray's developers
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )


def _set_context() -> None:
    context = DataContext.get_current()
    context.target_max_block_size = 1  # a block closes, and leaves, at every parcel
    context.execution_options.preserve_order = False
    context.execution_no_progress_timeout_s = -1  # a trajectory may take longer than any default
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.memory_usage_poll_interval_s = None
    context.issue_detectors_config.detectors = []  # a long row is no hanging task here
    context.max_consecutive_actor_init_deaths = 3


def _cause(exc: BaseException) -> BaseException:
    """What came out of a plan → what an actor raised; else Ray's own trouble, as a `CarrierError`.

    An `AssertionError` is Ray's: its streaming executor ends by one when a retried call gives fewer
    blocks than the call that died.

    After a `CarrierError` the driver looks again and carries what is left, as long as each pass
    brings something forward.
    """
    seen: BaseException | None = exc
    bug: BaseException | None = None
    while seen is not None:
        if isinstance(seen, ray.exceptions.RayTaskError) and isinstance(seen.cause, Exception):
            seen = seen.cause
            continue
        if isinstance(seen, ChimeraError | StageBugError):
            return seen
        is_rays = type(seen).__module__.split(".")[0] == "ray"
        if not is_rays and not isinstance(seen, OSError | AssertionError):
            bug = seen
        seen = seen.__cause__
    if bug is not None:
        return bug
    text = str(exc).strip().splitlines()
    return CarrierError(f"Ray gave up: {text[-1] if text else type(exc).__name__}")
