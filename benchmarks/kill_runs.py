"""kill -9 a slowed demo run again and again, and count what was lost and what was paid twice.

    python benchmarks/kill_runs.py --kills 10          the driver and all that it started
    python benchmarks/kill_runs.py --kills 3 --worker  one stage's actor, while the run goes on

Every call's start and end is written down by a hook in the calling processes, outside the package.
A call is repeated if the same request starts again later. It may be: in flight when the kill came,
or answered within one flush window before it.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
FLUSH_S = 1.0
WRITE_S = 0.5
"""a flush window ends when its part is on disk"""
HOOK = """
import importlib.abc, importlib.util, os, sys, time

class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "chimera_ray.backends.simulated":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            complete = module.Simulated.complete
            path = f"{os.environ['CALL_LOG']}/{os.getpid()}"
            log = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            async def logged(self, request):
                key = f"{request.seed}-{len(request.messages[-1].content)}"
                os.write(log, f"S {key} {time.time()}\\n".encode())
                try:
                    return await complete(self, request)
                finally:
                    os.write(log, f"E {key} {time.time()}\\n".encode())
            module.Simulated.complete = logged
        spec.loader.exec_module = exec_module
        return spec

if os.environ.get("CALL_LOG"):
    sys.meta_path.insert(0, Hook())
"""


class Kill(NamedTuple):
    """One kill, and what it cost."""

    after_s: float
    calls: int
    in_flight: int
    in_window: int
    started: frozenset[str]


def command(output_dir: Path, slots: int, mean_s: float) -> list[str]:
    """The demo run, slowed."""
    roles = ("expander", "drafter", "verifier_a", "verifier_b", "solver", "grader")
    slow = [f"+models.{role}.latency={{mean_s: {mean_s}, sigma: 1}}" for role in roles]
    return [
        sys.executable,
        str(ROOT / "jobs/build_dataset.py"),
        "recipe=demo",
        "runtime=local",
        f"runtime.flush_s={FLUSH_S}",
        f"runtime.pool.max_in_flight={slots}",
        f"output_dir={output_dir}",
        *slow,
    ]


def start(words: list[str], hook: Path, log: Path) -> psutil.Popen:
    """Starts a run whose calls are written down in `log`."""
    log.mkdir()
    env = {
        **os.environ,
        "PYTHONPATH": str(hook),
        "CALL_LOG": str(log),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    return psutil.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_all(run: psutil.Popen) -> None:
    """Kill -9: the driver and everything that it started, at once."""
    tree = [run, *run.children(recursive=True)]
    for process in tree:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    psutil.wait_procs(tree, timeout=20)


def kill_worker(run: psutil.Popen) -> float | None:
    """Kill -9: one stage's actor, if one is there; when."""
    actors = [p for p in run.children(recursive=True) if "MapWorker" in " ".join(p.cmdline())]
    if not actors:
        return None
    os.kill(random.choice(actors).pid, signal.SIGKILL)
    return time.time()


def events(log: Path) -> list[tuple[str, str, float]]:
    """A log folder → (S or E, request, time) of its calls."""
    lines = [line.split() for path in log.iterdir() for line in path.read_text().splitlines()]
    return [(kind, key, float(at)) for kind, key, at in lines]


def cost_of(log: Path, after_s: float, killed_at: float) -> Kill:
    """What was in flight, and what was answered within the flush window, when the kill came."""
    open_now: Counter[str] = Counter()
    in_window = 0
    started: set[str] = set()
    for kind, key, at in sorted(events(log), key=lambda event: event[2]):
        if at > killed_at:
            continue
        started.add(key)
        open_now[key] += 1 if kind == "S" else -1
        in_window += kind == "E" and at > killed_at - FLUSH_S - WRITE_S
    in_flight = sum(count > 0 for count in open_now.values())
    return Kill(after_s, len(started), in_flight, in_window, frozenset(started))


def ids(output_dir: Path) -> list[str]:
    """The published example ids."""
    shards = sorted(output_dir.glob("datasets/*/data/*.parquet"))
    return [name for path in shards for name in pq.read_table(path)["example_id"].to_pylist()]


def failed(output_dir: Path) -> int:
    """Rows that the manifest calls failed."""
    manifest = json.loads(next(output_dir.glob("runs/*/manifest.json")).read_text())
    return sum(stage["failed"] for stage in manifest["account"]["stages"])


def finish(words: list[str], hook: Path, log: Path, output_dir: Path) -> None:
    """Runs to the end, and again until no row is failed, so that runs can be compared."""
    for number in range(8):
        run = start(words, hook, log if not number else log.with_name(f"{log.name}-{number}"))
        if run.wait(timeout=900) != 0:
            sys.exit(f"a run that nobody killed ended with {run.returncode}")
        if not failed(output_dir):
            return


def main() -> None:
    """Runs, kills, runs again, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--mean-s", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    random.seed(wanted.seed)
    folder = Path(tempfile.mkdtemp(prefix="chimera-kill-"))
    hook = folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    calm = folder / "undisturbed"
    finish(command(calm, 256, 0), hook, folder / "calm-log", calm)
    kills = [] if wanted.worker else kill_drivers(folder, hook, wanted)
    output_dir = folder / "killed"
    words = command(output_dir, wanted.slots, wanted.mean_s)
    if wanted.worker:
        run = start(words, hook, folder / "last-log")
        kills = kill_workers(run, folder / "last-log", wanted.kills)
        if run.wait(timeout=900) != 0:
            sys.exit(f"the run ended with {run.returncode} after its worker was killed")
        later = {0: events(folder / "last-log")}
        if failed(output_dir):
            finish(words, hook, folder / "again-log", output_dir)
    else:
        finish(words, hook, folder / "last-log", output_dir)
        later = {at: events(folder / f"log-{at}") for at in range(len(kills))}
        later[len(kills)] = events(folder / "last-log")
    report(kills, later, calm, output_dir, is_worker=wanted.worker)


def kill_drivers(folder: Path, hook: Path, wanted: argparse.Namespace) -> list[Kill]:
    """Starts the same command again and again, and kills it at random moments."""
    kills = []
    words = command(folder / "killed", wanted.slots, wanted.mean_s)
    for number in range(wanted.kills):
        log = folder / f"log-{number}"
        run = start(words, hook, log)
        while run.is_running() and not events(log):
            time.sleep(0.1)
        after_s = random.uniform(1, 20)
        try:
            run.wait(timeout=after_s)
            sys.exit(f"the run ended before kill {number}: slow it down")
        except psutil.TimeoutExpired:
            killed_at = time.time()
            kill_all(run)
        kills.append(cost_of(log, after_s, killed_at))
    return kills


def kill_workers(run: psutil.Popen, log: Path, num_kills: int) -> list[Kill]:
    """Kills one actor after another while the run goes on."""
    kills = []
    began = time.time()
    while len(kills) < num_kills and run.is_running():
        time.sleep(random.uniform(8, 16))
        killed_at = kill_worker(run)
        if killed_at is not None:
            kills.append(cost_of(log, killed_at - began, killed_at))
    return kills


def report(
    kills: list[Kill],
    later: dict[int, list[tuple[str, str, float]]],
    calm: Path,
    output_dir: Path,
    *,
    is_worker: bool,
) -> None:
    """Prints each kill's cost and whether the data sets are the same."""
    table = Table(title="kill -9 of one actor" if is_worker else "kill -9 of driver and workers")
    for head in ("kill", "s of work", "calls made", "in flight", "in flush window", "repeated"):
        table.add_column(head, justify="right")
    total_repeated = 0
    for number, kill in enumerate(kills):
        after = [
            key for at, found in later.items() if at > number for k, key, _ in found if k == "S"
        ]
        repeated = len(kill.started & set(after))
        total_repeated += repeated
        cells = [kill.calls, kill.in_flight, kill.in_window, repeated]
        shown = [str(cell) for cell in cells]
        table.add_row(str(number), f"{kill.after_s:.1f}", *(shown[:3] if is_worker else shown))
    if is_worker:
        starts = Counter(key for kind, key, _ in later[0] if kind == "S")
        total_repeated = sum(count - 1 for count in starts.values())
    console = Console(width=110)
    console.print(table)
    same = ids(calm) == ids(output_dir)
    twice = len(ids(output_dir)) - len(set(ids(output_dir)))
    bound = sum(kill.in_flight + kill.in_window for kill in kills)
    console.print(
        f"{len(ids(output_dir))} examples; the same ids in the same order as undisturbed: {same}; "
        f"ids twice: {twice}; failed rows: {failed(output_dir)}; "
        f"repeated calls: {total_repeated}, allowed: {bound}"
    )
    sys.exit(0 if same and not twice and total_repeated <= bound else 1)


if __name__ == "__main__":
    main()
