"""Reading the ledger: which work is done and where its record lies, in 26 bytes a record.

One record per work id wins: accepted or rejected before failed; of several that are final the
earliest, so that what rests on it stays; else the latest, failed or open, which carries what the
ones before it had paid for. A journal that is still written is read as far as it goes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.journal import live_journals, part_of
from chimera_ray.ledger.parts import (
    FORMAT,
    FORMAT_KEY,
    SCHEMA,
    UNREADABLE,
    is_part,
    to_records,
)
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.tail import Tail
from chimera_ray.ledger.totals import COUNTED
from chimera_ray.schemas import Record, work_ids

NONE, ACCEPTED, REJECTED, FAILED, OPEN = range(5)
OUTCOMES = ("none", "accepted", "rejected", "failed", "open")
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Bools = npt.NDArray[np.bool_]
T = TypeVar("T")


class PartLostError(Exception):
    """A file went while it was in use (set aside, compacted, made a part): look again."""


class Found(NamedTuple):
    """What the index says of some work ids, each array as long as they are."""

    outcome: npt.NDArray[np.int8]
    position: Ints
    """where the record lies; -1: there is none"""
    is_this_run: Bools
    """whether this execution has a record of it, be it the one that wins or not"""


class _Rows(NamedTuple):
    """Records as the index holds them, each array as long as they are."""

    key: Keys
    outcome: npt.NDArray[np.int8]
    position: Ints
    is_mine: Bools
    age: npt.NDArray[np.float64]
    """when the work ended, in seconds since the epoch; of equal ones the place decides"""

    def take(self, which: Ints | Bools) -> "_Rows":
        """Those at some places, or for which it is true."""
        key, outcome, position, is_mine, age = self
        return _Rows(key[which], outcome[which], position[which], is_mine[which], age[which])


_INDEXED = ["work_id", "outcome", "run_id", "finished_at"]


class Index:
    """One stage's folder of the ledger, as it stood at the last `refresh`."""

    def __init__(self, store: Store, folder: str, run_id: str = "") -> None:
        """Reads nothing yet.

        Args:
            store: where the ledger lives.
            folder: the stage's folder in it.
            run_id: records of this execution are told apart.
        """
        self._store, self.folder, self._run_id = store, folder, run_id
        self._files: list[str] = []
        self._seen: set[str] = set()
        self._tails: dict[str, tuple[int, Tail]] = {}
        self._known = _index_rows(SCHEMA.empty_table(), run_id)

    def anew(self) -> "Index":
        """The same folder, not read yet."""
        return Index(self._store, self.folder, self._run_id)

    def refresh(self) -> None:
        """Takes in what was written since; sets aside what cannot be read.

        A file that goes after it was listed has a successor, which is listed the next time.
        """
        fresh: list[_Rows] = []
        missed: set[str] = set()
        while True:
            names = self._store.names(self.folder)
            journals = live_journals(names)
            gone = {name for name in self._tails if name not in journals}
            lost = {name for name in gone if part_of(name) not in names}
            for name in names:
                if is_part(name) and name not in self._seen and not self._take_part(name, fresh):
                    lost.add(name)
            lost |= {name for name in journals if not self._take_journal(name, fresh)}
            if lost <= missed:
                break
            missed |= lost
        for name in gone:
            fresh = self._drop(name, fresh)
        # What is listed twice and cannot be opened either time is no file.
        self._seen |= {name for name in missed if is_part(name) and name in names}
        if fresh:
            self._keep_winners(fresh)

    @property
    def part_names(self) -> tuple[str, ...]:
        """The parts that it has taken in."""
        return tuple(filter(is_part, self._files))

    def _take_part(self, name: str, fresh: list[_Rows]) -> bool:
        try:
            rows = self._read(name, partial(_index_part, run_id=self._run_id))
        except PartLostError:
            return False
        self._seen.add(name)
        rows.position[:] += len(self._files) << 32
        self._files.append(name)
        fresh.append(rows)
        return True

    def _take_journal(self, name: str, fresh: list[_Rows]) -> bool:
        """Takes in what a journal has more than the last time; whether it is still there."""
        if name not in self._tails:
            self._tails[name] = len(self._files), Tail(self._store, f"{self.folder}/{name}")
            self._files.append(name)
        place, tail = self._tails[name]
        num_before = tail.num_rows
        try:
            frames = tail.read()
        except FileNotFoundError:
            return False
        if frames:
            table = pa.Table.from_batches([frame.rows for frame in frames]).select(_INDEXED)
            rows = _index_rows(table, self._run_id)
            rows.position[:] += (place << 32) + num_before
            fresh.append(rows)
        return True

    def _drop(self, name: str, fresh: Sequence[_Rows]) -> list[_Rows]:
        """Forgets a journal that is a part now, which has been taken in; its places are no more."""
        place, _ = self._tails.pop(name)
        is_gone = self._known.position >> 32 == place
        mine = self._known.key[is_gone & self._known.is_mine]
        self._known = self._known.take(~is_gone)
        kept = [rows.take(rows.position >> 32 != place) for rows in fresh]
        return [rows._replace(is_mine=rows.is_mine | np.isin(rows.key, mine)) for rows in kept]

    def look_up(self, work_ids: Iterable[str]) -> Found:
        """Work ids → the outcome and the place of each one's winning record."""
        return self._found(np.fromiter((int(work[:16], 16) for work in work_ids), np.uint64))

    def look_up_rows(self, fingerprint: str, input_ids: Iterable[bytes]) -> Found:
        """A stage fingerprint and ids of its input rows → the same of their work."""
        works = b"".join(work[:8] for work in work_ids(fingerprint, input_ids))
        return self._found(np.frombuffer(works, ">u8").astype(np.uint64))

    def _found(self, keys: npt.NDArray[np.uint64]) -> Found:
        known = self._known
        if not len(known.key):
            nothing = np.zeros(len(keys), np.int8)
            return Found(nothing, np.full(len(keys), -1), nothing.astype(bool))
        at = np.minimum(np.searchsorted(known.key, keys), len(known.key) - 1)
        is_there = known.key[at] == keys
        return Found(
            np.where(is_there, known.outcome[at], NONE).astype(np.int8),
            np.where(is_there, known.position[at], -1),
            is_there & known.is_mine[at],
        )

    def tables(
        self, positions: Ints, columns: Sequence[str]
    ) -> Iterator[tuple[npt.NDArray[np.intp], pa.Table]]:
        """Places of records → for each part, which of the places lie in it, and their columns."""
        part_of = positions >> 32
        for part in np.unique(part_of):
            chosen = np.flatnonzero(part_of == part)
            rows = positions[chosen] & 0xFFFFFFFF
            yield chosen, self._rows(int(part), rows, columns)

    def records(self, positions: Ints) -> dict[int, Record]:
        """Places of records → the records, by place."""
        found: dict[int, Record] = {}
        for chosen, table in self.tables(positions, list(Record._fields)):
            found.update(zip(positions[chosen].tolist(), to_records(table), strict=True))
        return found

    def call_totals(self, positions: Ints) -> dict[str, dict[str, float]]:
        """Places of records → calls, tokens and cost by role: what these records cost in all."""
        totals: dict[str, dict[str, float]] = {}
        names = ("role", "attempts", *COUNTED)
        wanted = [f"calls.list.element.{name}" for name in names]
        for _, table in self.tables(positions, wanted):
            calls = table["calls"].combine_chunks().flatten()
            flat = pa.table({name: pc.struct_field(calls, name) for name in names})
            sums = flat.group_by("role").aggregate(
                [("attempts", "count"), *((name, "sum") for name in COUNTED)]
            )
            for row in sums.to_pylist():
                role = totals.setdefault(row["role"], dict.fromkeys(("calls", *COUNTED), 0))
                role["calls"] += row["attempts_count"]
                for name in COUNTED:
                    role[name] += row[f"{name}_sum"] or 0
        return totals

    def reasons(self, positions: Ints) -> dict[str, int]:
        """Places of records → how many gave each reason."""
        counts: dict[str, int] = {}
        for _, table in self.tables(positions, ["reason"]):
            for row in pc.value_counts(table["reason"].combine_chunks()).to_pylist():
                counts[row["values"]] = counts.get(row["values"], 0) + row["counts"]
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def _rows(self, file: int, rows: Ints, columns: Sequence[str]) -> pa.Table:
        name = self._files[file]
        if is_part(name):
            return self._read(name, lambda source: _read_rows(source, rows, columns))
        if name not in self._tails:
            raise PartLostError(f"{self.folder}/{name}")
        try:
            return self._tails[name][1].rows(rows, columns)
        except FileNotFoundError:
            raise PartLostError(f"{self.folder}/{name}") from None

    def _keep_winners(self, fresh: Sequence[_Rows]) -> None:
        """Takes in rows; only theirs are sorted, as a live journal brings a few at a time."""
        known = self._known
        keys = np.unique(np.concatenate([rows.key for rows in fresh]))
        at = np.searchsorted(known.key, keys)
        keys, at = keys[at < len(known.key)], at[at < len(known.key)]
        is_rival = np.zeros(len(known.key), bool)
        is_rival[at[known.key[at] == keys]] = True
        winners = _winners([known.take(is_rival), *fresh])
        rows = _joined([known.take(~is_rival), winners])
        self._known = rows.take(np.argsort(rows.key, kind="stable"))  # linear: two sorted runs

    def _read(self, name: str, read: Callable[[Any], T]) -> T:
        """A part's name and what reads it → what it gives.

        A part is corrupt for sure if its bytes arrive and do not parse; it is set aside. Anything
        else is the store's trouble: where its bytes parse the second time, they count.
        """
        path = f"{self.folder}/{name}"
        if not self._store.is_readable(path):
            if self._store.exists(path):
                self._store.set_aside(path, "named like a part, and no file that can be read")
            raise PartLostError(path)
        try:
            with self._store.fs.open_input_file(self._store.path(path)) as source:
                return read(source)
        except FileNotFoundError:
            raise PartLostError(path) from None
        except UNREADABLE as exc:
            trouble = exc
        try:
            content = self._store.read_bytes(path)
        except FileNotFoundError:
            raise PartLostError(path) from None
        except OSError:
            raise LedgerError(f"cannot read {self._store.path(path)}: {trouble}") from trouble
        try:
            return read(pa.BufferReader(content))
        except UNREADABLE as exc:
            self._store.set_aside(path, f"corrupt: {exc}")
            raise PartLostError(path) from None


def _joined(several: Sequence[_Rows]) -> _Rows:
    return _Rows(*(np.concatenate(columns) for columns in zip(*several, strict=True)))


def _winners(several: Sequence[_Rows]) -> _Rows:
    """Records → by key the one that wins, in the order of the keys."""
    rows = _joined(several)
    is_failed = rows.outcome >= FAILED  # or open: neither is an end
    sign = np.where(is_failed, -1, 1)
    order = np.lexsort((sign * rows.position, sign * rows.age, is_failed, rows.key))
    keys = rows.key[order]
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    is_mine = np.logical_or.reduceat(rows.is_mine[order], first) if len(first) else rows.is_mine
    return rows.take(order[first])._replace(is_mine=is_mine)


def _open(source: pa.NativeFile, columns: Sequence[str]) -> pq.ParquetFile:
    """A source → the Parquet file that it is, if it has these columns in the ledger's types."""
    file = pq.ParquetFile(source, page_checksum_verification=True)
    found = file.schema_arrow
    written = (found.metadata or {}).get(FORMAT_KEY, FORMAT)
    if written != FORMAT:
        raise LedgerError(
            f"this ledger's format is {written.decode(errors='replace')!r}, and this version reads "
            f"{FORMAT.decode()!r}: use the version that wrote it, or another output_dir"
        )
    for name in {column.split(".")[0] for column in columns}:
        if found.field(name).type != SCHEMA.field(name).type:
            raise TypeError(f"column {name} has another type")
    return file


def _index_part(source: pa.NativeFile, run_id: str) -> _Rows:
    return _index_rows(_open(source, _INDEXED).read(columns=_INDEXED), run_id)


def _index_rows(table: pa.Table, run_id: str) -> _Rows:
    table = table.combine_chunks()
    outcomes = pc.index_in(table["outcome"], pa.array(OUTCOMES))
    if outcomes.null_count:
        raise ValueError("an outcome that does not exist")
    return _Rows(
        _keys(table["work_id"]),
        outcomes.to_numpy().astype(np.int8),
        np.arange(len(table), dtype=np.int64),
        pc.equal(table["run_id"], run_id).to_numpy().astype(np.bool_),
        table["finished_at"].to_numpy(),
    )


def _read_rows(source: pa.NativeFile, rows: Ints, columns: Sequence[str]) -> pa.Table:
    """The wanted rows of a part; only the row groups that hold them are read."""
    file = _open(source, columns)
    footer = file.metadata
    lengths = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    ends = np.cumsum(lengths)
    group_of = np.searchsorted(ends, rows, side="right")
    groups = np.unique(group_of)
    if len(groups) and groups[-1] == len(lengths):
        raise IndexError(f"{footer.num_rows} rows are fewer than there were")
    skipped = ends - np.cumsum(np.where(np.isin(np.arange(len(lengths)), groups), lengths, 0))
    table = file.read_row_groups(groups.tolist(), columns=list(columns))
    return table.take(pa.array(rows - skipped[group_of]))


def _keys(work_ids: pa.Array) -> Keys:
    """Work ids, 32 hex digits each → their first 64 bits."""
    first = pc.utf8_slice_codeunits(work_ids, 0, 16)
    text = "".join(first.to_pylist())
    return np.frombuffer(bytes.fromhex(text), dtype=">u8").astype(np.uint64)
