"""Appending to the ledger: records gather for a moment, then leave as one durable part.

Work that has had replies and is still going on leaves an open record at the next flush, so that a
kill costs none of them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from secrets import token_hex

from chimera_ray.ledger.parts import part_name, write_part
from chimera_ray.ledger.store import Store
from chimera_ray.schemas import Record

log = logging.getLogger(__name__)
GATHER_S = 0.05


class Writer:
    """One writer of one stage's folder; made and used inside one event loop."""

    def __init__(self, store: Store, folder: str, flush_s: float) -> None:
        """Writes nothing yet.

        Args:
            store: where the ledger lives.
            folder: the stage's folder in it.
            flush_s: seconds between two parts, at least: what a kill can cost.
        """
        self._store, self._folder, self._flush_s = store, folder, flush_s
        self._id = token_hex(4)
        self._sequence = 0
        self._pending: list[Record] = []
        self._open: dict[str, Callable[[], Record]] = {}
        self._durable: asyncio.Future[None] | None = None
        self._flusher: asyncio.Task[None] | None = None
        self._flushed_at = -flush_s

    async def append(self, record: Record) -> None:
        """Record → nothing, once it is durable.

        Raises:
            LedgerError: it could not be written.
        """
        if self._durable is None:
            self._durable = asyncio.get_running_loop().create_future()
        self._pending.append(record)
        self._open.pop(record.work_id, None)
        durable = self._durable
        self._flush_soon()
        await asyncio.shield(durable)

    def note(self, work: str, make: Callable[[], Record]) -> None:
        """Unfinished work → a record of it at the next flush, unless it has ended by then."""
        self._open[work] = make
        self._flush_soon()

    async def close(self) -> None:
        """Waits until what was appended is durable, or has failed to be."""
        if self._flusher is not None:
            await self._flusher

    def _flush_soon(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        while self._pending or self._open:
            wait_s = self._flushed_at + self._flush_s - time.monotonic()
            await asyncio.sleep(max(wait_s, min(GATHER_S, self._flush_s)))
            records = [*self._pending, *(make() for make in self._open.values())]
            durable = self._durable or asyncio.get_running_loop().create_future()
            self._pending, self._open, self._durable = [], {}, None
            if not records:
                continue
            name = part_name(self._id, self._sequence)
            self._sequence += 1
            self._flushed_at = time.monotonic()
            try:
                await asyncio.to_thread(write_part, self._store, self._folder, name, records)
            except Exception as exc:  # noqa: BLE001 - for those who wait; the next part is tried
                log.error("cannot write %s: %s", name, exc)
                durable.set_exception(exc)
                durable.exception()  # seen, also where nobody waits
            else:
                durable.set_result(None)
