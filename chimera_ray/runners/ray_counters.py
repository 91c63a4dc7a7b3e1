"""What the whole cluster counts together, as named Ray actors: endpoints' limiters, a run's budget.

The limiters belong to the cluster: runs that call the same endpoint share its limiter, they outlive
each run, and end themselves when nobody has called for a while. A run's budget belongs to its
driver. Either may die: Ray starts it again, and those who ask go on asking.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray

from chimera_ray.backends import budget_messages as messages
from chimera_ray.backends import gate
from chimera_ray.backends.limiter import Grant, Limiter, Report
from chimera_ray.config import Config
from chimera_ray.model_config import Limits, OpenAIModel

NAMESPACE = "chimera_ray"
IDLE_S = 600.0
GATHER_S = 10.0
"""in which all processes find a budget that was started again, and tell it what is in flight"""
R = TypeVar("R")
G = TypeVar("G")


class Limiters:
    """Every endpoint's limiter."""

    def __init__(self) -> None:
        """Knows no endpoint yet."""
        self._limiters: dict[str, tuple[str, Limiter]] = {}
        self._asked_at = time.monotonic()
        self._watch = asyncio.ensure_future(self._end_when_idle())

    async def exchange(self, endpoint: str, limits: str, report: Report) -> Grant:
        """An endpoint, the limits that the asking run knows, a report → what may start."""
        now = self._asked_at = time.monotonic()
        known = self._limiters.get(endpoint)
        if known is None or known[0] != limits:  # a later run was told others: they hold now
            known = (limits, Limiter(Limits.model_validate_json(limits), now))
            self._limiters[endpoint] = known
        return known[1].exchange(report, now)

    async def _end_when_idle(self) -> None:
        while time.monotonic() - self._asked_at < IDLE_S:
            await asyncio.sleep(IDLE_S / 10)
        ray.actor.exit_actor()


class BudgetActor:
    """One run's budget; started again, it learns from its processes what they have spent."""

    def __init__(self, said: str) -> None:
        """Takes the run's configuration as JSON."""
        from chimera_ray.runners.spending import open_budget  # late: limiters need none of it

        is_again = ray.get_runtime_context().was_current_actor_reconstructed
        grants_from = time.monotonic() + GATHER_S if is_again else None
        self._budget = open_budget(Config.model_validate_json(said), grants_from)

    async def exchange(self, report: messages.Report) -> messages.Grant:
        """A process's report → what it may start."""
        return self._budget.exchange(report, time.monotonic())


def start_limiters() -> Any:  # noqa: ANN401 - Ray's handles have no static type
    """Nothing → the cluster's limiters, started here if there are none."""
    return (
        ray.remote(Limiters)
        .options(
            name="limiters",
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            **at_the_driver(),
        )
        .remote()
    )


def way_to_limiter(model: OpenAIModel) -> gate.Exchange:
    """A model → the way to its endpoint's limiter."""
    about = (model.endpoint, model.limits.model_dump_json())
    return _way(start_limiters, lambda found, report: found.exchange.remote(*about, report))


def start_budget(config: Config, run_id: str) -> object:
    """A run with a cap → its budget; it ends with the handle."""
    return (
        ray.remote(BudgetActor)
        .options(name=f"budget-{run_id}", namespace=NAMESPACE, **at_the_driver())
        .remote(config.model_dump_json())
    )


def way_to_budget(run_id: str) -> messages.Exchange:
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


def at_the_driver() -> dict[str, Any]:
    """Options of an actor that is to live where the driver does, and asks for no CPU."""
    here = ray.get_runtime_context().get_node_id()
    return {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_concurrency": 1_000,
        # The driver's node outlives the workers'.
        # (Soft node affinity: Ray 2.60 ignores it for an actor that asks for no resource.)
        "label_selector": {"ray.io/node-id": here},
        "fallback_strategy": [{"label_selector": {}}],
    }
