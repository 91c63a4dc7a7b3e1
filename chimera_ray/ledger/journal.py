"""A writer's journal: frames that are durable in milliseconds, from which a part is made later.

A journal and the part that is made from it bear the same time, writer and number in their names.
Where both are there, the part counts: so a crash between the two steps leaves nothing twice. Its
writer locks a journal as long as it lives. What the dead have left, any other process turns into
parts. Only for stores whose files can be appended to and locked.
"""

import errno
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.frames import OPENING, Frame, Scanned, scan
from chimera_ray.ledger.parts import is_part, write_table
from chimera_ray.ledger.store import Store, sync_folder

log = logging.getLogger(__name__)
_PREFIX, _SUFFIX, _LEFT = "journal-", ".log", "-left"


class LockError(Exception):
    """Files cannot be locked here, so nobody could tell the journal of a writer that lives."""


def is_journal(name: str) -> bool:
    """Whether a file's name is that of a journal."""
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def part_of(journal: str) -> str:
    """A journal's name → that of the part which is made from it."""
    stem = journal.removeprefix(_PREFIX).removesuffix(_SUFFIX).removesuffix(_LEFT)
    return f"part-{stem}.parquet"


def live_journals(names: Sequence[str]) -> list[str]:
    """The names in a folder → the journals whose records are in no part of it."""
    parts = set(filter(is_part, names))
    return [name for name in names if is_journal(name) and part_of(name) not in parts]


class Journal:
    """A journal that this process writes; locked until it is closed."""

    def __init__(self, store: Store, folder: str, part: str) -> None:
        """Makes the file, empty and durable; its name shows only once it is locked.

        Args:
            store: where the ledger lives.
            folder: the stage's folder in it.
            part: the name of the part that is made from it later.

        Raises:
            LockError: files cannot be locked here.
            OSError: it could not be made.
        """
        self.name = _PREFIX + part.removeprefix("part-").removesuffix(".parquet") + _SUFFIX
        self._path = store.path(folder, self.name)
        where = os.path.dirname(self._path)
        os.makedirs(where, exist_ok=True)
        self._file, temporary = tempfile.mkstemp(prefix=f".{self.name}-", suffix=".tmp", dir=where)
        try:
            _lock(self._file)
            _write(self._file, OPENING)
            os.fchmod(self._file, 0o644)
            os.rename(temporary, self._path)
            sync_folder(where)
        except BaseException:
            os.close(self._file)
            for path in (temporary, self._path):
                with suppress(OSError):
                    os.unlink(path)
            raise
        self.made_at = time.monotonic()
        self.end = len(OPENING)

    @property
    def is_empty(self) -> bool:
        """Whether it holds no frame."""
        return self.end == len(OPENING)

    def append(self, frame: bytes) -> None:
        """A frame → durable; after an error the journal is as it was, and is not to be used again.

        Raises:
            OSError: it is not durable.
        """
        try:
            _write(self._file, frame)
            os.fdatasync(self._file)
            # Where locks are not seen by other machines, one of them may have taken it over.
            if os.stat(self._path).st_ino != os.fstat(self._file).st_ino:
                raise FileNotFoundError(errno.ESTALE, "taken over by another process", self._path)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self.end)
            raise
        self.end += len(frame)

    def discard(self) -> None:
        """Deletes it, if it still has its name, and lets go."""
        with suppress(OSError):
            os.unlink(self._path)
        self.close()

    def close(self) -> None:
        """Lets go of the file: whoever finds it may turn it into a part."""
        os.close(self._file)


def recover(store: Store, folder: str) -> list[str]:
    """A stage's folder → the journals there that writers left which are dead, now parts.

    Raises:
        LedgerError: a part could not be written; its journal stays.
    """
    return [name for name in store.names(folder) if is_journal(name) and _recover(store, folder, name)]


def _recover(store: Store, folder: str, name: str) -> bool:
    path = f"{folder}/{name}"
    if not store.is_local:  # nobody writes a journal there: it was copied
        return make_part(store, folder, name)
    if not store.is_regular(path):
        store.set_aside(path, "a journal's name, and no file")
        return False
    try:
        file = os.open(store.path(path), os.O_RDWR)
    except FileNotFoundError:  # its writer has made the part meanwhile
        return False
    except OSError as exc:
        raise LedgerError(f"cannot read {store.path(path)}: {exc.strerror}") from exc
    try:
        _lock(file)
        if not store.is_same(path, file):
            return False
        left = name if _LEFT in name else name.removesuffix(_SUFFIX) + _LEFT + _SUFFIX
        # Renamed before it is read: a writer that lives all the same sees that, and begins anew.
        store.move(path, f"{folder}/{left}")
        return make_part(store, folder, left)
    except (BlockingIOError, LockError):
        return False
    finally:
        os.close(file)


def make_part(store: Store, folder: str, name: str) -> bool:
    """A journal that nobody appends to any more → the part of its records; the journal goes.

    What is no frame in it was never durable if it stands at the end, cut off; else the journal is
    set aside when its records are in the part.

    Raises:
        LedgerError: the part could not be written; the journal stays.
    """
    path = f"{folder}/{name}"
    try:
        content = store.read_bytes(path)
    except FileNotFoundError:
        return False
    found = scan(content)
    if found.frames and not store.exists(f"{folder}/{part_of(name)}"):
        rows = pa.Table.from_batches([frame.rows for frame in found.frames])
        kept = without_superseded(rows)
        write_table(store, f"{folder}/{part_of(name)}", kept, totals_of_frames(found.frames, kept))
    if found.num_damaged or not found.is_torn:
        store.set_aside(path, f"damaged: {_lost(found, content.size)} bytes of it are no records")
    else:
        store.delete(path)
    return True
