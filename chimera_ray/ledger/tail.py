"""Reading a journal that may still be written: each time only what has come since."""

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.frames import Frame, scan
from chimera_ray.ledger.store import Store

log = logging.getLogger(__name__)


class Tail:
    """One journal, as far as it has been read."""

    def __init__(self, store: Store, path: str) -> None:
        """Reads nothing yet."""
        self._store, self._path = store, path
        self._end = 0
        self._starts: list[int] = []
        self._row_ends: list[int] = []

    @property
    def num_rows(self) -> int:
        """Records read so far."""
        return self._row_ends[-1] if self._row_ends else 0

    def read(self) -> Sequence[Frame]:
        """The frames that have come since the last time; half a frame is not there yet.

        Raises:
            FileNotFoundError: the journal is a part now, or was no file.
            LedgerError: it cannot be read.
        """
        if self._end and self._store.size(self._path) == self._end:
            return ()
        found = scan(self._bytes(self._end), self._end)
        if found.num_damaged:
            log.warning("%s: %d bytes of it are damaged", self._path, found.num_damaged)
        for frame in found.frames:
            self._starts.append(frame.start)
            self._row_ends.append(self.num_rows + frame.rows.num_rows)
        self._end = found.end
        return found.frames

    def rows(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """Places of records → these, in that order, with at least the columns that are wanted.

        Raises:
            FileNotFoundError: the journal is a part now.
            LedgerError: it cannot be read.
        """
        number_of = np.searchsorted(self._row_ends, rows, side="right")
        numbers = np.unique(number_of)
        first = self._starts[numbers[0]] if len(numbers) else self._end
        frames = {frame.start: frame for frame in scan(self._bytes(first), first).frames}
        ends = np.concatenate([[0], self._row_ends])
        places = np.empty(len(rows), np.int64)
        batches: list[pa.RecordBatch] = []
        num_before = 0
        for number in numbers:
            start = self._starts[number]
            if start not in frames:  # it was read before its writer failed to make it durable
                raise FileNotFoundError(self._path)
            batch = frames[start].rows
            is_here = number_of == number
            places[is_here] = rows[is_here] - ends[number] + num_before
            batches.append(batch)
            num_before += batch.num_rows
        names = list(dict.fromkeys(column.split(".")[0] for column in columns))
        return pa.Table.from_batches(batches).select(names).take(pa.array(places))

    def _bytes(self, start: int) -> pa.Buffer:
        if not self._store.is_readable(self._path):
            raise FileNotFoundError(self._path)
        try:
            with self._store.fs.open_input_file(self._store.path(self._path)) as source:
                source.seek(min(start, source.size()))
                return source.read_buffer()
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise LedgerError(f"cannot read {self._store.path(self._path)}: {exc}") from exc
