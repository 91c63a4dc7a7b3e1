"""Rows through stages in this process: the reference semantics, for previews and tests.

Every other runner must leave the same ledger.
"""

import asyncio
from collections.abc import Sequence

from chimera_ray.config import Config
from chimera_ray.frontier import Standing
from chimera_ray.graph import Node
from chimera_ray.runners.worker import Item, StageWorker, accepted

CHUNK_ROWS = 512


class LocalCarrier:
    """Carries rows by plain asyncio."""

    def __init__(self, config: Config, run_id: str) -> None:
        """Starts nothing yet."""
        self._config, self._run_id = config, run_id
        self._workers: list[StageWorker] = []

    def carry(self, standings: Sequence[Standing]) -> None:
        """Works off what is to be done at each stage of a segment, each row straight on."""
        try:
            asyncio.run(self._carry(standings))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def in_flight(self) -> dict[str, int]:
        """Stage → rows that are being worked on."""
        return {worker.node.name: worker.num_in_flight for worker in self._workers}

    def close(self) -> None:
        """Nothing to give back."""

    async def _carry(self, standings: Sequence[Standing]) -> None:
        nodes: list[Node] = [standing.node for standing in standings]
        self._workers = [StageWorker(self._config, node, self._run_id) for node in nodes]
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
            for worker in self._workers:
                await worker.close()
            self._workers = []

    async def _work(self, group: asyncio.TaskGroup, place: int, items: Sequence[Item]) -> None:
        async for records in self._workers[place].work(items):
            given = accepted(records)
            if given and place + 1 < len(self._workers):
                group.create_task(self._work(group, place + 1, given))
