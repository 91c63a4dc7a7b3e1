"""What a trajectory has so far, written down while it grows: token ids under the call's name.

Written by the engine itself, so that ids never travel; deleted once the row's record is durable.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

MAGIC = b"chimera-partial-1\n"


class Partials(Protocol):
    """Bytes under names, each whole or absent, that outlive the process."""

    def read(self, name: str) -> bytes | None:
        """A name → its bytes; None if there are none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Bytes → under that name, durable."""
        ...


def partial_name(prompt_id: str, seed: int) -> str:
    """A call's prompt and seed → its name, the same after a kill."""
    return f"{prompt_id[:16]}-{seed:08x}"


def packed(ids: Sequence[int]) -> bytes:
    """Token ids → bytes, 4 for each."""
    return MAGIC + np.asarray(ids, "<u4").tobytes()


def unpacked(content: bytes | None, vocab_size: int) -> list[int]:
    """What was written → the token ids; none, if it is not that, or not of this vocabulary."""
    if content is None or not content.startswith(MAGIC) or (len(content) - len(MAGIC)) % 4:
        return []
    ids = np.frombuffer(content, "<u4", offset=len(MAGIC))
    return ids.tolist() if len(ids) == 0 or int(ids.max()) < vocab_size else []
