"""The display: what holds a run up is in it, and nothing that it cannot read ends the run."""

import io
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from runs import config_of

from chimera_ray.backends import build_model
from chimera_ray.backends.delivered import notes_of
from chimera_ray.drive import drive
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Model
from chimera_ray.model_config import ModelConfig
from chimera_ray.progress import EngineRates, Progress
from chimera_ray.runners.local import LocalCarrier
from chimera_ray.runners.reins import Reins

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


@pytest.mark.parametrize("is_terminal", [False, True], ids=["lines", "table"])
def test_progress_shows_what_an_endpoint_sends(tmp_path: Path, is_terminal: bool) -> None:
    shown = _shown(_Carrier(notes_of({"some/[b]model": 1_234})), tmp_path, is_terminal, 2)
    assert "endpoint of some/[b]model: 1,234 tokens, 0 tokens/s" in shown


def test_engine_rates_of_endpoints_go_by_model_whoever_else_is_there() -> None:
    rates = EngineRates()
    rates.lines(notes_of({"m": 100}), 0.0)
    assert rates.lines(notes_of({"m": 600}), 10.0) == ["endpoint of m: 600 tokens, 50 tokens/s"]
    later = rates.lines(notes_of({"a": 5, "m": 600}), 12.0)
    assert later[1] == "endpoint of m: 600 tokens, 50 tokens/s"
    assert rates.lines(notes_of({"m": 0}), 20.0) == []
    lost = rates.lines(notes_of({"m": 500}), 30.0)  # an actor died, and its successor counts anew
    assert lost == ["endpoint of m: 500 tokens, 0 tokens/s"]


def test_local_carrier_tells_what_endpoints_send(tmp_path: Path) -> None:
    config = config_of(tmp_path)

    def open_model(bound: ModelConfig, reins: Reins, max_connections: int) -> Model:
        reins.delivered.add(bound.name, 7)
        return build_model(bound, reins.gate, reins.halt, max_connections)

    carrier = LocalCarrier(config, "run", open_model)
    assert carrier.engines() == []
    drive(build_graph(config), Store(str(tmp_path)), carrier, "run", lambda _: None)
    note = {"model": "simulated-drafter", "state": "remote", "num_generated": 7}
    assert note in carrier.engines()
