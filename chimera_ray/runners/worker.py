"""One stage at work inside one event loop: slots, models, ledger; it knows not what feeds it.

When the run is to stop, nothing new starts; rows in hand end if they still can, and the others have
no record: they are to be done by the next run.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import numpy as np

from chimera_ray.backends import build_model
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limits import SLOT
from chimera_ray.backends.metered import Metered
from chimera_ray.config import Config
from chimera_ray.errors import BudgetError, StopError
from chimera_ray.graph import Node
from chimera_ray.ledger.claims import open_claims
from chimera_ray.ledger.index import FAILED, NONE, OPEN, Index, PartLostError
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.writer import Writer
from chimera_ray.llm import Model
from chimera_ray.model_config import ModelConfig, VllmModel
from chimera_ray.runners.expected import LONG, Expected, group_of, is_long, tokens_of
from chimera_ray.runners.perform import perform
from chimera_ray.runners.reins import Reins
from chimera_ray.runners.shared_rows import Item, SharedRows
from chimera_ray.runners.slots import Slots
from chimera_ray.runners.spending import work_of
from chimera_ray.runners.stored_partials import StoredPartials, settled
from chimera_ray.schemas import Call, Record, work_id

OpenModel = Callable[[ModelConfig, Reins, int], Model]
"""a model's configuration, what holds it back, its connections at most → the model"""
INSTANT_S = 0.005
"""a row that takes less waited for nobody; many in a row would hold up all that waits meanwhile"""


class StageWorker:
    """One stage's slots: the moment that a row ends, the next one starts, whoever waits for it.

    Of the rows that wait, the one that is expected to be the longest starts first.
    """

    def __init__(
        self, config: Config, node: Node, run_id: str, reins: Reins, open_model: OpenModel
    ) -> None:
        """Made inside the event loop that it works in; opens the models and reads the ledger."""
        self.node, self._run_id, self._halt = node, run_id, reins.halt
        store = Store(config.output_dir)
        num_slots = config.runtime.pool_of(node.name).max_in_flight
        self._opened = _open_models(config, node, reins, num_slots, open_model)
        self._models = {
            role: Metered(model, reins.halt, reins.purse, work_of(config, node.name, role))
            for role, model in self._opened.items()
        }
        self._index = Index(store, node.folder, run_id)
        self._writer = Writer(store, node.folder, config.runtime.flush_s)
        served = [role for role in node.roles if isinstance(config.models.of(role), VllmModel)]
        self._served, self._every = frozenset(served), config.runtime.partial_every_tokens
        self._partials = StoredPartials(store)
        self._expected = Expected()
        self._slots = Slots(num_slots, self._expected.of)
        self._under_way: dict[str, asyncio.Task[Record | None]] = {}
        self._shared = self._open_shared(store)
        self._grace_s = config.runtime.stop_grace_s
        self._reaper = asyncio.create_task(self._reap())
        self.num_in_flight = 0

    @property
    def trouble(self) -> str:
        """What keeps a model of this stage from answering; empty: nothing."""
        return next((model.trouble for model in self._models.values() if model.trouble), "")

    async def work(self, items: Sequence[Item]) -> AsyncIterator[list[Record]]:
        """Rows → their records, in groups, each as soon as it is durable.

        Rows that the ledger has by now (another actor did them and died, another run shares them)
        come from there, and nobody is called. Rows that failed before this run, or were left open
        by a kill, keep the replies that they have paid for. A row that two calls
        bring at the same time is done once.
        """
        done, earlier = self._ask_ledger(items)
        self._learn(items, done)
        if done:
            yield list(done.values())
        ended: asyncio.Queue[asyncio.Task[Record | None]] = asyncio.Queue()
        left = {name: text for name, text in items if name not in done}
        shared = [self._under_way[name] for name in left if name in self._under_way]
        own = [
            self._start((name, text), earlier.get(name, ()))
            for name, text in left.items()
            if name not in self._under_way
        ]
        tasks = [*shared, *own]
        for task in tasks:
            task.add_done_callback(ended.put_nowait)
        num_left = len(tasks)
        try:
            while num_left:
                group = [await ended.get()]
                while not ended.empty():
                    group.append(ended.get_nowait())
                num_left -= len(group)
                records = [record for task in group if (record := _result_of(task, self._halt))]
                if records:
                    yield records
        finally:
            for task in own:
                task.cancel()
        if self._halt.reason is not None:
            await self._writer.close()  # replies of rows that did not end; others may go on

    async def close(self) -> None:
        """Waits for what is being written, and gives back the models' connections."""
        self._reaper.cancel()
        try:
            await self._writer.close()  # before other runs may have the rows
        finally:
            if self._shared is not None:
                self._shared.close()
            for model in set(self._opened.values()):
                await model.close()

    def _start(self, item: Item, earlier: Sequence[Call]) -> asyncio.Task[Record | None]:
        task = asyncio.create_task(self._do(item, earlier))
        self._under_way[item[0]] = task
        task.add_done_callback(lambda _: self._under_way.pop(item[0]))
        return task

    async def _do(self, item: Item, earlier: Sequence[Call]) -> Record | None:
        """A row → its durable record, another run's where that one did it; None: stopped before."""
        record: Record | None = None
        while record is None:
            async with self._slots.take(LONG if is_long(earlier) else group_of(item[1])) as slot:
                if self._halt.reason is not None:
                    return None
                calls: Sequence[Call] | None = earlier
                if self._shared is not None:
                    calls = await self._shared.claimed(item, earlier)
                if calls is not None:
                    SLOT.set(slot)
                    record = await self._perform(item, calls)
            if self._shared is not None and calls is None:
                record, earlier = await self._shared.ended(item)
                if record is not None:
                    return record
            elif record is None:
                break
        if record is not None:
            await self._writer.append(record)
        if self._shared is not None and (record is None or record.outcome == "failed"):
            await self._shared.give_back(item)
        if record is not None and (names := settled(self._served, self._every, record.calls)):
            await asyncio.to_thread(self._partials.delete, names)
        return record

    async def _perform(self, item: Item, earlier: Sequence[Call]) -> Record | None:
        group, began = group_of(item[1]), time.monotonic()
        self._expected.begin(group)
        self.num_in_flight += 1
        try:
            record = await perform(
                self.node, *item, self._models, earlier, self._run_id, self._writer.note
            )
        except StopError as exc:
            self._halt.stop(exc)
            return None
        finally:
            self.num_in_flight -= 1
        self._expected.learn(group, tokens_of(record))
        if time.monotonic() - began < INSTANT_S:
            await asyncio.sleep(0)
        return record

    def _open_shared(self, store: Store) -> SharedRows | None:
        """What is shared with other runs; nothing where no model is asked, so nothing paid for."""
        claims = open_claims(store, self.node.folder, self._run_id) if self.node.roles else None
        if claims is None:
            return None

        def work_of(name: str) -> str:
            return work_id(self.node.fingerprint, name)

        return SharedRows(claims, work_of, self._ask_ledger, lambda: self._under_way, self._halt)

    def _learn(self, items: Sequence[Item], done: Mapping[str, Record]) -> None:
        """Takes in how long rows were that others did: their records are at hand as it is."""
        for name, payload in items:
            if name in done:
                self._expected.learn(group_of(payload), tokens_of(done[name]))

    async def _reap(self) -> None:
        """Gives up what is still in flight a while after an endpoint has refused for good.

        At the budget's cap nothing is given up: it is paid for, and ends in its own time.
        """
        reason = await self._halt.wait()
        if not isinstance(reason, BudgetError):
            await asyncio.sleep(self._grace_s)
            for task in self._under_way.values():
                task.cancel()

    def _ask_ledger(
        self, items: Sequence[Item]
    ) -> tuple[dict[str, Record], dict[str, Sequence[Call]]]:
        try:
            self._index.refresh()
            names = [name.encode() for name, _ in items]
            found = self._index.look_up_rows(self.node.fingerprint, names)
            known = np.flatnonzero(found.outcome != NONE)
            records = self._index.records(found.position[known]) if len(known) else {}
        except PartLostError:
            self._index = self._index.anew()
            return self._ask_ledger(items)
        done: dict[str, Record] = {}
        earlier: dict[str, Sequence[Call]] = {}
        for place in known:
            record = records[int(found.position[place])]
            outcome, is_mine = found.outcome[place], found.is_this_run[place]
            if outcome == OPEN or (outcome == FAILED and not is_mine):
                earlier[record.input_id] = record.calls
            else:
                done[record.input_id] = record
        return done, earlier


def _open_models(
    config: Config, node: Node, reins: Reins, num_slots: int, open_model: OpenModel
) -> Mapping[str, Model]:
    """One model for each role; roles that are bound to equal models share one."""
    opened: dict[str, Model] = {}
    for role in node.roles:
        bound = config.models.of(role)
        key = bound.model_dump_json()
        if key not in opened:
            opened[key] = open_model(bound, reins, num_slots * len(node.roles))
    return {role: opened[config.models.of(role).model_dump_json()] for role in node.roles}


def open_model(config: ModelConfig, reins: Reins, max_connections: int) -> Model:
    """A model's configuration → the model, held back as this process is."""
    ways = reins.journal, reins.pool, reins.delivered
    return build_model(config, reins.gate, reins.halt, max_connections, *ways)


def _result_of(task: asyncio.Task[Record | None], halt: Halt) -> Record | None:
    """An ended task → its record; none, if the run was stopped before it had one."""
    if task.cancelled() and halt.reason is not None:
        return None
    return task.result()


def accepted(records: Iterable[Record]) -> list[Item]:
    """Records → the rows that they gave, for the next stage."""
    return [(output.row_id, output.payload) for record in records for output in record.outputs]
