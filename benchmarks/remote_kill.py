"""kill -9 of a run over HTTP and under faults, again and again: which paid replies are lost.

A reply counts as lost if the server handed it over and no record of the ledger names it, open
records included. It may be: in flight when the kill came, or handed over within one flush window.
"""

import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from kill_runs import failed, ids, kill_all
from remote_setup import (
    CALM,
    CONSOLE,
    FLUSH_S,
    HASTE,
    MARGIN_S,
    Wanted,
    ended,
    faults_of,
    new_table,
    paid_in,
    slots_of,
    started,
    verdict,
    way_of,
    words_of,
)
from stub_faults import Behaviour
from stub_server import StubServer


class Kill(NamedTuple):
    """One kill, and the replies that it cost."""

    after_s: float
    """since the first request of that start"""
    finished: int
    """replies that the server has handed over so far"""
    lost: frozenset[str]
    """of them: in no record of the ledger, and not lost before"""
    late_s: float
    """of the lost one that was handed over first, before the kill"""
    in_window: int
    """replies handed over within a flush window before the kill"""
    in_flight: int
    """requests that the kill cut off; the server makes no reply of them, another may bill them"""


def finish(words: list[str], log: Path, output_dir: Path) -> None:
    """Runs to the end, and again until no row is failed, so that runs can be compared."""
    for _ in range(8):
        ended(words, log)
        if not failed(output_dir):
            return


def unanswered(counts: dict[str, Any]) -> int:
    """Counts → requests that were cut off; those that the server dropped or hung aside."""
    faults = counts["faults"]
    silent = faults.get("dropped", 0) + faults.get("hung", 0)
    return int(counts["requests"] - sum(counts["statuses"].values()) - silent)


def kill_once(
    words: list[str], folder: Path, server: StubServer, wanted: Wanted, known: set[str]
) -> Kill | None:
    """Starts the run, kills it at a random moment, compares server and ledger; None: it ended."""
    before = server.counts()
    with started(words, folder / "killed-log") as run:
        while server.counts()["requests"] == before["requests"] and run.poll() is None:
            time.sleep(0.05)
        after_s = random.uniform(1, wanted.longest_s)
        try:
            run.wait(timeout=after_s)
            return None
        except psutil.TimeoutExpired:
            killed_at = time.time()
            kill_all(run)
    time.sleep(0.5)  # until the server has seen that nobody listens
    finished = {
        name: at
        for seen in server.keys().values()
        for name, at in zip(seen.request_ids, seen.finished_at, strict=True)
    }
    lost = finished.keys() - paid_in(folder / "killed").keys() - known
    return Kill(
        after_s,
        len(finished),
        frozenset(lost),
        max((killed_at - finished[name] for name in lost), default=0.0),
        sum(at > killed_at - FLUSH_S - MARGIN_S for at in finished.values()),
        unanswered(server.counts()) - unanswered(before),
    )


def run_kill(folder: Path, wanted: Wanted) -> bool:
    """Kills the run under faults again and again, lets it end, and compares."""
    random.seed(wanted.seed)
    with StubServer() as server:
        calm = words_of(folder / "calm", server.url, **way_of(wanted))
        finish(calm, folder / "calm-log", folder / "calm")
    kills: list[Kill] = []
    known: set[str] = set()
    with StubServer(Behaviour(**CALM, **faults_of(wanted))) as server:
        changes = {**HASTE, **way_of(wanted)}
        words = words_of(folder / "killed", server.url, *slots_of(wanted), **changes)
        for _ in range(wanted.kills):
            kill = kill_once(words, folder, server, wanted, known)
            if kill is None:
                return verdict(False, f"the run ended before kill {len(kills)}: slow it down")
            kills.append(kill)
            known |= kill.lost
        finish(words, folder / "killed-log", folder / "killed")
        keys = server.keys().values()
    paid = paid_in(folder / "killed")
    never = sum(name not in paid and name not in known for key in keys for name in key.request_ids)
    num_again = sum(max(0, key.finished - 1) for key in keys)
    return report_kills(kills, folder, never, num_again)


def report_kills(kills: list[Kill], folder: Path, never: int, num_again: int) -> bool:
    """Prints each kill's cost and whether the data sets are the same."""
    heads = ("s of work", "replies so far", "in flight", "in flush window", "lost", "oldest lost")
    table = new_table("kill -9 of driver and workers, over HTTP and under faults", "kill", *heads)
    for number, kill in enumerate(kills):
        cells = (kill.finished, kill.in_flight, kill.in_window, len(kill.lost))
        shown = [str(cell) for cell in cells]
        table.add_row(str(number), f"{kill.after_s:.1f}", *shown, f"{kill.late_s:.2f} s")
    CONSOLE.print(table)
    num_lost = [len(kill.lost) for kill in kills]
    bounds = [kill.in_flight + kill.in_window for kill in kills]
    is_bound = all(lost <= bound for lost, bound in zip(num_lost, bounds, strict=True))
    is_recent = all(kill.late_s <= FLUSH_S + MARGIN_S for kill in kills)
    calm, killed = ids(folder / "calm"), ids(folder / "killed")
    counts = Counter(killed)
    twice = sum(count - 1 for count in counts.values())
    said = (
        f"{len(killed)} examples; the same ids in the same order as undisturbed: {calm == killed}; "
        f"ids twice: {twice}; failed rows: {failed(folder / 'killed')}; replies lost: "
        f"{sum(num_lost)}, at most {max(num_lost)} by one kill, allowed {sum(bounds)} (in flight "
        f"and handed over in the last {FLUSH_S:g} + {MARGIN_S:g} s); lost otherwise: {never}; "
        f"replies paid again: {num_again}; requests cut off, which another server may bill: "
        f"{sum(kill.in_flight for kill in kills)}"
    )
    is_same = calm == killed and not twice
    is_kept = is_same and is_bound and is_recent and not never and num_again <= sum(num_lost)
    return verdict(is_kept, said)
