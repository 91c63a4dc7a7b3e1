"""Rows carried through a recipe as draws: what will arrive, what is asked of whom, what it costs.

Where the ledger has rows of a stage, its rates are measured; else they are assumed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from chimera_ray.account import RoleAccount
from chimera_ray.config import Config
from chimera_ray.errors import ConfigError
from chimera_ray.graph import Graph
from chimera_ray.llm import Usage
from chimera_ray.model_config import ModelConfig, OpenAIModel, SimulatedModel
from chimera_ray.plan_config import LowHigh, PlanConfig, RolePrior, StagePrior
from chimera_ray.plan_estimate import Dice, Draws, Estimate, assumed, constant, fold_share, rate
from chimera_ray.plan_limits import limits_of
from chimera_ray.plan_sample import CallSample, StageSample
from chimera_ray.stage import Fold
from chimera_ray.stages import STAGES

NOTHING = CallSample(np.empty(0), np.empty(0), {})


class Spent(NamedTuple):
    """Draws of what calls come to."""

    calls: Draws
    input_tokens: Draws
    output_tokens: Draws
    cost_usd: Draws


class Asked(NamedTuple):
    """What one stage asks of one role, drawn."""

    role: str
    num_measured: int
    paid: RoleAccount
    to_come: Spent
    call_s: Draws
    longest: int | None
    """output tokens of the longest reply; None: no limit"""


class Flow(NamedTuple):
    """One stage, drawn."""

    sample: StageSample
    rows: Draws
    share: Estimate
    outputs: Draws
    asked: tuple[Asked, ...]
    work_s: Draws
    """seconds of slots that the rows to come take"""


def flows_of(config: Config, graph: Graph, samples: Sequence[StageSample]) -> list[Flow]:
    """What is known of each stage → each stage's rows and calls, drawn, in order.

    Raises:
        ConfigError: neither the ledger nor `plan` says what a stage asks of a role.
    """
    priors, dice = _priors(config.plan, graph), Dice()
    flows: list[Flow] = []
    rows = constant(samples[0].num_inputs)
    for sample in samples:
        flows.append(_flow(config, sample, priors[sample.node.name], rows, dice))
        rows = flows[-1].outputs
    return flows


def _flow(config: Config, sample: StageSample, prior: StagePrior, rows: Draws, dice: Dice) -> Flow:
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
    work_s = _work_s(config, sample, asked, rounds, dice)
    return Flow(sample, rows, share, outputs, tuple(asked), work_s)


def _ask(
    config: Config,
    sample: StageSample,
    role: str,
    prior: RolePrior | None,
    rounds: Draws,
    dice: Dice,
) -> Asked:
    """A stage's role and the rounds of asking to come → what they come to."""
    model, found = config.models.of(role), sample.calls.get(role, NOTHING)

    def estimate(name: str, is_needed: bool) -> Estimate:
        values = found.per_row if name == "calls_per_row" else found.measured.get(name)
        expected: LowHigh | None = None if prior is None else getattr(prior, name)
        known = rate(np.empty(0) if values is None else values, expected)
        if known is None and is_needed:
            raise ConfigError(
                f"plan.stages.{sample.node.name}.roles.{role}: missing, and the ledger has nothing "
                "to measure it by"
            )
        return known or assumed((0.0, 0.0))

    calls = rounds * dice.draw(estimate("calls_per_row", bool(rounds.any())))
    calls = np.minimum(calls, sample.most_calls)
    read, written = (
        estimate(name, bool(calls.any())) for name in ("input_tokens", "output_tokens")
    )
    limits = limits_of(model, sample.node.params)
    reply = dice.draw(read), dice.draw(written)
    if not written.num_measured:  # as measured, a second call is one of the calls
        again, each = limits.cut(reply[1])
        calls, reply = calls * again, (reply[0], each)
    per_call = limits.hold(*reply)
    usd = _usd_per_token(model, found)
    to_come = Spent(
        calls,
        calls * per_call[0],
        calls * per_call[1],
        calls * (per_call[0] * usd[0] + per_call[1] * usd[1]),
    )
    paid = sample.paid.get(role, RoleAccount())
    seconds = _call_s(config.plan, model, found, per_call[1], dice)
    return Asked(role, written.num_measured, paid, to_come, seconds, limits.longest)


def _usd_per_token(model: ModelConfig, found: CallSample) -> tuple[float, float]:
    """A model, and the calls so far → US dollars of an input token and of an output token.

    Cached and reasoning tokens have their shares of the calls so far; none, if there were none.
    """

    def usd(name: str) -> float:
        return model.cost_usd(Usage(**{name: 1_000_000})) / 1e6

    def share(part: str, whole: str) -> float:
        total = found.measured[whole].sum() if found.measured else 0.0
        return min(float(found.measured[part].sum() / total), 1.0) if total else 0.0

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


def _work_s(
    config: Config, sample: StageSample, asked: Sequence[Asked], rounds: Draws, dice: Dice
) -> Draws:
    """What a stage asks for → the seconds that its rows take; a row's roles are asked at once.

    Measured, these are of each row's slower role; assumed, of the role that is slower in all.
    """
    models = [config.models.of(each.role) for each in asked]
    is_batched = any(isinstance(model, OpenAIModel) and model.batch for model in models)
    measured = [found.row_s for found in sample.calls.values()]
    seconds = None if is_batched or not measured else rate(np.max(measured, axis=0), None)
    if seconds is not None:
        return rounds * dice.draw(seconds)
    each = [each.to_come.calls * each.call_s for each in asked]
    return np.max(each, axis=0) if each else constant(0)


def _priors(plan: PlanConfig, graph: Graph) -> dict[str, StagePrior]:
    """What is assumed of each stage, where its parameters say nothing more certain."""
    unknown = sorted(set(plan.stages) - set(STAGES))
    if unknown:
        raise ConfigError(f"plan.stages: no such stage: {', '.join(unknown)}")
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
