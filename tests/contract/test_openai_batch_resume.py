"""Batches after a kill and on a bad way: none is lost, and nobody pays for one twice."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import batch_runs
import pytest
from batch_runs import (
    PROMPT,
    Counting,
    Memory,
    Unsteady,
    asked,
    config_at,
    one_by_one,
    requests_of,
    said,
)
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.errors import EndpointError, LedgerError
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


def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    store, config = Store(str(tmp_path)), config_at("http://host.test/v1")
    StoredJournal(store, config).write("1700000000-0123456789abcdef.batch", "b-1")
    (folder,) = (tmp_path / "batches").iterdir()
    (folder / ".1700000000-0123456789abcdef.intent-ab_12xyz.tmp").write_text('{"input')
    assert StoredJournal(store, config).names() == ["1700000000-0123456789abcdef.batch"]
    assert [path.name for path in folder.iterdir()] == ["1700000000-0123456789abcdef.batch"]


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


# ---- a bad way --------------------------------------------------------------------------------


KINDS = ("POST files", "POST batches", "GET batches/*", "GET files/*/content")


@pytest.mark.parametrize("fault", ["503", "429", "lost", "half", "page"])
def test_batch_calls_that_fail_once_are_made_again(server: StubServer, fault: str) -> None:
    # A page instead of a file is a file without lines.
    kinds = KINDS[:3] if fault == "page" else KINDS
    counting, replies = Counting(server), _through(server, dict.fromkeys(kinds, fault), 8)
    assert all(isinstance(reply, Reply) for reply in replies), replies
    assert (counting.num_batches, counting.finished()) == (1, [1] * 8)


def test_batch_that_is_unknown_for_a_moment_is_waited_for(server: StubServer) -> None:
    counting, replies = Counting(server), _through(server, {"GET batches/*": "404"}, 4)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert counting.num_batches == 1


def test_batch_lines_that_are_none_are_calls_without_an_answer(server: StubServer) -> None:
    counting, replies = Counting(server), _through(server, {KINDS[3]: "garbled"}, 8)
    assert said(replies) == one_by_one(server, requests_of(8))
    assert sorted(reply.attempts for reply in replies) == [1] * 7 + [2]
    assert counting.num_batches == 2


def test_batch_that_finds_the_queue_full_comes_back_in_halves(server: StubServer) -> None:
    error = {"code": "token_limit_exceeded", "message": PROMPT}
    errors = {"object": "list", "data": [error]}
    full = json.dumps({"status": "failed", "errors": errors, "output_file_id": None})
    counting, replies = Counting(server), _through(server, {"GET batches/*": full}, 8)
    assert [reply.attempts for reply in replies] == [2] * 8
    assert counting.num_batches == 3


def _through(server: StubServer, faults: dict[str, str], count: int) -> list[Any]:
    """So many calls, on a way with faults → their replies or errors."""

    async def run() -> list[Any]:
        async with Unsteady(server.url, faults) as url:
            return await asyncio.to_thread(asked, config_at(url), Memory(), requests_of(count))

    return asyncio.run(run())


def test_batch_endpoint_that_is_not_there_stops_the_run(server: StubServer) -> None:
    errors = _through(server, {"POST files": "404"}, 2)
    assert all("set the model's batch to null" in str(error) for error in errors)
    config = config_at("http://127.0.0.1:9/v1", retry=batch_runs.RETRY | {"unreachable_s": 0.1})
    assert [type(error) for error in asked(config, Memory(), requests_of(2))] == [EndpointError] * 2
