"""Where a run stands: which rows arrive at each stage, what became of them, what is to be done.

Read from the ledger alone, stage by stage, in the rows' canonical order: the recipe's subjects,
then the outputs of each row in the order of the rows that gave them. Holds ids, not rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from chimera_ray.graph import Graph, Node, ledger_folder
from chimera_ray.ledger.index import ACCEPTED, FAILED, NONE, OPEN, Found, Index, Ints
from chimera_ray.ledger.store import Store
from chimera_ray.schemas import row_id
from chimera_ray.stage import Fold


class Ids:
    """Row ids in order, in 32 bytes each, so that a driver bears millions of them."""

    def __init__(self, ids: Iterable[str] | npt.NDArray[np.bytes_]) -> None:
        """Takes ids of 32 hex digits."""
        self._ids: npt.NDArray[np.bytes_] = (
            ids if isinstance(ids, np.ndarray) else np.array(list(ids), "S32")
        )

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        return (name.decode() for name in self._ids)

    def __getitem__(self, place: int) -> str:
        return bytes(self._ids[place]).decode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ids) and bool(np.array_equal(self._ids, other._ids))

    def in_bytes(self) -> list[bytes]:
        """The ids, as bytes of their digits."""
        return list(self._ids)

    def take(self, places: Ints) -> "Ids":
        """Places → the ids there."""
        return Ids(self._ids[places])


@dataclass(frozen=True)
class Inputs:
    """The rows that arrive at a stage, in canonical order: their ids, and where their JSON lies."""

    ids: Ids
    payloads: Sequence[str] = ()
    """the rows themselves, where they are few: the recipe's subjects"""
    index: Index | None = None
    """else the ledger of the stage that gave them"""
    positions: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    nth: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    parents: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    """for each row the place, among that stage's inputs, of the row that gave it"""
    num_repeats: int = 0
    """rows that said exactly what another row said, and so are one row with it"""

    def sample(self, count: int | None) -> "Inputs":
        """So many of the rows, spread evenly over all of them; all, if None is asked for."""
        if count is None or count >= len(self.ids):
            return self
        places = np.linspace(0, len(self.ids) - 1, count).astype(np.int64)
        here = self.index is None
        return Inputs(
            self.ids.take(places),
            [self.payloads[place] for place in places] if here else (),
            self.index,
            self.positions if here else self.positions[places],
            self.nth if here else self.nth[places],
            self.parents if here else self.parents[places],
            self.num_repeats,
        )

    def rows(self, places: Ints) -> Iterator[tuple[int, str]]:
        """Places in `ids` → (place, the row's JSON), part by part of the ledger."""
        if self.index is None:
            yield from ((int(place), self.payloads[place]) for place in places)
            return
        for chosen, table in self.index.tables(self.positions[places], ["outputs"]):
            outputs = table["outputs"].combine_chunks()
            starts = outputs.offsets.to_numpy()[:-1]
            at = starts + self.nth[places[chosen]]
            payloads = outputs.values.field("payload").take(pa.array(at))
            yield from zip(places[chosen].tolist(), payloads.to_pylist(), strict=True)


@dataclass(frozen=True)
class Standing:
    """One stage, its inputs, and what the ledger says of each of them."""

    node: Node
    fingerprint: str
    """the node's; of a fold, with its group"""
    inputs: Inputs
    index: Index
    found: Found

    @property
    def folder(self) -> str:
        """The stage's folder in the ledger."""
        return ledger_folder(self.node.name, self.fingerprint)

    def count(self, outcome: int) -> int:
        """An outcome's code → how many inputs have it."""
        return int(np.count_nonzero(self.found.outcome == outcome))

    @property
    def todo(self) -> Ints:
        """Places of the rows to be worked on: never ended, or failed before this run."""
        outcome, is_mine = self.found.outcome, self.found.is_this_run
        is_unended = (outcome == NONE) | (outcome == OPEN)
        return np.flatnonzero(is_unended | ((outcome == FAILED) & ~is_mine))

    def outputs(self) -> Inputs:
        """What the accepted inputs gave, in the order of the inputs; equal rows once."""
        places = np.flatnonzero(self.found.outcome == ACCEPTED)
        positions = self.found.position[places]
        parent: list[Ints] = [np.empty(0, np.int64)]
        nth: list[Ints] = [np.empty(0, np.int64)]
        ids: list[pa.Array] = [pa.array([], pa.string())]
        for chosen, table in self.index.tables(positions, ["outputs.list.element.row_id"]):
            outputs = table["outputs"].combine_chunks()
            lengths = pc.list_value_length(outputs).to_numpy()
            starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
            parent.append(np.repeat(places[chosen], lengths))
            nth.append(np.arange(lengths.sum()) - starts)
            ids.append(outputs.flatten().field("row_id"))
        parents, nths = np.concatenate(parent), np.concatenate(nth).astype(np.int64)
        order = np.lexsort((nths, parents))
        names = _packed(pa.concat_arrays(ids))[order]
        first = np.sort(np.unique(names, return_index=True)[1])
        kept = order[first]
        return Inputs(
            Ids(names[first]),
            index=self.index,
            positions=self.found.position[parents[kept]],
            nth=nths[kept],
            parents=parents[kept],
            num_repeats=len(names) - len(first),
        )


def _packed(ids: pa.StringArray) -> npt.NDArray[np.bytes_]:
    """Ids of 32 hex digits → the same, 32 bytes each."""
    fixed = ids.cast(pa.binary()).cast(pa.binary(32))
    if not len(fixed):
        return np.empty(0, "S32")
    return np.frombuffer(fixed.buffers()[1], "S32", len(fixed), fixed.offset * 32)


def source_of(graph: Graph) -> Inputs:
    """A graph → the rows that its first stage takes: the recipe's subjects."""
    payloads = [subject.model_dump_json() for subject in graph.subjects]
    return Inputs(Ids(row_id("Subject", payload) for payload in payloads), payloads)


def stand(node: Node, inputs: Inputs, store: Store, run_id: str) -> Standing:
    """A node and the rows that arrive there → where each of them stands, by the ledger."""
    is_fold = isinstance(node.stage, Fold)
    fingerprint = node.of_group(inputs.ids) if is_fold else node.fingerprint
    index = Index(store, ledger_folder(node.name, fingerprint), run_id)
    index.refresh()
    found = index.look_up_rows(fingerprint, inputs.ids.in_bytes())
    return Standing(node, fingerprint, inputs, index, found)


def walk(
    graph: Graph, store: Store, run_id: str = "", max_rows: int | None = None
) -> Iterator[Standing]:
    """A graph → the standing of every stage, in order, by the ledger alone.

    With `max_rows`, of so many of each stage's rows: those that a preview works on.
    """
    inputs = source_of(graph)
    for node in graph.nodes:
        standing = stand(node, inputs.sample(max_rows), store, run_id)
        yield standing
        inputs = standing.outputs()


def behind(
    standings: Sequence[Standing], rows: Inputs, is_wanted: Callable[[Node], bool]
) -> tuple[Standing | None, Ints]:
    """Rows of the last stage → the last such stage before, and each one's place there."""
    at = rows.parents
    for earlier, later in zip(reversed(standings), [None, *reversed(standings)], strict=False):
        if later is not None:
            at = later.inputs.parents[at]
        if is_wanted(earlier.node):
            return earlier, at
    return None, np.full(len(rows.ids), -1)
