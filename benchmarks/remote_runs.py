"""What runs over HTTP promise, shown on Ray against a server that misbehaves.

    python benchmarks/remote_runs.py same              the same ledger as by the teacher in process
    python benchmarks/remote_runs.py chaos             faults change no outcome, and what they cost
    python benchmarks/remote_runs.py kill --kills 10   kill -9 under faults: which replies are lost
    python benchmarks/remote_runs.py limits            how much of an endpoint's limits is used
    python benchmarks/remote_runs.py cap               a budget's cap, and going on beyond it

With --stream every reply is streamed, and under faults some streams are cut in the middle.
Each prints a table and a verdict, and exits with 1 if its promise is broken. The server is
`tests/stub_server.py`, in a process of its own, over the simulated teacher.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from remote_kill import run_kill
from remote_limits import CASES, run_limits
from remote_setup import (
    CALM,
    CONSOLE,
    HASTE,
    RETRY_AFTER_S,
    Outcomes,
    Wanted,
    config_of,
    ended,
    faults_of,
    load,
    new_table,
    outcomes_of,
    paid_in,
    shipped,
    slots_of,
    verdict,
    way_of,
    words_of,
)
from stub_faults import Behaviour, draw, rates_of
from stub_server import StubServer

from chimera_ray.backends.simulated import Simulated
from chimera_ray.config import Config
from chimera_ray.drive import drive
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Model
from chimera_ray.model_config import ModelConfig
from chimera_ray.runners.local import LocalCarrier
from chimera_ray.runners.reins import Reins

MAX_RATIO = 1.5
INPUT_USD, OUTPUT_USD = 2.0, 8.0
"""per million tokens; the demo then costs some dollars"""


# same: over HTTP as in process


def refer(config: Config) -> None:
    """Carries the run in this process, each role by the shipped teacher that the server has."""

    def open_teacher(model: ModelConfig, reins: Reins, max_connections: int) -> Model:
        return Simulated(shipped(model.name))

    run_id = "reference"
    carrier = LocalCarrier(config, run_id, open_teacher)
    drive(build_graph(config), Store(config.output_dir), carrier, run_id, lambda _: None)


def differences(expected: Outcomes, found: Outcomes) -> dict[str, int]:
    """What two runs came to → by stage the rows that differ, or have no outcome in the first."""
    return {
        stage: sum(
            one is None or one != other for one, other in zip_longest(rows, found.get(stage, ()))
        )
        for stage, rows in expected.items()
    }


def run_same(folder: Path, wanted: Wanted) -> bool:
    """The Ray run over HTTP against the reference."""
    with StubServer() as server:
        words = words_of(folder / "http", server.url, **way_of(wanted))
        took_s = ended(words, folder / "log")
        counts = server.counts()
    config = config_of(words)
    reference = config.model_copy(update={"output_dir": str(folder / "in_process")})
    refer(reference)
    ours, theirs = outcomes_of(config), outcomes_of(reference)
    table = new_table("over HTTP on Ray against in process", "stage", "inputs", "differ")
    found = differences(theirs, ours)
    for stage, num_different in found.items():
        table.add_row(stage, str(len(theirs[stage])), str(num_different))
    CONSOLE.print(table)
    num_rows = sum(map(len, theirs.values()))
    num_all, replies = sum(found.values()), counts["finished"]
    said = f"{num_all} of {num_rows} rows differ; {replies} replies, {took_s:.0f} s"
    return verdict(not num_all, said)


# chaos: faults change no outcome


class Weather(NamedTuple):
    """One whole run, and what the server saw of it."""

    name: str
    total_s: float
    calls_s: float
    """from the first request to the last"""
    counts: dict[str, Any]
    num_twice: int
    """keys with more than one successful reply"""
    num_lost: int
    """successful replies that the ledger does not hold"""
    ordered_s: float
    """that a call had to wait by Retry-After, on average, summed over the stages' roles"""
    ordered_total_s: float
    load: str


def endure(
    name: str, folder: Path, wanted: Wanted, faults: Mapping[str, Any]
) -> tuple[Weather, Config]:
    """Faults → the run under them, to its end, in a folder of that name."""
    behaviour = Behaviour(**CALM, **faults)
    with StubServer(behaviour) as server:
        changes = {**HASTE, **way_of(wanted)}
        words = words_of(folder / name, server.url, *slots_of(wanted), **changes)
        total_s = ended(words, folder / f"{name}-log")
        counts, keys = server.counts(), server.keys()
    rates = rates_of(behaviour)
    limited = {
        key: sum(draw(behaviour, rates, key, nth) == "limited" for nth in range(seen.requests))
        for key, seen in keys.items()
    }
    paid = paid_in(folder / name)
    by_role: dict[str, list[int]] = {}
    for key, seen in keys.items():
        for reply in filter(None, map(paid.get, seen.request_ids)):
            by_role.setdefault(reply.role, []).append(limited[key])
    path_s = RETRY_AFTER_S * sum(sum(n) / len(n) for n in by_role.values())
    weather = Weather(
        name,
        total_s,
        counts["last_at"] - counts["first_at"],
        counts,
        sum(seen.finished > 1 for seen in keys.values()),
        sum(name not in paid for seen in keys.values() for name in seen.request_ids),
        path_s,
        RETRY_AFTER_S * sum(limited.values()),
        load(),
    )
    return weather, config_of(words)


def show_weather(*weathers: Weather) -> None:
    """Prints what the server saw."""
    heads = ("run", "s in all", "s of calls", "requests", "replies", "429", "500", "dropped")
    table = new_table("under faults", *heads, "hung", "malformed", "twice", "lost", "machine")
    for one in weathers:
        seen, faults = one.counts, one.counts["faults"]
        statuses = [seen["statuses"].get(status, 0) for status in ("429", "500")]
        broken = [faults.get(fault, 0) for fault in ("dropped", "hung", "malformed_json")]
        cells = [seen["requests"], seen["finished"], *statuses, *broken]
        times = (f"{one.total_s:.1f}", f"{one.calls_s:.1f}")
        shown = map(str, (*cells, one.num_twice, one.num_lost))
        table.add_row(one.name, *times, *shown, one.load)
    CONSOLE.print(table)


def run_chaos(folder: Path, wanted: Wanted) -> bool:
    """An undisturbed run, the same under faults, and how they differ."""
    calm, config = endure("calm", folder, wanted, {})
    chaos, disturbed = endure("chaos", folder, wanted, faults_of(wanted))
    show_weather(calm, chaos)
    found = outcomes_of(disturbed)
    num_open = sum(record is None for records in found.values() for record in records)
    num_different = sum(differences(outcomes_of(config), found).values())
    num_twice, num_lost = calm.num_twice + chaos.num_twice, calm.num_lost + chaos.num_lost
    raw = chaos.calls_s / calm.calls_s
    ratio = (chaos.calls_s - chaos.ordered_s) / calm.calls_s
    said = (
        f"rows without an outcome: {num_open}; rows that differ: {num_different}; replies paid "
        f"twice: {num_twice}; lost: {num_lost}; time of calls {raw:.2f} of undisturbed (in all "
        f"{chaos.total_s / calm.total_s:.2f}), {ratio:.2f} without the {chaos.ordered_s:.1f} s "
        "that Retry-After orders along a row's way (the roles' mean waits, added up: far less than "
        f"all waits together, {chaos.ordered_total_s:.0f} s, which pass side by side); "
        f"aim {MAX_RATIO:g}"
    )
    is_whole = not (num_open or num_different or num_twice or num_lost)
    return verdict(is_whole and ratio <= MAX_RATIO, said)


# cap: a budget


def run_cap(folder: Path, wanted: Wanted) -> bool:
    """A run that stops at its cap, and goes on under a higher one."""
    output_dir, log = folder / "run", folder / "log"
    prices = {"prices.input_usd": INPUT_USD, "prices.output_usd": OUTPUT_USD}
    with StubServer(Behaviour(**CALM)) as server:
        words = words_of(output_dir, server.url, *slots_of(wanted), **prices, **way_of(wanted))
        took_s = ended([*words, f"runtime.max_cost_usd={wanted.cap}"], log, code=3)
        counts, keys = server.counts(), server.keys()
        paid = paid_in(output_dir)
        again_s = ended([*words, "runtime.max_cost_usd=1000"], log)
        later, all_keys, all_paid = server.counts(), server.keys(), paid_in(output_dir)
    table = new_table("a cap", "run", "s", "replies", "in ledger", "USD", "USD by server", "lost")
    rows = (("capped", took_s, counts, keys, paid), ("in all", again_s, later, all_keys, all_paid))
    lost = []
    for name, seconds, seen, by_key, held in rows:
        finished = {request_id for key in by_key.values() for request_id in key.request_ids}
        usd, by_server = sum(reply.cost_usd for reply in held.values()), usd_of(seen["usage"])
        lost.append(len(finished ^ held.keys()) + (abs(usd - by_server) > 1e-6))
        cells = (f"{seconds:.1f}", str(seen["finished"]), str(len(held)))
        table.add_row(name, *cells, f"{usd:.4f}", f"{by_server:.4f}", str(lost[-1]))
    CONSOLE.print(table)
    spent = sum(reply.cost_usd for reply in paid.values())
    last_ones = [
        request_id
        for key in keys.values()
        for request_id, at in zip(key.request_ids, key.finished_at, strict=True)
        if at >= counts["last_at"] and request_id in paid
    ]
    in_flight_usd = sum(paid[request_id].cost_usd for request_id in last_ones)
    num_twice = sum(key.finished > 1 for key in all_keys.values())
    said = (
        f"exit code 3 at {spent:.4f} of {wanted.cap:g} USD, of which {in_flight_usd:.4f} by the "
        f"{len(last_ones)} calls that were in flight when the last one began; then exit code 0; "
        f"replies lost: {sum(lost)}; paid twice: {num_twice}"
    )
    is_within = spent <= wanted.cap + in_flight_usd
    return verdict(is_within and not sum(lost) and not num_twice, said)


def usd_of(usage: dict[str, int]) -> float:
    """The server's own count of tokens → what they cost."""
    return (usage["input_tokens"] * INPUT_USD + usage["output_tokens"] * OUTPUT_USD) / 1e6


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    runs = {"same": run_same, "chaos": run_chaos, "kill": run_kill, "cap": run_cap}
    added = {name: commands.add_parser(name) for name in runs}
    for name, slots in (("chaos", 16), ("kill", 12), ("cap", 16)):
        added[name].add_argument("--slots", type=int, default=slots, help="of each stage")
    added["kill"].add_argument("--kills", type=int, default=10)
    added["kill"].add_argument("--longest-s", type=float, default=10.0, help="before a kill")
    added["kill"].add_argument("--seed", type=int, default=0)
    added["cap"].add_argument("--cap", type=float, default=1.0, help="US dollars")
    limits = commands.add_parser("limits")
    limits.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    limits.add_argument("--minutes", type=float, default=4.0, help="for each, after the start")
    for command in (*added.values(), limits):
        command.add_argument("--stream", action="store_true", help="every reply is streamed")
    wanted = parser.parse_args()
    if wanted.command == "limits":
        if wanted.minutes <= 1 or not CASES.keys() >= set(wanted.cases):
            parser.error(f"more than a minute is needed, and cases among {', '.join(CASES)}")
        is_kept = run_limits(wanted.cases or list(CASES), wanted.minutes, way_of(wanted))
        sys.exit(0 if is_kept else 1)
    folder = Path(tempfile.mkdtemp(prefix=f"chimera-{wanted.command}-"))
    CONSOLE.print(f"in {folder}")
    sys.exit(0 if runs[wanted.command](folder, wanted) else 1)


if __name__ == "__main__":
    main()
