"""Types of reply fields that read what is unambiguous; every other field is read strictly."""

import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from chimera_ray.text.json_values import Real, Whole

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,20})?)\s?(%?)", re.ASCII)


def _text(value: object) -> object:
    """A number → what was written for it, so that 1.50 stays "1.50"."""
    return value.written if isinstance(value, Whole | Real) else value


def _percent(value: object) -> object:
    """What was written for a percentage → the percentage, rounded half up, if it can be read."""
    written = _text(value)
    if not isinstance(written, str) or not (said := _PERCENT.fullmatch(written.strip())):
        return written
    number = Decimal(said[1])
    is_fraction = not said[2] and "." in said[1] and 0 < number <= 1
    if is_fraction and number == 1:
        return written
    return int((number * 100 if is_fraction else number).quantize(Decimal(1), ROUND_HALF_UP))


Text = Annotated[str, BeforeValidator(_text)]
"""a text; a number counts as what was written for it"""

Percent = Annotated[int, Field(ge=0, le=100), BeforeValidator(_percent)]
"""0 to 100: 95, 95.0, "95", "95%"; 0.95 is 95; 1 is one percent, and 1.0 is refused as ambiguous"""
