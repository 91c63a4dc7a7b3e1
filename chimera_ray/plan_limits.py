"""What token limits leave of a call: no plan says more than they allow."""

from typing import NamedTuple

import numpy as np

from chimera_ray.model_config import ModelConfig, VllmModel
from chimera_ray.plan_estimate import Draws
from chimera_ray.stage import Params


class CallLimits(NamedTuple):
    """Of one stage's calls to one model; None: there is none."""

    output: int | None
    second_output: int | None
    """of a second call, where a reply that was cut at the first limit is asked for once more"""
    context: int | None
    """input and output"""
    goes_on: bool
    """the second call pays for what the first has not generated alone"""

    @property
    def longest(self) -> int | None:
        """Output tokens of the longest reply."""
        limits = (self.second_output or self.output, self.context)
        return min((limit for limit in limits if limit is not None), default=None)

    def hold(self, read: Draws, written: Draws) -> tuple[Draws, Draws]:
        """Input and output tokens of a call → the same, within the limits."""
        room = np.inf if self.context is None else self.context
        read = np.minimum(read, room)
        most = np.inf if self.longest is None else self.longest
        return read, np.minimum(written, np.minimum(room - read, most))

    def cut(self, written: Draws) -> tuple[Draws, Draws]:
        """Output tokens of a reply that nothing cuts → calls that it takes, and tokens of each."""
        if self.output is None or self.second_output is None:
            return np.ones_like(written), written
        again = np.minimum(written, self.second_output)
        both = again if self.goes_on else self.output + again
        is_cut = written > self.output
        return np.where(is_cut, 2.0, 1.0), np.where(is_cut, both / 2, written)


def limits_of(model: ModelConfig, params: Params) -> CallLimits:
    """A model and the parameters of a stage that asks it → the limits of its calls."""
    second = getattr(params, "second_chance_tokens", None)
    return CallLimits(model.max_output, second, model.context, isinstance(model, VllmModel))
