r"""Normal text → the one number that it writes out: integer, decimal, fraction, percentage.

Left unread, since they are written like a number but may be something else: leading zeros ("007", a
code), a fraction that is not reduced ("6/8", a time signature), "2e-1" (2e − 1?), "1,5".
"""

import re
from fractions import Fraction
from typing import NamedTuple

_MAX_CHARS = 300

_POWER_OF_TEN = (
    r"(?:[eE](?P<e>[+-]?\d{1,3})"
    r"|(?:\\times|\\cdot|\*|x) ?10\^(?:\{(?P<p>[+-]?\d{1,3})\}|(?P<d>[+-]?\d{1,3})))"
)
_NUMERAL = re.compile(
    r"(?P<sign>[+-]?)(?:"
    r"\\frac\{(?P<top>\d+)\}\{(?P<bottom>\d+)\}"
    r"|(?P<slash_top>\d+)/(?P<slash_bottom>\d+)"
    r"|(?P<whole>\d+)(?:\\frac\{(?P<mixed_top>\d+)\}\{(?P<mixed_bottom>\d+)\}"
    r"| (?P<spaced_top>\d+)/(?P<spaced_bottom>\d+))"
    r"|(?P<repeated>\d*\.\d*)\\overline\{(?P<period>\d{1,30})\}"
    rf"|(?P<decimal>(?:[1-9]\d{{0,2}}(?:,\d{{3}})+|\d+)(?:\.\d+)?|\.\d+){_POWER_OF_TEN}?"
    r")(?P<percent> ?%| ?per ?cent(?![A-Za-z]))?"
)
_LEADING_ZERO = re.compile(r"0\d")
_NAMES = frozenset({"9/11", "24/7"})


class Numeral(NamedTuple):
    """A rational, and how it was written."""

    value: Fraction
    num_decimals: int | None = None
    """digits after the point of a plain decimal; None for everything else"""
    is_percent: bool = False
    num_digits: int | None = None
    """significant digits of a plain decimal"""
    is_fraction: bool = False
    is_reduced: bool = True
    """whether a fraction has no smaller numerator and denominator"""


def numeral(text: str) -> Numeral | None:
    """Normal text → its number, if it is one number and nothing else."""
    is_number = len(text) <= _MAX_CHARS and text not in _NAMES
    match = _NUMERAL.fullmatch(text) if is_number else None
    return _read(match) if match else None


def numeral_and_rest(text: str) -> tuple[Numeral, str] | None:
    """Normal text → the number it begins with and what follows; no "1/2 m", which is two things."""
    match = _NUMERAL.match(text) if len(text) <= _MAX_CHARS else None
    if match is None or match["slash_top"] or match["percent"]:
        return None
    read = _read(match)
    return (read, text[match.end() :]) if read else None


def _read(match: re.Match[str]) -> Numeral | None:
    parts = match.groupdict()
    read = _decimal(parts) if parts["decimal"] else _fraction(parts)
    if read is None:
        return None
    scale = Fraction(-1 if parts["sign"] == "-" else 1, 100 if parts["percent"] else 1)
    return read._replace(value=read.value * scale, is_percent=parts["percent"] is not None)


def may_be_two_metres(left: Numeral, right: Numeral) -> bool:
    """Two numerals of one value → whether they are fractions of which one can be reduced.

    3/4 and 6/8 are two time signatures, however their fractions are written.
    """
    return left.is_fraction and right.is_fraction and not (left.is_reduced and right.is_reduced)


def may_number_a_version(left: Numeral, right: Numeral) -> bool:
    """Two numerals of one value → whether they part like "1.10" and "1.1".

    Those may number two versions or chapters. "0.50", "3.0" and "2.750" are plain decimals.
    """
    return {left.num_decimals, right.num_decimals} == {1, 2} and abs(left.value) >= 1


def _fraction(parts: dict[str, str | None]) -> Numeral | None:
    if parts["repeated"]:
        return _repeating(parts["repeated"], parts["period"] or "")
    for top, bottom in (("top", "bottom"), ("slash_top", "slash_bottom")):
        if parts[top]:
            value = _ratio(parts[top], parts[bottom])
            is_reduced = value is not None and str(value.denominator) == parts[bottom]
            if value is None or (top == "slash_top" and not parts["sign"] and not is_reduced):
                return None
            return Numeral(value, is_fraction=True, is_reduced=is_reduced)
    part = _ratio(
        parts["mixed_top"] or parts["spaced_top"], parts["mixed_bottom"] or parts["spaced_bottom"]
    )
    whole = parts["whole"] or "0"
    if part is None or not 0 < part < 1 or whole.startswith("0"):
        return None
    return Numeral(int(whole) + part)


def _ratio(top: str | None, bottom: str | None) -> Fraction | None:
    if not top or not bottom or _LEADING_ZERO.match(top) or bottom.startswith("0"):
        return None
    return Fraction(int(top), int(bottom))


def _repeating(start: str, period: str) -> Numeral | None:
    whole, _, decimals = start.partition(".")
    if not whole or _LEADING_ZERO.match(whole):
        return None
    scale = 10 ** len(decimals)
    tail = Fraction(int(period), (10 ** len(period) - 1) * scale)
    return Numeral(Fraction(int(whole + decimals), scale) + tail)


def _decimal(parts: dict[str, str | None]) -> Numeral | None:
    written = parts["decimal"] or ""
    whole, _, decimals = written.replace(",", "").partition(".")
    if _LEADING_ZERO.match(whole) or _may_be_a_difference(written, parts["e"]):
        return None
    power = parts["e"] or parts["p"] or parts["d"]
    value = Fraction(int(whole + decimals), 10 ** len(decimals))
    if power:
        return Numeral(value * Fraction(10) ** int(power))
    return Numeral(value, len(decimals), num_digits=len((whole + decimals).lstrip("0")))


def _may_be_a_difference(written: str, exponent: str | None) -> bool:
    """A decimal and what follows its "e" → whether both may say 2e − 1, e being Euler's number."""
    return (
        exponent is not None and not exponent[0].isdigit() and written != "1" and "." not in written
    )
