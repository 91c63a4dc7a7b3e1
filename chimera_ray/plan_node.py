"""One engine on one type of node: what fits there, how fast it is, for how long, at what price.

A node is paid as a whole, from the start of loading on, also while other stages are slower: that
idle time comes on top of the hours here.
"""

import math
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from chimera_ray.engine_fit import GIB, Fit, fit, problems_of
from chimera_ray.model_config import VllmModel
from chimera_ray.plan_config import NodeType, PlanConfig
from chimera_ray.plan_estimate import Dice, Draws, Range, assumed, constant, range_of
from chimera_ray.plan_time import EngineSpeed, RoleLoad, engine_bounds


class NodePlan(BaseModel):
    """All replicas of one engine on one type of node."""

    node: str
    gpu: str
    num_nodes: int
    num_gpus: int
    """that the replicas use"""
    misfit: str
    """why it does not fit; empty: it does, and the rest is filled in"""
    weights_gib: float = 0.0
    """on the GPU with most of them"""
    kv_kib_per_token: float = 0.0
    """in one engine"""
    cache_tokens: int | None = None
    """of one engine; None: the GPU is not known"""
    mean_sequences: int | None = None
    """of the mean length that one engine's cache holds"""
    longest_sequences: int | None = None
    bound_by: str = ""
    """how many are decoded at once"""
    tokens_per_s: Range | None = None
    """of output, by all replicas; None: the rate is not known"""
    hours: Range | None = None
    """of what is to come, loading included"""
    gpu_hours: Range | None = None
    """of the nodes' GPUs, used or not"""
    cost_usd: Range | None = None
    """None: the rate or the price is not known"""


class EngineLoad(NamedTuple):
    """What is asked of one engine."""

    model: VllmModel
    roles: list[RoleLoad]
    limits: list[int]
    """output tokens of each role's longest reply"""

    @property
    def mean_tokens(self) -> Draws:
        """Of a prompt and its reply, which the engine ends at its limit."""
        calls = np.sum([role.calls for role in self.roles], axis=0)
        tokens = np.sum([role.tokens for role in self.roles], axis=0)
        limit = self.model.context or np.inf
        return np.asarray(np.minimum(tokens / np.maximum(calls, 1), limit))

    @property
    def longest_s(self) -> Draws:
        """Seconds of the longest reply, at the speed of any other."""
        each = [
            limit * role.call_s * role.calls / np.maximum(role.output_tokens, 1)
            for role, limit in zip(self.roles, self.limits, strict=True)
        ]
        return np.asarray(np.max(each, axis=0))


def on_node(
    config: PlanConfig, asked: EngineLoad, name: str, node: NodeType | None, dice: Dice
) -> tuple[NodePlan, EngineSpeed, Draws]:
    """An engine on a type of node → what fits there, how fast it is, and the US dollars to come."""
    model = asked.model
    rate = None if node is None else config.gpu_rates.get(model.name, {}).get(node.gpu)
    drawn = None if rate is None else dice.draw(assumed(rate.tokens_per_s))
    used = model.num_gpus * model.replicas
    speed = EngineSpeed(
        constant(model.replicas * model.max_num_seqs),
        None if drawn is None else drawn * max(used, 1),
        asked.longest_s,
    )
    plan = NodePlan(
        node=name,
        gpu="-" if node is None else node.gpu,
        num_nodes=0 if node is None else _num_nodes(model, node),
        num_gpus=used,
        misfit="" if node is None else _misfit(model, node),
    )
    if plan.misfit:
        return plan, speed, constant(0)
    found = fit(model, None if node is None else node.gpu_gib)
    speed = speed._replace(slots=_slots(asked, found))
    fitted = plan.model_copy(update=_fitted(asked, found))
    if node is None or speed.tokens_per_s is None:
        return fitted, speed, constant(0)
    loading = dice.draw(assumed(config.load_minutes)) / 60
    hours = _busy_hours(asked, speed, loading)
    usd = hours * plan.num_nodes * (node.usd_per_hour or 0.0)
    money = {
        "tokens_per_s": range_of(speed.tokens_per_s),
        "hours": range_of(hours),
        "gpu_hours": range_of(hours * plan.num_nodes * node.num_gpus),
        "cost_usd": None if node.usd_per_hour is None else range_of(usd),
    }
    return fitted.model_copy(update=money), speed, usd


def _busy_hours(asked: EngineLoad, speed: EngineSpeed, loading_h: Draws) -> Draws:
    """From the start of loading to the last reply: by tokens, by slots, and by the longest."""
    busy = np.max(list(engine_bounds(asked.roles, asked.model, speed).values()), axis=0) / 3600
    return np.asarray((busy + loading_h) * (busy > 0))


def _fitted(asked: EngineLoad, found: Fit) -> dict[str, float | int | str | None]:
    mean = found.sequences(float(asked.mean_tokens[0]))
    is_full = mean is not None and mean < asked.model.max_num_seqs
    return {
        "weights_gib": found.weight_bytes / GIB,
        "kv_kib_per_token": found.engine_kv_bytes_per_token / 1024,
        "cache_tokens": found.cache_tokens,
        "mean_sequences": mean if asked.mean_tokens[0] else None,
        "longest_sequences": found.sequences(found.longest_sequence),
        "bound_by": "cache" if is_full else "max_num_seqs",
    }


def _slots(asked: EngineLoad, found: Fit) -> Draws:
    """Sequences that all replicas decode at once: as configured, or as their caches hold.

    A sequence is taken at its whole length: replies of such different lengths, on average over the
    time that they run, hold about as much as a whole one of the mean length.
    """
    configured = constant(asked.model.max_num_seqs)
    if found.copy_tokens is None:
        return configured * asked.model.replicas
    held = found.copy_tokens // np.maximum(asked.mean_tokens, 1) * found.num_copies
    return np.asarray(np.maximum(np.minimum(configured, held), 1) * asked.model.replicas)


def _num_nodes(model: VllmModel, node: NodeType) -> int:
    """Nodes of all replicas; an engine's GPUs on one node are never split over two."""
    on_one = math.ceil(model.num_gpus / model.num_nodes)
    return math.ceil(model.replicas / max(1, node.num_gpus // on_one)) * model.num_nodes


def _misfit(model: VllmModel, node: NodeType) -> str:
    on_one = model.num_gpus // model.num_nodes
    if on_one > node.num_gpus:
        return (
            f"does not fit: {on_one} GPUs on one node (tensor, pipeline and data parallel size by "
            f"num_nodes), it has {node.num_gpus}"
        )
    return "; ".join(problems_of(model, model.shape, node.gpu_gib)) if model.shape else ""
