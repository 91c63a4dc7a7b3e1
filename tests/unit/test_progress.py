"""The display: what holds a run up is in it, and nothing that it cannot read ends the run."""

import io
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from runs import config_of

from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.progress import Progress

TROUBLE = "draft_problem: no answer from http://h/v1 for 12 s ([bold]refused[/b])"


class _Carrier:
    """Has trouble, and says when it was asked for it."""

    def __init__(self, engines: list[dict[str, Any]] | Exception) -> None:
        self._engines = engines
        self.asked = threading.Semaphore(0)

    def carry(self, standings: object) -> None:
        return

    def in_flight(self) -> dict[str, int]:
        return {}

    def engines(self) -> list[dict[str, Any]]:
        if isinstance(self._engines, Exception):
            self.asked.release()
            raise self._engines
        return self._engines

    def notices(self) -> list[str]:
        self.asked.release()
        return [TROUBLE]

    def close(self) -> None:
        return


def _shown(carrier: _Carrier, folder: Path, is_terminal: bool, times: int) -> str:
    """A carrier → what is shown until it has been asked so often."""
    graph = build_graph(config_of(folder))
    sink = io.StringIO()
    console = Console(file=sink, force_terminal=is_terminal, width=200, color_system=None)
    with Progress(graph, Store(str(folder)), carrier, "run", 0.001, console):
        for _ in range(times):
            assert carrier.asked.acquire(timeout=20)
    return sink.getvalue()


@pytest.mark.parametrize("is_terminal", [False, True], ids=["lines", "table"])
def test_progress_shows_what_holds_the_run_up_as_it_was_said(
    tmp_path: Path, is_terminal: bool
) -> None:
    assert TROUBLE in _shown(_Carrier([]), tmp_path, is_terminal, 2)


@pytest.mark.parametrize("is_terminal", [False, True], ids=["lines", "table"])
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_progress_goes_on_when_what_it_shows_cannot_be_read(
    tmp_path: Path, is_terminal: bool
) -> None:
    _shown(_Carrier(OSError(5, "Input/output error")), tmp_path, is_terminal, 3)
