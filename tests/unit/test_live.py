"""What the processes of one execution tell one another, also while they are being killed."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chimera_ray.errors import BudgetError, EndpointError, LedgerError, StopError
from chimera_ray.ledger.store import Store
from chimera_ray.runners.live import Live

FOLDER = "runs/.live/run"
STORES: dict[str, Callable[[Path], str]] = {"path": str, "uri": lambda path: f"file://{path}"}


@pytest.fixture(params=STORES.values(), ids=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(request.param(tmp_path))


@pytest.fixture
def live(store: Store) -> Live:
    return Live(store, "run")


def test_live_without_news_says_nothing(live: Live) -> None:
    assert live.in_flight() == {}
    assert live.halt() is None
    live.delete()
    live.delete()


@pytest.mark.parametrize("actor", ["a", "0-1", ""])
def test_live_in_flight_is_the_last_word_of_every_actor_by_stage(live: Live, actor: str) -> None:
    for count in (7, 3):
        live.tell_in_flight("draft_problem", actor.replace("-", ""), count)
    live.tell_in_flight("draft_problem", "b", 4)
    live.tell_in_flight("label_trajectory", "b", 1)
    assert live.in_flight() == {"draft_problem": 7, "label_trajectory": 1}


@pytest.mark.parametrize("said", ["", "many", "1\x00", "½", "1.5"], ids=ascii)
def test_live_in_flight_leaves_out_what_is_no_number(live: Live, store: Store, said: str) -> None:
    live.tell_in_flight("draft_problem", "a", 2)
    store.write_text(f"{FOLDER}/draft_problem-b", said)
    store.write_text(f"{FOLDER}/validate_problem-b", said)
    assert live.in_flight() == {"draft_problem": 2}


def test_live_news_of_different_kinds_and_half_written_files_do_not_mix(
    live: Live, store: Store
) -> None:
    live.tell_in_flight("draft_problem", "a", 2)
    live.tell_halt("a", EndpointError("bad key"))
    live.count_birth("a")
    store.write_text(f"{FOLDER}/.draft_problem-a-x7.tmp", "9")
    store.write_text(f"{FOLDER}/..halt-b-x7.tmp", '{"kind": ')
    assert live.in_flight() == {"draft_problem": 2}
    assert isinstance(live.halt(), EndpointError)


@pytest.mark.parametrize(
    "reason",
    [EndpointError("m at http://h/v1 refuses „the key“:\n401"), BudgetError("1.0 of 1 USD spent")],
    ids=["endpoint", "budget"],
)
def test_live_halt_is_told_as_it_was_said(live: Live, store: Store, reason: StopError) -> None:
    live.tell_halt("a", reason)
    told = Live(store, "run").halt()
    assert (type(told), str(told)) == (type(reason), str(reason))
    assert Live(store, "another run").halt() is None


def test_live_halt_by_several_is_one_of_their_reasons(live: Live) -> None:
    live.tell_halt("b", BudgetError("spent"))
    live.tell_halt("a", EndpointError("bad key"))
    assert str(live.halt()) in ("spent", "bad key")


@pytest.mark.parametrize(
    "said",
    ["", "{", "[]", "null", '{"kind": "SystemExit", "text": "x"}', '{"text": "x"}', '{"kind": []}'],
    ids=ascii,
)
def test_live_halt_that_cannot_be_read_still_stops_the_run(
    live: Live, store: Store, said: str
) -> None:
    store.write_text(f"{FOLDER}/.halt-a", said)
    assert isinstance(live.halt(), StopError)


def test_live_halt_of_any_stop_is_a_stop(live: Live) -> None:
    live.tell_halt("a", StopError("enough"))
    assert isinstance(live.halt(), StopError)
    assert str(live.halt()) == "enough"


def test_live_births_are_counted_by_actor_and_survive_the_process(live: Live, store: Store) -> None:
    assert [live.count_birth("a") for _ in range(2)] == [0, 1]
    assert live.count_birth("b") == 0
    assert Live(store, "run").count_birth("a") == 2
    assert Live(store, "another run").count_birth("a") == 0


def test_live_deleted_is_gone_and_can_begin_anew(live: Live, store: Store) -> None:
    live.tell_in_flight("draft_problem", "a", 2)
    live.tell_halt("a", EndpointError("bad key"))
    live.delete()
    assert not store.exists(FOLDER)
    assert (live.in_flight(), live.halt(), live.count_birth("a")) == ({}, None, 0)


def test_live_files_hold_what_any_reader_can_read(live: Live, store: Store) -> None:
    live.tell_halt("a", EndpointError("„ä“"))
    assert json.loads(store.read_text(f"{FOLDER}/.halt-a"))["text"] == "„ä“"


def test_live_deletes_while_actors_still_speak(live: Live, store: Store) -> None:
    ended = threading.Event()

    def speak(actor: str) -> None:
        while not ended.is_set():
            for count in range(20):
                live.tell_in_flight("draft_problem", f"{actor}{count}", count)
            live.tell_engines("[]")

    with ThreadPoolExecutor(4) as pool:
        actors = [pool.submit(speak, actor) for actor in "abcd"]
        until = time.monotonic() + 1.0
        try:
            while time.monotonic() < until:
                live.delete()
        finally:
            ended.set()
    for actor in actors:
        actor.result()  # raises what was raised there
    live.delete()
    assert not store.exists(FOLDER)


def test_live_says_what_keeps_it_from_deleting(live: Live, store: Store) -> None:
    store.write_text(FOLDER, "a file in the folder's place")
    with pytest.raises(LedgerError, match="cannot delete"):
        live.delete()


def test_live_trouble_is_one_line_for_each_stage_until_it_is_over(live: Live) -> None:
    live.tell_trouble("draft_problem", "a", "no answer from http://h/v1 for 12 s\n(refused)")
    live.tell_trouble("draft_problem", "b", "no answer from http://h/v1 for 11 s")
    live.tell_trouble("label_trajectory", "b", "0 replies in 60 s: HTTP 503 " + "x" * 9_999)
    first, second = live.troubles()
    assert first == "draft_problem: no answer from http://h/v1 for 12 s (refused)"
    assert second.startswith("label_trajectory: 0 replies in 60 s")
    assert len(second) < 500
    assert (live.in_flight(), live.halt()) == ({}, None)
    for actor, stage in (("a", "draft_problem"), ("b", "draft_problem"), ("b", "label_trajectory")):
        live.tell_trouble(stage, actor, "")
    assert live.troubles() == []


@pytest.fixture
def blocked(live: Live, store: Store) -> Live:
    """A store that takes no file of this execution and gives none."""
    store.write_text(FOLDER, "a file in the folder's place")
    return live


def test_live_that_cannot_be_told_fails_nobody_and_says_that_the_halt_is_untold(
    blocked: Live,
) -> None:
    blocked.tell_in_flight("draft_problem", "a", 2)
    blocked.tell_trouble("draft_problem", "a", "no answer")
    blocked.tell_engines("[]")
    assert blocked.count_birth("a") == 0
    assert not blocked.tell_halt("a", BudgetError("spent"))
    assert (blocked.in_flight(), blocked.troubles(), blocked.engines()) == ({}, [], [])
    assert blocked.halt() is None


@pytest.mark.parametrize("said", ["", "many", "-", "\x00", "1.5"], ids=ascii)
def test_live_births_that_cannot_be_read_count_from_none(
    live: Live, store: Store, said: str
) -> None:
    store.write_text(f"{FOLDER}/.births-a", said)
    assert [live.count_birth("a") for _ in range(2)] == [0, 1]


def test_live_halt_that_is_no_text_still_stops_the_run(live: Live, store: Store) -> None:
    store.write(f"{FOLDER}/.halt-a", lambda sink: sink.write(b"\xff\xfe{"))
    store.write(f"{FOLDER}/draft_problem-a", lambda sink: sink.write(b"\xff"))
    assert isinstance(live.halt(), StopError)
    assert live.in_flight() == {}
