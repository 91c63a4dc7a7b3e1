"""A reference that says that it is rounded → what it rounds to, and how far.

Only the reference may say so: a plain "12.35" is no rounding of 12.3456.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from chimera_ray.metrics.answers.numerals import Numeral, numeral, numeral_and_rest
from chimera_ray.metrics.answers.units import unit

_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_ABOUT = re.compile(r"(?:\\approx|[Aa]bout|[Aa]pprox(?:\.|imately)?|[Rr]oughly) ?")
_STATED = re.compile(
    r",? ?\(?(?:(?:rounded|correct|accurate) )?(?:to )?(?P<count>\d{1,2}|one|two|three|four|five) ?"
    r"(?:(?P<places>d\.? ?p\.?|decimal places?|decimals?)"
    r"|(?P<digits>s\.? ?f\.?|sig(?:nificant)?\.? ?fig(?:ure)?s?\.?|significant digits))\)?"
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class Rounded(NamedTuple):
    """A decimal that stands for what rounds to it."""

    numeral: Numeral
    unit: str
    """the text behind the number"""


def rounded(text: str) -> Rounded | None:
    """Normal text of a reference → the decimal that it says is rounded, if it says so."""
    about = _ABOUT.match(text)
    body = text[about.end() :] if about else text
    number = _NUMBER.match(body)
    if number is None:
        return None
    written, rest = numeral(number[0]), body[number.end() :]
    stated = _STATED.search(rest)
    is_stated = stated is not None and stated.end() == len(rest)
    if stated and is_stated:
        rest = rest[: stated.start()]
    if written is None or not written.num_decimals or not (about or is_stated):
        return None
    if stated and is_stated and not _fits(written, stated):
        return None
    return Rounded(written, rest) if not rest.strip() or unit(rest) else None


def rounds_to(predicted: str, reference: Rounded) -> bool:
    """Normal text of a prediction → whether it is a decimal with more places that rounds to it.

    One half in the first place that is dropped may go either way, and is left open.
    """
    found = numeral_and_rest(predicted)
    aim = reference.numeral
    if found is None or found[1].strip() != reference.unit.strip():
        return False
    value, places = found[0].value, found[0].num_decimals
    if value == aim.value:
        return True
    if places is None or aim.num_decimals is None or places <= aim.num_decimals:
        return False
    return abs(value - aim.value) * 2 < Fraction(1, 10**aim.num_decimals)


def _fits(written: Numeral, stated: re.Match[str]) -> bool:
    """Whether the decimal is written with as many places or digits as it is said to have."""
    count = int(stated["count"]) if stated["count"].isdigit() else _COUNTS[stated["count"]]
    return count == (written.num_decimals if stated["places"] else written.num_digits)
