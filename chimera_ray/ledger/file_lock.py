"""Locks on local files, which the system takes from their holders, however those die."""

import fcntl
import os
from contextlib import suppress
from typing import IO

MAX_TRIES = 100


class LockError(OSError):
    """Files cannot be locked here."""


def lock_file(handle: int) -> None:
    """An open file → locked, until it is closed or this process dies.

    Raises:
        BlockingIOError: another process that lives has locked it.
        LockError: files cannot be locked here.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as exc:
        raise LockError(str(exc)) from exc


class FileLock:
    """A local file that one living process holds, and that goes when it is given back."""

    def __init__(self, path: str) -> None:
        """Takes nothing yet."""
        self._path = path
        self._handle: IO[bytes] | None = None

    def take(self) -> bool:
        """Whether this process holds it now; False: another one does.

        Raises:
            OSError: the file cannot be written; a LockError: files cannot be locked here.
        """
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        for _ in range(MAX_TRIES):
            handle = open(self._path, "ab")  # noqa: SIM115 - it is held open
            try:
                lock_file(handle.fileno())
                if os.fstat(handle.fileno()).st_nlink:  # not deleted since it was opened
                    self._handle = handle
                    return True
            except BlockingIOError:
                handle.close()
                return False
            except BaseException:
                handle.close()
                raise
            handle.close()
        return False

    def give_back(self) -> None:
        """Deletes the file, and lets go; nothing if it is not held."""
        if self._handle is None:
            return
        if os.fstat(self._handle.fileno()).st_nlink:  # else another one may have taken its name
            with suppress(OSError):
                os.unlink(self._path)
        self._handle.close()
        self._handle = None
