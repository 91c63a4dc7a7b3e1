"""What the files of a stage say that their records come to, without reading records."""

import json
from collections.abc import Iterable

import pyarrow.parquet as pq

from chimera_ray.ledger.journal import live_journals, part_of
from chimera_ray.ledger.parts import TOTALS_KEY, UNREADABLE, is_part
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.tail import Tail
from chimera_ray.ledger.totals import COST, Totals, paid, sum_totals


class Counts:
    """A stage's folder → its totals, each time those that have come since."""

    def __init__(self, store: Store, folder: str, run_id: str, seen: Iterable[str] = ()) -> None:
        """Counts nothing yet.

        Args:
            store: where the ledger lives.
            folder: the stage's folder in it.
            run_id: only files that this execution alone wrote are counted.
            seen: parts that are not to be counted.
        """
        self._store, self._folder, self._run_id = store, folder, run_id
        self._seen = set(seen)
        self._tails: dict[str, Tail] = {}
        self._counted: dict[str, Totals] = {}

    def fresh(self) -> Totals:
        """What has come since the last time; a part only with what its journal had not shown."""
        names = self._store.names(self._folder)
        found = [self._fresh_of_part(name) for name in names if is_part(name)]
        found += [self._fresh_of_journal(name) for name in live_journals(names)]
        return sum_totals(found)

    def _fresh_of_part(self, name: str) -> Totals:
        totals = None if name in self._seen else read_totals(self._store, f"{self._folder}/{name}")
        self._seen.add(name)
        if totals is None or set(totals["runs"]) != {self._run_id}:
            return sum_totals([])
        return sum_totals([totals, self._counted.pop(name, sum_totals([]))], sign=-1)

    def _fresh_of_journal(self, name: str) -> Totals:
        tail = self._tails.setdefault(name, Tail(self._store, f"{self._folder}/{name}"))
        try:
            frames = tail.read()
        except OSError:  # it is a part now
            return sum_totals([])
        mine = [f.totals for f in frames if set(f.totals["runs"]) == {self._run_id}]
        before = self._counted.get(part_of(name), sum_totals([]))
        self._counted[part_of(name)] = sum_totals([before, *mine])
        return sum_totals(mine)


def paid_in(store: Store, folder: str, run_id: str) -> dict[str, dict[str, float]]:
    """A stage's folder and an execution → what that one's calls there came to, by role."""
    missed: set[str] = set()
    while True:
        names = store.names(folder)
        parts = [name for name in names if is_part(name)]
        found = [read_paid(store, f"{folder}/{name}", run_id) for name in parts]
        # Another run has compacted these meanwhile: they may count twice, or not at all.
        gone = {name for name in parts if not store.exists(f"{folder}/{name}")}
        for name in live_journals(names):
            try:
                totals = [frame.totals for frame in Tail(store, f"{folder}/{name}").read()]
            except FileNotFoundError:  # it is a part now, which may not have been listed
                gone.add(name)
                continue
            found += [one["roles"] for one in totals if run_id in one["runs"]]
        if gone <= missed:
            break
        missed |= gone
    several = [{"outcomes": {}, "outputs": 0, "runs": {}, "roles": roles} for roles in found]
    roles: dict[str, dict[str, float]] = sum_totals(several)["roles"]
    return roles


def read_totals(store: Store, path: str) -> Totals | None:
    """A part → its footer's totals; None if it cannot be read, which the index judges and names."""
    if not store.is_readable(path):
        return None
    try:
        with store.fs.open_input_file(store.path(path)) as source:
            metadata = pq.ParquetFile(source).schema_arrow.metadata or {}
        totals: Totals = json.loads(metadata[TOTALS_KEY])
    except UNREADABLE:
        return None
    return totals


def read_paid(store: Store, path: str, run_id: str) -> dict[str, dict[str, float]]:
    """A part and an execution → what that one's calls in it came to, by role.

    By the footer where the part is all its own; by the rows where another run has compacted it
    together with others. Nothing of a part that cannot be read.
    """
    totals = read_totals(store, path)
    if totals is None or run_id not in totals["runs"]:
        return {}
    if set(totals["runs"]) == {run_id}:
        roles: dict[str, dict[str, float]] = totals["roles"]
        return roles
    columns = [f"calls.list.element.{name}" for name in COST]
    try:
        with store.fs.open_input_file(store.path(path)) as source:
            table = pq.ParquetFile(source).read(columns=["run_id", *columns])
    except UNREADABLE:
        return {}
    rows = table.to_pylist()
    mine = (call for row in rows if row["run_id"] == run_id for call in row["calls"])
    return paid([call[name] for name in COST] for call in mine)
