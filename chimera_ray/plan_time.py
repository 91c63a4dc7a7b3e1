"""How long calls take at the configured limits: the slowest of requests, tokens, slots and GPUs.

Each is a time that it cannot take less than: start-up, the last slow calls of a segment, our own
work between calls, and limits that an endpoint only shows while it runs come on top.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from chimera_ray.config import Config
from chimera_ray.model_config import OpenAIModel, VllmModel
from chimera_ray.plan_estimate import Draws, Range, constant, range_of


class RoleLoad(NamedTuple):
    """What one stage asks of one role."""

    role: str
    calls: Draws
    tokens: Draws
    """input and output of all these calls"""
    call_s: Draws
    """seconds that one call takes"""
    output_tokens: Draws
    """of all these calls"""
    longest: int | None = None
    """output tokens of the longest reply; None: no limit"""


class StageLoad(NamedTuple):
    """A stage's rows to come, and what they ask for."""

    stage: str
    rows: Draws
    work_s: Draws
    """seconds that these rows take, one after the other"""
    roles: tuple[RoleLoad, ...]


class EngineSpeed(NamedTuple):
    """How fast all the replicas of one engine are together."""

    slots: Draws
    """sequences decoded at the same time"""
    tokens_per_s: Draws | None
    """of output; None: not known"""
    longest_s: Draws
    """seconds that a reply of the highest length takes"""


class SegmentTime(NamedTuple):
    """Stages that stream into one another, so that their times overlap."""

    stages: tuple[str, ...]
    seconds: Range
    bound_by: str
    """what takes the longest, by the point estimates; empty: nothing takes any time"""


def times_of(
    segments: Sequence[Sequence[StageLoad]], config: Config, engines: Mapping[str, EngineSpeed]
) -> tuple[list[SegmentTime], Range]:
    """The loads of a run's segments → the time of each, and of all, one after the other.

    `engines` by their ids; one that is not there takes as many sequences as it is configured to.
    """
    total = constant(0)
    times = []
    for loads in segments:
        bounds = _bounds(loads, config, engines)
        seconds = np.max(list(bounds.values()), axis=0)
        longest = max(bounds, key=lambda name: float(bounds[name][0]))
        bound_by = longest if bounds[longest][0] > 0 else ""
        stages = tuple(load.stage for load in loads)
        times.append(SegmentTime(stages, range_of(seconds), bound_by))
        total = total + seconds
    return times, range_of(total)


def engine_bounds(
    roles: Sequence[RoleLoad], model: VllmModel, speed: EngineSpeed | None
) -> dict[str, Draws]:
    """What is asked of one engine → by what could bind: the seconds that it would take at least."""
    slots = constant(model.replicas * model.max_num_seqs) if speed is None else speed.slots
    bounds = {f"slots at {model.name}": _sum(roles, _slot_s) / slots}
    if speed is not None:
        is_asked = _sum(roles, lambda role: role.calls) > 0
        bounds[f"longest reply of {model.name}"] = speed.longest_s * is_asked
        if speed.tokens_per_s is not None:
            tokens = _sum(roles, lambda role: role.output_tokens)
            bounds[f"GPUs of {model.name}"] = tokens / speed.tokens_per_s
    return bounds


def _bounds(
    loads: Sequence[StageLoad], config: Config, engines: Mapping[str, EngineSpeed]
) -> dict[str, Draws]:
    """A segment's loads → by what could bind: the seconds that it would take at least."""
    bounds: dict[str, Draws] = {}
    for load in loads:
        pool = config.runtime.pool_of(load.stage)
        one_row_s = load.work_s / np.maximum(load.rows, 1.0)
        slots_s = load.work_s / (pool.actors * pool.max_in_flight)
        bounds[f"slots of {load.stage}"] = np.maximum(slots_s, one_row_s)
    at: dict[str, list[RoleLoad]] = {}
    served: dict[str, OpenAIModel | VllmModel] = {}
    for role in (role for load in loads for role in load.roles):
        model = config.models.of(role.role)
        # A batch has queues of its own: these limits are not its limits.
        if isinstance(model, VllmModel) or (isinstance(model, OpenAIModel) and not model.batch):
            place = model.engine_id if isinstance(model, VllmModel) else model.endpoint
            served[place] = model
            at.setdefault(place, []).append(role)
    for place, model in served.items():
        if isinstance(model, VllmModel):
            found = engine_bounds(at[place], model, engines.get(place))
        else:
            found = _endpoint_bounds(at[place], model)
        for name, seconds in found.items():  # one name may stand for several places
            bounds[name] = np.maximum(bounds.get(name, 0.0), seconds)
    return bounds


def _endpoint_bounds(roles: Sequence[RoleLoad], model: OpenAIModel) -> dict[str, Draws]:
    limits = model.limits
    held = (
        ("requests", limits.requests_per_minute, lambda role: role.calls * 60),
        ("tokens", limits.tokens_per_minute, lambda role: role.tokens * 60),
        ("slots", limits.max_in_flight, _slot_s),
    )
    return {
        f"{name} at {model.name}": _sum(roles, need) / limit
        for name, limit, need in held
        if limit is not None
    }


def _slot_s(role: RoleLoad) -> Draws:
    return role.calls * role.call_s


def _sum(roles: Sequence[RoleLoad], need: Callable[[RoleLoad], Draws]) -> Draws:
    total = constant(0)
    for role in roles:
        total = total + need(role)
    return total
