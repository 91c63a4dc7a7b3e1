"""What the processes of one execution tell one another, as small files beside the ledger.

Rows in flight and trouble with endpoints, for the display; how often an actor was born; and whether
the run is to stop. Nothing here is the truth about any row: that is in the ledger. So whatever a
store answers, nobody who tells or asks here fails for it.
"""

import json
import logging
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

log = logging.getLogger(__name__)
LIVE = "runs/.live"
"""folder of all executions' news"""
TROUBLE_CHARS = 300
_REASONS = {reason.__name__: reason for reason in (BudgetError, EndpointError, EngineError)}
_HALT = ".halt-"
_BIRTHS = ".births-"
_ENGINES = ".engines"
_TROUBLE = ".trouble-"


class Live:
    """One execution's folder of news."""

    def __init__(self, store: Store, run_id: str) -> None:
        """Writes nothing yet."""
        self._store, self._folder = store, f"{LIVE}/{run_id}"

    def tell_in_flight(self, stage: str, actor: str, count: int) -> None:
        """An actor's rows in flight at a stage."""
        self._tell(f"{stage}-{actor}", str(count))

    def in_flight(self) -> dict[str, int]:
        """Stage → rows that are being worked on, as of the actors' last word."""
        counts: dict[str, int] = {}
        for name in self._names():
            if name.startswith("."):  # being written, or other news
                continue
            stage = name.rsplit("-", 1)[0]
            with suppress(ValueError):
                counts[stage] = counts.get(stage, 0) + int(self._said(name))
        return counts

    def tell_trouble(self, stage: str, actor: str, trouble: str) -> None:
        """What keeps a stage's models from answering an actor; empty: nothing any more."""
        self._tell(f"{_TROUBLE}{stage}-{actor}", trouble)

    def troubles(self) -> list[str]:
        """One line for each stage that has trouble: what one of its actors said last."""
        lines: dict[str, str] = {}
        for name in self._names():
            stage = name.removeprefix(_TROUBLE).rsplit("-", 1)[0]
            if name.startswith(_TROUBLE) and stage not in lines:
                said = " ".join(self._said(name).split())[:TROUBLE_CHARS]
                if said:
                    lines[stage] = f"{stage}: {said}"
        return list(lines.values())

    def tell_engines(self, notes: str) -> None:
        """How the run's engines stand, as JSON."""
        self._tell(_ENGINES, notes)

    def engines(self) -> list[dict[str, Any]]:
        """How the run's engines stand, as of their keeper's last word."""
        try:
            found: list[dict[str, Any]] = json.loads(self._said(_ENGINES))
        except ValueError:
            return []
        return found

    def count_birth(self, actor: str) -> int:
        """An actor that is being born → how often it was born before, as far as it is known."""
        count = 0
        with suppress(ValueError):
            count = int(self._said(f"{_BIRTHS}{actor}"))
        self._tell(f"{_BIRTHS}{actor}", str(count + 1))
        return count

    def tell_halt(self, actor: str, reason: StopError) -> bool:
        """Whether it could be told that the run is to stop, everywhere."""
        said = json.dumps({"kind": type(reason).__name__, "text": str(reason)})
        return self._tell(f"{_HALT}{actor}", said)

    def halt(self) -> StopError | None:
        """Why the run is to stop, if any process said so."""
        for name in self._names():
            if not name.startswith(_HALT):
                continue
            try:
                return _reason(self._store.read_text(f"{self._folder}/{name}"))
            except FileNotFoundError:  # the run has ended meanwhile
                continue
            except (OSError, ValueError):
                return _reason("")
        return None

    def delete(self) -> None:
        """Deletes all of it; what an actor that is ending still says is swept by a later run.

        Raises:
            LedgerError: what keeps it from that.
        """
        self._store.delete_folder(self._folder)

    def _tell(self, name: str, text: str) -> bool:
        try:
            self._store.write_text(f"{self._folder}/{name}", text)
        except (LedgerError, OSError) as exc:  # the folder goes away meanwhile, the disk is full
            log.info("untold: %s", exc)
            return False
        return True

    def _names(self) -> list[str]:
        try:
            return self._store.names(self._folder)
        except OSError as exc:
            log.info("unheard: %s", exc)
            return []

    def _said(self, name: str) -> str:
        """What a file says; empty if it cannot be read."""
        try:
            return self._store.read_text(f"{self._folder}/{name}")
        except (OSError, ValueError):
            return ""


def _reason(said: str) -> StopError:
    """What `tell_halt` wrote → the reason; a file that is not whole is one too."""
    try:
        told = json.loads(said)
        return _REASONS.get(told["kind"], StopError)(told["text"])
    except (ValueError, TypeError, KeyError):
        return StopError("another process stopped the run, and its reason cannot be read")
