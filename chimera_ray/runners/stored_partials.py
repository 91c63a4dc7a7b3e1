"""Where unfinished output is written down: one small file for each call, beside the ledger."""

import logging
from collections.abc import Iterable, Set

from chimera_ray.backends.partials import partial_name
from chimera_ray.errors import LedgerError
from chimera_ray.ledger.store import Store
from chimera_ray.schemas import Call

log = logging.getLogger(__name__)
FOLDER = "partials"


class StoredPartials:
    """The partial outputs of an output directory, whichever engine wrote them."""

    def __init__(self, store: Store) -> None:
        """Writes nothing yet."""
        self._store = store

    def read(self, name: str) -> bytes | None:
        """A name → its bytes; None if there are none."""
        try:
            return bytes(self._store.read_bytes(f"{FOLDER}/{name}"))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Bytes → under that name, durable."""
        self._store.write(f"{FOLDER}/{name}", lambda sink: sink.write(content))

    def delete(self, names: Iterable[str]) -> None:
        """Deletes what is there of these; one that cannot be deleted is in nobody's way."""
        for name in names:
            try:
                self._store.delete(f"{FOLDER}/{name}")
            except LedgerError as exc:
                log.warning("an unfinished output that nobody needs stays: %s", exc)


def settled(roles: Set[str], every_tokens: int, calls: Iterable[Call]) -> list[str]:
    """The calls of a record that is durable → the partial outputs that nobody needs any more.

    Args:
        roles: those whose models write any.
        every_tokens: how often they do; shorter calls have none.
        calls: of the record.
    """
    return [
        partial_name(call.prompt_id, call.seed)
        for call in calls
        if call.role in roles
        and (call.output_tokens + call.resumed_tokens >= every_tokens or call.status != "ok")
    ]
