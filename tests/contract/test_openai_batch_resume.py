"""Batches after a kill: what was handed in is found again, and nobody pays for it twice."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import batch_runs
import pytest
from batch_runs import (
    PROMPT,
    Counting,
    Memory,
    asked,
    config_at,
    one_by_one,
    requests_of,
    said,
)
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.errors import (
    LedgerError,
)
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply
from chimera_ray.runners.journal import StoredJournal

pytestmark = pytest.mark.process

KEY = "sk-planted-0123456789"


@pytest.fixture(scope="module")
def running() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def server(running: StubServer) -> StubServer:
    """The server as new, but for its earlier batches."""
    running.set(**Behaviour().model_dump())
    running.reset()
    return running


def _killed(server: StubServer, folder: Path, ending: str, side: str) -> None:
    """A process that asks 12 things, and is killed when it is about to write, or has written."""
    command = [sys.executable, batch_runs.__file__, server.url, str(folder), "12", ending, side]
    paths = [str(Path(batch_runs.__file__).parent), str(Path(batch_runs.__file__).parents[1])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().endswith(ending.encode())
        process.kill()


@pytest.mark.parametrize(
    ("ending", "side", "num_before"),
    [(".batch", "after", 1), (".batch", "before", 1), (".intent", "after", 0)],
    ids=["handed_in", "between_creation_and_note", "between_intent_and_creation"],
)
def test_batch_of_a_killed_process_is_neither_lost_nor_doubled(
    server: StubServer, tmp_path: Path, ending: str, side: str, num_before: int
) -> None:
    server.set(batch_s=0.5)
    counting, config = Counting(server), config_at(server.url)
    _killed(server, tmp_path, ending, side)
    assert counting.num_batches == num_before
    journal = StoredJournal(Store(str(tmp_path)), config)
    replies = asked(config, journal, requests_of(12))
    assert (counting.num_batches, counting.finished()) == (1, [1] * 12)
    assert said(replies) == one_by_one(server, requests_of(12))


def test_batch_that_has_ended_answers_again_whoever_asks_and_nobody_pays(
    server: StubServer,
) -> None:
    server.set(batch_expired=0.3)
    counting, config, journal = Counting(server), config_at(server.url), Memory()
    first = asked(config, journal, requests_of(30))
    num_batches = counting.num_batches
    for part in (slice(0, 7), slice(7, 30)):  # as if to two actors
        again = asked(config, journal, requests_of(30)[part])
        assert said(again) == said(first[part])
    more = asked(config, journal, requests_of(5, start=28))
    assert said(more[:2]) == said(first[28:])
    assert counting.finished() == [1] * 33
    assert num_batches < counting.num_batches
    server.set(batch_expired=0.0)


def test_batch_whose_errors_are_of_another_time_is_asked_again(server: StubServer) -> None:
    server.set(batch_fails=True)
    counting, config, journal = Counting(server), config_at(server.url), Memory()
    asked(config, journal, requests_of(3))
    server.set(batch_fails=False)
    assert all(isinstance(r, Reply) for r in asked(config, journal, requests_of(3)))
    assert counting.num_batches == 2


def test_batch_that_the_endpoint_does_not_know_is_handed_in_anew(server: StubServer) -> None:
    counting, config, journal = Counting(server), config_at(server.url), Memory()
    asked(config, journal, requests_of(3))
    (note,) = [name for name in journal.names() if name.endswith(".batch")]
    journal.write(note, "batch_of_another_account")
    assert all(isinstance(r, Reply) for r in asked(config, journal, requests_of(3)))
    assert counting.num_batches == 2


def test_journal_holds_no_key_and_no_prompt_and_stops_the_run_if_it_is_garbled(
    server: StubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_KEY", KEY)
    server.set(keys=[KEY])
    config, journal = config_at(server.url, api_key_env="STUB_KEY"), Memory()
    asked(config, journal, requests_of(3))
    texts = "".join([*journal.texts, *journal.texts.values()])
    assert KEY not in texts
    assert PROMPT[:16] not in texts
    assert len(journal.texts) == 2
    (intent,) = [name for name in journal.names() if name.endswith(".intent")]
    journal.write(intent, "{")
    errors = asked(config, journal, requests_of(2))
    assert [type(error) for error in errors] == [LedgerError] * 2
