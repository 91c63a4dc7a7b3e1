"""Where unfinished output is written down: one small file for each call, beside the ledger."""

from collections.abc import Iterable

from chimera_ray.backends.partials import partial_name
from chimera_ray.config import Config
from chimera_ray.ledger.store import Store
from chimera_ray.model_config import VllmModel
from chimera_ray.schemas import Call

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
        """Deletes what is there of these."""
        for name in names:
            self._store.delete(f"{FOLDER}/{name}")


def settled(config: Config, calls: Iterable[Call]) -> list[str]:
    """The calls of a record that is durable → the names of partial outputs that nobody needs now.

    Calls of models that write none, or too short to have one, are left out.
    """
    return [
        partial_name(call.prompt_id, call.seed)
        for call in calls
        if isinstance(config.models.of(call.role), VllmModel)
        and (
            call.finish_reason != "stop"
            or call.resumed_tokens
            or call.output_tokens >= config.runtime.partial_every_tokens
        )
    ]
