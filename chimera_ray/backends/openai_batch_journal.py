"""Which calls are in which batch, written down before it costs anything, so that a kill loses none.

A batch has two texts: its intent (input file and custom_ids), written before the batch is created,
and its note (the batch's id), written after. Knows nothing about where they are kept.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from chimera_ray.errors import LedgerError
from chimera_ray.schemas import digest

KEEP_S = 29 * 86_400
"""OpenAI keeps a batch's files for 30 days; older entries are passed over"""
Places = npt.NDArray[np.uint64]
_INTENT = re.compile(r"(\d{10,12})-[0-9a-f]{16}\.intent")


class Journal(Protocol):
    """Texts under names, each whole or absent, that outlive the process."""

    def names(self) -> list[str]:
        """The names there are."""
        ...

    def read(self, name: str) -> str:
        """A name → its text."""
        ...

    def write(self, name: str, text: str) -> None:
        """A text → under that name, durable."""
        ...


@dataclass(slots=True, eq=False)
class Entry:
    """One batch: what is in it, and its id once that is known."""

    stem: str
    input_file_id: str
    places: Places
    """one number per custom_id: a set of texts would take ten times the memory"""
    batch_id: str | None = None

    @property
    def age_s(self) -> float:
        """Seconds since the intent was written, by the clocks of who wrote it and of this one."""
        return time.time() - int(self.stem.split("-")[0])

    def among(self, places: Places) -> list[int]:
        """Custom_ids as `places_of` has them → where among them those of this batch are."""
        found: list[int] = np.flatnonzero(np.isin(places, self.places)).tolist()
        return found


class Entries:
    """The batches of one endpoint whose answers can still be had, whoever handed them in."""

    def __init__(self, journal: Journal) -> None:
        """Reads nothing yet."""
        self._journal = journal
        self._entries: dict[str, Entry] = {}
        self._known: set[str] = set()

    def refresh(self) -> None:
        """Reads what was written since, by any process.

        Raises:
            LedgerError: an entry cannot be understood, so that calls might be paid twice.
        """
        names = set(self._journal.names())
        for name in names - self._known:
            match = _INTENT.fullmatch(name)
            if match and time.time() - int(match[1]) < KEEP_S:
                stem = name.removesuffix(".intent")
                self._entries.setdefault(stem, self._read(stem))
        self._known |= names
        for stem, entry in self._entries.items():
            if entry.batch_id is None and f"{stem}.batch" in names:
                entry.batch_id = self._journal.read(f"{stem}.batch").strip()

    def newest_first(self) -> Iterator[Entry]:
        """The batches, newest first."""
        for stem in sorted(self._entries, reverse=True):
            yield self._entries[stem]

    def intend(self, input_file_id: str, keys: Sequence[str]) -> Entry:
        """An input file and its custom_ids → the entry of a batch that is about to be created."""
        stem = f"{int(time.time()):010d}-{digest('batch', input_file_id)[:16]}"
        said = {"input_file_id": input_file_id, "custom_ids": list(keys)}
        self._journal.write(f"{stem}.intent", json.dumps(said))
        entry = Entry(stem, input_file_id, places_of(keys))
        self._entries[stem] = entry
        self._known.add(f"{stem}.intent")
        return entry

    def note(self, entry: Entry, batch_id: str) -> None:
        """The id of an entry's batch → written down."""
        self._journal.write(f"{entry.stem}.batch", batch_id)
        entry.batch_id = batch_id

    def drop(self, entry: Entry) -> None:
        """Passes over an entry that never became a batch."""
        self._entries.pop(entry.stem, None)

    def _read(self, stem: str) -> Entry:
        try:
            said = json.loads(self._journal.read(f"{stem}.intent"))
            return Entry(stem, str(said["input_file_id"]), places_of(said["custom_ids"]))
        except (ValueError, KeyError, TypeError, OverflowError):
            raise LedgerError(
                f"the journal of batches has an entry that cannot be read, {stem}.intent: delete "
                "it if its batch does not matter; its calls may then be paid again"
            ) from None


def places_of(keys: Sequence[str]) -> Places:
    """Custom_ids → their first 64 bits; that two agree by chance costs a look, and no reply."""
    return np.array([int(key[:16], 16) for key in keys], dtype=np.uint64)
