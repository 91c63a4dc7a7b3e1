"""Journals: durable at once, whole after a kill, counted once, in nobody's way."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pytest
from fakes import call_of

from chimera_ray.account import paid_by
from chimera_ray.errors import LedgerError
from chimera_ray.ledger import writer as writing
from chimera_ray.ledger.compact import compact
from chimera_ray.ledger.counting import Counts
from chimera_ray.ledger.index import NONE, OPEN, Index
from chimera_ray.ledger.journal import is_journal, part_of, recover
from chimera_ray.ledger.parts import is_part, part_name, write_part
from chimera_ray.ledger.store import SET_ASIDE, Store, open_temporary
from chimera_ray.ledger.tail import Tail
from chimera_ray.ledger.writer import Writer
from chimera_ray.ledger.writer_files import WriterFiles
from chimera_ray.schemas import Call, Outcome, Output, Record, digest

FOLDER = "ledger/stage/abc"
CALLS = [call_of(f"reply {number}", seed=number) for number in range(3)]


def _record(
    name: str, outcome: Outcome = "accepted", calls: Sequence[Call] = CALLS[:1], **changes: Any
) -> Record:
    outputs = () if outcome == "open" else (Output(digest("row", name), "{}"),)
    record = Record(
        digest("work", name), digest("input", name), outcome, "", "", outputs, tuple(calls),
        "run", 1.5,
    )  # fmt: skip
    return record._replace(**changes)


def _read(store: Store, *records: Record) -> list[Record | None]:
    index = Index(store, FOLDER)
    index.refresh()
    found = index.look_up([record.work_id for record in records])
    there = index.records(found.position[found.outcome != NONE])
    return [there.get(int(position)) for position in found.position]


def _num_paid(store: Store) -> int:
    return sum(role.calls for role in paid_by("run", [FOLDER], store).values())


def _num_counted(store: Store) -> dict[str, int]:
    outcomes = Counts(store, FOLDER, "run").fresh()["outcomes"]
    return {name: count for name, count in outcomes.items() if count}


def _journals(store: Store) -> list[str]:
    return [name for name in store.names(FOLDER) if is_journal(name)]


def _parts(store: Store) -> list[str]:
    return [name for name in store.names(FOLDER) if is_part(name)]


GROUPS = [
    [_record("a"), _record("b", "open")],
    [_record("b", "open", CALLS[:2]), _record("c", "rejected", ())],
    [_record("b", "accepted", CALLS)],
]
ALL = [GROUPS[0][0], GROUPS[2][0], GROUPS[1][1]]
"""what counts in the end of what these groups hold, which four calls have paid for"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A folder."""
    return Store(str(tmp_path))


@pytest.fixture
def written(tmp_path: Path) -> bytes:
    """A journal of three groups."""
    store = Store(str(tmp_path / "another"))
    files = WriterFiles(store, FOLDER)
    for group in GROUPS:
        files.write(group)
    (name,) = _journals(store)
    content = bytes(store.read_bytes(f"{FOLDER}/{name}"))
    files.close()
    return content


def _lay(store: Store, content: bytes, name: str = "journal-1-dead-000001.log") -> Path:
    path = Path(store.path(FOLDER, name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_group_written_is_read_and_counted_before_it_is_in_a_part(store: Store) -> None:
    files = WriterFiles(store, FOLDER)
    index, counts, found = Index(store, FOLDER), Counts(store, FOLDER, "run"), []
    for group in GROUPS:
        files.write(group)
        index.refresh()
        found.append(index.look_up([ALL[1].work_id]).outcome.tolist())
        counts.fresh()
    assert _parts(store) == []
    assert found[:2] == [[OPEN], [OPEN]]
    assert _read(store, *ALL) == ALL
    assert _num_paid(store) == 4
    files.close()
    assert _journals(store) == []
    assert _read(store, *ALL) == ALL
    assert _num_paid(store) == 4
    assert _num_counted(store) == {"accepted": 2, "rejected": 1}
    index.refresh()
    there = index.records(index.look_up([one.work_id for one in ALL]).position)
    assert sorted(there.values()) == sorted(ALL)
    assert sum(counts.fresh()["roles"]["solver"].values()) == 0


def test_journal_read_while_it_grows_byte_by_byte_gives_each_record_once(
    store: Store, written: bytes
) -> None:
    path = _lay(store, b"")
    tail = Tail(store, f"{FOLDER}/{path.name}")
    found = []
    with path.open("ab", buffering=0) as file:
        for at in range(len(written)):
            file.write(written[at : at + 1])
            found += [frame.rows.num_rows for frame in tail.read()]
    assert found == [len(group) for group in GROUPS]


def test_journal_whose_writer_took_back_what_was_read_is_looked_at_anew(
    store: Store, written: bytes
) -> None:
    path = _lay(store, written)
    tail = Tail(store, f"{FOLDER}/{path.name}")
    assert tail.read()
    path.write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        tail.rows(np.array([0]), ["work_id"])


def test_journal_of_the_dead_cut_off_anywhere_gives_the_groups_that_are_whole(
    store: Store, written: bytes
) -> None:
    path = _lay(store, written)
    ends = [frame.end for frame in Tail(store, f"{FOLDER}/{path.name}").read()]
    near = {end + step for end in ends for step in range(-17, 18)}
    for size in sorted(near | set(range(8, len(written), 211))):
        if size > len(written):
            continue
        _lay(store, written[:size])
        num_whole = sum(end <= size for end in ends)
        before = _read(store, *ALL), _num_paid(store)
        assert recover(store, FOLDER) == 1
        last = {one.work_id: one for group in GROUPS[:num_whole] for one in group}
        wanted = [last.get(one.work_id) for one in ALL]
        assert before[0] == _read(store, *ALL) == wanted
        assert before[1] == _num_paid(store) == (0, 2, 3, 4)[num_whole]
        assert _journals(store) == store.names(f"{FOLDER}/{SET_ASIDE}") == []
        for name in _parts(store):
            store.delete(f"{FOLDER}/{name}")


def test_journal_damaged_in_the_middle_is_kept_aside_and_the_rest_counts(
    store: Store, written: bytes
) -> None:
    ends = [frame.end for frame in Tail(store, f"{FOLDER}/{_lay(store, written).name}").read()]
    content = bytearray(written)
    content[(ends[0] + ends[1]) // 2] ^= 1
    _lay(store, bytes(content))
    recover(store, FOLDER)
    assert _read(store, *ALL) == [ALL[0], ALL[1], None]
    assert len(store.names(f"{FOLDER}/{SET_ASIDE}")) == 1
    assert _journals(store) == []


@pytest.mark.parametrize("content", [b"", b"cra", b"\x00" * 99, b"PAR1" * 9, b"\xf4CRF\xff"])
def test_journal_without_a_record_stops_nothing(store: Store, content: bytes) -> None:
    _lay(store, content)
    assert _read(store, *ALL) == [None] * 3
    recover(store, FOLDER)
    assert _journals(store) == _parts(store) == []


def test_part_and_its_journal_both_there_count_once(store: Store, written: bytes) -> None:
    path = _lay(store, written)
    recover(store, FOLDER)
    (part,) = _parts(store)
    assert part == part_of(path.name)
    written_at = Path(store.path(FOLDER, part)).stat().st_mtime_ns
    for name in (path.name, path.name.replace(".log", "-left.log")):
        _lay(store, written, name)
        assert _read(store, *ALL) == ALL
        assert _num_paid(store) == 4
        assert _num_counted(store) == {"accepted": 2, "rejected": 1}
        recover(store, FOLDER)
        assert (_journals(store), _parts(store)) == ([], [part])
    assert Path(store.path(FOLDER, part)).stat().st_mtime_ns == written_at


def test_part_that_outdates_a_journal_is_not_compacted_away(store: Store, written: bytes) -> None:
    path = _lay(store, written)
    recover(store, FOLDER)
    for number in range(12):
        write_part(store, FOLDER, part_name("tests", number), [_record(str(number))])
    _lay(store, written)
    compact(store, FOLDER)
    assert part_of(path.name) in _parts(store)
    assert _read(store, *ALL) == ALL


def test_recover_cut_off_after_its_rename_is_taken_up_by_the_next(
    store: Store, written: bytes
) -> None:
    _lay(store, written, "journal-1-dead-000001-left.log")
    assert _read(store, *ALL) == ALL
    assert recover(store, FOLDER) == 1
    assert _parts(store) == ["part-1-dead-000001.parquet"]
    assert _read(store, *ALL) == ALL


def test_journal_of_another_format_is_named_and_stays(store: Store, written: bytes) -> None:
    _lay(store, written[:6] + b"99" + written[8:])
    with pytest.raises(LedgerError, match="'99'"):
        Index(store, FOLDER).refresh()
    with pytest.raises(LedgerError, match="'99'"):
        recover(store, FOLDER)
    assert len(_journals(store)) == 1


LIVING = """
import asyncio, sys
sys.path[:0] = sys.argv[2:]
from test_journal import ALL, FOLDER, Store, Writer

async def live():
    writer = Writer(Store(sys.argv[1]), FOLDER, 1.0)
    await asyncio.gather(*(writer.append(record) for record in ALL))
    print("durable", flush=True)
    await asyncio.Event().wait()

asyncio.run(live())
"""


@pytest.fixture
def living(store: Store) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has made records durable, and is alive."""
    here = Path(__file__).parent
    words = [sys.executable, "-c", LIVING, store.root, str(here), str(here.parents[1])]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"durable\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_journal_of_a_living_process_is_read_and_left_to_it_until_that_is_killed(
    store: Store, living: subprocess.Popen[bytes]
) -> None:
    names = store.names(FOLDER)
    assert _read(store, *ALL) == ALL
    assert recover(store, FOLDER) == 0
    assert store.sweep(FOLDER) == []
    assert store.names(FOLDER) == names
    living.send_signal(signal.SIGKILL)
    living.wait()
    assert _read(store, *ALL) == ALL
    assert recover(store, FOLDER) == 1
    assert _journals(store) == []
    assert _read(store, *ALL) == ALL


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    """Sets how long a file may be, as a disk that is full does; at the end any length again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size < 0 else size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_disk_that_is_full_for_a_while_costs_no_record_and_no_call(
    store: Store, limit: Callable[[int], None]
) -> None:
    first, second, third = (_record(name) for name in "abc")

    async def fill_up() -> None:
        writer = Writer(store, FOLDER, 0.01)
        await writer.append(first)
        (name,) = _journals(store)
        limit(store.size(f"{FOLDER}/{name}") + 100)
        with pytest.raises(LedgerError, match="File too large"):
            await writer.append(second)
        limit(-1)
        assert _read(store, first, second) == [first, None]
        await writer.append(third)
        assert _read(store, first, second, third) == [first, second, third]
        await writer.close()

    asyncio.run(fill_up())
    assert _read(store, first, second, third) == [first, second, third]
    assert _num_paid(store) == 3
    assert store.names(f"{FOLDER}/{SET_ASIDE}") == []


@pytest.mark.parametrize("has_end", [True, False], ids=["ended", "still_open"])
def test_open_record_whose_write_fails_loses_no_call_of_the_account(
    store: Store, limit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, has_end: bool
) -> None:
    monkeypatch.setattr(writing, "RETRY_S", 0.01)
    ended = _record("a", calls=CALLS)
    failed = asyncio.Event()

    def make() -> Record:
        failed.set()
        return _record("a", "open", CALLS[:2])

    async def fill_up() -> None:
        writer = Writer(store, FOLDER, 0.01)
        await writer.append(_record("before", calls=()))
        (name,) = _journals(store)
        limit(store.size(f"{FOLDER}/{name}") + 100)
        writer.note(ended.work_id, make)
        await failed.wait()
        limit(200)
        with pytest.raises(LedgerError):
            await writer.append(_record("after", calls=()))
        assert _num_paid(store) == 0
        limit(-1)
        if has_end:
            await writer.append(ended)
        await writer.close()

    asyncio.run(fill_up())
    assert _num_paid(store) == (3 if has_end else 2)
    (found,) = _read(store, ended)
    assert found is not None
    assert not any(call.is_replayed for call in found.calls)


def test_close_on_a_full_disk_says_so_and_keeps_what_was_durable(
    store: Store, limit: Callable[[int], None]
) -> None:
    async def fill_up() -> None:
        writer = Writer(store, FOLDER, 0.01)
        await writer.append(_record("a"))
        limit(100)
        writer.note("b", lambda: _record("b", "open"))
        with pytest.raises(LedgerError, match="1 rows could not be written"):
            await writer.close()

    asyncio.run(fill_up())
    assert _read(store, _record("a")) == [_record("a")]  # no part could be made either
    limit(-1)
    assert recover(store, FOLDER) == 1
    assert _read(store, _record("a")) == [_record("a")]
    assert _num_paid(store) == 1


def test_journal_taken_over_while_its_writer_lives_costs_no_record(store: Store) -> None:
    files = WriterFiles(store, FOLDER)
    files.write([_record("a")])
    (name,) = _journals(store)
    left = name.replace(".log", "-left.log")
    store.move(f"{FOLDER}/{name}", f"{FOLDER}/{left}")
    with pytest.raises(LedgerError, match="cannot write"):
        files.write([_record("b")])
    files.write([_record("b")])
    assert _read(store, _record("a"), _record("b")) == [_record("a"), _record("b")]
    files.close()
    assert _num_paid(store) == 2


def _folder(path: Path) -> None:
    (path / "with" / "something").mkdir(parents=True)


STRANGERS: dict[str, Callable[[Path], object]] = {
    "folder": _folder,
    "pipe": os.mkfifo,
    "link_to_nowhere": lambda path: path.symlink_to("nowhere"),
    "link_to_itself": lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("name", ["part-1-x-1.parquet", "journal-1-x-1.log"])
def test_what_is_no_file_and_named_like_one_stops_nothing(
    store: Store, make: Callable[[Path], object], name: str
) -> None:
    for number in range(9):
        write_part(store, FOLDER, part_name("tests", number), [_record(str(number))])
    make(Path(store.path(FOLDER, name)))
    recover(store, FOLDER)
    assert _read(store, _record("0")) == [_record("0")]
    assert _num_paid(store) == 9
    assert _num_counted(store) == {"accepted": 9}
    compact(store, FOLDER)
    assert _read(store, _record("8")) == [_record("8")]


def test_sweep_takes_what_the_dead_left_and_nothing_else(store: Store) -> None:
    files = WriterFiles(store, FOLDER)
    files.write([_record("a")])
    kept = set(store.names(FOLDER))
    where = store.path(FOLDER)
    handle, living = open_temporary(where, "part-2-x-2.parquet")
    dead = [".part-1-x-1.parquet-abcdefgh.tmp", ".journal-1-x-1.log-abcd_fg1.tmp"]
    foreign = [".notes.tmp", "part-1.parquet.tmp", ".part-1-x-1.parquet-abcdefgh.tmp2"]
    for name in (*dead, *foreign):
        Path(where, name).write_bytes(b"half of it")
    assert sorted(store.sweep(FOLDER)) == sorted(dead)
    assert set(store.names(FOLDER)) == kept | {*foreign, Path(living).name}
    os.close(handle)
    assert store.sweep(FOLDER) == [Path(living).name]
    files.close()


def test_object_store_has_no_journal_and_parts_a_window_apart(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.fs = pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem())
    store.root, store.is_local = "", False

    async def write() -> list[int]:
        writer = Writer(store, FOLDER, 0.3)
        counts = []
        for names in ("a", "bcd"):
            await asyncio.gather(*(writer.append(_record(name)) for name in names))
            counts.append(len(_parts(store)))
        await writer.close()
        return counts

    assert asyncio.run(write()) == [1, 2]
    assert _journals(store) == []
    assert _num_paid(store) == 4


def test_index_refreshed_in_between_says_what_one_refresh_says(store: Store) -> None:
    outcomes: list[Outcome] = ["failed", "open", "accepted", "rejected"]
    records = [
        _record(str(n * 7 % 40), outcomes[n * n % 4], detail=str(n), finished_at=float(n * 13 % 50))
        for n in range(200)
    ]
    files, often = WriterFiles(store, FOLDER), Index(store, FOLDER, "run")
    for start in range(0, 200, 8):
        files.write(records[start : start + 8])
        if start % 24 == 0:
            files.close()
        often.refresh()
        once = often.anew()
        once.refresh()
        works = [record.work_id for record in records]
        for one, other in zip(often.look_up(works), once.look_up(works), strict=True):
            if one.dtype != "int64":
                assert one.tolist() == other.tolist()
        said = []
        for index in (often, once):
            places = index.look_up(works).position
            there = index.records(places[places >= 0])
            said.append([there.get(int(place)) for place in places])
        assert said[0] == said[1]
    files.close()
