"""What executions write for themselves: theirs while they live, swept once they are dead."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chimera_ray.ledger.file_lock import FileLock
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.unfinished import sweep_unfinished
from chimera_ray.runners.executions import Execution, sweep_dead
from chimera_ray.runners.live import Live

NOW = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
OTHER, MINE = f"{NOW}-0000", f"{NOW}-1111"
LIVING = """
import sys, time
from chimera_ray.ledger.store import Store
from chimera_ray.runners.executions import Execution
from chimera_ray.runners.live import Live
store = Store(sys.argv[1])
execution = Execution(store, sys.argv[2])
execution.open()
store.write_text(f"{execution.pending}/draft_problem-000000", "row")
Live(store, sys.argv[2]).tell_in_flight("draft_problem", "a", 3)
print("open", flush=True)
time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], "subprocess.Popen[str]"]]:
    """Starts another process that lives as the execution OTHER."""
    started: list[subprocess.Popen[str]] = []

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", LIVING, str(tmp_path), OTHER]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _files(store: Store) -> set[str]:
    root = Path(store.path("runs"))
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_execution_that_was_killed_is_swept_by_the_next_one_at_once(
    store: Store, start: Callable[[], "subprocess.Popen[str]"]
) -> None:
    process = start()
    assert len(_files(store)) == 3
    process.send_signal(signal.SIGKILL)
    process.wait()
    execution = Execution(store, MINE)
    execution.open()
    assert _files(store) == {f".live/{MINE}.lock"}
    execution.close()
    assert _files(store) == set()


def test_execution_that_lives_is_never_swept_though_its_name_is_old(
    store: Store, start: Callable[[], "subprocess.Popen[str]"]
) -> None:
    start()
    before = _files(store)
    for run_id in (MINE, "20200101T000000-9999"):
        execution = Execution(store, run_id)
        execution.open()
        sweep_dead(store)
        execution.close()
    assert _files(store) == before


def test_execution_of_this_very_process_is_not_swept_either(store: Store) -> None:
    execution = Execution(store, "20200101T000000-1111")
    execution.open()
    store.write_text(f"{execution.pending}/draft_problem-000000", "row")
    sweep_dead(store)
    assert store.exists(f"{execution.pending}/draft_problem-000000")
    execution.close()
    assert _files(store) == set()


@pytest.mark.parametrize(
    ("run_id", "is_swept"),
    [("20200101T000000-9999", True), (OTHER, False), ("bench-run", False)],
    ids=["old", "new", "no_time"],
)
def test_files_that_nobody_holds_a_lock_for_are_swept_by_their_age(
    store: Store, run_id: str, is_swept: bool
) -> None:
    Live(store, run_id).tell_in_flight("draft_problem", "a", 1)
    store.write_text(f"runs/.todo/{run_id}/draft_problem-000000", "row")
    sweep_dead(store)
    assert len(_files(store)) == (0 if is_swept else 2)


def test_execution_that_cannot_write_or_delete_ends_no_run(store: Store) -> None:
    store.write_text("runs/.live", "a file in the folder's place")
    store.write_text("runs/.todo", "a file in the folder's place")
    execution = Execution(store, MINE)
    execution.open()
    execution.clear()
    execution.close()


def test_lock_on_a_file_that_was_deleted_meanwhile_is_taken_anew(tmp_path: Path) -> None:
    path = tmp_path / "folder/x.lock"
    first, second = FileLock(str(path)), FileLock(str(path))
    assert first.take()
    assert not second.take()
    os.unlink(path)  # as one who took it for dead
    assert second.take()
    first.give_back()
    assert path.exists()
    second.give_back()
    second.give_back()
    assert not path.exists()


def test_unfinished_files_are_swept_and_all_others_stay(store: Store) -> None:
    kept = {"README.md", "data/train.parquet", ".lock", ".gitattributes", "x.tmp", ".data"}
    for path in (*kept, ".README.md-ab12.tmp", ".data-12/train.parquet", ".data-old-1/x.parquet"):
        store.write_text(f"datasets/run/{path}", "x")
    store.write_text("datasets/another/.README.md-ab12.tmp", "x")
    Path(store.path("datasets/run/.data-link")).symlink_to(store.path("datasets/another"))
    sweep_unfinished(store, "datasets/run")
    sweep_unfinished(store, "datasets/none")
    here = Path(store.path("datasets/run"))
    found = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}
    assert found == kept
    assert store.exists("datasets/another/.README.md-ab12.tmp")
