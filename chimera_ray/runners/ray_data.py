"""Rows through stages on Ray Data: each stage of a segment is a pool of actors in one plan.

Ray's blocks are only a way to travel. A killed actor may lose rows on the road or send them twice:
the ledger knows what is done, the driver looks again, and a row in hand is not taken up twice.

Ray is imported by the `ray_*` files of this folder alone, and here only once there are rows to
carry: a finished run is told so in a moment.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chimera_ray.config import Config
from chimera_ray.errors import CarrierError, RunnerError, StopError
from chimera_ray.frontier import Standing
from chimera_ray.ledger.index import PartLostError
from chimera_ray.ledger.store import Store
from chimera_ray.model_config import OpenAIModel, VllmModel
from chimera_ray.runners.executions import Execution
from chimera_ray.runners.live import Live
from chimera_ray.runners.parcels import lines, parcel
from chimera_ray.runners.ray_environment import set_environment
from chimera_ray.runners.shared_rows import Item

if TYPE_CHECKING:
    from ray.data import Dataset

    from chimera_ray.runners.ray_session import RaySession

CHUNK_ROWS = 500
CHUNK_CHARS = 4 << 20
"""an actor holds the chunks of all its open calls, so long rows make small chunks"""
SHARES = 4
"""chunks for each of several actors, at least, where there are so many rows"""
CALLS_PER_ACTOR = 32


class RayCarrier:
    """Carries rows by Ray Data; Ray starts with the first row that there is to carry."""

    def __init__(self, config: Config, run_id: str) -> None:
        """Starts nothing yet."""
        set_environment(config.runtime.kind)
        self._config, self._run_id = config, run_id
        self._store = Store(config.output_dir)
        self._execution, self._live = Execution(self._store, run_id), Live(self._store, run_id)
        self._session: RaySession | None = None
        self._budget: object = None
        self._limiters: object = None
        self._engines: Any = None

    def carry(self, standings: Sequence[Standing]) -> None:
        """Works off what is to be done at each stage of a segment, in one streaming plan.

        Raises:
            StopError: the run is to stop; what was in hand has ended or is to be done again.
            RunnerError: Ray did not start, or has ended.
            ChimeraError: what a stage's actor raised, or that Ray itself gave up.
        """
        session = self._started()
        try:
            chunks = self._prepare(standings)
            session.run(lambda: self._work(standings, chunks))
            if (reason := self._live.halt()) is not None:
                raise reason
        except (PartLostError, StopError, RunnerError):
            raise
        except Exception as exc:  # (Ray wraps whatever an actor raised in errors of its own)
            from chimera_ray.runners.ray_session import cause_of

            session.require_up()
            raise self._live.halt() or cause_of(exc) from exc
        finally:
            self._execution.clear()

    def _work(self, standings: Sequence[Standing], chunks: Mapping[str, list[str]]) -> None:
        """Has everything up that the stages need, and works their plan off."""
        self._start_counters(standings)
        self._start_engines(standings)
        for bundle in self._plan(standings, chunks).iter_internal_ref_bundles():
            del bundle  # receipts: what counts is in the ledger

    def in_flight(self) -> dict[str, int]:
        """Stage → rows that are being worked on, as of the actors' last word."""
        return self._live.in_flight()

    def engines(self) -> list[dict[str, Any]]:
        """How the run's engines stand, as of their keeper's last word."""
        return self._live.engines()

    def notices(self) -> list[str]:
        """What is being waited for, and which stages have trouble with their endpoints."""
        waiting = self._session.notice if self._session is not None else ""
        return [*filter(None, [waiting]), *self._live.troubles()]

    def close(self) -> None:
        """Ends the engines, and the Ray that this carrier started; leaves a cluster as it is."""
        if self._session is not None:
            if self._engines is not None and self._session.is_idle:
                from chimera_ray.runners.ray_engines import end_engines

                self._session.run(lambda: end_engines(self._engines))
            self._session.close()
        self._execution.close()

    def _started(self) -> "RaySession":
        """Ray, on its way up; what this run writes for itself has an owner from here on."""
        if self._session is None:
            self._execution.open()
            from chimera_ray.runners.ray_session import RaySession

            self._session = RaySession(self._config.runtime)
        return self._session

    def _prepare(self, standings: Sequence[Standing]) -> dict[str, list[str]]:
        """What takes a second and needs no Ray → by stage, the chunks of what is to be done."""
        import ray.data  # noqa: F401 - for the plan, while Ray itself starts

        return {standing.node.name: self._chunks(standing) for standing in standings}

    def _start_counters(self, standings: Sequence[Standing]) -> None:
        """Starts what the cluster counts together, so that it lives where the driver does."""
        from chimera_ray.runners.ray_counters import start_budget, start_limiters

        runtime = self._config.runtime
        has_cap = runtime.max_cost_usd is not None or runtime.max_total_tokens is not None
        if has_cap and self._budget is None:
            self._budget = start_budget(self._config, self._run_id)
        if self._shared(standings):
            self._limiters = start_limiters()

    def _start_engines(self, standings: Sequence[Standing]) -> None:
        """Has the engines up that these stages need, and no others."""
        roles = {role for standing in standings for role in standing.node.roles}
        models = [self._config.models.of(role) for role in sorted(roles)]
        served = [model for model in models if isinstance(model, VllmModel)]
        if not served and self._engines is None:
            return
        from chimera_ray.runners.ray_engines import need_engines

        said = self._config.model_copy(update={"output_dir": self._where()})
        self._engines = need_engines(self._engines, served, said, self._run_id)

    def _where(self) -> str:
        """The output directory as every process of the cluster may name it."""
        return self._store.root if self._store.is_local else self._store.location

    def _shared(self, standings: Sequence[Standing]) -> list[str]:
        """Endpoints that several actors call, or other runs may: theirs is the cluster's limiter.

        The others' is in the one process that calls them: an actor takes seconds to start.
        """
        callers: Counter[str] = Counter()
        for host in _hosts(standings):
            roles = {role for standing in host for role in standing.node.roles}
            models = [self._config.models.of(role) for role in roles]
            endpoints = {model.endpoint for model in models if isinstance(model, OpenAIModel)}
            callers.update(dict.fromkeys(endpoints, self._num_actors(host)))
        is_cluster = self._config.runtime.kind == "cluster"
        return sorted(name for name, count in callers.items() if is_cluster or count > 1)

    def _plan(self, standings: Sequence[Standing], chunks: Mapping[str, list[str]]) -> "Dataset":
        """One operator for each host: rows come from the host before, or from the todo."""
        import ray.data
        from ray.data import ActorPoolStrategy

        from chimera_ray.runners.ray_actor import StageActor
        from chimera_ray.runners.ray_session import set_context

        set_context()
        arriving: Dataset | None = None
        said = self._config.model_copy(update={"output_dir": self._where()}).model_dump_json()
        shared = self._shared(standings)
        for host in _hosts(standings):
            paths = [path for standing in host for path in chunks[standing.node.name]]
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
                    "shared": shared,
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
        # Several actors each get their share; one gets as few calls as hold its rows.
        actors = self._config.runtime.pool_of(standing.node.name).actors
        share = -(-len(standing.todo) // (SHARES * actors))
        max_rows = CHUNK_ROWS if actors == 1 else min(max(share, 1), CHUNK_ROWS)

        def write() -> None:
            path = f"{self._execution.pending}/{standing.node.name}-{len(paths):06d}"
            content = lines(chunk)
            self._store.write(path, lambda sink: sink.write(content))
            paths.append(path)
            chunk.clear()

        for place, payload in standing.inputs.rows(standing.todo):
            chunk.append((standing.inputs.ids[place], payload))
            num_chars += len(payload)
            if len(chunk) == max_rows or num_chars > CHUNK_CHARS:
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
