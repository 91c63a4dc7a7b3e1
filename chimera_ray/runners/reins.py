"""What one process's models share: the run's halt, the endpoints' gates and batches, the budget."""

import time
from collections.abc import Callable

from chimera_ray.backends.delivered import Delivered
from chimera_ray.backends.engines import EnginePool
from chimera_ray.backends.gate import Exchange, Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.purse import Purse
from chimera_ray.errors import ConfigError
from chimera_ray.ledger.store import Store
from chimera_ray.model_config import OpenAIModel, VllmModel
from chimera_ray.runners.journal import StoredJournal

OpenPool = Callable[[VllmModel], EnginePool]
"""a model → the pool of its engines"""
Connect = Callable[[OpenAIModel], Exchange]
"""a model → the way to the limiter of its endpoint"""


class OwnLimiters:
    """The limiters of endpoints that one process alone calls."""

    def __init__(self) -> None:
        """Knows no endpoint yet."""
        self._limiters: dict[str, Limiter] = {}

    def way_to(self, model: OpenAIModel) -> Exchange:
        """A model → the way to its endpoint's limiter."""
        now = time.monotonic()
        limiter = self._limiters.setdefault(model.endpoint, Limiter(model.limits, now))
        return in_process(limiter, time.monotonic)


class Reins:
    """Shared by all stages of one process; made and used inside one event loop."""

    def __init__(
        self,
        holder: str,
        connect: Connect,
        purse: Purse | None,
        store: Store | None = None,
        open_pool: OpenPool | None = None,
        delivered: Delivered | None = None,
    ) -> None:
        """Nothing is held back yet.

        Args:
            holder: this process, as the limiters are to know it.
            connect: finds an endpoint's limiter.
            purse: what the run may spend; None: without a cap.
            store: where batches are written down; None: there are none.
            open_pool: finds a model's engines; None: there are none.
            delivered: is told of the tokens that endpoints send; None: it is this process's own.
        """
        self.halt = Halt()
        self.purse = purse
        self.delivered = delivered or Delivered()
        self._holder, self._connect, self._store = holder, connect, store
        self._open_pool = open_pool
        self._gates: dict[str, Gate] = {}
        self._pools: dict[str, EnginePool] = {}
        if purse is not None:
            self.halt.listen(purse.refuse)

    def gate(self, model: OpenAIModel) -> Gate:
        """A model → the gate of its endpoint, one for the process."""
        if model.endpoint not in self._gates:
            gate = Gate(self._connect(model), self._holder)
            self.halt.listen(gate.refuse)
            self._gates[model.endpoint] = gate
        return self._gates[model.endpoint]

    def journal(self, model: OpenAIModel) -> StoredJournal:
        """A model → where the batches of its endpoint are written down."""
        if self._store is None:
            raise ValueError(f"{model.name} needs a store for its batches")
        return StoredJournal(self._store, model)

    def pool(self, model: VllmModel) -> EnginePool:
        """A model → the pool of its engines, one for the process, whatever roles share it."""
        if self._open_pool is None:
            raise ConfigError(f"model {model.name}: engines are for runs that have a carrier")
        if model.engine_id not in self._pools:
            pool = self._pools[model.engine_id] = self._open_pool(model)
            self.halt.listen(pool.fail)
        return self._pools[model.engine_id]

    async def close(self) -> None:
        """Tells the limiters and the budget the last, and lets go."""
        for pool in self._pools.values():
            pool.close()
        for gate in self._gates.values():
            await gate.close()
        if self.purse is not None:
            await self.purse.close()
