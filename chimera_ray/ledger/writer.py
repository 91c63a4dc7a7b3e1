"""Appending to the ledger: records gather for a moment, then are made durable together.

Where files can be appended to and locked, that is in a journal, within about `GATHER_S` and one
sync, and parts are made from it later. Elsewhere (an object store) each group is a part of its own,
`flush_s` apart. Work that has had replies and goes on leaves open records on the way, so that a
kill costs none of them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.writer_files import WriterFiles
from chimera_ray.schemas import Record

log = logging.getLogger(__name__)
GATHER_S = 0.01
RETRY_S = 1.0
"""after a write that failed, if nobody waits for the next one"""


class Writer:
    """One writer of one stage's folder; made and used inside one event loop."""

    def __init__(self, store: Store, folder: str, flush_s: float) -> None:
        """Writes nothing yet.

        Args:
            store: where the ledger lives.
            folder: the stage's folder in it.
            flush_s: seconds between two parts, at least, where there can be no journal: what a kill
                can cost there.
        """
        self._files = WriterFiles(store, folder)
        self._flush_s = flush_s
        self._pending: list[Record] = []
        self._open: dict[str, Callable[[], Record]] = {}
        self._durable: asyncio.Future[None] | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._parts_maker: asyncio.Task[None] | None = None
        self._flushed_at = -flush_s
        self._waits_since = 0.0
        self._trouble: Exception | None = None
        self._num_closing = 0

    async def append(self, record: Record) -> None:
        """Record → nothing, once it is durable.

        Raises:
            LedgerError: it could not be written; it is tried again with what comes next.
        """
        if self._durable is None:
            self._durable = asyncio.get_running_loop().create_future()
        durable = self._durable
        self._flush_soon()
        self._pending.append(record)
        self._open.pop(record.work_id, None)
        await asyncio.shield(durable)

    def note(self, work: str, make: Callable[[], Record]) -> None:
        """Unfinished work → a record of it soon, unless it has ended by then."""
        self._flush_soon()
        self._open[work] = make

    async def flush(self) -> None:
        """Waits until what was appended and noted is durable, or cannot be."""
        self._num_closing += 1
        try:
            self._flush_soon()
            if self._flusher is not None:
                await asyncio.shield(self._flusher)
        finally:
            self._num_closing -= 1

    async def close(self) -> None:
        """Waits until what was appended and noted is durable, and in parts.

        Raises:
            LedgerError: it could not be written.
        """
        await self.flush()
        await asyncio.to_thread(self._files.close)
        if self._open and self._trouble is not None:
            raise LedgerError(f"{len(self._open)} rows could not be written: {self._trouble}")

    def _flush_soon(self) -> None:
        """Called before there is something more to write."""
        if not self._pending and not self._open:
            self._waits_since = time.monotonic()
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._pending or self._open:
            await asyncio.sleep(self._wait_s())
            is_last_try = self._num_closing > 0
            await self._write_group()
            if self._files.are_due and (self._parts_maker is None or self._parts_maker.done()):
                making = asyncio.to_thread(self._files.make_parts)
                self._parts_maker = asyncio.create_task(making)
            if self._trouble is not None and is_last_try and not self._pending:
                return

    def _wait_s(self) -> float:
        gather_s = min(GATHER_S, self._flush_s)
        if self._trouble is not None and not self._pending and not self._num_closing:
            return RETRY_S
        if self._files.has_journal:
            return max(self._waits_since + gather_s - time.monotonic(), 0.0)
        return max(self._flushed_at + self._flush_s - time.monotonic(), gather_s)

    async def _write_group(self) -> None:
        ended, begun, durable = self._pending, self._open, self._durable
        self._pending, self._open, self._durable = [], {}, None
        self._flushed_at = time.monotonic()
        records = [*ended, *(make() for make in begun.values())]
        try:
            await asyncio.to_thread(self._files.write, records)
        except Exception as exc:  # noqa: BLE001 - for those who wait; what they have is tried again
            log.info("cannot write to the ledger: %s", exc)
            self._trouble = exc
            if isinstance(exc, LedgerError):
                self._keep(records)
            if durable is not None:
                durable.set_exception(exc)
                durable.exception()  # seen, also where nobody waits any more
        else:
            self._trouble = None
            if durable is not None:
                durable.set_result(None)

    def _keep(self, records: Iterable[Record]) -> None:
        """Takes up again what could not be written, unless there is news of the same work."""
        later = self._open.keys() | {record.work_id for record in self._pending}
        for record in records:
            if record.work_id not in later:
                self._open[record.work_id] = partial(_itself, record)


def _itself(record: Record) -> Record:
    return record
