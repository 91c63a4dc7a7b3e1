"""What a plan assumes where the ledger cannot tell: low and high numbers by stage, role and model.

No part of any identity: nothing here changes what is made.
"""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from chimera_ray.model_config import Strict


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


class PlanConfig(Strict):
    """The assumptions of `jobs/plan_run.py`."""

    stages: Mapping[str, StagePrior] = {}
    """by stage name; a stage that is not named passes its rows on and asks no model"""
    tokens_per_s: Mapping[str, Speed] = {}
    """output tokens per second of one call, by model name or else by backend"""
    batch_hours: LowHigh = (1.0, 24.0)
    """from handing a batch in to its answers"""
