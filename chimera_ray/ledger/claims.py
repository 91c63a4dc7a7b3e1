"""Who works on which row, where several runs share a stage's work at the same time.

Beside a stage's parts, `claims/` holds a locked file for each process at work there and, while
there are several runs, `taken`: claims in the order in which they were made, written under one
lock. It says nothing of what is done, which the ledger does, and nothing that outlives a process.
"""

import fcntl
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

from chimera_ray.ledger.file_lock import LockError, lock_file
from chimera_ray.ledger.store import Store

_ENTRY = struct.Struct(">QQ")
"""the first 64 bits of a work id, and its holder's id; 0: given back"""


def open_claims(store: Store, folder: str, run_id: str) -> "Claims | None":
    """A stage's folder and an execution → its claims there; None where files cannot be locked."""
    if not store.is_local:
        return None
    try:
        return Claims(Path(store.path(folder, "claims")), run_id)
    except LockError:
        return None


class Claims:
    """One process's claims at one stage; its calls must not overlap."""

    def __init__(self, folder: Path, run_id: str) -> None:
        """Makes this process known to the others.

        Args:
            folder: of the stage's claims.
            run_id: this execution, whose other processes share no rows with this one.
        """
        self._folder, self._run_id = folder, run_id
        self._id = int(token_hex(8), 16) | 1
        self._held: dict[int, int] = {}
        self._offset = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._name = f"{run_id}.{self._id:016x}.lock"
        self._lock = _locked(folder, self._name)
        if not self.has_others():
            with self._taken() as file:
                self._cut(file, 0)

    def has_others(self) -> bool:
        """Whether a living process of another run works on the stage; sweeps away dead ones."""
        return any(run_id != self._run_id for run_id, _ in self._living())

    def take(self, works: Sequence[str]) -> list[bool]:
        """Work ids → for each whether this process has it now; else another living one has."""
        keys = [_key(work) for work in works]
        with self._taken() as file:
            others = {holder for _, holder in self._living()} - {self._id}
            are_ours = [self._held.get(key) not in others for key in keys]
            taken = [key for key, is_ours in zip(keys, are_ours, strict=True) if is_ours]
            self._append(file, [(key, self._id) for key in taken])
        return are_ours

    def give_back(self, works: Iterable[str]) -> None:
        """Work ids that did not come to an end for good → free for other runs."""
        with self._taken() as file:
            self._append(file, [(_key(work), 0) for work in works])

    def are_free(self, works: Sequence[str]) -> list[bool]:
        """Work ids → for each whether no other living process has it."""
        with self._taken():
            others = {holder for _, holder in self._living()} - {self._id}
        return [self._held.get(_key(work)) not in others for work in works]

    def close(self) -> None:
        """Lets go of all that this process has."""
        (self._folder / self._name).unlink(missing_ok=True)
        self._lock.close()

    def _living(self) -> list[tuple[str, int]]:
        """The run and the id of each process that is at work here, this one included."""
        found: list[tuple[str, int]] = []
        for path in self._folder.glob("[!.]*.lock"):  # hidden, it is not locked yet
            run_id, _, holder = path.stem.rpartition(".")
            if int(holder, 16) == self._id or not _is_dead(path):
                found.append((run_id, int(holder, 16)))
            else:
                path.unlink(missing_ok=True)
        return found

    @contextmanager
    def _taken(self) -> Iterator[BinaryIO]:
        """The file of all claims, locked; what others wrote since has been taken in."""
        with open(self._folder / "taken", "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if file.seek(0, os.SEEK_END) < self._offset:  # a newcomer that was alone has cleared it
                self._offset = 0
                self._held.clear()
            file.seek(self._offset)
            content = file.read()
            whole = len(content) - len(content) % _ENTRY.size
            self._held.update(_ENTRY.iter_unpack(content[:whole]))
            self._cut(file, self._offset + whole)  # half an entry, of a killed process
            yield file

    def _cut(self, file: BinaryIO, size: int) -> None:
        file.truncate(size)
        self._offset = size

    def _append(self, file: BinaryIO, entries: Sequence[tuple[int, int]]) -> None:
        file.write(b"".join(_ENTRY.pack(*entry) for entry in entries))
        file.flush()
        self._held.update(entries)
        self._offset += len(entries) * _ENTRY.size


def _key(work: str) -> int:
    return int(work[:16], 16)


def _locked(folder: Path, name: str) -> BinaryIO:
    """A new file under that name, locked from the moment at which it has it."""
    hidden = folder / f".{name}"
    file = open(hidden, "wb")  # noqa: SIM115 - locked for as long as the process works
    try:
        lock_file(file.fileno())
        hidden.rename(folder / name)
    except OSError:
        file.close()
        hidden.unlink(missing_ok=True)
        raise
    return file


def _is_dead(path: Path) -> bool:
    """Whether nobody holds the lock of a file any more."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
