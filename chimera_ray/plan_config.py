"""What a plan assumes where the ledger cannot tell: low and high numbers by stage, role and model.

No part of any identity: nothing here changes what is made.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from chimera_ray.strict import Strict


def _in_order(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("the low number comes first")
    return pair


Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LowHigh = Annotated[tuple[Amount, Amount], AfterValidator(_in_order)]
"""95% likely to lie between them; twice the same number: known, and never measured"""
Speed = Annotated[tuple[Annotated[float, Field(gt=0)], Amount], AfterValidator(_in_order)]


class RolePrior(Strict):
    """What a stage asks of one role."""

    calls_per_row: LowHigh
    """of expand_topics: per round of asking that the row's target needs"""
    input_tokens: LowHigh
    """of one call"""
    output_tokens: LowHigh
    """of one call, reasoning included"""


class StagePrior(Strict):
    """What becomes of a stage's rows."""

    outputs_per_input: LowHigh = (1.0, 1.0)
    """of what the stage's parameters ask for: targets, drafts, rollouts; else of one row"""
    roles: Mapping[str, RolePrior] = {}
    """by role; none: the stage asks no model"""


class NodeType(Strict):
    """A kind of machine that can be rented."""

    gpu: Annotated[str, Field(min_length=1)]
    """as Ray names it, and as a model's `accelerator` asks for it"""
    num_gpus: Annotated[int, Field(ge=1)]
    gpu_gib: Annotated[float, Field(gt=0)]
    """memory of one GPU that a process can have"""
    usd_per_hour: Amount | None = None
    """of the whole machine; None: not known, so its hours have no price"""
    as_of: str = ""
    """when that price was read"""
    source: str = ""


class GpuRate(Strict):
    """Output tokens per second of one GPU of a full engine."""

    tokens_per_s: Speed
    as_of: str = ""
    """when it was measured or read"""
    source: str = ""


class PlanConfig(Strict):
    """The assumptions of `jobs/plan_run.py`."""

    stages: Mapping[str, StagePrior] = {}
    """by stage name; a stage that is not named passes its rows on and asks no model"""
    tokens_per_s: Mapping[str, Speed] = {}
    """output tokens per second of one call, by model name or else by backend"""
    nodes: Mapping[str, NodeType] = {}
    """by name, the one to be preferred first"""
    gpu_rates: Mapping[str, Mapping[str, GpuRate]] = {}
    """by model name, then by GPU; what is not named is not known"""
    load_minutes: LowHigh = (10.0, 20.0)
    """from a fresh node to an engine's first token"""
    batch_hours: LowHigh = (1.0, 24.0)
    """from handing a batch in to its answers"""
