"""Reading the ledger: which work is done and where its record lies, in 16 bytes a record.

One record per work id wins: accepted or rejected before failed; of several that are final the
earliest written, so that what rests on it stays; of several that failed the latest, which carries
what the ones before it had paid for.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.parts import COUNTED, is_part, to_records
from chimera_ray.ledger.store import Store
from chimera_ray.schemas import Record

log = logging.getLogger(__name__)

SET_ASIDE = "set_aside"
"""subfolder for parts that cannot be read; their rows are done again"""
NONE, ACCEPTED, REJECTED, FAILED = 0, 1, 2, 3
OUTCOMES = ("none", "accepted", "rejected", "failed")
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]


class PartLostError(Exception):
    """A part was set aside or compacted away while it was in use: look again."""


class Found(NamedTuple):
    """What the index says of some work ids, each array as long as they are."""

    outcome: npt.NDArray[np.int8]
    position: Ints
    """where the record lies; -1: there is none"""
    is_this_run: npt.NDArray[np.bool_]


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
        self._parts: list[str] = []
        self._seen: set[str] = set()
        self._keys: Keys = np.empty(0, np.uint64)
        self._positions: Ints = np.empty(0, np.int64)
        self._outcomes: npt.NDArray[np.int8] = np.empty(0, np.int8)
        self._mine: npt.NDArray[np.bool_] = np.empty(0, np.bool_)

    def anew(self) -> "Index":
        """The same folder, not read yet."""
        return Index(self._store, self.folder, self._run_id)

    def refresh(self) -> None:
        """Takes in the parts that were written since; sets unreadable ones aside."""
        new = [n for n in self._store.names(self.folder) if is_part(n) and n not in self._seen]
        for name in new:
            self._seen.add(name)
            self._parts.append(name)
            try:
                table = self._read(len(self._parts) - 1, ["work_id", "outcome", "run_id"])
            except PartLostError:
                self._parts.pop()
                continue
            self._take_in(table, len(self._parts) - 1)
        if new:
            self._keep_winners()

    @property
    def part_names(self) -> tuple[str, ...]:
        """The parts that it has taken in."""
        return tuple(self._parts)

    def look_up(self, work_ids: Sequence[str]) -> Found:
        """Work ids → the outcome and the place of each one's winning record."""
        keys = _keys(pa.array(work_ids, pa.string()))
        if not len(self._keys):
            nothing = np.zeros(len(keys), np.int8)
            return Found(nothing, np.full(len(keys), -1), nothing.astype(bool))
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        is_there = self._keys[at] == keys
        return Found(
            np.where(is_there, self._outcomes[at], NONE).astype(np.int8),
            np.where(is_there, self._positions[at], -1),
            is_there & self._mine[at],
        )

    def tables(
        self, positions: Ints, columns: Sequence[str]
    ) -> Iterator[tuple[npt.NDArray[np.intp], pa.Table]]:
        """Places of records → for each part, which of the places lie in it, and their columns."""
        part_of = positions >> 32
        for part in np.unique(part_of):
            chosen = np.flatnonzero(part_of == part)
            rows = positions[chosen] & 0xFFFFFFFF
            yield chosen, self._read(int(part), columns).take(pa.array(rows))

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

    def _take_in(self, table: pa.Table, part: int) -> None:
        rows = np.arange(len(table), dtype=np.int64)
        codes = pc.index_in(table["outcome"], pa.array(OUTCOMES))
        mine = pc.equal(table["run_id"], self._run_id)
        self._keys = np.concatenate([self._keys, _keys(table["work_id"].combine_chunks())])
        self._positions = np.concatenate([self._positions, (part << 32) | rows])
        self._outcomes = np.concatenate([self._outcomes, codes.to_numpy().astype(np.int8)])
        self._mine = np.concatenate([self._mine, mine.to_numpy().astype(np.bool_)])

    def _keep_winners(self) -> None:
        is_failed = self._outcomes == FAILED
        age = np.where(is_failed, -self._positions, self._positions)
        order = np.lexsort((age, is_failed, self._keys))
        keys = self._keys[order]
        is_first = np.concatenate([[True], keys[1:] != keys[:-1]]) if len(keys) else order == 0
        kept = order[is_first]
        self._keys, self._positions = self._keys[kept], self._positions[kept]
        self._outcomes, self._mine = self._outcomes[kept], self._mine[kept]

    def _read(self, part: int, columns: Sequence[str]) -> pa.Table:
        path = f"{self.folder}/{self._parts[part]}"
        try:
            with self._store.fs.open_input_file(self._store.path(path)) as source:
                return _read_columns(source, columns)
        except FileNotFoundError:
            raise PartLostError(path) from None
        except (pa.ArrowException, OSError, KeyError) as exc:
            self._judge_unreadable(path, columns, exc)
            raise PartLostError(path) from None

    def _judge_unreadable(self, path: str, columns: Sequence[str], exc: Exception) -> None:
        """Corrupt for sure if its bytes arrive and do not parse; anything else is the store's."""
        try:
            content = self._store.read_bytes(path)
        except OSError:
            raise LedgerError(f"cannot read {self._store.path(path)}: {exc}") from exc
        try:
            _read_columns(pa.BufferReader(content), columns)
        except (pa.ArrowException, OSError, KeyError):
            name = path.rsplit("/", 1)[1]
            self._store.move(path, f"{self.folder}/{SET_ASIDE}/{name}")
            log.warning("corrupt part %s set aside; its rows are done again (%s)", path, exc)


def _read_columns(source: Any, columns: Sequence[str]) -> pa.Table:  # noqa: ANN401
    file = pq.ParquetFile(source, page_checksum_verification=True)
    missing = {name.split(".")[0] for name in columns} - set(file.schema_arrow.names)
    if missing:
        raise KeyError(f"no column {', '.join(sorted(missing))}")
    return file.read(columns=list(columns))


def _keys(work_ids: pa.Array) -> Keys:
    """Work ids, 32 hex digits each → their first 64 bits."""
    first = pc.utf8_slice_codeunits(work_ids, 0, 16)
    text = "".join(first.to_pylist())
    return np.frombuffer(bytes.fromhex(text), dtype=">u8").astype(np.uint64)
