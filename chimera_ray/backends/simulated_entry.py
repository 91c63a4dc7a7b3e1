"""A line of the simulated world's tables: a task, where it stands, and how its items are made."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from chimera_ray.backends.simulated_forms.question import Maker


class Entry(NamedTuple):
    """One task of the table: where it stands among the topics, and how its items are made."""

    subject: str
    area: str
    topic: str
    """Unique in the whole table, by its normal form as well."""
    config: Mapping[str, object] = MappingProxyType({})
    """Settings of the generator, beyond seed and size."""
    steps: tuple[str, ...] = ()
    """Lines of a worked solution, filled from the item's metadata; none names the final answer."""
    is_closed: bool = False
    """True if the answers come from a small set: a plausible wrong one comes from it too."""
    rivals: str = ""
    """Pattern that finds, in the problem, the answers it offers: each wrong one is plausible."""
    cut: tuple[str, ...] = ()
    """Passages that leave the problem: boilerplate about the reply, needless examples."""
    note: str = ""
    """A sentence that joins the problem, where its answer would be open to dispute without it."""
    answer: str = ""
    """Format of the true answer from the metadata, where the generator breaks its own rule."""
    forms: tuple[Maker, ...] = ()
    """The questions that the task is made of, in place of a generator of reasoning-gym."""
