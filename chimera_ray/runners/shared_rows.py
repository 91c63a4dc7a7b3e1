"""One stage's rows that another run may be working on too: who does them, and who waits for them.

While one run alone works on the stage nothing is asked of anybody. Once there are others, a row is
claimed when it gets its slot; one that another process has gives its slot back and waits until that
process has written its record, or has let go of it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from chimera_ray.errors import ChimeraError
from chimera_ray.ledger.claims import Claims
from chimera_ray.schemas import Call, Record

Item = tuple[str, str]
"""a row's id and its JSON"""
AskLedger = Callable[[Sequence[Item]], tuple[Mapping[str, Record], Mapping[str, Sequence[Call]]]]
"""rows → the records of those that are done, and the calls of those that were begun, by row id"""
LOOK_S = 0.5
"""between two looks for other runs: rows that start meanwhile may be paid twice, once"""
POLL_S = 0.25
"""between two looks for records that others are to write"""
FRESH_S = 0.05
"""so old what was read of the ledger may be when a row starts; younger records have a claim"""


class SharedRows:
    """Made and used inside one event loop."""

    def __init__(
        self,
        claims: Claims | None,
        work_of: Callable[[str], str],
        ask_ledger: AskLedger,
        in_hand: Callable[[], Iterable[str]],
    ) -> None:
        """Looks for other runs from now on.

        Args:
            claims: of the stage; None: there are none, and every row is this run's.
            work_of: a row's id → its work id.
            ask_ledger: what the ledger says of some rows.
            in_hand: ids of the rows that are being worked on here.
        """
        self._claims, self._work_of, self._ask_ledger = claims, work_of, ask_ledger
        self._in_hand = in_hand
        self._has_others = False
        self._lock = asyncio.Lock()
        self._asked_at = 0.0
        self._waiting: dict[str, tuple[Item, asyncio.Future[Record | None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        if claims is not None:
            self._has_others = claims.has_others()
            # They look as often, and then say what they have in hand.
            self._begins_at = time.monotonic() + 2 * LOOK_S if self._has_others else 0.0
            self._tasks = [asyncio.create_task(self._look()), asyncio.create_task(self._poll())]
