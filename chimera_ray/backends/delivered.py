"""Output tokens of remote models as they arrive, for the display of their pace."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

REMOTE = "remote"
"""the state of a model that no engine of the run serves"""


class Delivered:
    """One process's count, by model; used inside one event loop."""

    def __init__(self) -> None:
        """Nothing has arrived yet."""
        self._counts: Counter[str] = Counter()

    def add(self, model: str, num_tokens: int) -> None:
        """Counts tokens of a reply, or of a part; fewer, where a part was taken for more."""
        self._counts[model] += num_tokens

    def counts(self) -> Mapping[str, int]:
        """Model → its tokens so far."""
        return dict(self._counts)


def notes_of(counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Model → its tokens so far → what a display shows of each, beside the engines' notes."""
    return [
        {"model": model, "state": REMOTE, "num_generated": counts[model]}
        for model in sorted(counts)
        if counts[model] > 0
    ]
