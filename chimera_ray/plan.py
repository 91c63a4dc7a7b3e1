"""What a run will cost before it is paid for: calls, tokens, money and time, each as a range.

Rates are measured where the ledger has rows of this very recipe, and else assumed by `plan` in the
configuration. What the ledger has is not paid again. Starts nothing, asks nobody.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel

from chimera_ray.account import RoleAccount
from chimera_ray.config import ROLES, Config
from chimera_ray.graph import Graph
from chimera_ray.ledger.index import PartLostError
from chimera_ray.ledger.store import Store
from chimera_ray.plan_estimate import Estimate, Range, constant, range_of
from chimera_ray.plan_flow import Asked, Flow, Spent, flows_of
from chimera_ray.plan_gpu import EnginePlan, gpus_of
from chimera_ray.plan_sample import sample_stages
from chimera_ray.plan_time import RoleLoad, SegmentTime, StageLoad, times_of


class Spend(BaseModel):
    """Calls and what they come to."""

    calls: Range
    input_tokens: Range
    output_tokens: Range
    tokens: Range
    """input and output"""
    cost_usd: Range


class StagePlan(BaseModel):
    """One stage's rows."""

    stage: str
    inputs: Range
    num_done: int
    """of these: ended in the ledger, or computed from it"""
    share: Estimate
    """outputs of a further row, by what the stage's parameters ask for"""
    outputs: Range


class RolePlan(BaseModel):
    """What one stage asks of one role."""

    stage: str
    role: str
    num_measured: int
    """calls by which tokens are measured; 0: they are assumed"""
    paid: RoleAccount
    to_come: Spend


class Budget(BaseModel):
    """A cap of the runtime, held against the forecast."""

    key: str
    cap: float
    in_all: Range

    @property
    def share(self) -> float:
        """How much of the run the cap pays for, by the point estimate."""
        return self.cap / self.in_all.point if self.in_all.point else 1.0


class Plan(BaseModel):
    """A forecast, whole."""

    run: str
    stages: list[StagePlan]
    asked: list[RolePlan]
    roles: dict[str, Spend]
    """paid so far and to come, by role"""
    to_come: Spend
    in_all: Spend
    """calls alone, without the GPUs"""
    engines: list[EnginePlan]
    gpu_usd: Range
    """of the GPU hours to come, as far as rates and prices are known"""
    total_usd: Range
    """calls, paid and to come, and the GPU hours to come"""
    segments: list[SegmentTime]
    seconds: Range
    budgets: list[Budget]


def plan_run(config: Config, graph: Graph, store: Store) -> Plan:
    """A configuration, its graph and its ledger → what the run will cost, and how long it takes.

    Raises:
        ConfigError: neither the ledger nor `plan` says what a stage asks of a role, or a model
            cannot start with its settings, or fits on none of the nodes.
        LedgerError: the ledger cannot be read.
    """
    while True:
        try:
            samples = sample_stages(graph, store)
            break
        except PartLostError:  # compacted away meanwhile, or corrupt and set aside now
            continue
    return _plan(config, graph, flows_of(config, graph, samples))


def _plan(config: Config, graph: Graph, flows: Sequence[Flow]) -> Plan:
    by_role: dict[str, list[Spent]] = {}
    for flow in flows:
        for asked in flow.asked:
            by_role.setdefault(asked.role, []).extend([asked.to_come, _paid(asked.paid)])
    to_come = _sum([asked.to_come for flow in flows for asked in flow.asked])
    in_all = _sum([spent for found in by_role.values() for spent in found])
    loads = {flow.sample.node.name: _load(flow) for flow in flows}
    gpus = gpus_of(config, [role for load in loads.values() for role in load.roles])
    names = [[node.name for node in segment if node.roles] for segment in graph.segments()]
    segments, seconds = times_of(
        [[loads[name] for name in segment] for segment in names if segment], config, gpus.speeds
    )
    return Plan(
        run=graph.run_name,
        stages=[_stage_plan(flow) for flow in flows],
        asked=[_role_plan(flow, asked) for flow in flows for asked in flow.asked],
        roles={role: _spend(_sum(by_role[role])) for role in ROLES if role in by_role},
        to_come=_spend(to_come),
        in_all=_spend(in_all),
        engines=gpus.engines,
        gpu_usd=range_of(gpus.cost_usd),
        total_usd=range_of(in_all.cost_usd + gpus.cost_usd),
        segments=segments,
        seconds=seconds,
        budgets=_budgets(config, _spend(in_all)),
    )


def _stage_plan(flow: Flow) -> StagePlan:
    return StagePlan(
        stage=flow.sample.node.name,
        inputs=range_of(flow.rows),
        num_done=flow.sample.num_done,
        share=flow.share,
        outputs=range_of(flow.outputs),
    )


def _role_plan(flow: Flow, asked: Asked) -> RolePlan:
    return RolePlan(
        stage=flow.sample.node.name,
        role=asked.role,
        num_measured=asked.num_measured,
        paid=asked.paid,
        to_come=_spend(asked.to_come),
    )


def _load(flow: Flow) -> StageLoad:
    roles = tuple(
        RoleLoad(
            asked.role,
            asked.to_come.calls,
            asked.to_come.input_tokens + asked.to_come.output_tokens,
            asked.call_s,
            asked.to_come.output_tokens,
            asked.longest,
        )
        for asked in flow.asked
    )
    to_do = np.maximum(flow.rows - flow.sample.num_done, 0)
    return StageLoad(flow.sample.node.name, to_do, flow.work_s, roles)


def _paid(paid: RoleAccount) -> Spent:
    return Spent(*(constant(getattr(paid, name)) for name in Spent._fields))


def _sum(found: Sequence[Spent]) -> Spent:
    total = _paid(RoleAccount())
    for spent in found:
        total = Spent(*(mine + its for mine, its in zip(total, spent, strict=True)))
    return total


def _spend(spent: Spent) -> Spend:
    said: Mapping[str, Range] = {name: range_of(draws) for name, draws in spent._asdict().items()}
    return Spend(tokens=range_of(spent.input_tokens + spent.output_tokens), **said)


def _budgets(config: Config, in_all: Spend) -> list[Budget]:
    caps = {
        "runtime.max_cost_usd": (config.runtime.max_cost_usd, in_all.cost_usd),
        "runtime.max_total_tokens": (config.runtime.max_total_tokens, in_all.tokens),
    }
    return [
        Budget(key=key, cap=cap, in_all=spent)
        for key, (cap, spent) in caps.items()
        if cap is not None
    ]
