"""What a plan foresees of the models that vLLM serves, and how far it is from what was measured."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from chimera_ray.backends import check_model
from chimera_ray.build import check_start
from chimera_ray.config import ROLES, Config
from chimera_ray.errors import ConfigError
from chimera_ray.graph import Graph
from chimera_ray.model_check import Burst, Started
from chimera_ray.model_config import VllmModel
from chimera_ray.plan_config import LowHigh, PlanConfig
from chimera_ray.plan_estimate import Range, assumed, constant
from chimera_ray.plan_gpu import EnginePlan, gpus_of
from chimera_ray.plan_time import RoleLoad

LONG_SHARE = 0.5
"""a guess: of a burst's rate, what long trajectories may come down to"""


class Served(NamedTuple):
    """A model that engines are to serve."""

    model: VllmModel
    """with the sampling of the solver, or else of the first role that it plays"""
    plan: EnginePlan
    """what is foreseen of its engines"""


class Comparison(NamedTuple):
    """One number that a plan rests on."""

    what: str
    measured: float | None
    """None: it cannot be said here"""
    planned: Range | None
    """None: not known"""
    override: str = ""
    """what puts the measured one into the plan, on the command line; empty: nothing does"""

    @property
    def ratio(self) -> float | None:
        """The plan's number over the measured one; None: one of them is not known."""
        if self.planned is None or not self.measured:
            return None
        return self.planned.point / self.measured

    @property
    def is_foreseen(self) -> bool:
        """Whether the plan's range holds what was measured."""
        if self.planned is None or self.measured is None:
            return False
        return self.planned.low <= self.measured <= self.planned.high


def served_models(config: Config, graph: Graph) -> list[Served]:
    """A recipe's roles → the models that vLLM serves among theirs, each engine once.

    Raises:
        ConfigError: there is none, or one that cannot work, as far as can be told beforehand.
    """
    asked = {role for node in graph.nodes for role in node.roles}
    models = {role: config.models.of(role) for role in ROLES if role in asked}
    served = {role: model for role, model in models.items() if isinstance(model, VllmModel)}
    if not served:
        raise ConfigError(
            f"recipe {graph.recipe}: none of its roles is bound to a model that vLLM serves: bind "
            "one, e.g. model@models.solver=qwen3_235b_thinking"
        )
    check_start(config, replace(graph, nodes=()))  # of the other roles nothing is asked here
    for model in served.values():
        check_model(model, is_here=config.runtime.kind != "cluster")
    none = constant(0)
    idle = [RoleLoad(role, none, none, none, none) for role in served]
    return [
        Served(served["solver" if "solver" in plan.roles else plan.roles[0]], plan)
        for plan in gpus_of(config, idle).engines
    ]


def compare(plan: PlanConfig, served: Served, started: Started, burst: Burst) -> list[Comparison]:
    """What was foreseen of a model and what was measured → both, number by number."""
    model = served.model
    said = plan.tokens_per_s.get(model.name, plan.tokens_per_s.get(model.backend))
    one = burst.call_tokens_per_s
    return [
        *_cache(served.plan, started.cache_tokens),
        *_rates(plan, served, burst.tokens_per_s),
        Comparison(
            f"tokens/s of one of {burst.num_calls:,} calls",
            one,
            None if said is None else _range(said),
            f"++plan.tokens_per_s={{{model.name}: {_pair(one)}}}",
        ),
        Comparison("minutes of loading", started.load_s / 60, _range(plan.load_minutes)),
    ]


def _cache(plan: EnginePlan, measured: int) -> Iterator[Comparison]:
    """One line for each node that the model fits on: only one of them is the one at work."""
    fitting = [node for node in plan.nodes if not node.misfit]
    for node in fitting:
        tokens = node.cache_tokens
        planned = None if tokens is None else Range(tokens, tokens, tokens)
        where = "" if plan.is_cpu else f" on {node.node}"
        yield Comparison(f"cache tokens{where}", measured or None, planned)
    if not fitting:
        yield Comparison("cache tokens", measured or None, None)


def _rates(plan: PlanConfig, served: Served, measured: float) -> Iterator[Comparison]:
    """Output tokens per second of a GPU: a line for each that `accelerator` leaves possible."""
    model = served.model
    if not model.num_gpus:
        return
    each = measured / model.num_gpus
    fitting = [node.gpu for node in served.plan.nodes if not node.misfit]
    for gpu in dict.fromkeys(fitting or [model.accelerator or "GPU"]):
        rate = plan.gpu_rates.get(model.name, {}).get(gpu)
        said = f"{{tokens_per_s: {_pair(each)}, source: jobs/check_model.py}}"
        yield Comparison(
            f"tokens/s of one {gpu}",
            each,
            None if rate is None else _range(rate.tokens_per_s),
            f"++plan.gpu_rates={{{model.name}: {{{gpu}: {said}}}}}",
        )


def _range(said: LowHigh) -> Range:
    return Range(*assumed(said)[:3])


def _pair(rate: float) -> str:
    """A burst's rate → low and high of a run's, as the command line takes them."""
    ends = (rate * LONG_SHARE, rate)
    return f"[{', '.join(f'{end:.0f}' if end >= 1_000 else f'{end:.3g}' for end in ends)}]"
