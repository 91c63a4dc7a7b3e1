"""How long calls take at the configured limits: the slowest of requests, tokens and slots.

Each is a time that it cannot take less than: start-up, the last slow calls of a segment, our own
work between calls, and limits that an endpoint only shows while it runs come on top.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from chimera_ray.config import Config
from chimera_ray.model_config import ModelConfig, OpenAIModel, VllmModel
from chimera_ray.plan_estimate import Draws, Range, constant, range_of


class RoleLoad(NamedTuple):
    """What one stage asks of one role."""

    role: str
    calls: Draws
    tokens: Draws
    """input and output of all these calls"""
    call_s: Draws
    """seconds that one call takes"""


class StageLoad(NamedTuple):
    """A stage's rows to come, and what they ask for."""

    stage: str
    rows: Draws
    work_s: Draws
    """seconds that these rows take, one after the other"""
    roles: tuple[RoleLoad, ...]


class SegmentTime(NamedTuple):
    """Stages that stream into one another, so that their times overlap."""

    stages: tuple[str, ...]
    seconds: Range
    bound_by: str
    """what takes the longest, by the point estimates; empty: nothing takes any time"""


def times_of(
    segments: Sequence[Sequence[StageLoad]], config: Config
) -> tuple[list[SegmentTime], Range]:
    """The loads of a run's segments → the time of each, and of all, one after the other."""
    total = constant(0)
    times = []
    for loads in segments:
        bounds = _bounds(loads, config)
        seconds = np.max(list(bounds.values()), axis=0)
        longest = max(bounds, key=lambda name: float(bounds[name][0]))
        bound_by = longest if bounds[longest][0] > 0 else ""
        stages = tuple(load.stage for load in loads)
        times.append(SegmentTime(stages, range_of(seconds), bound_by))
        total = total + seconds
    return times, range_of(total)


def _bounds(loads: Sequence[StageLoad], config: Config) -> dict[str, Draws]:
    """A segment's loads → by what could bind: the seconds that it would take at least."""
    bounds: dict[str, Draws] = {}
    models = {role.role: config.models.of(role.role) for load in loads for role in load.roles}
    for load in loads:
        slots = _slots(config, load, [models[role.role] for role in load.roles])
        one_row_s = load.work_s / np.maximum(load.rows, 1.0)
        bounds[f"slots of {load.stage}"] = np.maximum(load.work_s / slots, one_row_s)
    at: dict[str, list[RoleLoad]] = {}
    endpoints: dict[str, OpenAIModel] = {}
    for load in loads:
        for role in load.roles:
            model = models[role.role]
            # A batch has queues of its own: these limits are not its limits.
            if isinstance(model, OpenAIModel) and model.batch is None:
                endpoints[model.endpoint] = model
                at.setdefault(model.endpoint, []).append(role)
    for endpoint, model in endpoints.items():
        limits, roles = model.limits, at[endpoint]
        held = (
            ("requests", limits.requests_per_minute, lambda role: role.calls * 60),
            ("tokens", limits.tokens_per_minute, lambda role: role.tokens * 60),
            ("slots", limits.max_in_flight, lambda role: role.calls * role.call_s),
        )
        for name, limit, need in held:
            if limit is not None:
                bounds[f"{name} at {model.name}"] = _sum(roles, need) / limit
    return bounds


def _sum(roles: Sequence[RoleLoad], need: Callable[[RoleLoad], Draws]) -> Draws:
    total = constant(0)
    for role in roles:
        total = total + need(role)
    return total


def _slots(config: Config, load: StageLoad, models: Sequence[ModelConfig]) -> int:
    """How many rows of a stage are worked on at the same time."""
    pool = config.runtime.pool_of(load.stage)
    engines = [model.max_num_seqs for model in models if isinstance(model, VllmModel)]
    return pool.actors * min([pool.max_in_flight, *engines])
