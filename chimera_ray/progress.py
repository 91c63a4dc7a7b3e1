"""Live progress by stage, by what the ledger's new files say they hold; no rows are read."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from chimera_ray.backends.delivered import REMOTE
from chimera_ray.frontier import Standing
from chimera_ray.graph import Graph
from chimera_ray.ledger.counting import Counts
from chimera_ray.ledger.index import ACCEPTED, FAILED, REJECTED
from chimera_ray.ledger.store import Store
from chimera_ray.runners import Carrier
from chimera_ray.terminal import Grid, is_live, said, say

log = logging.getLogger(__name__)
TICK_S = 1.0
RATE_S = 5.0
"""over which an engine's pace is taken"""


@dataclass
class StageProgress:
    """One stage as it stands now; rates are of this run's own work."""

    counts: Counts
    inputs: int
    outcomes: dict[str, int]
    outputs: int = 0
    done_now: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    began: float = 0.0

    @property
    def remaining(self) -> int:
        """Inputs known so far that have no outcome yet."""
        return max(self.inputs - sum(self.outcomes.values()), 0)

    @property
    def rows_per_s(self) -> float:
        """This run's rows over the time since its first."""
        return self.done_now / max(time.monotonic() - self.began, TICK_S) if self.began else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds that the known remaining rows would take at this rate."""
        return self.remaining / self.rows_per_s if self.done_now and self.remaining else None


class Progress:
    """A display that a run tells where its stages stand; a context manager."""

    def __init__(
        self,
        graph: Graph,
        store: Store,
        carrier: Carrier,
        run_id: str,
        line_s: float,
        console: Console,
    ) -> None:
        """Shows nothing yet.

        Args:
            graph: the run's stages.
            store: where the ledger is.
            carrier: tells the rows that are being worked on.
            run_id: the execution whose work is counted.
            line_s: seconds between two lines where there is no terminal.
            console: where it is shown.
        """
        self._graph, self._store, self._run_id = graph, store, run_id
        self._in_flight, self._line_s, self._console = carrier.in_flight, line_s, console
        self._is_live = is_live(console)
        self._engines, self._rates = carrier.engines, EngineRates()
        self._notices = carrier.notices
        self._stages: dict[str, StageProgress] = {}
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._show, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def watch(self, standings: Sequence[Standing]) -> None:
        """Takes in where the stages of a segment stand, as the ledger says."""
        if not self._is_live:
            self._say_done(standings)
        with self._lock:
            self._try(self._tail)  # what came since is counted before it becomes the baseline
            for standing in standings:
                before = self._stages.get(standing.node.name)
                codes = {"accepted": ACCEPTED, "rejected": REJECTED, "failed": FAILED}
                outcomes = {name: standing.count(code) for name, code in codes.items()}
                num_retries = int((standing.found.outcome[standing.todo] == FAILED).sum())
                outcomes["failed"] -= (
                    num_retries  # tried again now, and counted as what they become
                )
                seen = standing.index.part_names
                counts = Counts(self._store, standing.folder, self._run_id, seen)
                counts.fresh()  # of journals: it is in the outcomes
                now = StageProgress(counts, len(standing.inputs.ids), outcomes)
                if before is not None:
                    now.began, now.done_now = before.began, before.done_now
                    now.tokens, now.cost_usd = before.tokens, before.cost_usd
                self._stages[standing.node.name] = now

    def _say_done(self, standings: Sequence[Standing]) -> None:
        """One line for each stage that has nothing left to do and nothing left to wait for."""
        for standing in standings:
            name = standing.node.name
            if len(standing.todo):
                return  # what follows is still waiting for this stage
            if name not in self._told:
                self._told.add(name)
                say(
                    self._console,
                    f"{name}: done: {standing.count(ACCEPTED):,} accepted, "
                    f"{standing.count(REJECTED):,} rejected, {standing.count(FAILED):,} failed",
                )

    def _tail(self) -> None:
        """Counts what came since, and passes its outputs on to the next stage."""
        names = [node.name for node in self._graph.nodes]
        for place, name in enumerate(names):
            stage = self._stages.get(name)
            if stage is None:
                continue
            totals = stage.counts.fresh()
            if totals["outcomes"]:
                stage.began = stage.began or time.monotonic() - TICK_S
            for outcome in stage.outcomes:
                count = totals["outcomes"].get(outcome, 0)
                stage.outcomes[outcome] += count
                stage.done_now += count
            for role in totals["roles"].values():
                stage.tokens += role["input_tokens"] + role["output_tokens"]
                stage.cost_usd += role["cost_usd"]
            following = self._stages.get(names[place + 1]) if place + 1 < len(names) else None
            if following is not None:
                following.inputs += totals["outputs"]

    def _show(self) -> None:
        if not self._is_live:
            while not self._stop.wait(self._line_s):
                with self._lock:
                    self._try(self._tail)
                    self._try(self._lines)
            return
        with Live(console=self._console, refresh_per_second=4, transient=True) as live:

            def update() -> None:
                live.update(Group(self._table(), *map(said, self._extra_lines())))

            while not self._stop.wait(TICK_S / 2):
                with self._lock:
                    self._try(self._tail)
                    self._try(update)

    def _try(self, show: Callable[[], None]) -> None:
        """Shows what can be shown: a store that cannot be read for a moment ends no run."""
        try:
            show()
        except Exception as exc:  # noqa: BLE001 - no row depends on what is shown of it
            log.info("the display is behind: %s", exc)

    def _extra_lines(self) -> list[str]:
        """One line for each engine and each endpoint, and for whatever holds the run up."""
        return [*self._rates.lines(self._engines(), time.time()), *self._notices()]

    def _lines(self) -> None:
        for line in self._extra_lines():
            say(self._console, line)
        flying = self._in_flight()
        for name, stage in self._stages.items():
            if not (flying.get(name) or stage.remaining):
                continue
            eta = "" if stage.eta_s is None else f", ETA {_clock(stage.eta_s)}"
            say(
                self._console,
                f"{name}: {stage.outcomes['accepted']:,} accepted, "
                f"{stage.outcomes['rejected']:,} rejected, {stage.outcomes['failed']:,} failed, "
                f"{flying.get(name, 0):,} in flight, {stage.remaining:,} remaining, "
                f"{stage.rows_per_s:,.1f} rows/s, {stage.tokens:,} tokens, "
                f"{stage.cost_usd:.2f} USD{eta}",
            )

    def _table(self) -> Grid:
        table = Grid(None, "stage")
        table.add_numbers("accepted", "rejected", "failed", "in flight", "remaining")
        table.add_numbers("rows/s", "tokens", "USD", "ETA")
        flying = self._in_flight()
        for node in self._graph.nodes:
            stage = self._stages.get(node.name)
            if stage is None:
                table.add(node.name, *[""] * 9, style="dim")
                continue
            counts = [*stage.outcomes.values(), flying.get(node.name, 0), stage.remaining]
            table.add(
                node.name,
                *(f"{count:,}" for count in counts),
                f"{stage.rows_per_s:,.1f}" if stage.done_now else "",
                f"{stage.tokens:,}" if stage.tokens else "",
                f"{stage.cost_usd:.2f}" if stage.cost_usd else "",
                "" if stage.eta_s is None else _clock(stage.eta_s),
            )
        return table


class EngineRates:
    """What engines say of themselves, and endpoints send → lines, with their latest pace."""

    def __init__(self) -> None:
        """Knows no engine yet."""
        self._seen: dict[int | str, tuple[float, int, float]] = {}

    def lines(self, notes: Sequence[Mapping[str, Any]], now: float) -> list[str]:
        """Notes, the engines' first and in a fixed order, and the time → a line for each."""
        return [self._line(place, note, now) for place, note in enumerate(notes)]

    def _line(self, place: int, note: Mapping[str, Any], now: float) -> str:
        is_remote = note["state"] == REMOTE
        count = note["num_generated"]
        rate = self._rate(note["model"] if is_remote else place, count, now)
        if is_remote:
            return f"endpoint of {note['model']}: {count:,} tokens, {rate:,.0f} tokens/s"
        what = f"engine {place + 1} of {note['model']}: {note['state']}"
        if note["state"] != "up":
            return f"{what}, {_clock(now - note['since'])}" if note["since"] else what
        cache = f", cache of {note['cache_tokens']:,} tokens" if note["cache_tokens"] else ""
        return (
            f"{what}{cache}, {note['num_running']:,} calls, {count:,} tokens, {rate:,.0f} tokens/s"
        )

    def _rate(self, key: int | str, count: int, now: float) -> float:
        at, before, rate = self._seen.get(key, (now, count, 0.0))
        if now - at >= RATE_S:
            rate = max(count - before, 0) / (now - at)
            at, before = now, count
        self._seen[key] = at, before, rate
        return rate


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
