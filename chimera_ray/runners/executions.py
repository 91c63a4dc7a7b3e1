"""What one execution writes beside the ledger for itself alone, and what dead ones have left.

A living execution holds a lock, which the system takes from it however it dies. Where files cannot
be locked (an object store), an execution counts as dead once it began two weeks ago.
"""

import logging
import time
from contextlib import suppress

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.file_lock import FileLock
from chimera_ray.ledger.store import Store
from chimera_ray.runners.live import LIVE

log = logging.getLogger(__name__)
PENDING, LOCK = "runs/.todo", ".lock"
UNLOCKED_DAYS = 1
"""until files are swept that nobody holds a lock for: of actors that outlived their driver"""
UNKNOWN_DAYS = 14
"""until files are swept where there are no locks"""


class Execution:
    """The files of one execution, while it lives; whatever goes wrong with them ends no run."""

    def __init__(self, store: Store, run_id: str) -> None:
        """Writes nothing yet."""
        self.pending = f"{PENDING}/{run_id}"
        """folder of the rows that are to be done"""
        self._store, self._run_id = store, run_id
        self._lock = _lock_of(store, run_id)

    def open(self) -> None:
        """Says that it lives, and sweeps what dead executions have left."""
        with suppress(OSError):  # then it is swept after a while, and no run takes weeks
            if self._lock is not None:
                self._lock.take()
        sweep_dead(self._store)

    def clear(self) -> None:
        """Deletes what it has written; what its actors still say later is swept by a later run."""
        _delete(self._store, self._run_id)

    def close(self) -> None:
        """The same, and it lives no more."""
        self.clear()
        if self._lock is not None:
            self._lock.give_back()


def sweep_dead(store: Store) -> None:
    """Deletes what executions have left that were killed; never a living one's."""
    names = {*store.names(PENDING), *store.names(LIVE)}
    locked = {name.removesuffix(LOCK) for name in names if name.endswith(LOCK)}
    for run_id in sorted({name.removesuffix(LOCK) for name in names}):
        lock = _lock_of(store, run_id) if run_id in locked else None
        try:
            is_dead = lock.take() if lock is not None else _is_old(run_id, _days(store))
        except OSError:
            is_dead = _is_old(run_id, UNKNOWN_DAYS)
        if is_dead:
            _delete(store, run_id)
            if lock is not None:
                lock.give_back()


def _lock_of(store: Store, run_id: str) -> FileLock | None:
    return FileLock(store.path(f"{LIVE}/{run_id}{LOCK}")) if store.is_local else None


def _days(store: Store) -> int:
    return UNLOCKED_DAYS if store.is_local else UNKNOWN_DAYS


def _is_old(run_id: str, days: int) -> bool:
    """Whether an execution began so many days ago, as its name says."""
    began = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() - days * 86_400))
    return run_id < began


def _delete(store: Store, run_id: str) -> None:
    for folder in (PENDING, LIVE):
        try:
            store.delete_folder(f"{folder}/{run_id}")
        except (LedgerError, OSError) as exc:
            log.info("left for a later run to sweep: %s", exc)
