"""Where the batches of one endpoint are written down: small files beside the ledger."""

from chimera_ray.ledger.store import Store
from chimera_ray.model_config import OpenAIModel
from chimera_ray.schemas import digest


class StoredJournal:
    """The journal that every process of a run, and of the next one, reads and writes."""

    def __init__(self, store: Store, model: OpenAIModel) -> None:
        """Sweeps away what writers that are dead left half-written; writes nothing yet."""
        self._store = store
        self._folder = f"batches/{digest('endpoint', model.endpoint)[:16]}"
        store.sweep(self._folder)

    def names(self) -> list[str]:
        """The names there are."""
        return [name for name in self._store.names(self._folder) if not name.startswith(".")]

    def read(self, name: str) -> str:
        """A name → its text."""
        return self._store.read_text(f"{self._folder}/{name}")

    def write(self, name: str, text: str) -> None:
        """A text → under that name, durable."""
        self._store.write_text(f"{self._folder}/{name}", text)
