"""Calls to an endpoint: a bare aiohttp loop, our backend alone, the local runner, the Ray runner.

    python benchmarks/bench_remote.py                               every case: about 15 minutes
    python benchmarks/bench_remote.py --rows 2000 --slots 256 --latency fixed --subjects bare ray
    python benchmarks/bench_remote.py --no-limits                   told that there are no limits

All against the stub server in a process of its own, with the very same requests in the same order,
so with the same latencies: fixed at 0.5 s, or log-normal (sigma 1, mean 0.5 s). Every subject runs
in a fresh process. "wall" counts from that process's start to its last row; "calling" is the
server's own count from the first request to the last reply; CPU is of all processes of the subject,
the server's aside; memory is the peak of the process that drives, and of the largest of its
children.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table
    from stub_server import StubServer

    from chimera_ray.config import Config

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")

MEAN_S = 0.5
SUBJECTS = ("bare", "backend", "local", "ray")
LATENCIES = {"fixed": 0.0, "log-normal": 1.0}
RUN = "bench-run"
NO_LIMITS = "BENCH_NO_LIMITS"


class Case(NamedTuple):
    """What is measured."""

    rows: int
    slots: int
    latency: str
    reply_chars: int


class Result(NamedTuple):
    """One subject in one case."""

    wall_s: float
    calling_s: float
    cpu_ms: float
    """of each call"""
    driver_mb: float
    worker_mb: float
    connections: int


def configure(url: str, folder: str, slots: int) -> "Config":
    """A recipe whose one measured stage asks the stub."""
    from bench_runner import ONE

    from chimera_ray.config import read_config

    teacher = {"backend": "simulated", "name": "bench"}
    remote = {"backend": "openai", "name": "bench", "base_url": url, "api_key_env": None}
    if os.environ.get(NO_LIMITS):
        remote["limits"] = {"is_adaptive": False}
    roles = ("expander", "drafter", "verifier_a", "verifier_b", "grader")
    return read_config(
        {
            "recipe": {
                "name": "bench",
                "subjects": [{"name": "Mathematics", "target_topics": 1}],
                "stages": list(ONE),
            },
            "models": {**dict.fromkeys(roles, teacher), "solver": remote},
            "runtime": {"kind": "local", "pool": {"max_in_flight": slots}},
            "output_dir": folder,
        }
    )


def prepare(url: str, folder: str, case: Case) -> None:
    """Fills the ledger before the measured stage, and writes down the requests to come."""
    from bench_runner import fill

    from chimera_ray.backends.openai import Bodies, call_key
    from chimera_ray.frontier import walk
    from chimera_ray.graph import build_graph
    from chimera_ray.ledger.store import Store
    from chimera_ray.llm import Reply, Request
    from chimera_ray.runners.perform import perform

    config = configure(url, folder, case.slots)
    graph, store = build_graph(config), Store(folder)
    fill(graph, store, case.rows)
    model = config.models.solver
    bodies = Bodies(model)
    asked: list[Request] = []

    class Recorder:
        name, trouble = "recorder", ""

        async def complete(self, request: Request) -> Reply:
            asked.append(request)
            return Reply("x")

        def cost_usd(self, usage: object) -> float:
            return 0.0

    async def record() -> None:
        standing = next(s for s in walk(graph, store) if len(s.todo))
        for at, text in standing.inputs.rows(standing.todo):
            given = (standing.inputs.ids[at], text)
            await perform(standing.node, *given, {"solver": Recorder()}, (), RUN)

    asyncio.run(record())
    with open(f"{folder}/requests.jsonl", "w", encoding="utf-8") as sink:
        for request in asked:
            said = {
                "key": call_key(model.identity(), request),
                "body": json.dumps(bodies.of(request, "none")),
                "prompt": request.messages[0].content,
                "seed": request.seed,
            }
            sink.write(json.dumps(said) + "\n")


def requests_of(folder: str) -> list[dict[str, Any]]:
    """What `prepare` wrote down."""
    with open(f"{folder}/requests.jsonl", encoding="utf-8") as source:
        return [json.loads(line) for line in source]


async def bare(url: str, folder: str, slots: int) -> None:
    """The least that any program needs: one session, a semaphore, each reply parsed."""
    import aiohttp

    slot = asyncio.Semaphore(slots)
    connector = aiohttp.TCPConnector(limit=slots)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(asked: dict[str, Any]) -> str:
            headers = {"Idempotency-Key": asked["key"], "Content-Type": "application/json"}
            async with slot:
                address = f"{url}/chat/completions"
                async with session.post(address, data=asked["body"], headers=headers) as answer:
                    said = json.loads(await answer.read())
            return str(said["choices"][0]["message"]["content"])

        await asyncio.gather(*map(one, requests_of(folder)))


async def backend(url: str, folder: str, slots: int) -> None:
    """Our backend alone: client, limiter, retry policy; no rows, no ledger."""
    from chimera_ray.backends.gate import Gate, in_process
    from chimera_ray.backends.halt import Halt
    from chimera_ray.backends.limiter import Limiter
    from chimera_ray.backends.openai import OpenAI
    from chimera_ray.llm import Message, Request

    model = configure(url, folder, slots).models.solver
    gate = Gate(in_process(Limiter(model.limits, time.monotonic()), time.monotonic), "bench")
    client = OpenAI(model, gate, Halt(), slots)
    slot = asyncio.Semaphore(slots)

    async def one(asked: dict[str, Any]) -> str:
        request = Request((Message("user", asked["prompt"]),), None, asked["seed"])
        async with slot:
            return (await client.complete(request)).text

    await asyncio.gather(*map(one, requests_of(folder)))
    await client.close()
    await gate.close()


def run(subject: str, url: str, folder: str, slots: int) -> None:
    """The runner, from the ledger that `prepare` filled."""
    from chimera_ray.drive import drive
    from chimera_ray.graph import build_graph
    from chimera_ray.ledger.store import Store
    from chimera_ray.runners import open_carrier
    from chimera_ray.runners.local import LocalCarrier

    config = configure(url, folder, slots)
    carrier = LocalCarrier(config, RUN) if subject == "local" else open_carrier(config, RUN)
    drive(build_graph(config), Store(folder), carrier, RUN, lambda standings: None)
    print(json.dumps({"ended": time.time()}), flush=True)
    carrier.close()


def child(subject: str, url: str, folder: str, slots: int) -> None:
    """One subject in this process; says when it ended."""
    if subject in ("local", "ray"):
        run(subject, url, folder, slots)
        return
    asyncio.run({"bare": bare, "backend": backend}[subject](url, folder, slots))
    print(json.dumps({"ended": time.time()}), flush=True)


def measure(server: "StubServer", case: Case, subject: str) -> Result:
    """One subject in one case → its figures."""
    import psutil

    with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
        prepare(server.url, folder, case)
        server.reset()
        words = [__file__, "--child", subject, server.url, folder, str(case.slots)]
        began = time.time()
        process = psutil.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        cpu: dict[int, float] = {}
        driver = worker = 0.0
        while process.poll() is None:
            for member in [process, *process.children(recursive=True)]:
                try:
                    times, mb = member.cpu_times(), member.memory_info().rss / 2**20
                except psutil.Error:
                    continue
                cpu[member.pid] = times.user + times.system
                if member.pid == process.pid:
                    driver = max(driver, mb)
                else:
                    worker = max(worker, mb)
            time.sleep(0.25)
        said = process.stdout.read()
        if process.returncode:
            sys.exit(f"{subject} ended with {process.returncode}: {said}")
        ended = next(json.loads(line)["ended"] for line in said.splitlines() if "ended" in line)
        counts = server.counts()
    if counts["finished"] != case.rows:
        sys.exit(f"{subject}: {counts['finished']} replies for {case.rows} rows")
    return Result(
        ended - began,
        counts["last_at"] - counts["first_at"],
        sum(cpu.values()) / case.rows * 1000,
        driver,
        worker,
        counts["num_connections"],
    )


def show(case: Case, results: dict[str, Result]) -> "Table":
    """A case's results → the table."""
    from rich.table import Table

    floor_s = -(-case.rows // case.slots) * MEAN_S
    floor = f", floor {floor_s:.1f} s" if case.latency == "fixed" else ""
    title = f"{case.rows:,} rows, {case.slots:,} in flight, {case.latency}{floor}"
    table = Table(title=f"{title}, replies of {case.reply_chars:,} characters")
    heads = ("wall s", "calling s", "rows/s", "bare/wall", "bare/calling", "CPU ms a call")
    for head in ("subject", *heads, "driver MB", "worker MB", "connections"):
        table.add_column(head, justify="left" if head == "subject" else "right")
    first = results.get("bare")
    for subject, found in results.items():
        ratios = ["-", "-"]
        if first is not None:
            ratios = [f"{first.calling_s / s:.2f}" for s in (found.wall_s, found.calling_s)]
        table.add_row(
            subject,
            f"{found.wall_s:.1f}",
            f"{found.calling_s:.1f}",
            f"{case.rows / found.wall_s:,.0f}",
            *ratios,
            f"{found.cpu_ms:.2f}",
            f"{found.driver_mb:.0f}",
            f"{found.worker_mb:.0f}",
            f"{found.connections:,}",
        )
    return table


def cases_of(wanted: argparse.Namespace) -> Sequence[Case]:
    """The command line → the cases; long replies at the rivals' setting."""
    cases = [
        Case(rows, slots, latency, 1_000)
        for latency in wanted.latency
        for rows in wanted.rows
        for slots in wanted.slots
    ]
    long = [Case(2_000, 256, "fixed", 50_000), Case(20_000, 256, "fixed", 50_000)]
    return [*cases, *([] if wanted.short_only else long)]


def main() -> None:
    """Measures the wanted cases, each in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, nargs="*", default=[2_000, 20_000])
    parser.add_argument("--slots", type=int, nargs="*", default=[256, 1_024])
    parser.add_argument("--latency", nargs="*", choices=LATENCIES, default=list(LATENCIES))
    parser.add_argument("--subjects", nargs="*", choices=SUBJECTS, default=SUBJECTS)
    parser.add_argument("--short-only", action="store_true", help="no replies of 50,000 characters")
    parser.add_argument("--no-limits", action="store_true", help="known: no slow start")
    wanted = parser.parse_args()
    if wanted.no_limits:
        os.environ[NO_LIMITS] = "1"
    if wanted.child:
        subject, url, folder, slots = wanted.child
        child(subject, url, folder, int(slots))
        return
    from rich.console import Console
    from stub_faults import Behaviour
    from stub_server import StubServer

    for case in cases_of(wanted):
        behaviour = Behaviour(
            mode="fixed",
            reply_chars=case.reply_chars,
            latency_mean_s=MEAN_S,
            latency_sigma=LATENCIES[case.latency],
        )
        with StubServer(behaviour) as server:
            results = {subject: measure(server, case, subject) for subject in wanted.subjects}
        Console(width=140).print(show(case, results))


if __name__ == "__main__":
    main()
