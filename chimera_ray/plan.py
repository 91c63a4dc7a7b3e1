"""What a run will cost before it is paid for: calls, tokens, money and time, each as a range.

Rates are measured where the ledger has rows of this very recipe, and else assumed by `plan` in the
configuration. What the ledger has is not paid again. Starts nothing, asks nobody.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from chimera_ray.account import RoleAccount
from chimera_ray.config import ROLES, Config
from chimera_ray.errors import ConfigError
from chimera_ray.graph import Graph
from chimera_ray.ledger.index import PartLostError
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Usage
from chimera_ray.model_config import ModelConfig, OpenAIModel, SimulatedModel
from chimera_ray.plan_config import LowHigh, PlanConfig, RolePrior, StagePrior
from chimera_ray.plan_estimate import (
    Dice,
    Draws,
    Estimate,
    Range,
    assumed,
    constant,
    fold_share,
    range_of,
    rate,
)
from chimera_ray.plan_sample import CallSample, StageSample, sample_stages
from chimera_ray.plan_time import RoleLoad, SegmentTime, StageLoad, times_of
from chimera_ray.stage import Fold

NOTHING = CallSample(np.empty(0), {})


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
    segments: list[SegmentTime]
    seconds: Range
    budgets: list[Budget]


class _Spent(NamedTuple):
    """Draws of what calls come to."""

    calls: Draws
    input_tokens: Draws
    output_tokens: Draws
    cost_usd: Draws


class _Asked(NamedTuple):
    """What one stage asks of one role, drawn."""

    role: str
    num_measured: int
    paid: RoleAccount
    to_come: _Spent
    call_s: Draws


class _Flow(NamedTuple):
    """One stage, drawn."""

    sample: StageSample
    rows: Draws
    share: Estimate
    outputs: Draws
    asked: tuple[_Asked, ...]


def plan_run(config: Config, graph: Graph, store: Store) -> Plan:
    """A configuration, its graph and its ledger → what the run will cost, and how long it takes.

    Raises:
        ConfigError: neither the ledger nor `plan` says what a stage asks of a role.
        LedgerError: the ledger cannot be read.
    """
    while True:
        try:
            samples = sample_stages(graph, store)
            break
        except PartLostError:  # compacted away meanwhile, or corrupt and set aside now
            continue
    priors, dice = _priors(config.plan, graph), Dice()
    flows: list[_Flow] = []
    rows = constant(samples[0].num_inputs)
    for sample in samples:
        flows.append(_flow(config, sample, priors[sample.node.name], rows, dice))
        rows = flows[-1].outputs
    return _plan(config, graph, flows)


def _flow(config: Config, sample: StageSample, prior: StagePrior, rows: Draws, dice: Dice) -> _Flow:
    """A stage and the rows that will arrive there → what leaves it, and what it asks for."""
    beyond = np.maximum(rows - sample.num_inputs, 0)
    expected = prior.outputs_per_input
    if isinstance(sample.node.stage, Fold):
        share = fold_share(sample.num_inputs, sample.num_outputs, rows, expected)
    else:
        share = rate(sample.yields, expected) or assumed(expected)
    outputs = sample.rest_outputs + beyond * sample.asked
    outputs = sample.num_outputs + outputs * dice.draw(share)
    rounds = sample.rest_calls + beyond
    asked = [
        _ask(config, sample, role, prior.roles.get(role), rounds, dice)
        for role in sample.node.roles
    ]
    return _Flow(sample, rows, share, outputs, tuple(asked))


def _ask(
    config: Config,
    sample: StageSample,
    role: str,
    prior: RolePrior | None,
    rounds: Draws,
    dice: Dice,
) -> _Asked:
    """A stage's role and the rounds of asking to come → what they come to."""
    model, found = config.models.of(role), sample.calls.get(role, NOTHING)

    def estimate(name: str) -> Estimate:
        values = found.per_row if name == "calls_per_row" else found.measured.get(name)
        expected: LowHigh | None = None if prior is None else getattr(prior, name)
        known = rate(np.empty(0) if values is None else values, expected)
        if known is None:
            raise ConfigError(
                f"plan.stages.{sample.node.name}.roles.{role}: missing, and the ledger has too "
                "little to measure it by"
            )
        return known

    calls = rounds * dice.draw(estimate("calls_per_row"))
    read, written = estimate("input_tokens"), estimate("output_tokens")
    per_call = dice.draw(read), dice.draw(written)
    usd = _usd_per_token(model, found)
    to_come = _Spent(
        calls,
        calls * per_call[0],
        calls * per_call[1],
        calls * (per_call[0] * usd[0] + per_call[1] * usd[1]),
    )
    paid = sample.paid.get(role, RoleAccount())
    seconds = _call_s(config.plan, model, found, per_call[1], dice)
    return _Asked(role, written.num_measured, paid, to_come, seconds)


def _usd_per_token(model: ModelConfig, found: CallSample) -> tuple[float, float]:
    """A model, and the calls so far → US dollars of an input token and of an output token.

    Cached and reasoning tokens have their shares of the calls so far; none, if there were none.
    """

    def usd(name: str) -> float:
        return model.cost_usd(Usage(**{name: 1_000_000})) / 1e6

    def share(part: str, whole: str) -> float:
        total = found.measured[whole].sum() if found.measured else 0.0
        return float(found.measured[part].sum() / total) if total else 0.0

    # A cost is linear in its tokens: of a cached one alone, it is what caching takes off.
    return (
        usd("input_tokens") + share("cached_tokens", "input_tokens") * usd("cached_tokens"),
        usd("output_tokens") + share("reasoning_tokens", "output_tokens") * usd("reasoning_tokens"),
    )


def _call_s(
    plan: PlanConfig, model: ModelConfig, found: CallSample, written: Draws, dice: Dice
) -> Draws:
    """A model, the calls so far and the tokens of one → the seconds that it takes."""
    if isinstance(model, OpenAIModel) and model.batch is not None:
        return dice.draw(assumed(plan.batch_hours)) * 3600
    measured = rate(found.measured["latency_s"], None) if found.measured else None
    if measured is not None:
        return dice.draw(measured)
    if isinstance(model, SimulatedModel):
        return constant(model.latency.mean_s)
    speed = plan.tokens_per_s.get(model.name, plan.tokens_per_s.get(model.backend))
    if speed is None:
        raise ConfigError(f"plan.tokens_per_s: neither {model.name} nor {model.backend} is there")
    return written / dice.draw(assumed(speed))


def _priors(plan: PlanConfig, graph: Graph) -> dict[str, StagePrior]:
    """What is assumed of each stage, where its parameters say nothing more certain."""
    found = {node.name: plan.stages.get(node.name, StagePrior()) for node in graph.nodes}
    params = {node.name: node.params for node in graph.nodes}
    if getattr(params.get("nominate_topics"), "min_similarity", 0) is None:
        found["confirm_topic"] = _exact(found.get("confirm_topic"), calls=0.0, outputs=1.0)
    if getattr(params.get("decontaminate_problem"), "benchmarks", None) == ():
        found["decontaminate_problem"] = StagePrior(outputs_per_input=(1.0, 1.0))
    if getattr(params.get("label_trajectory"), "use_rules", None) is False:
        found["label_trajectory"] = _exact(found["label_trajectory"], calls=1.0)
    return found


def _exact(prior: StagePrior | None, calls: float, outputs: float | None = None) -> StagePrior:
    """A prior of which the parameters say how many calls a row takes, and perhaps its outputs."""
    prior = prior or StagePrior()
    said = {"calls_per_row": (calls, calls)}
    roles = {role: asked.model_copy(update=said) for role, asked in prior.roles.items()}
    shares = prior.outputs_per_input if outputs is None else (outputs, outputs)
    return StagePrior(outputs_per_input=shares, roles=roles)


def _plan(config: Config, graph: Graph, flows: Sequence[_Flow]) -> Plan:
    by_role: dict[str, list[_Spent]] = {}
    for flow in flows:
        for asked in flow.asked:
            by_role.setdefault(asked.role, []).extend([asked.to_come, _paid(asked.paid)])
    to_come = _sum([asked.to_come for flow in flows for asked in flow.asked])
    in_all = _sum([spent for found in by_role.values() for spent in found])
    loads = {flow.sample.node.name: _load(flow) for flow in flows}
    names = [[node.name for node in segment if node.roles] for segment in graph.segments()]
    segments, seconds = times_of(
        [[loads[name] for name in segment] for segment in names if segment], config
    )
    return Plan(
        run=graph.run_name,
        stages=[_stage_plan(flow) for flow in flows],
        asked=[_role_plan(flow, asked) for flow in flows for asked in flow.asked],
        roles={role: _spend(_sum(by_role[role])) for role in ROLES if role in by_role},
        to_come=_spend(to_come),
        in_all=_spend(in_all),
        segments=segments,
        seconds=seconds,
        budgets=_budgets(config, _spend(in_all)),
    )


def _stage_plan(flow: _Flow) -> StagePlan:
    return StagePlan(
        stage=flow.sample.node.name,
        inputs=range_of(flow.rows),
        num_done=flow.sample.num_done,
        share=flow.share,
        outputs=range_of(flow.outputs),
    )


def _role_plan(flow: _Flow, asked: _Asked) -> RolePlan:
    return RolePlan(
        stage=flow.sample.node.name,
        role=asked.role,
        num_measured=asked.num_measured,
        paid=asked.paid,
        to_come=_spend(asked.to_come),
    )


def _load(flow: _Flow) -> StageLoad:
    roles = tuple(
        RoleLoad(
            asked.role,
            asked.to_come.calls,
            asked.to_come.input_tokens + asked.to_come.output_tokens,
            asked.call_s,
        )
        for asked in flow.asked
    )
    to_do = np.maximum(flow.rows - flow.sample.num_done, 0)
    return StageLoad(flow.sample.node.name, to_do, roles)


def _paid(paid: RoleAccount) -> _Spent:
    return _Spent(*(constant(getattr(paid, name)) for name in _Spent._fields))


def _sum(found: Sequence[_Spent]) -> _Spent:
    total = _paid(RoleAccount())
    for spent in found:
        total = _Spent(*(mine + its for mine, its in zip(total, spent, strict=True)))
    return total


def _spend(spent: _Spent) -> Spend:
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
