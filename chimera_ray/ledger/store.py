"""Files that are whole or absent: local folders, or any object store that pyarrow can open."""

import errno
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from chimera_ray.errors import ConfigError, LedgerError
from chimera_ray.ledger.file_lock import FileLock, LockError, lock_file

log = logging.getLogger(__name__)
COPY_BYTES = 4 << 20
DELETE_TRIES = 10
SET_ASIDE = "set_aside"
"""subfolder for what cannot be read; the rows that it held are done again"""
_PROBE = ".probe-"
_PROBES = re.compile(r"\.?\.probe-\d+.*")
_TEMPORARIES = re.compile(r"\..+-[a-z0-9_]{8}\.tmp")


class Store:
    """One output directory, by path or URI; every path given to it is relative to that."""

    def __init__(self, location: str) -> None:
        """Opens the location without touching it."""
        self.location = location
        try:
            if "://" in location:
                self.fs, self.root = pafs.FileSystem.from_uri(location)
            else:
                path = str(Path(location).expanduser().resolve())
                self.fs, self.root = pafs.LocalFileSystem(), path
        except (pa.ArrowException, OSError, RuntimeError, ValueError) as exc:
            why = str(exc).partition("\n")[0]
            raise ConfigError(f"output_dir: cannot open {location!r}: {why}") from None
        self.is_local = isinstance(self.fs, pafs.LocalFileSystem)
        if not self.root.strip("/"):  # else a folder's name would be taken for a bucket's
            raise ConfigError(f"output_dir: {location} names no folder: give one below it")

    def path(self, *parts: str) -> str:
        """Relative parts → the full path on the store's filesystem."""
        return str(PurePosixPath(self.root, *parts))

    def require_writable(self) -> None:
        """Nothing, if a file can be written here.

        Raises:
            ConfigError: it cannot, and why.
        """
        probe = f"{_PROBE}{os.getpid()}-{token_hex(4)}"
        try:
            self.sweep("")
            self.write(probe, lambda sink: sink.write(b"x"))
            self.delete(probe)
        except (OSError, LedgerError) as exc:
            number = getattr(exc.__cause__ or exc, "errno", None)
            why = os.strerror(number) if number else str(exc).partition("\n")[0]
            raise ConfigError(f"output_dir: cannot write to {self.location}: {why}") from None

    def names(self, folder: str) -> list[str]:
        """The names of a folder's files and folders, sorted; empty if there is no such folder."""
        if self.is_local:
            with suppress(FileNotFoundError, NotADirectoryError):
                return sorted(os.listdir(self.path(folder)))
            return []
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True)
        return sorted(info.base_name for info in self.fs.get_file_info(selector))

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        return bool(self.fs.get_file_info(self.path(path)).type != pafs.FileType.NotFound)

    def is_readable(self, path: str) -> bool:
        """Whether a name is that of a regular file, which this user may read."""
        if not self.is_local:
            return True  # there are no others
        found = self.path(path)
        try:
            is_regular = stat.S_ISREG(os.stat(found).st_mode)
        except OSError:
            return False
        return is_regular and os.access(found, os.R_OK)

    def size(self, path: str) -> int:
        """A path → its file's bytes; 0 if there is none."""
        return self.fs.get_file_info(self.path(path)).size or 0

    def write(self, path: str, fill: Callable[[Any], object]) -> None:
        """A path and what fills its file → the file, whole, on disk, or not there at all."""
        target = self.path(path)
        try:
            self.fs.create_dir(str(PurePosixPath(target).parent), recursive=True)
            if self.is_local:
                _write_then_rename(target, fill)
            else:
                _fill_then_put(self.fs, target, fill)
        except OSError as exc:
            raise LedgerError(f"cannot write {target}: {exc}") from exc

    def write_text(self, path: str, text: str) -> None:
        """A text → its file, whole."""
        self.write(path, lambda sink: sink.write(text.encode("utf-8")))

    def read_bytes(self, path: str) -> pa.Buffer:
        """A path → the file's content; FileNotFoundError if there is none."""
        with self.fs.open_input_file(self.path(path)) as source:
            return source.read_buffer()

    def read_text(self, path: str) -> str:
        """A path → the file's text."""
        return bytes(self.read_bytes(path)).decode("utf-8")

    def move(self, source: str, target: str) -> None:
        """Renames a file; nothing if another process has moved it before."""
        try:
            self.fs.create_dir(str(PurePosixPath(self.path(target)).parent), recursive=True)
            with suppress(FileNotFoundError):
                self.fs.move(self.path(source), self.path(target))
        except OSError as exc:
            raise LedgerError(f"cannot move {self.path(source)} to {target}: {exc}") from exc

    def set_aside(self, path: str, why: str) -> None:
        """Moves what cannot be read out of the way, into a folder beside it, and says so."""
        folder, name = os.path.split(path)
        target = f"{folder}/{SET_ASIDE}/{name}"
        if self.exists(target):
            target += f"-{token_hex(4)}"
        self.move(path, target)
        log.warning("%s set aside; its rows are done again (%s)", path, why)

    def sweep(self, folder: str) -> list[str]:
        """Deletes what writers that are dead left half-written in a folder; the files' names."""
        if not self.is_local:  # nothing is written there under another name
            return []
        kind = _TEMPORARIES if folder else _PROBES
        names = filter(kind.fullmatch, self.names(folder))
        return [name for name in names if _is_litter(self.path(folder, name))]

    @contextmanager
    def lock(self, path: str) -> Iterator[bool]:
        """A path → whether this process alone holds it, until it lets go or dies.

        Where files cannot be locked (an object store, some network file systems), the answer is
        always yes.
        """
        if not self.is_local:
            yield True
            return
        lock = FileLock(self.path(path))
        try:
            is_ours = lock.take()
        except LockError:
            is_ours = True
        try:
            yield is_ours
        finally:
            lock.give_back()

    def delete_folder(self, path: str) -> None:
        """Deletes a folder and all in it; nothing if there is none.

        Others may write into it meanwhile: what still comes after several tries stays.
        """
        for _ in range(DELETE_TRIES):
            try:
                self.fs.delete_dir(self.path(path))
            except OSError as exc:
                if not isinstance(exc, FileNotFoundError) and exc.errno != errno.ENOTEMPTY:
                    raise LedgerError(f"cannot delete {self.path(path)}: {exc}") from exc
            if not self.exists(path):
                return

    def delete(self, path: str) -> None:
        """Deletes a file; nothing if another process has deleted it before."""
        try:
            with suppress(FileNotFoundError):
                self.fs.delete_file(self.path(path))
        except OSError as exc:
            raise LedgerError(f"cannot delete {self.path(path)}: {exc}") from exc


def _fill_then_put(fs: pafs.FileSystem, target: str, fill: Callable[[Any], object]) -> None:
    """Fills a local file, then puts it: a stream that is left half-way is an object too."""
    with tempfile.TemporaryFile() as whole:
        fill(whole)
        whole.seek(0)
        with fs.open_output_stream(target) as sink:
            shutil.copyfileobj(whole, sink, COPY_BYTES)


def _is_litter(path: str) -> bool:
    """Whether a temporary was that of a writer which is dead; it is gone then."""
    try:
        with open(path, "rb+") as handle:
            lock_file(handle.fileno())
            os.unlink(path)
    except OSError:  # written by a process that lives, gone, or not ours to delete
        return False
    return True


def sync_folder(folder: str) -> None:
    """Makes a file's name survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_temporary(folder: str, name: str) -> tuple[int, str]:
    """A file's name to be → an open file under another name, locked so that nobody sweeps it.

    Raises:
        LockError: files cannot be locked here.
    """
    while True:
        handle, path = tempfile.mkstemp(prefix=f".{name}-", suffix=".tmp", dir=folder)
        try:
            lock_file(handle)
            if os.fstat(handle).st_nlink:
                return handle, path
        except BlockingIOError:  # it is being swept: it was not locked yet
            pass
        except LockError:
            os.unlink(path)
            os.close(handle)
            raise
        os.close(handle)


def _write_then_rename(target: str, fill: Callable[[Any], object]) -> None:
    folder, name = os.path.split(target)
    try:
        handle, temporary = open_temporary(folder, name)
    except LockError:
        handle, temporary = tempfile.mkstemp(prefix=f".{name}-", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as sink:
            fill(sink)
            sink.flush()
            os.fsync(sink.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        sync_folder(folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
