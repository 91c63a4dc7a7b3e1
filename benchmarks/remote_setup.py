"""What the remote runs share: a child process that builds over HTTP, and what its ledger says.

Knows the command line of `jobs/build_dataset.py` and the ledger's files. Whoever imports it can
import the stub server of `tests/` after it.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pyarrow.parquet as pq
import yaml
from hydra import compose, initialize_config_dir
from kill_runs import kill_all
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from chimera_ray.config import Config, read_config
from chimera_ray.frontier import walk
from chimera_ray.graph import build_graph
from chimera_ray.ledger.index import NONE, OPEN
from chimera_ray.ledger.journal import live_journals
from chimera_ray.ledger.parts import is_part
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.tail import Tail
from chimera_ray.model_config import SimulatedModel
from chimera_ray.schemas import Record

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
sys.path.insert(0, str(ROOT / "tests"))
ENDED_S = 1_800.0
"""a run that takes longer hangs"""
TEACHERS = {
    "expander": "simulated-expander",
    "drafter": "simulated-drafter",
    "verifier_a": "simulated-verifier",
    "verifier_b": "simulated-verifier",
    "solver": "simulated-solver",
    "grader": "simulated-grader",
}
"""role → the shipped teacher that the server is to be asked for"""
FLUSH_S = 1.0
MARGIN_S = 0.5
"""a flush window ends when its part is on disk"""
RETRY_AFTER_S = 1.0
CALM = {"latency_mean_s": 1.0, "latency_sigma": 0.4, "stream_share": 0.5}
"""of each reply: about one in 70,000 takes more than `FIRST_BYTE_S`, each time it is asked for;
half of a streamed one's time passes after its first event"""
FIRST_BYTE_S = 5.0
CHAOS = {
    "limited": 0.10,
    "error_500_html": 0.05,
    "dropped": 0.02,
    "hung": 0.01,
    "malformed_json": 0.03,
    "retry_after": RETRY_AFTER_S,
}
CUTS = {"half_sent": 0.05}
"""what befalls streams besides"""
HASTE = {"timeouts.first_byte_s": FIRST_BYTE_S, "retry.first_wait_s": 0.5}
Wanted = argparse.Namespace
Outcomes = dict[str, list[tuple[object, ...] | None]]
"""by stage what each row's record says; None: it has no outcome"""
CONSOLE = Console(width=150)


class Paid(NamedTuple):
    """One reply that the ledger holds."""

    role: str
    cost_usd: float


def words_of(output_dir: Path, url: str, *more: str, **every_model: object) -> list[str]:
    """An output folder and a server → the overrides of a demo run with every role over HTTP."""
    words = ["recipe=demo", "runtime=local", f"output_dir={output_dir}"]
    for role, name in TEACHERS.items():
        words += [f"model@models.{role}=openai_compatible", f"models.{role}.name={name}"]
        words.append(f"models.{role}.base_url={url}")
        words += [f"models.{role}.{key}={value}" for key, value in every_model.items()]
    return [*words, *more]


def config_of(words: Sequence[str]) -> Config:
    """Overrides → the configuration that a run with them has."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = OmegaConf.to_container(compose("config", list(words)), resolve=True)
    assert isinstance(composed, dict)
    return read_config({str(key): value for key, value in composed.items() if key != "hydra"})


def shipped(name: str) -> SimulatedModel:
    """A shipped teacher's name → its configuration."""
    entries = (yaml.safe_load(path.read_text()) for path in CONF.glob("model/simulated*.yaml"))
    return SimulatedModel.model_validate(next(e for e in entries if e["name"] == name))


@contextmanager
def started(words: Sequence[str], log: Path) -> Iterator[psutil.Popen]:
    """Overrides → the run as a child; at the block's end it has ended, or is killed."""
    env = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, str(ROOT / "jobs/build_dataset.py"), *words]
    with log.open("ab") as said:
        run = psutil.Popen(command, env=env, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield run
    finally:
        if run.poll() is None:
            kill_all(run)


def ended(words: Sequence[str], log: Path, code: int = 0) -> float:
    """Overrides → the seconds that the run took to its end; ends here if it ended otherwise."""
    began = time.monotonic()
    with started(words, log) as run:
        try:
            found = run.wait(timeout=ENDED_S)
        except psutil.TimeoutExpired:
            found = None
    if found != code:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        sys.exit(f"BROKEN: the run ended with {found}, not {code}; its last words:\n{tail}")
    return time.monotonic() - began


def records_of(config: Config) -> dict[str, list[Record | None]]:
    """A configuration → by stage each input's record, in their order; None: it has no outcome."""
    found: dict[str, list[Record | None]] = {}
    for standing in walk(build_graph(config), Store(config.output_dir)):
        outcome, position = standing.found.outcome, standing.found.position
        records = standing.index.records(position[outcome != NONE])
        is_ended = (outcome != NONE) & (outcome != OPEN)
        found[standing.node.name] = [
            records[int(at)] if has_end else None
            for at, has_end in zip(position, is_ended, strict=True)
        ]
    return found


def outcomes_of(config: Config) -> Outcomes:
    """A configuration → by stage what every input's record says, calls and times aside."""

    def said(record: Record) -> tuple[object, ...]:
        return (record.input_id, *record[2:6], record.work_id)

    return {
        stage: [record and said(record) for record in records]
        for stage, records in records_of(config).items()
    }


def paid_in(output_dir: Path) -> dict[str, Paid]:
    """An output folder → request id → the reply, for every reply in any record of its ledger."""
    found: dict[str, Paid] = {}
    store = Store(str(output_dir))
    for folder in sorted(output_dir.glob("ledger/*/*")):
        for rows in _rows_in(store, str(folder.relative_to(output_dir))):
            for call in (call for calls in rows for call in calls):
                if call["request_id"]:
                    found[call["request_id"]] = Paid(call["role"], call["cost_usd"])
    return found


def _rows_in(store: Store, folder: str) -> Iterator[list[list[dict[str, Any]]]]:
    """A stage's folder → the calls of each record of each file, journals included."""
    names = store.names(folder)
    for name in filter(is_part, names):
        columns = [f"calls.list.element.{name}" for name in (*Paid._fields, "request_id")]
        yield pq.ParquetFile(store.path(folder, name)).read(columns)["calls"].to_pylist()
    for name in live_journals(names):
        for frame in Tail(store, f"{folder}/{name}").read():
            yield frame.rows["calls"].to_pylist()


def load() -> str:
    """The machine's load now, for beside a figure."""
    return "load {:.1f} {:.1f} {:.1f}".format(*os.getloadavg())


def new_table(title: str, *heads: str) -> Table:
    """A title and columns, numbers but for the first → the table."""
    table = Table(title=title)
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place else "left")
    return table


def verdict(is_kept: bool, said: str) -> bool:
    """Prints whether the promise is kept, and hands it on."""
    CONSOLE.print(f"{'KEPT' if is_kept else 'BROKEN'}: {said}; {load()}", soft_wrap=True)
    return is_kept


def way_of(wanted: Wanted) -> dict[str, object]:
    """The command line → the setting of every model that says whether replies are streamed."""
    return {"stream": "always" if wanted.stream else "never"}


def faults_of(wanted: Wanted) -> dict[str, float]:
    """The command line → what goes wrong with the calls."""
    return {**CHAOS, **(CUTS if wanted.stream else {})}


def slots_of(wanted: Wanted) -> tuple[str, str]:
    """The width of each stage."""
    return f"runtime.pool.max_in_flight={wanted.slots}", f"runtime.flush_s={FLUSH_S}"
