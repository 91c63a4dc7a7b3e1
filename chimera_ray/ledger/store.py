"""Files that are whole or absent: local folders, or any object store that pyarrow can open."""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from chimera_ray.errors import ConfigError, LedgerError

COPY_BYTES = 4 << 20
DELETE_TRIES = 10


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
            raise ConfigError(f"output_dir: cannot open {location!r}: {exc}") from None
        self.is_local = isinstance(self.fs, pafs.LocalFileSystem)

    def path(self, *parts: str) -> str:
        """Relative parts → the full path on the store's filesystem."""
        return str(PurePosixPath(self.root, *parts))

    def require_writable(self) -> None:
        """Nothing, if a file can be written here.

        Raises:
            ConfigError: it cannot, and why.
        """
        probe = f".probe-{os.getpid()}"
        try:
            self.write(probe, lambda sink: sink.write(b"x"))
            self.fs.delete_file(self.path(probe))
        except (OSError, LedgerError) as exc:
            number = getattr(exc.__cause__ or exc, "errno", None)
            why = os.strerror(number) if number else str(exc).splitlines()[0]
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

    @contextmanager
    def lock(self, path: str) -> Iterator[bool]:
        """A path → whether this process alone holds it, until it lets go or dies.

        Where files cannot be locked (an object store), the answer is always yes.
        """
        if not self.is_local:
            yield True
            return
        target = self.path(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True

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
        with suppress(FileNotFoundError):
            self.fs.delete_file(self.path(path))


def _fill_then_put(fs: pafs.FileSystem, target: str, fill: Callable[[Any], object]) -> None:
    """Fills a local file, then puts it: a stream that is left half-way is an object too."""
    with tempfile.TemporaryFile() as whole:
        fill(whole)
        whole.seek(0)
        with fs.open_output_stream(target) as sink:
            shutil.copyfileobj(whole, sink, COPY_BYTES)


def _sync_folder(folder: str) -> None:
    """Makes a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_then_rename(target: str, fill: Callable[[Any], object]) -> None:
    folder, name = os.path.split(target)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}-", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as sink:
            fill(sink)
            sink.flush()
            os.fsync(sink.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
        _sync_folder(folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
