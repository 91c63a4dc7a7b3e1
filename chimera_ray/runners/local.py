"""Rows through stages in this process: the reference semantics, for previews and tests.

Every other runner must leave the same ledger.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from chimera_ray.backends.budget import in_process
from chimera_ray.backends.delivered import Delivered, notes_of
from chimera_ray.backends.purse import Purse
from chimera_ray.config import Config
from chimera_ray.frontier import Standing
from chimera_ray.graph import Node
from chimera_ray.ledger.store import Store
from chimera_ray.runners.own_engines import OwnEngines
from chimera_ray.runners.reins import OwnLimiters, Reins
from chimera_ray.runners.shared_rows import Item
from chimera_ray.runners.spending import open_budget
from chimera_ray.runners.worker import OpenModel, StageWorker, accepted, open_model

CHUNK_ROWS = 512


class LocalCarrier:
    """Carries rows by plain asyncio."""

    def __init__(self, config: Config, run_id: str, open_model: OpenModel = open_model) -> None:
        """Starts nothing yet."""
        self._config, self._run_id, self._open_model = config, run_id, open_model
        self._limiters, self._engines = OwnLimiters(), OwnEngines(config)
        self._workers: list[StageWorker] = []
        self._delivered = Delivered()

    def carry(self, standings: Sequence[Standing]) -> None:
        """Works off what is to be done at each stage of a segment, each row straight on.

        Raises:
            StopError: the run is to stop; what was in hand has ended or is to be done again.
        """
        try:
            asyncio.run(self._carry(standings))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def in_flight(self) -> dict[str, int]:
        """Stage → rows that are being worked on."""
        return {worker.node.name: worker.num_in_flight for worker in self._workers}

    def engines(self) -> list[dict[str, Any]]:
        """How this process's own engines stand, and what endpoints send."""
        return [*self._engines.notes(), *notes_of(self._delivered.counts())]

    def notices(self) -> list[str]:
        """Which stages have trouble with their endpoints."""
        said = {worker.node.name: worker.trouble for worker in self._workers}
        return [f"{stage}: {trouble}" for stage, trouble in said.items() if trouble]

    def close(self) -> None:
        """Ends this process's own engines."""
        self._engines.close()

    async def _carry(self, standings: Sequence[Standing]) -> None:
        nodes: list[Node] = [standing.node for standing in standings]
        store = Store(self._config.output_dir)
        purse = self._purse()
        ways = self._limiters.way_to, purse, store, self._engines.pool, self._delivered
        reins = Reins(self._run_id, *ways)
        self._workers = [
            StageWorker(self._config, node, self._run_id, reins, self._open_model) for node in nodes
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for place, standing in enumerate(standings):
                    items = [
                        (standing.inputs.ids[at], payload)
                        for at, payload in standing.inputs.rows(standing.todo)
                    ]
                    for start in range(0, len(items), CHUNK_ROWS):
                        chunk = items[start : start + CHUNK_ROWS]
                        group.create_task(self._work(group, place, chunk))
        finally:
            closing = (worker.close() for worker in self._workers)
            ends = await asyncio.gather(*closing, return_exceptions=True)
            await reins.close()
            self._workers = []
            for trouble in filter(None, ends):
                raise trouble
        reins.halt.check()

    def _purse(self) -> Purse | None:
        runtime = self._config.runtime
        if runtime.max_cost_usd is None and runtime.max_total_tokens is None:
            return None
        return Purse(in_process(open_budget(self._config), time.monotonic), self._run_id)

    async def _work(self, group: asyncio.TaskGroup, place: int, items: Sequence[Item]) -> None:
        async for records in self._workers[place].work(items):
            given = accepted(records)
            if given and place + 1 < len(self._workers):
                group.create_task(self._work(group, place + 1, given))
