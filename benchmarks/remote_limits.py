"""How much of an endpoint's limits three actors of one stage use, and how often they overstep them.

The server enforces the limits; the run is told of them, or learns them from its headers, or from
its 429s alone. The stages before the measured one are written into the ledger beforehand.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench_runner import ONE, fill
from remote_setup import CONSOLE, config_of, load, new_table, started, verdict, words_of
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store

STAGE = "sample_trajectory"
ACTORS, SLOTS = 3, 64
RPM = 600
TPM = {"requests": 200_000, "tokens": 100_000}
REPLY_CHARS = {"requests": 40, "tokens": 1_000}
"""what binds → the enforced tokens a minute, and the length of each reply. The server's constant
reply counts 250 tokens of input, so that a call has 260 tokens (600 a minute: 156,000) or 500
(100,000 a minute: 200 calls)"""
START_S = 120.0
FIRST_S = 60.0
"""not measured: the bucket is full, and what is to be learnt is not known yet"""


class Case(NamedTuple):
    """How the run gets to know the limits."""

    name: str
    binds: str
    """requests or tokens"""
    is_told: bool
    sends_headers: bool
    max_limited: float
    """share of the calls that may have seen a 429"""


CASES = {
    "configured": Case("configured", "requests", True, False, 0.01),
    "configured-tokens": Case("configured, tokens bind", "tokens", True, False, 0.01),
    "headers": Case("headers", "requests", False, True, 0.01),
    "429s": Case("429s alone", "requests", False, False, 0.05),
}
MIN_USED = 0.95


class Found(NamedTuple):
    """What a case came to."""

    case: Case
    used: float
    """of the limit that binds, after the first minute"""
    calls: int
    limited: float
    """share of the replied calls that saw a 429, from the start"""
    limited_later: float
    """429s a request, after the first minute"""
    max_in_flight: int
    seconds: float
    load: str

    @property
    def is_kept(self) -> bool:
        """Whether the case does what it promises."""
        return self.used >= MIN_USED and self.limited < self.case.max_limited


def measure(case: Case, minutes: float, way: Mapping[str, object]) -> Found:
    """A case, how long, and how calls are made → what the server counted."""
    behaviour = Behaviour(
        mode="fixed",
        reply_chars=REPLY_CHARS[case.binds],
        latency_mean_s=1.0,
        latency_sigma=0.5,
        rpm=RPM,
        tpm=TPM[case.binds],
        burst_s=6.0,
        sends_limit_headers=case.sends_headers,
    )
    with (
        tempfile.TemporaryDirectory(prefix="chimera-limits-", ignore_cleanup_errors=True) as name,
        StubServer(behaviour) as server,
    ):
        output_dir = Path(name) / "run"
        words = _words(case, output_dir, server.url, way)
        config = config_of(words)
        num_rows = round(RPM * (minutes + 1) * 1.2)
        fill(build_graph(config), Store(str(output_dir)), num_rows)
        with started(words, Path(name) / "log") as run:
            first, last = _watch(server, minutes, lambda: run.poll() is None)
            keys = server.keys().values()
    replied = [key for key in keys if key.finished]
    what, limit = ("finished", RPM) if case.binds == "requests" else ("tokens", TPM["tokens"])
    took_s, asked = last["at"] - first["at"], last["requests"] - first["requests"]
    limited = last["statuses"].get("429", 0) - first["statuses"].get("429", 0)
    return Found(
        case,
        (last[what] - first[what]) / took_s * 60 / limit,
        len(replied),
        sum(key.requests > 1 for key in replied) / max(1, len(replied)),
        limited / max(1, asked),
        last["max_in_flight"],
        last["at"] - last["first_at"],
        load(),
    )


def _words(case: Case, output_dir: Path, url: str, way: Mapping[str, object]) -> list[str]:
    more = [
        f"recipe.stages=[{','.join(ONE)}]",
        "recipe.subjects=[{name: Mathematics, target_topics: 1}]",
        f"+runtime.pools.{STAGE}={{actors: {ACTORS}, max_in_flight: {SLOTS}}}",
    ]
    if case.is_told:
        more.append(f"models.solver.limits.requests_per_minute={RPM}")
        more.append(f"models.solver.limits.tokens_per_minute={TPM[case.binds]}")
    return words_of(output_dir, url, *more, **way)


def _watch(
    server: StubServer, minutes: float, is_alive: Callable[[], bool]
) -> tuple[dict[str, Any], ...]:
    """The server's counts after the first minute, and at the end."""
    began, marks = time.time(), list[dict[str, Any]]()
    while len(marks) < 2:
        time.sleep(0.2)
        counts = {**server.counts(), "at": time.time()}
        if not is_alive():
            sys.exit("BROKEN: the run ended by itself")
        if counts["first_at"] is None:
            if time.time() - began > START_S:
                sys.exit("BROKEN: no call was made")
        elif counts["at"] > counts["first_at"] + (minutes * 60 if marks else FIRST_S):
            marks.append(counts)
    return tuple(marks)


def run_limits(names: Sequence[str], minutes: float, way: Mapping[str, object]) -> bool:
    """Case names, minutes for each, how calls are made → whether all promises are kept.

    Prints the table.
    """
    table = new_table(
        f"{ACTORS} actors, {RPM} calls a minute, {TPM['tokens']:,} tokens a minute "
        f"({TPM['requests']:,} where the calls are to bind)",
        *("limits known by", "binds", "used after 1 min", "calls", "saw a 429"),
        *("429s after 1 min", "max in flight", "s", "machine", "kept"),
    )
    is_kept = True
    for name in names:
        found = measure(CASES[name], minutes, way)
        is_kept = is_kept and found.is_kept
        cells = (
            *(found.case.name, found.case.binds, f"{found.used:.1%}", f"{found.calls:,}"),
            f"{found.limited:.2%} (< {found.case.max_limited:.0%})",
            *(f"{found.limited_later:.2%}", str(found.max_in_flight), f"{found.seconds:.0f}"),
            *(found.load, "yes" if found.is_kept else "NO"),
        )
        table.add_row(*cells)
        CONSOLE.print(" | ".join(cells), soft_wrap=True)
    CONSOLE.print(table)
    said = f"at least {MIN_USED:.0%} of the limit after the first minute, and few 429s"
    return verdict(is_kept, said)
