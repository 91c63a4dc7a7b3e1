"""Records out and in again: durable before `append` returns, one winner each, corrupt parts out."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import call_of

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.counting import read_totals
from chimera_ray.ledger.index import (
    ACCEPTED,
    FAILED,
    NONE,
    REJECTED,
    Index,
    PartLostError,
)
from chimera_ray.ledger.parts import SCHEMA, is_part, part_name, write_part
from chimera_ray.ledger.store import SET_ASIDE, Store
from chimera_ray.ledger.writer import Writer
from chimera_ray.schemas import Outcome, Output, Record, digest

FOLDER = "ledger/stage/abc"
HOSTILE = (
    "naïve ∑ 数学 \U0001f600 \x00 \x1b[31m | ``` </think> \\frac{1}{2} \r\n \u2028 \u202e {{ x }}"
)


def _record(
    name: str, outcome: Outcome = "accepted", run_id: str = "run", **changes: Any
) -> Record:
    record = Record(
        work_id=digest("work", name),
        input_id=digest("input", name),
        outcome=outcome,
        reason="" if outcome == "accepted" else "reason",
        detail="",
        outputs=(Output(digest("row", name), f'{{"name":"{name}"}}'),),
        calls=(call_of(),),
        run_id=run_id,
        finished_at=1.5,
    )
    return record._replace(**changes)


def _write(store: Store, *records: Record, name: str = "") -> str:
    name = name or part_name("tests", 0)
    write_part(store, FOLDER, name, records)
    return name


def _read(store: Store, records: Sequence[Record], run_id: str = "run") -> list[Record | None]:
    index = Index(store, FOLDER, run_id)
    index.refresh()
    found = index.look_up([record.work_id for record in records])
    there = index.records(found.position[found.outcome != NONE])
    return [there.get(int(position)) for position in found.position]


def _append_all(store: Store, *records: Record, flush_s: float = 0.01) -> None:
    async def append_all() -> None:
        writer = Writer(store, FOLDER, flush_s)
        await asyncio.gather(*(writer.append(record) for record in records))

    asyncio.run(append_all())


@pytest.mark.parametrize(
    "record",
    [
        _record(
            "hostile", calls=(call_of(HOSTILE), call_of("", reasoning=HOSTILE)), detail=HOSTILE
        ),
        _record("long", calls=(call_of("x" * 5_000_000),)),
        _record("empty", "failed", outputs=(), calls=()),
        _record("many", outputs=tuple(Output(digest(str(n)), HOSTILE) for n in range(50))),
        _record("", "rejected", reason=HOSTILE, run_id=HOSTILE),
    ],
    ids=["hostile", "long", "empty", "many", "rejected"],
)
def test_record_written_reads_back_equal(tmp_path: Path, record: Record) -> None:
    store = Store(str(tmp_path))
    others = [_record("before"), _record("after", outputs=(), calls=())]
    _append_all(store, others[0], record, others[1])
    assert _read(store, [others[0], record, others[1]]) == [others[0], record, others[1]]


def test_record_with_half_a_surrogate_is_kept_and_harms_no_other(tmp_path: Path) -> None:
    store, other = Store(str(tmp_path)), _record("other")
    half = _record("half", "failed", detail="\ud800", calls=(call_of("a \udfff b \U0001f600"),))
    _append_all(store, half, other)
    told = half._replace(detail="\ufffd", calls=(call_of("a \ufffd b \U0001f600"),))
    assert _read(store, [half, other]) == [told, other]


def test_part_written_has_explicit_schema_without_nulls(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    name = _write(store, _record("a", outputs=(), calls=()), _record("b"))
    table = pq.read_table(store.path(FOLDER, name))
    assert table.schema.equals(SCHEMA)
    assert [column.null_count for column in table.columns] == [0] * len(SCHEMA)


def test_append_returned_record_is_readable_by_another(tmp_path: Path) -> None:
    store, records = Store(str(tmp_path)), [_record(str(n)) for n in range(30)]

    async def append_and_look() -> list[bool]:
        writer = Writer(store, FOLDER, 0.001)

        async def one(record: Record) -> bool:
            await writer.append(record)
            return _read(store, [record]) == [record]

        return [await one(record) for record in records[:3]] + list(
            await asyncio.gather(*(one(record) for record in records[3:]))
        )

    assert all(asyncio.run(append_and_look()))


def test_close_with_records_pending_makes_them_durable(tmp_path: Path) -> None:
    store, record = Store(str(tmp_path)), _record("a")

    async def append_and_close() -> None:
        writer = Writer(store, FOLDER, 0.01)
        waiting = asyncio.create_task(writer.append(record))
        await asyncio.sleep(0)
        waiting.cancel()
        await writer.close()

    asyncio.run(append_and_close())
    assert _read(store, [record]) == [record]


def test_close_of_an_unused_writer_writes_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    async def close() -> None:
        await Writer(store, FOLDER, 0.01).close()

    asyncio.run(close())
    assert store.names(FOLDER) == []


class _Disk:
    """An object store whose writes fail while it is full; each write says when it begins."""

    is_local = False

    def __init__(self, store: Store) -> None:
        self.store, self.is_full, self.began = store, True, asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.go_on = asyncio.Event()

    def write(self, path: str, fill: Callable[[Any], object]) -> None:
        self._loop.call_soon_threadsafe(self.began.set)
        asyncio.run_coroutine_threadsafe(self.go_on.wait(), self._loop).result()
        if self.is_full:
            raise LedgerError("no space left")
        self.store.write(path, fill)


def test_write_failure_reaches_every_waiter_and_later_ones_too(tmp_path: Path) -> None:
    async def fill_up() -> list[object]:
        disk = _Disk(Store(str(tmp_path)))
        writer = Writer(disk, FOLDER, 0.001)  # type: ignore[arg-type]
        first = [asyncio.create_task(writer.append(_record(str(n)))) for n in range(3)]
        await disk.began.wait()  # the next one comes while the first are being written
        second = asyncio.create_task(writer.append(_record("later")))
        await asyncio.sleep(0)
        disk.go_on.set()
        return await asyncio.wait_for(
            asyncio.gather(*first, second, return_exceptions=True), timeout=5
        )

    assert [type(result) for result in asyncio.run(fill_up())] == [LedgerError] * 4


def test_append_after_a_write_failure_succeeds_once_there_is_room(tmp_path: Path) -> None:
    store, record = Store(str(tmp_path)), _record("a")

    async def fill_up() -> None:
        disk = _Disk(store)
        disk.go_on.set()
        writer = Writer(disk, FOLDER, 0.001)  # type: ignore[arg-type]
        with pytest.raises(LedgerError):
            await writer.append(record)
        disk.is_full = False
        await writer.append(record)

    asyncio.run(fill_up())
    assert _read(store, [record]) == [record]


def test_append_where_a_folder_cannot_be_made_raises_ledger_error(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("a file in the way")
    with pytest.raises(LedgerError, match="ledger"):
        _append_all(Store(str(tmp_path)), _record("a"))


def test_writers_two_at_once_lose_nothing(tmp_path: Path) -> None:
    store, records = Store(str(tmp_path)), [_record(str(n)) for n in range(200)]

    async def append_all() -> None:
        writers = [Writer(store, FOLDER, 0.001) for _ in range(2)]
        await asyncio.gather(
            *(writers[n % 2].append(record) for n, record in enumerate(records)),
            *(writers[1 - n % 2].append(record) for n, record in enumerate(records[:20])),
        )

    asyncio.run(append_all())
    assert _read(store, records) == records


WINNERS = pytest.mark.parametrize(
    ("outcomes", "winner"),
    [
        (("failed", "accepted"), 1),
        (("accepted", "failed"), 0),
        (("rejected", "failed", "failed"), 0),
        (("failed", "failed", "failed"), 2),
        (("accepted", "rejected"), 0),
        (("failed", "rejected", "accepted", "failed"), 1),
    ],
    ids=[
        "accepted_after_failed",
        "accepted_before_failed",
        "rejected_before_failed",
        "latest_failed",
        "earliest_final",
        "earliest_final_among_failed",
    ],
)


@WINNERS
@pytest.mark.parametrize("layout", ["one_part", "parts_at_once", "parts_one_by_one"])
def test_index_several_records_of_one_work_one_wins(
    tmp_path: Path, outcomes: tuple[Outcome, ...], winner: int, layout: str
) -> None:
    store, index = Store(str(tmp_path)), Index(Store(str(tmp_path)), FOLDER)
    records = [_record("a", outcome, finished_at=float(n)) for n, outcome in enumerate(outcomes)]
    if layout == "one_part":
        _write(store, _record("0"), *records, _record("z"))
    for number, record in enumerate(records if layout != "one_part" else ()):
        _write(store, record, name=part_name("tests", number))
        if layout == "parts_one_by_one":
            index.refresh()
    index.refresh()
    position = index.look_up([records[0].work_id]).position
    assert list(index.records(position).values()) == [records[winner]]


def test_index_failed_here_then_elsewhere_is_still_of_this_run(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    _write(store, _record("a", "failed", run_id="mine"))
    _write(store, _record("a", "failed", run_id="other"))
    index = Index(store, FOLDER, "mine")
    index.refresh()
    assert index.look_up([_record("a").work_id]).is_this_run.tolist() == [True]


def test_index_refreshed_takes_in_new_parts_only_and_keeps_places(tmp_path: Path) -> None:
    store, index = Store(str(tmp_path)), Index(Store(str(tmp_path)), FOLDER)
    _write(store, _record("b"))
    index.refresh()
    place = index.look_up([_record("b").work_id]).position
    _write(store, _record("a"), _record("c", "rejected"))
    assert index.look_up([_record("a").work_id]).outcome.tolist() == [NONE]
    index.refresh()
    found = index.look_up([_record(name).work_id for name in "abcd"])
    assert found.outcome.tolist() == [ACCEPTED, ACCEPTED, REJECTED, NONE]
    assert found.position[1] == place[0]
    assert len(index.part_names) == 2


def test_index_of_nothing_knows_nothing(tmp_path: Path) -> None:
    index = Index(Store(str(tmp_path)), FOLDER)
    index.refresh()
    assert index.look_up([]).outcome.tolist() == []
    assert index.look_up([digest("a")]).position.tolist() == [-1]
    assert index.records(np.empty(0, np.int64)) == {}
    assert index.call_totals(np.empty(0, np.int64)) == {}
    assert index.reasons(np.empty(0, np.int64)) == {}


@pytest.mark.parametrize(
    "name",
    [
        ".part-1.parquet-x.tmp",
        "part-1.parquet.tmp",
        "notes.txt",
        "part-1.csv",
        "_part-1.parquet",
    ],
    ids=["temporary", "suffixed", "stranger", "other_format", "underscore"],
)
def test_index_foreign_file_is_ignored_and_stays(tmp_path: Path, name: str) -> None:
    store = Store(str(tmp_path))
    _write(store, _record("a"))
    Path(store.path(FOLDER, name)).write_bytes(b"PAR1 half a part")
    assert _read(store, [_record("a")]) == [_record("a")]
    assert name in store.names(FOLDER)
    assert store.names(f"{FOLDER}/{SET_ASIDE}") == []


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flipped(content: bytes) -> bytes:
    at = len(content) // 3
    return content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]


def _of_table(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def _with_numbers_for_ids(content: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(content))
    return _of_table(table.set_column(0, "work_id", pa.array(range(len(table)))))


def _with_unknown_outcome(content: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(content))
    return _of_table(table.set_column(2, "outcome", pa.array(["perhaps"] * len(table))))


def _with_short_ids(content: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(content))
    return _of_table(table.set_column(0, "work_id", pa.array(["abc", "xyz"])))


def _with_null_ids(content: bytes) -> bytes:
    table = pq.read_table(pa.BufferReader(content))
    return _of_table(table.set_column(0, "work_id", pa.nulls(len(table), pa.string())))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "zero_bytes": lambda content: b"",
    "first_half": _half,
    "no_footer": lambda content: content[:-9],
    "random_bytes": lambda content: b"\x93\x1f" * 500,
    "other_columns": lambda content: _of_table(pa.table({"a": [1, 2]})),
    "numbers_for_ids": _with_numbers_for_ids,
    "unknown_outcome": _with_unknown_outcome,
    "short_ids": _with_short_ids,
    "null_ids": _with_null_ids,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_index_corrupt_part_is_set_aside_by_name_and_others_read(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    store = Store(str(tmp_path))
    _write(store, _record("a"))
    name = _write(store, _record("b"), _record("c"))
    _write(store, _record("d"))
    path = Path(store.path(FOLDER, name))
    path.write_bytes(damage(path.read_bytes()))
    lost = [_record("a"), _record("b"), _record("c"), _record("d")]
    assert _read(store, lost) == [lost[0], None, None, lost[3]]
    assert store.names(f"{FOLDER}/{SET_ASIDE}") == [name]
    assert name not in store.names(FOLDER)
    assert _read(store, lost) == [lost[0], None, None, lost[3]]


def test_index_corrupt_in_a_column_read_later_is_set_aside_then(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    text = os.urandom(4000).hex()
    name = _write(store, _record("b", calls=(call_of(text),)))
    _write(store, _record("a"))
    path = Path(store.path(FOLDER, name))
    chunk = next(
        column
        for column in pq.read_metadata(path).row_group(0).to_dict()["columns"]
        if column["path_in_schema"].endswith("calls.list.element.text")
    )
    at = chunk["dictionary_page_offset"] + chunk["total_compressed_size"] // 2
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)

    index = Index(store, FOLDER)
    index.refresh()
    found = index.look_up([_record("b").work_id, _record("a").work_id])
    assert found.outcome.tolist() == [ACCEPTED, ACCEPTED]
    with pytest.raises(PartLostError):
        index.records(found.position)
    assert store.names(f"{FOLDER}/{SET_ASIDE}") == [name]
    anew = index.anew()
    anew.refresh()
    found = anew.look_up([_record("b").work_id, _record("a").work_id])
    assert found.outcome.tolist() == [NONE, ACCEPTED]
    assert len(anew.records(found.position[1:])) == 1


def test_index_any_bit_flipped_reads_true_or_is_set_aside(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    records = [_record(str(n), calls=(call_of(f"{n} {HOSTILE}"),)) for n in range(5)]
    whole = Path(store.path(FOLDER, _write(store, *records))).read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.choice(len(whole), 40, replace=False):
        name = _write(store, records[0], name="part-0-flipped.parquet")
        content = bytearray(whole)
        content[at] ^= 1 << int(rng.integers(8))
        Path(store.path(FOLDER, name)).write_bytes(content)
        index = Index(store, FOLDER)
        try:
            index.refresh()
            found = index.look_up([record.work_id for record in records])
            assert list(index.records(found.position).values()) == records
        except PartLostError:
            assert name in store.names(f"{FOLDER}/{SET_ASIDE}")


class _Disturbed:
    """A filesystem that fails to open files, the first so many times; else the one beneath."""

    def __init__(self, beneath: Any, num_failures: int, error: Exception) -> None:
        self._beneath, self._num_left, self._error = beneath, num_failures, error

    def open_input_file(self, path: str) -> Any:
        if self._num_left:
            self._num_left -= 1
            raise self._error
        return self._beneath.open_input_file(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._beneath, name)


def test_index_store_that_cannot_be_read_raises_and_keeps_the_part(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    name = _write(store, _record("a"))
    store.fs = _Disturbed(store.fs, 99, PermissionError("access denied"))
    with pytest.raises(LedgerError, match="access denied"):
        Index(store, FOLDER).refresh()
    assert store.names(FOLDER) == [name]


def test_index_store_that_stumbles_once_reads_all_the_same(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    name = _write(store, _record("a"))
    store.fs = _Disturbed(store.fs, 1, OSError("connection reset"))
    assert _read(store, [_record("a")]) == [_record("a")]
    assert store.names(FOLDER) == [name]


def test_index_part_compacted_away_after_listing_is_found_in_its_successor(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    old = _write(store, _record("a"), _record("b"), name="part-1-old.parquet")

    class Compacting(_Disturbed):
        def open_input_file(self, path: str) -> Any:
            if path.endswith(old) and old in store.names(FOLDER):
                _write(store, _record("a"), _record("b"), name="part-1-compact.parquet")
                store.delete(f"{FOLDER}/{old}")
            return super().open_input_file(path)

    store.fs = Compacting(store.fs, 0, OSError())
    assert _read(store, [_record("a"), _record("b")]) == [_record("a"), _record("b")]


def test_index_name_that_leads_nowhere_does_not_stop_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    _write(store, _record("a"))
    os.symlink(tmp_path / "nowhere", store.path(FOLDER, "part-0-link.parquet"))
    assert _read(store, [_record("a")]) == [_record("a")]


def test_look_up_of_ten_thousand_ids_finds_each_its_own(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    outcomes: list[Outcome] = ["accepted", "rejected", "failed"]
    records = [
        _record(str(n), outcomes[n % 3], detail=str(n), outputs=(), calls=()) for n in range(10_000)
    ]
    for start in range(0, 10_000, 2_500):
        _write(store, *records[start : start + 2_500])
    index = Index(store, FOLDER)
    index.refresh()
    asked = [record.work_id for record in reversed(records)] + [digest("no"), digest("such")]
    found = index.look_up(asked)
    codes = [ACCEPTED, REJECTED, FAILED]
    assert found.outcome.tolist() == [codes[n % 3] for n in reversed(range(10_000))] + [NONE] * 2
    details = np.empty(10_000, object)
    for chosen, table in index.tables(found.position[:10_000], ["detail"]):
        details[chosen] = table["detail"].to_pylist()
    assert details.tolist() == [str(n) for n in reversed(range(10_000))]
    some = found.position[[9_999, 512, 513, 3, 512]]
    assert [int(index.records(some)[int(at)].detail) for at in some] == [0, 9487, 9486, 9996, 9487]


def test_totals_of_a_part_count_outcomes_outputs_and_calls_made_now(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    replayed = _record("b", "failed", calls=(call_of(is_replayed=True), call_of(role="grader")))
    name = _write(store, _record("a"), replayed, _record("c", "rejected", outputs=(), calls=()))
    totals = read_totals(store, f"{FOLDER}/{name}")
    assert totals is not None
    assert totals["outcomes"] == {"accepted": 1, "failed": 1, "rejected": 1}
    assert totals["outputs"] == 2
    assert totals["runs"] == {"run": 3}
    assert {role: counts["calls"] for role, counts in totals["roles"].items()} == {
        "solver": 1,
        "grader": 1,
    }
    assert totals["roles"]["grader"]["cost_usd"] == 0.25


@pytest.mark.parametrize("content", [b"", b"PAR1", b"\x00" * 100], ids=["empty", "magic", "zeros"])
def test_totals_of_a_corrupt_part_are_none(tmp_path: Path, content: bytes) -> None:
    store = Store(str(tmp_path))
    path = Path(store.path("part-1.parquet"))
    path.write_bytes(content)
    assert read_totals(store, "part-1.parquet") is None


def test_index_call_totals_count_replayed_calls_too(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    record = _record("a", calls=(call_of(is_replayed=True), call_of(), call_of(role="grader")))
    _write(store, record, _record("b", "rejected", outputs=(), calls=()))
    index = Index(store, FOLDER)
    index.refresh()
    totals = index.call_totals(index.look_up([record.work_id, _record("b").work_id]).position)
    assert totals["solver"]["calls"] == 2
    assert totals["solver"]["output_tokens"] == 10
    assert totals["grader"]["cost_usd"] == 0.25


def test_part_names_sort_by_time_and_are_parts() -> None:
    names = [part_name(writer, number) for number in range(5) for writer in ("b", "a")]
    assert all(map(is_part, names))
    assert sorted(names, key=lambda name: name.split("-")[1]) == names
    assert len(set(names)) == len(names)


def test_writer_is_flushed_and_closed_while_others_write_and_loses_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    records = [_record(str(number)) for number in range(200)]

    async def write() -> None:
        writer = Writer(store, FOLDER, 0.01)

        async def note(record: Record) -> None:
            writer.note(record.work_id, lambda: record)
            await asyncio.sleep(0.001)

        async def flush() -> None:
            for _ in range(20):
                await writer.flush()
                await writer.close()

        async def note_all() -> None:
            for record in records:
                await note(record)

        await asyncio.gather(note_all(), flush())
        await writer.close()

    asyncio.run(write())
    index = Index(store, FOLDER)
    index.refresh()
    assert NONE not in index.look_up([record.work_id for record in records]).outcome
