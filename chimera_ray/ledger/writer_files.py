"""What one writer writes to: a journal, and the parts that are made from it; or parts alone.

Each method blocks, and may be called from any thread.
"""

import logging
import threading
import time
from collections.abc import Sequence
from secrets import token_hex

import pyarrow as pa

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.file_lock import LockError
from chimera_ray.ledger.frames import encode
from chimera_ray.ledger.journal import Journal, make_part
from chimera_ray.ledger.parts import UNREADABLE, part_name, to_table, write_table
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.told import Told
from chimera_ray.ledger.totals import Totals, totals_of
from chimera_ray.schemas import Record

log = logging.getLogger(__name__)
PART_BYTES = 32 << 20
PART_S = 60.0
"""a journal becomes a part at this size or age, whichever it has first"""
RETRY_S = 10.0
"""until a part that could not be made is tried again"""


class WriterFiles:
    """One writer's files in one stage's folder."""

    def __init__(self, store: Store, folder: str) -> None:
        """Makes no file yet."""
        self._store, self._folder = store, folder
        self._id, self._sequence = token_hex(4), 0
        self.has_journal = store.is_local
        self._journal: Journal | None = None
        self._full: list[Journal] = []
        self._told = Told()
        self._writing, self._making = threading.Lock(), threading.Lock()
        self._retry_at = 0.0

    def write(self, records: Sequence[Record]) -> None:
        """Records → durable.

        Raises:
            LedgerError: they are not.
        """
        with self._writing:
            marked = [self._told.marked(record) for record in records]
            totals = totals_of(map(self._told.added, marked))
            self._append(to_table(marked), totals)
            self._told.learn(marked)
            journal = self._journal
            if journal is None:
                self._told.begin_file()
            elif journal.end >= PART_BYTES or time.monotonic() >= journal.made_at + PART_S:
                self._end_journal()

    @property
    def are_due(self) -> bool:
        """Whether there are journals that should be parts."""
        return bool(self._full) and time.monotonic() >= self._retry_at

    def make_parts(self) -> None:
        """Turns full journals into parts; one of which none can be made now is tried again."""
        with self._making:
            for journal in list(self._full):
                try:
                    make_part(self._store, self._folder, journal.name, journal.end)
                except (LedgerError, *UNREADABLE) as exc:
                    log.info("%s cannot be made a part yet: %s", journal.name, exc)
                    self._retry_at = time.monotonic() + RETRY_S
                    return
                journal.close()
                self._full.remove(journal)

    def close(self) -> None:
        """Makes parts of all there is; a journal that stays is for whoever finds it."""
        with self._writing:
            self._end_journal()
        self.make_parts()
        with self._making:
            for journal in self._full:
                journal.close()
            self._full.clear()

    def _append(self, rows: pa.Table, totals: Totals) -> None:
        journal = self._journal or self._begin_journal()
        if journal is None:
            write_table(self._store, f"{self._folder}/{self._next_part()}", rows, totals)
            return
        try:
            journal.append(encode(rows.to_batches()[0], totals))
        except OSError as exc:
            self._end_journal()
            raise LedgerError(f"cannot write {self._folder}/{journal.name}: {exc}") from exc

    def _begin_journal(self) -> Journal | None:
        """The journal of the next part; None: here there can be none."""
        if not self.has_journal:
            return None
        try:
            self._journal = Journal(self._store, self._folder, self._next_part())
        except LockError as exc:
            log.warning("no journal in %s, and parts at once: %s", self._store.location, exc)
            self.has_journal = False
        except OSError as exc:
            where = self._store.path(self._folder)
            raise LedgerError(f"cannot write to {where}: {exc}") from exc
        return self._journal

    def _next_part(self) -> str:
        self._sequence += 1
        return part_name(self._id, self._sequence)

    def _end_journal(self) -> None:
        journal, self._journal = self._journal, None
        if journal is None:
            return
        self._told.begin_file()
        if journal.is_empty:
            journal.discard()
        else:
            self._full.append(journal)
