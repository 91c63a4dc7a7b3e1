"""kill -9 of a run at about 500 replies a second, again and again: which paid calls are made again.

    python benchmarks/kill_cost.py                      20 kills of one run on Ray
    python benchmarks/kill_cost.py --subject local      the same without Ray

256 calls in flight, 0.5 s each, against the stub server. After each kill the same run goes on,
until the next one; at last it ends. A call is made again if its request comes once more in a later
start. Those in flight at the kill must be: the ones that the server had not answered, which it sees
cut off, and the ones whose answer the run had not read yet. Beyond these at most `ALLOWED` may.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import NamedTuple

import bench_remote
import psutil
from kill_runs import kill_all
from remote_kill import unanswered
from remote_setup import CONSOLE, new_table, verdict
from stub_faults import Behaviour
from stub_server import StubServer

ALLOWED = 25
"""replies of 50 ms"""
CALLS = 1_500
"""between two kills, at most"""
SETTLED_S = 0.7
"""until the server has seen that nobody listens"""
ENDED_S = 300


class Kill(NamedTuple):
    """One kill."""

    answered: int
    """replies that the server had handed over to this start"""
    cut_off: int
    """requests that the server had not answered"""
    per_s: float
    """replies in the second before the kill"""
    at: float
    """seconds since the epoch"""


def start(subject: str, url: str, folder: str, slots: int) -> psutil.Popen:
    """The run as a child."""
    words = [bench_remote.__file__, "--child", subject, url, folder, str(slots)]
    return psutil.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)


def kill_once(run: psutil.Popen, server: StubServer, most: int) -> Kill:
    """Kills the run after some replies."""
    before = server.counts()
    wanted = before["finished"] + random.randint(most // 3, most)
    seen = [(time.monotonic(), before["finished"])]
    while seen[-1][1] < wanted:
        if run.poll() is not None:
            sys.exit(f"the run ended with {run.returncode} before it was killed")
        time.sleep(0.02)
        seen.append((time.monotonic(), server.counts()["finished"]))
    killed_at = time.time()
    kill_all(run)
    time.sleep(SETTLED_S)
    after = server.counts()
    (at, count), (first_at, first) = seen[-1], next(one for one in seen if one[0] > seen[-1][0] - 1)
    return Kill(
        after["finished"] - before["finished"],
        unanswered(after) - unanswered(before),
        (count - first) / max(at - first_at, 0.02),
        killed_at,
    )


def main() -> None:
    """Kills, lets the run end, counts, prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--subject", choices=("ray", "local"), default="ray")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    random.seed(wanted.seed)
    rows = (wanted.kills + 1) * CALLS
    behaviour = Behaviour(
        mode="fixed", reply_chars=1_000, latency_mean_s=bench_remote.MEAN_S, latency_sigma=0.0
    )
    kills: list[Kill] = []
    again: Counter[int] = Counter()
    oldest: dict[int, float] = {}
    requests: dict[str, int] = {}
    last_start: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder, StubServer(behaviour) as server:
        case = bench_remote.Case(rows, wanted.slots, "fixed", behaviour.reply_chars)
        bench_remote.prepare(server.url, folder, case)
        server.reset()
        for number in range(wanted.kills + 1):
            run = start(wanted.subject, server.url, folder, wanted.slots)
            if number < wanted.kills:
                kills.append(kill_once(run, server, CALLS))
            elif code := run.wait(timeout=ENDED_S):
                sys.exit(f"the last run ended with {code}")
            for key, count in server.keys().items():
                if more := count.requests - requests.get(key, 0):
                    before = last_start.get(key, -1)
                    again[before] += more
                    if before >= 0:
                        ages = [kills[before].at - at for at in count.finished_at]
                        age = min((age for age in ages if age >= 0), default=0.0)
                        oldest[before] = max(oldest.get(before, 0.0), age)
                    requests[key], last_start[key] = count.requests, number
        num_finished = server.counts()["finished"]
    report(kills, again, oldest, rows, num_finished, wanted.slots)


def report(
    kills: list[Kill],
    again: Counter[int],
    oldest: dict[int, float],
    rows: int,
    num_finished: int,
    slots: int,
) -> None:
    """Prints each kill's cost; ends with 1 if one of them cost more than is allowed."""
    heads = (
        "replies before",
        "replies/s",
        "cut off",
        "made again",
        "beyond in flight",
        "oldest ms",
    )
    table = new_table("kill -9 of driver and workers", "kill", *heads)
    over = [max(again[number] - slots, 0) for number in range(len(kills))]
    for number, kill in enumerate(kills):
        cells = (kill.answered, round(kill.per_s), kill.cut_off, again[number], over[number])
        table.add_row(str(number), *map(str, cells), f"{oldest.get(number, 0.0) * 1000:.0f}")
    CONSOLE.print(table)
    said = (
        f"{rows} rows, {num_finished} replies; made again beyond the {slots} in flight: "
        f"{sum(over)}, at most {max(over)} by one kill, {ALLOWED} allowed"
    )
    sys.exit(0 if verdict(max(over) <= ALLOWED, said) else 1)


if __name__ == "__main__":
    main()
