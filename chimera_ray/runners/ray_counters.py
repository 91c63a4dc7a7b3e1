"""What the whole cluster counts together, as named Ray actors: endpoints' limiters, a run's budget.

An endpoint's limiter belongs to the cluster: runs that call the same endpoint share it, it outlives
each of them, and it ends itself when nobody has called for a while. A run's budget belongs to its
driver. Either may die: Ray starts it again, and those who ask go on asking.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from chimera_ray.backends import budget, gate
from chimera_ray.backends.limiter import Grant, Limiter, Report
from chimera_ray.config import Config
from chimera_ray.model_config import Limits, OpenAIModel
from chimera_ray.runners.spending import spent_so_far
from chimera_ray.schemas import digest

NAMESPACE = "chimera_ray"
IDLE_S = 600.0
R = TypeVar("R")
G = TypeVar("G")


class LimiterActor:
    """One endpoint's limiter."""

    def __init__(self, said: str) -> None:
        """Takes the endpoint's limits as JSON."""
        self._said = said
        self._limiter = Limiter(Limits.model_validate_json(said), time.monotonic())
        self._asked_at = time.monotonic()
        self._watch = asyncio.ensure_future(self._end_when_idle())

    async def exchange(self, report: Report, said: str) -> Grant:
        """A process's report, and the limits that its run knows → what it may start."""
        now = time.monotonic()
        self._asked_at = now
        if said != self._said:  # a later run was told other limits: they hold from now on
            self._said, self._limiter = said, Limiter(Limits.model_validate_json(said), now)
        return self._limiter.exchange(report, now)

    async def _end_when_idle(self) -> None:
        while time.monotonic() - self._asked_at < IDLE_S:
            await asyncio.sleep(IDLE_S / 10)
        ray.actor.exit_actor()


class BudgetActor:
    """One run's budget; started again, it reads from the ledger what was spent."""

    def __init__(self, said: str) -> None:
        """Takes the run's configuration as JSON."""
        config = Config.model_validate_json(said)
        runtime = config.runtime
        spent = spent_so_far(config)
        self._budget = budget.Budget(runtime.max_cost_usd, runtime.max_total_tokens, spent)

    async def exchange(self, report: budget.Report) -> budget.Grant:
        """A process's report → what it may start."""
        return self._budget.exchange(report, time.monotonic())


def start_limiter(model: OpenAIModel) -> Any:  # noqa: ANN401 - Ray's handles have no static type
    """A model → its endpoint's limiter, started here if there is none."""
    return (
        ray.remote(LimiterActor)
        .options(
            name=f"limiter-{digest(model.endpoint)}",
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            **_options(),
        )
        .remote(model.limits.model_dump_json())
    )


def way_to_limiter(model: OpenAIModel) -> gate.Exchange:
    """A model → the way to its endpoint's limiter."""
    said = model.limits.model_dump_json()
    return _way(
        lambda: start_limiter(model), lambda limiter, report: limiter.exchange.remote(report, said)
    )


def start_budget(config: Config, run_id: str) -> object:
    """A run with a cap → its budget; it ends with the handle."""
    return (
        ray.remote(BudgetActor)
        .options(name=f"budget-{run_id}", namespace=NAMESPACE, **_options())
        .remote(config.model_dump_json())
    )


def way_to_budget(run_id: str) -> budget.Exchange:
    """A run → the way to its budget."""
    return _way(
        lambda: ray.get_actor(f"budget-{run_id}", namespace=NAMESPACE),
        lambda found, report: found.exchange.remote(report),
    )


def _way(
    find: Callable[[], Any], ask: Callable[[Any, R], Awaitable[G]]
) -> Callable[[R], Awaitable[G]]:
    """How to find an actor and ask it → an exchange that looks for it anew once it has failed."""
    found: list[Any] = []

    async def exchange(report: R) -> G:
        if not found:
            found.append(await asyncio.to_thread(find))
        try:
            return await ask(found[0], report)
        except Exception:
            found.clear()
            raise

    return exchange


def _options() -> dict[str, Any]:
    here = ray.get_runtime_context().get_node_id()
    return {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_concurrency": 1_000,
        # The driver's node outlives the workers'.
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=True),
    }
