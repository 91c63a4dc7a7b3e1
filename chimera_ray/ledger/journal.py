"""A writer's journal: frames that are durable in milliseconds, from which a part is made later.

A journal and the part that is made from it bear the same time, writer and number in their names.
Where both are there, the part counts: so a crash between the two steps leaves nothing twice. Its
writer locks a journal as long as it lives. What the dead have left, any other process turns into
parts. Only for stores whose files can be appended to and locked.
"""

import errno
import os
import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.file_lock import LockError, lock_file
from chimera_ray.ledger.frames import OPENING, scan
from chimera_ray.ledger.parts import is_part, write_table
from chimera_ray.ledger.store import Store, open_temporary, sync_folder
from chimera_ray.ledger.totals import Totals, sum_totals

_PREFIX, _SUFFIX, _LEFT = "journal-", ".log", "-left"


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
        self._file, temporary = open_temporary(where, self.name)
        try:
            _write(self._file, OPENING)
            os.fchmod(self._file, 0o644)
            os.rename(temporary, self._path)
            sync_folder(where)
        except BaseException:
            for path in (temporary, self._path):
                with suppress(OSError):
                    os.unlink(path)
            os.close(self._file)
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


def recover(store: Store, folder: str) -> int:
    """A stage's folder → how many journals of dead writers were there; they are parts now.

    Raises:
        LedgerError: one of them cannot be read, or its part not be written; the journal stays.
    """
    return sum(_recover(store, folder, name) for name in store.names(folder) if is_journal(name))


def _recover(store: Store, folder: str, name: str) -> bool:
    path = f"{folder}/{name}"
    if not store.is_readable(path):
        if store.exists(path):
            store.set_aside(path, "named like a journal, and no file that can be read")
        return False
    if not store.is_local:  # nobody writes a journal there: it was copied
        return make_part(store, folder, name)
    try:
        file = os.open(store.path(path), os.O_RDWR)
    except FileNotFoundError:  # its writer has made the part meanwhile
        return False
    except PermissionError:  # another user's, who makes the part, now or by the next run
        return False
    except OSError as exc:
        raise LedgerError(f"cannot open {store.path(path)}: {exc.strerror}") from exc
    try:
        lock_file(file)
        if not os.fstat(file).st_nlink:
            return False
        left = name if _LEFT in name else name.removesuffix(_SUFFIX) + _LEFT + _SUFFIX
        # Renamed before it is read: a writer that lives all the same sees that, and begins anew.
        store.move(path, f"{folder}/{left}")
        return make_part(store, folder, left)
    except (BlockingIOError, LockError):  # its writer lives, or nobody can say whether it does
        return False
    finally:
        os.close(file)


def make_part(store: Store, folder: str, name: str, size: int | None = None) -> bool:
    """A journal that is not written any more → whether it was there; its records are a part now.

    Bytes that are no record were never durable if they stand at the end and begin a frame: a kill
    left them. Of other such bytes the journal is kept, set aside.

    Args:
        store: where the ledger lives.
        folder: the stage's folder in it.
        name: the journal's.
        size: its bytes that count, if its writer knows.

    Raises:
        LedgerError: the part could not be written; the journal stays.
    """
    path = f"{folder}/{name}"
    try:
        content = store.read_bytes(path)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise LedgerError(f"cannot read {store.path(path)}: {exc}") from exc
    found = scan(content if size is None else content.slice(0, size))
    if found.frames and not store.exists(f"{folder}/{part_of(name)}"):
        rows, dropped = _without_superseded(pa.Table.from_batches(f.rows for f in found.frames))
        totals = sum_totals([sum_totals(f.totals for f in found.frames), dropped], sign=-1)
        write_table(store, f"{folder}/{part_of(name)}", rows, totals)
    num_lost = found.num_damaged + (0 if found.is_torn else content.size - found.end)
    if num_lost:
        store.set_aside(path, f"{num_lost} bytes of it are damaged, the others are in a part")
    else:
        store.delete(path)
    return True


def _without_superseded(rows: pa.Table) -> tuple[pa.Table, Totals]:
    """A journal's records → those that count, and what the others add to the totals.

    An open record is superseded by a later one of the same work, which holds its calls too.
    """
    is_open = pc.equal(rows["outcome"], "open").to_numpy()
    if not is_open.any():
        return rows, sum_totals([])
    works = rows["work_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    last = np.zeros(len(rows), bool)
    last[len(rows) - 1 - np.unique(works[::-1], return_index=True)[1]] = True
    is_kept = ~is_open | last
    dropped = rows["run_id"].filter(pa.array(~is_kept))
    runs = {run["values"]: run["counts"] for run in pc.value_counts(dropped).to_pylist()}
    totals = {"outcomes": {"open": len(dropped)}, "outputs": 0, "roles": {}, "runs": runs}
    return rows.filter(pa.array(is_kept)), totals


def _write(file: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
