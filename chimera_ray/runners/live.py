"""What the processes of one execution tell one another, as small files beside the ledger.

Rows in flight, for the display; how often an actor was born; and whether the run is to stop.
Nothing here is the truth about any row: that is in the ledger.
"""

import json
from contextlib import suppress
from typing import Any

from chimera_ray.errors import (
    BudgetError,
    EndpointError,
    EngineError,
    LedgerError,
    StopError,
)
from chimera_ray.ledger.store import Store

_REASONS = {reason.__name__: reason for reason in (BudgetError, EndpointError, EngineError)}
_HALT = ".halt-"
_BIRTHS = ".births-"
_ENGINES = ".engines"


class Live:
    """One execution's folder of news."""

    def __init__(self, store: Store, run_id: str) -> None:
        """Writes nothing yet."""
        self._store, self._folder = store, f"runs/.live/{run_id}"

    def tell_in_flight(self, stage: str, actor: str, count: int) -> None:
        """An actor's rows in flight at a stage; untold if the folder goes away meanwhile."""
        with suppress(LedgerError):  # a display is not worth a run
            self._store.write_text(f"{self._folder}/{stage}-{actor}", str(count))

    def in_flight(self) -> dict[str, int]:
        """Stage → rows that are being worked on, as of the actors' last word."""
        counts: dict[str, int] = {}
        for name in self._store.names(self._folder):
            if name.startswith("."):  # being written, or other news
                continue
            stage = name.rsplit("-", 1)[0]
            with suppress(OSError, ValueError):
                told = int(self._store.read_text(f"{self._folder}/{name}"))
                counts[stage] = counts.get(stage, 0) + told
        return counts

    def tell_engines(self, notes: str) -> None:
        """How the run's engines stand, as JSON; untold if the folder goes away meanwhile."""
        with suppress(LedgerError):  # a display is not worth a run
            self._store.write_text(f"{self._folder}/{_ENGINES}", notes)

    def engines(self) -> list[dict[str, Any]]:
        """How the run's engines stand, as of their keeper's last word."""
        try:
            found: list[dict[str, Any]] = json.loads(
                self._store.read_text(f"{self._folder}/{_ENGINES}")
            )
        except (OSError, ValueError):
            return []
        return found

    def count_birth(self, actor: str) -> int:
        """An actor that is being born → how often it was born before."""
        path = f"{self._folder}/{_BIRTHS}{actor}"
        count = int(self._store.read_text(path)) if self._store.exists(path) else 0
        self._store.write_text(path, str(count + 1))
        return count

    def tell_halt(self, actor: str, reason: StopError) -> None:
        """The run is to stop, everywhere."""
        said = json.dumps({"kind": type(reason).__name__, "text": str(reason)})
        self._store.write_text(f"{self._folder}/{_HALT}{actor}", said)

    def halt(self) -> StopError | None:
        """Why the run is to stop, if any process said so."""
        for name in self._store.names(self._folder):
            if name.startswith(_HALT):
                with suppress(FileNotFoundError):  # the run has ended meanwhile
                    return _reason(self._store.read_text(f"{self._folder}/{name}"))
        return None

    def delete(self) -> None:
        """Deletes all of it; what an actor that is ending still says is deleted by a later run."""
        self._store.delete_folder(self._folder)


def _reason(said: str) -> StopError:
    """What `tell_halt` wrote → the reason; a file that is not whole is one too."""
    try:
        told = json.loads(said)
        return _REASONS.get(told["kind"], StopError)(told["text"])
    except (ValueError, TypeError, KeyError):
        return StopError("another process stopped the run, and its reason cannot be read")
