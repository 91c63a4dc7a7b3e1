"""Which calls of unfinished work are in the ledger already, so that each is counted once.

A call may be in several records of one work: open ones, and the one that ends it. It counts in the
first file that holds it (a part, or a journal, which becomes a part); in later ones it is replayed.
"""

from collections.abc import Iterable

from chimera_ray.schemas import Call, Record

_Name = tuple[str, str, int, int]


class Told:
    """What one writer has made durable of work that has not ended."""

    def __init__(self) -> None:
        """Nothing so far."""
        self._before: dict[str, set[_Name]] = {}
        self._here: dict[str, set[_Name]] = {}

    def marked(self, record: Record) -> Record:
        """A record → the same, its calls marked as replayed where an earlier file holds them.

        One that the present file holds is marked as not replayed: there it is paid for.
        """
        before = self._before.get(record.work_id, ())
        here = self._here.get(record.work_id, ())
        if not before and not here:
            return record
        calls = [
            call._replace(is_replayed=True)
            if _name(call) in before
            else call._replace(is_replayed=call.is_replayed and _name(call) not in here)
            for call in record.calls
        ]
        return record._replace(calls=tuple(calls))

    def added(self, record: Record) -> Record:
        """A marked record → the same, with only those calls that the present file lacks."""
        here = self._here.get(record.work_id)
        if not here:
            return record
        return record._replace(calls=tuple(c for c in record.calls if _name(c) not in here))

    def learn(self, records: Iterable[Record]) -> None:
        """Marked records are durable now, in the present file."""
        for record in records:
            if record.outcome == "open":
                paid = {_name(call) for call in record.calls if not call.is_replayed}
                self._here.setdefault(record.work_id, set()).update(paid)
            else:
                self._here.pop(record.work_id, None)
                self._before.pop(record.work_id, None)

    def begin_file(self) -> None:
        """From now on there is another file."""
        for work, names in self._here.items():
            self._before.setdefault(work, set()).update(names)
        self._here = {}


def _name(call: Call) -> _Name:
    return call.role, call.prompt_id, call.seed, call.attempts
