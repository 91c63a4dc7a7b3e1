"""Calls that were gathered → their batches: those that have them already, or a new one."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from chimera_ray.backends.halt import Halt
from chimera_ray.backends.openai_batch_calls import BatchCalls
from chimera_ray.backends.openai_batch_handed import Handed
from chimera_ray.backends.openai_batch_journal import Entries, Entry, Journal, places_of
from chimera_ray.errors import ChimeraError
from chimera_ray.llm import Request
from chimera_ray.model_config import Batch, OpenAIModel

log = logging.getLogger(__name__)
SETTLE_S = 60.0
"""after an intent, its batch may be on the way and not yet listed; poll_s, where that is less"""


@dataclass(slots=True, eq=False)
class Item:
    """One call on its way into a batch."""

    key: str
    """its custom_id"""
    request: Request
    structured: str = ""
    """how it asks for fields"""
    line: bytes = b""
    """of an input file, until it is handed in"""
    place: asyncio.Future[Handed] = field(init=False)
    seen: set[str] = field(default_factory=set)
    """batches that it was in, and had no answer from"""

    def settle(self, what: Handed | Exception) -> None:
        """A batch, or why there is none → told to who waits for it; the first word counts."""
        if self.place.done():
            return
        if isinstance(what, Handed):
            self.place.set_result(what)
        else:
            self.place.set_exception(copied(what) if isinstance(what, ChimeraError) else what)


class Placing:
    """One group of calls after the other; the journal is read before anything is handed in."""

    def __init__(self, config: OpenAIModel, batch: Batch, journal: Journal, halt: Halt) -> None:
        """A configuration → the way into batches; nothing is opened yet.

        Raises:
            EndpointError: the environment variable that is to hold the key is not set here.
        """
        self._config, self._batch, self._halt = config, batch, halt
        self._calls, self._entries = BatchCalls(config), Entries(journal)
        self._batches: dict[str, Handed] = {}
        self._lock = asyncio.Lock()

    @property
    def num_live(self) -> int:
        """Batches that somebody here waits for, or will read, and that have not ended."""
        return sum(not batch.is_ended for batch in self._batches.values())

    async def place(self, items: Sequence[Item]) -> None:
        """Tells each call its batch, or why there is none."""
        try:
            async with self._lock:
                await asyncio.to_thread(self._entries.refresh)
                await self._adopt(items)
                rest = [item for item in items if not item.place.done()]
                if rest:
                    self._halt.check()
                    batch = await self._submit(rest)
                    for item in rest:
                        item.settle(batch)
        except Exception as exc:  # noqa: BLE001 - each of the calls raises it
            for item in items:
                item.settle(exc)

    async def close(self) -> None:
        """Stops watching and closes the connections; batches go on."""
        for batch in self._batches.values():
            batch.close()
        await self._calls.close()

    async def _adopt(self, items: Sequence[Item]) -> None:
        """Gives calls that are in a journaled batch to that batch."""
        places = places_of([item.key for item in items])
        for entry in self._entries.newest_first():
            here = [items[at] for at in entry.among(places)]
            here = [i for i in here if not i.place.done() and entry.stem not in i.seen]
            batch = await self._adopted(entry) if here else None
            if batch is not None:
                name = self._config.name
                log.info("%s: %d calls are already in batch %s", name, len(here), entry.batch_id)
                for item in here:
                    item.settle(batch)

    async def _adopted(self, entry: Entry) -> Handed | None:
        """An entry → its batch; None: it never became one."""
        if entry.stem in self._batches:
            return self._batches[entry.stem]
        if entry.batch_id is None:
            find, sleep = self._calls.find, self._halt.sleep
            found = await find(entry, sleep)
            if found is None:
                wait_s = min(self._batch.poll_s, SETTLE_S) - entry.age_s
                if wait_s > 0:
                    await sleep(wait_s)
                    found = await find(entry, sleep)
            if found is None:
                self._entries.drop(entry)
                return None
            await asyncio.to_thread(self._entries.note, entry, found)
        return self._handed(entry, ())

    async def _submit(self, items: Sequence[Item]) -> Handed:
        """Calls → their new batch; what is in it is written down before it is created."""
        keys, sleep = [item.key for item in items], self._halt.sleep
        file_id = await self._calls.upload(b"".join(item.line for item in items), sleep)
        self._halt.check()
        entry = await asyncio.to_thread(self._entries.intend, file_id, keys)
        batch_id = await self._calls.create(entry, sleep)
        await asyncio.to_thread(self._entries.note, entry, batch_id)
        log.info("%s: %d calls handed in as batch %s", self._config.name, len(keys), batch_id)
        return self._handed(entry, keys)

    def _handed(self, entry: Entry, own_keys: Sequence[str]) -> Handed:
        batch_id = entry.batch_id or ""
        handed = Handed(entry.stem, batch_id, own_keys, self._calls, self._config, self._let_go)
        self._batches[entry.stem] = handed
        return handed

    def _let_go(self, batch: Handed) -> None:
        if self._batches.get(batch.stem) is batch:
            del self._batches[batch.stem]


def copied(exc: ChimeraError) -> ChimeraError:
    """An error that many rows raise → one for one row."""
    copy = type(exc)(str(exc))
    copy.lost, copy.attempts = exc.lost, exc.attempts
    return copy
