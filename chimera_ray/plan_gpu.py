"""The GPUs that a plan takes: the engines behind its roles, and the nodes that they run on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from chimera_ray.config import Config
from chimera_ray.engine_fit import problems_of, shape_of
from chimera_ray.errors import ConfigError
from chimera_ray.model_config import VllmModel
from chimera_ray.model_shape import Shape
from chimera_ray.plan_config import NodeType
from chimera_ray.plan_estimate import Dice, Draws, constant
from chimera_ray.plan_node import EngineLoad, NodePlan, on_node
from chimera_ray.plan_time import EngineSpeed, RoleLoad

_SEED = 1
"""other draws than those of rows and calls, which stay as they are"""


class EnginePlan(BaseModel):
    """One pool of engines, and the nodes that it could run on."""

    model: str
    roles: list[str]
    is_cpu: bool
    shape: Shape | None
    """None: nothing says how large it is"""
    mean_tokens: float
    """of a prompt and its reply"""
    nodes: list[NodePlan]

    @property
    def chosen(self) -> NodePlan | None:
        """The first of the nodes that it fits on, by which time and money are planned."""
        return next((node for node in self.nodes if not node.misfit), None)


class Gpus(NamedTuple):
    """What the rows to come take of GPUs."""

    engines: list[EnginePlan]
    speeds: dict[str, EngineSpeed]
    """by engine id"""
    cost_usd: Draws


def gpus_of(config: Config, loads: Sequence[RoleLoad]) -> Gpus:
    """What the stages ask of their roles → the GPUs that serve it, their hours and their price.

    Raises:
        ConfigError: an engine cannot start with its settings, or fits on none of its nodes.
    """
    asked = _by_engine(config, loads)
    dice, cost = Dice(_SEED), constant(0)
    engines, speeds = [], {}
    for engine_id, each in asked.items():
        plans = []
        for name, node in _nodes_of(config, each.model).items():
            plan, speed, usd = on_node(config.plan, each, name, node, dice)
            plans.append(plan)
            if not plan.misfit and engine_id not in speeds:
                speeds[engine_id], cost = speed, cost + usd
        roles = list(dict.fromkeys(role.role for role in each.roles))
        if plans and all(plan.misfit for plan in plans):
            said = "; ".join(f"{plan.node}: {plan.misfit}" for plan in plans)
            raise ConfigError(f"models.{roles[0]}: fits on no node of plan.nodes: {said}")
        engines.append(
            EnginePlan(
                model=each.model.name,
                roles=roles,
                is_cpu=each.model.device == "cpu",
                shape=each.model.shape,
                mean_tokens=float(each.mean_tokens[0]),
                nodes=plans,
            )
        )
    return Gpus(engines, speeds, cost)


def _by_engine(config: Config, loads: Sequence[RoleLoad]) -> dict[str, EngineLoad]:
    """Roles → the engines that play them, in order, after each role's settings were judged."""
    asked: dict[str, EngineLoad] = {}
    problems: dict[str, str] = {}
    for load in loads:
        model = config.models.of(load.role)
        if not isinstance(model, VllmModel):
            continue
        shape = _shape(model)
        if shape is not None:
            found = problems_of(model, shape)
            problems |= {text: load.role for text in found if text not in problems}
        limits = (load.longest or model.max_output, model.context)
        limit = min((each for each in limits if each is not None), default=None)
        each = asked.setdefault(
            model.engine_id, EngineLoad(model.model_copy(update={"shape": shape}), [], [])
        )
        each.roles.append(load)
        each.limits.append(limit or (shape.max_position if shape else 0))
    if problems:
        raise ConfigError("; ".join(f"models.{role}: {text}" for text, role in problems.items()))
    return asked


def _shape(model: VllmModel) -> Shape | None:
    """A model → its shape, as configured or else from the weights' folder."""
    path = None if model.path is None else Path(model.path) / "config.json"
    if model.shape is not None or path is None or not path.is_file():
        return model.shape
    try:
        return shape_of(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ConfigError) as exc:
        raise ConfigError(f"{path}: {exc}") from None


def _nodes_of(config: Config, model: VllmModel) -> Mapping[str, NodeType | None]:
    """A model → the nodes that it may run on; None: the machine's own CPU."""
    if model.shape is None:
        return {}
    if model.device == "cpu":
        return {"cpu": None}
    return {
        name: node
        for name, node in config.plan.nodes.items()
        if model.accelerator in (None, node.gpu)
    }
