"""The Ray runner against a bare asyncio loop over the same latencies, in the same run.

    python benchmarks/bench_runner.py                     every case
    python benchmarks/bench_runner.py one three zero      only these; --rows 20000 --slots 512

one     one stage, log-normal latency (sigma 1, mean 0.5 s), 512 slots
three   three chained stages, each with that latency and those slots
zero    one stage without latency, the ledger on: rows/s and memory at 20,000 and at 200,000 rows

"bare" is the least that any program needs: one event loop, a semaphore for each stage, a sleep for
each call. "in all" counts from before Ray is imported to the last row's record; "after start-up"
from the first call that was made.
"""

import argparse
import asyncio
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from chimera_ray.backends.simulated import Simulated
from chimera_ray.config import Config, read_config
from chimera_ray.drive import drive
from chimera_ray.frontier import walk
from chimera_ray.graph import Graph, Node, build_graph
from chimera_ray.ledger.journal import recover
from chimera_ray.ledger.parts import is_part, write_part
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply, Request
from chimera_ray.model_config import Latency
from chimera_ray.runners import open_carrier
from chimera_ray.runners.perform import outputs_of, perform
from chimera_ray.schemas import (
    Draft,
    Output,
    Problem,
    Record,
    Rollout,
    Row,
    Topic,
    work_id,
)

PRELUDE = ("expand_topics", "plan_drafts", "draft_problem")
ONE = (*PRELUDE, "plan_rollouts", "sample_trajectory")
THREE = (*PRELUDE, "validate_problem", "plan_rollouts", "sample_trajectory", "label_trajectory")
PART_ROWS = 5_000


class Result(NamedTuple):
    """One case."""

    case: str
    rows: int
    bare_s: float
    total_s: float
    after_start_s: float
    rows_per_s: float
    driver_mb: float
    worker_mb: float


def configure(stages: Sequence[str], slots: int, mean_s: float, output_dir: str) -> Config:
    """A recipe of these stages on a teacher that answers at once, after the wanted latency."""
    teacher = {"backend": "simulated", "name": "bench"}
    slow = {**teacher, "latency": {"mean_s": mean_s, "sigma": 1.0}}
    yes = {"false_accept_rate": 1.0}
    roles = {"verifier_a": {**slow, **yes}, "verifier_b": {**teacher, **yes}, "solver": slow}
    return read_config(
        {
            "recipe": {
                "name": "bench",
                "subjects": [{"name": "Mathematics", "target_topics": 1}],
                "stages": list(stages),
            },
            "models": {"expander": teacher, "drafter": teacher, "grader": slow, **roles},
            "runtime": {"kind": "local", "pool": {"max_in_flight": slots}},
            "output_dir": output_dir,
        }
    )


def fill(graph: Graph, store: Store, num_rows: int) -> None:
    """Writes the ledger of the stages before the measured ones, as if they had been done."""
    place = {"subject": "Mathematics", "area": "Algebra", "topic": "Groups"}
    nodes = {node.name: node for node in graph.nodes}
    topic = Topic(**place, expansion_index=0, topic_index=0)
    drafts = [Draft(**place, draft_index=at, facet=f"facet {at}") for at in range(num_rows)]
    problems = [
        Problem(
            **draft.model_dump(),
            problem=f"Problem {draft.draft_index}: " + "which value does the invariant take? " * 6,
            reference_answer=str(draft.draft_index),
            draft_reasoning="",
            draft_solution="",
        )
        for draft in drafts
    ]
    rollouts = [
        Rollout(
            **place, problem=row.problem, reference_answer=row.reference_answer, rollout_index=0
        )
        for row in problems
    ]
    _write(store, nodes["expand_topics"], graph.subjects[:1], [[topic]])
    _write(store, nodes["plan_drafts"], [topic], [drafts])
    _write(store, nodes["draft_problem"], drafts, [[row] for row in problems])
    if "validate_problem" not in nodes:
        _write(store, nodes["plan_rollouts"], problems, [[row] for row in rollouts])


def _write(store: Store, node: Node, takes: Sequence[Row], gives: Sequence[Sequence[Row]]) -> None:
    inputs = outputs_of(takes)
    for start in range(0, len(inputs), PART_ROWS):
        chunk = range(start, min(start + PART_ROWS, len(inputs)))
        records = [_record(node, inputs[at], outputs_of(gives[at])) for at in chunk]
        write_part(store, node.folder, f"part-{start:019d}-bench.parquet", records)


def _record(node: Node, given: Output, outputs: tuple[Output, ...]) -> Record:
    work = work_id(node.fingerprint, given.row_id)
    return Record(work, given.row_id, "accepted", "", "", outputs, (), "bench", 0.0)


class Recorder(Simulated):
    """The teacher, which notes how long each call would have waited instead of waiting."""

    latencies: list[float]

    async def complete(self, request: Request) -> Reply:
        """Request → its reply, at once."""
        if self._config.latency.mean_s > 0:
            self.latencies.append(self.latency_s(request))
        quick = self._config.model_copy(update={"latency": Latency()})
        return await Simulated(quick).complete(request)


async def latencies_of(config: Config, graph: Graph, store: Store) -> list[list[float]]:
    """Every row's latency at each measured stage: the very ones that the runner will wait."""
    standing = next(s for s in walk(graph, store) if len(s.todo))
    nodes = graph.nodes[[node.name for node in graph.nodes].index(standing.node.name) :]
    recorders = {}
    for role in {role for node in nodes for role in node.roles}:
        bound = config.models.of(role)
        assert bound.backend == "simulated"
        recorders[role] = Recorder(bound)
    found = []
    for at, text in standing.inputs.rows(standing.todo):
        given: tuple[str, str] = (standing.inputs.ids[at], text)
        waits: list[float] = []
        for recorder in recorders.values():
            recorder.latencies = waits
        for node in nodes:
            record = await perform(node, *given, recorders, (), "bench")
            given = record.outputs[0]
        found.append(waits)
    return found


async def bare(latencies: Sequence[Sequence[float]], slots: int) -> float:
    """Latencies by row and stage → seconds that a bare chain of semaphores takes."""
    stages = [asyncio.Semaphore(slots) for _ in latencies[0]]

    async def one(waits: Sequence[float]) -> None:
        for slot, wait in zip(stages, waits, strict=True):
            async with slot:
                await asyncio.sleep(wait)

    began = time.perf_counter()
    await asyncio.gather(*map(one, latencies))
    return time.perf_counter() - began


def prepare(config: Config, rows: int, slots: int, mean_s: float) -> float:
    """Fills the ledger; seconds that the bare chain takes for what is left to be done."""
    graph, store = build_graph(config), Store(config.output_dir)
    fill(graph, store, rows)
    if not mean_s:
        return 0.0
    return asyncio.run(bare(asyncio.run(latencies_of(config, graph, store)), slots))


class Memory(threading.Thread):
    """Samples the resident memory of this process and of its largest stage actor."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.driver = self.worker = 0.0
        self._stop_now = threading.Event()

    def run(self) -> None:
        """Samples until `end`."""
        me = psutil.Process()
        while not self._stop_now.wait(0.5):
            self.driver = max(self.driver, me.memory_info().rss / 2**20)
            for child in me.children(recursive=True):
                try:
                    if "MapWorker" in " ".join(child.cmdline()):
                        self.worker = max(self.worker, child.memory_info().rss / 2**20)
                except psutil.Error:
                    continue

    def end(self) -> "Memory":
        """Stops sampling."""
        self._stop_now.set()
        self.join()
        return self


def measure(case: str, stages: Sequence[str], rows: int, slots: int, mean_s: float) -> Result:
    """One case → its figures."""
    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        config = configure(stages, slots, mean_s, folder)
        with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # not in the driver's memory
            bare_s = apart.submit(prepare, config, rows, slots, mean_s).result()
        graph, store = build_graph(config), Store(folder)
        memory = Memory()
        memory.start()
        began = time.time()
        carrier = open_carrier(config, "bench-run")
        drive(graph, store, carrier, "bench-run", lambda _: None)
        total_s = time.time() - began
        carrier.close()
        memory.end()
        done = list(_times(store, graph))
        assert sum(count for count, _ in done) >= rows, "rows are missing from the ledger"
        after_start_s = began + total_s - min(first for _, first in done)
    return Result(
        case,
        rows,
        bare_s,
        total_s,
        after_start_s,
        rows / after_start_s,
        memory.driver,
        memory.worker,
    )


def _times(store: Store, graph: Graph) -> Iterator[tuple[int, float]]:
    """The first measured stage's parts: their rows, and when the first of them began."""
    name = "validate_problem" if "validate_problem" in {n.name for n in graph.nodes} else None
    node = next(n for n in graph.nodes if n.name == (name or "sample_trajectory"))
    recover(store, node.folder)
    for part in filter(is_part, store.names(node.folder)):
        table = pq.read_table(store.path(node.folder, part), columns=["finished_at", "calls"])
        waited = pc.list_element(table["calls"].combine_chunks(), 0)
        began = pc.subtract(table["finished_at"], pc.struct_field(waited, "latency_s"))
        yield len(table), pc.min(began).as_py()


def show(results: Sequence[Result]) -> Table:
    """Results → the table."""
    table = Table(title="Ray runner against a bare asyncio loop")
    heads = ("case", "rows", "bare s", "in all s", "after start-up s", "bare/in all")
    for head in (*heads, "bare/after start-up", "rows/s", "driver MB", "worker MB"):
        table.add_column(head, justify="left" if head == "case" else "right")
    for result in results:
        has_bare = result.bare_s > 0
        table.add_row(
            result.case,
            f"{result.rows:,}",
            f"{result.bare_s:.1f}" if has_bare else "-",
            f"{result.total_s:.1f}",
            f"{result.after_start_s:.1f}",
            f"{result.bare_s / result.total_s:.2f}" if has_bare else "-",
            f"{result.bare_s / result.after_start_s:.2f}" if has_bare else "-",
            f"{result.rows_per_s:,.0f}",
            f"{result.driver_mb:.0f}",
            f"{result.worker_mb:.0f}",
        )
    return table


def main() -> None:
    """Runs the wanted cases, each in turn, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["one", "three", "zero"])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--slots", type=int, default=512)
    parser.add_argument("--mean-s", type=float, default=0.5)
    wanted = parser.parse_args()
    results = []
    for case in wanted.cases:
        if case == "zero":
            results.append(measure("zero latency", ONE, wanted.rows, wanted.slots, 0))
            results.append(measure("zero latency", ONE, 10 * wanted.rows, wanted.slots, 0))
        else:
            stages = {"one": ONE, "three": THREE}[case]
            results.append(measure(case, stages, wanted.rows, wanted.slots, wanted.mean_s))
    Console(width=150).print(show(results))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
