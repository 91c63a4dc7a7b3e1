r"""An answer's text → its normal form, and the number it says; nothing here judges.

The normal form undoes only what cannot change a meaning: dollars, `\left`, `\text`, thin spaces,
`\dfrac`, braces around one character, the capital of a plain word. Every step is linear.
"""

import re
from fractions import Fraction
from typing import NamedTuple

_MAX_NUMBER_CHARS = 300

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("−–‐‑", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2007\t\n\r", " "),
        **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "π": r"\pi ", "∞": r"\infty "},
        **{"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "°": r"^\circ "},
    }
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-")
_REWRITES = (
    (re.compile("[⁰¹²³⁴-⁹⁺⁻ⁿ]+"), lambda run: "^{" + run[0].translate(_SUPERSCRIPTS) + "}"),
    (re.compile("[₀-₋]+"), lambda run: "_{" + run[0].translate(_SUBSCRIPTS) + "}"),
    (re.compile(r"\\(?:left|right)\.|\\(?:left|right|displaystyle|limits)(?![A-Za-z])"), ""),
    (re.compile(r"\\[,;:! ]|~|\\q?quad(?![A-Za-z])"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(le|ge|ne)q(?![A-Za-z])"), r"\\\1"),
    (re.compile(r"\\degree(?![A-Za-z])|\bdegrees?\b"), r"^\\circ "),
    (re.compile(r"\^\{\\circ\s?\}"), r"^\\circ "),
    (
        re.compile(r"\\(?:text|mathrm|operatorname|textbf|textit|textrm|mbox)\s?\{([^{}\\]*)\}"),
        r" \1 ",
    ),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"(?<=\d)\{,\}(?=\d{3})"), ","),
    # "1, 234" are two numbers and "1,234" is one, so this space has to stay.
    (re.compile(r",\s+(?=\d{3}(?!\d))"), ",\0"),
    (re.compile(r"\s+(?![^\W_])|(?<![^\W_])\s+|(?<=\d)\s+(?=[^\W\d_eE])"), ""),
    (re.compile(r"\s+"), " "),
    (re.compile(r"\0"), " "),
    (re.compile(r"([_^])\{([^\W_])\}(?!\d)"), r"\1\2"),
    (re.compile(r"\\frac ?(\d) ?(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\sqrt ?(\d)(?!\d)"), r"\\sqrt{\1}"),
)
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))

_PLAIN_WORD = re.compile(r"(?<![\\A-Za-z])(?:[A-Z][a-z]{2,}|TRUE|FALSE|YES|NO|No)(?![A-Za-z])")
_GREEK = frozenset(
    """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma
    tau upsilon phi chi psi omega
    """.split()  # noqa: SIM905 - many words, read as words
)

_DECIMAL = r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?|\.\d+)"
_POWER = (
    r"(?:[eE](?P<e>[+-]?\d{1,3})(?!\d)"
    r"|(?:\\times|\\cdot|\*) ?10\^(?:\{(?P<p>[+-]?\d{1,3})\}|(?P<d>[+-]?\d{1,3})(?!\d)))"
)
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:"
    rf"\\frac\{{(?P<top>\d+)\}}\{{(?P<bottom>\d+)\}}"
    rf"|(?P<left>\d+)/(?P<right>\d+)(?![\d.])"
    rf"|(?P<decimal>{_DECIMAL}){_POWER}?"
    rf")(?P<percent>%?)"
)
_LEADING_ZERO = re.compile(r"0\d")


class Number(NamedTuple):
    """An exact rational, and how exactly it was written."""

    value: Fraction
    num_digits: int | None
    """Significant digits of a decimal fraction; None for what is written exactly."""
    last_place: Fraction
    """What one unit in the last written digit is worth; 0 if exact."""


def normal_form(text: str) -> str:
    """Answer → its text without what carries no meaning."""
    text = text.strip()
    for left, right in _WRAPPERS:
        inner = text[len(left) : -len(right)]
        if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
            text = text if left in inner or right in inner else inner.strip()
    text = text.translate(_CHARACTERS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1]
    return _PLAIN_WORD.sub(_lower, text).strip()


def number(form: str) -> Number | None:
    """Normal form → the number it is, if it is nothing but one number.

    Decimals with thousands commas, powers of ten, fractions of integers and percentages count.
    """
    parsed = number_and_rest(form)
    return parsed[0] if parsed and not parsed[1] else None


def number_and_rest(form: str) -> tuple[Number, str] | None:
    """Normal form → the number it begins with and what follows, if it begins with one.

    Leading zeros make no number: "007" and "0101" may be codes.
    """
    match = _NUMBER.match(form[: _MAX_NUMBER_CHARS + 1])
    if match is None or match.end() > _MAX_NUMBER_CHARS:
        return None
    parts = match.groupdict()
    digits = [
        part for name in ("top", "bottom", "left", "right", "decimal") if (part := parts[name])
    ]
    if any(_LEADING_ZERO.match(part) for part in digits):
        return None
    scale = Fraction(-1 if parts["sign"] == "-" else 1, 100 if parts["percent"] else 1)
    if not parts["decimal"]:
        top, bottom = (int(part) for part in digits)
        value = Number(scale * Fraction(top, bottom), None, Fraction(0)) if bottom else None
    else:
        value = _decimal(parts["decimal"].replace(",", ""), parts, scale)
    return (value, form[match.end() :].strip()) if value else None


def _decimal(text: str, parts: dict[str, str | None], scale: Fraction) -> Number:
    whole, _, fraction = text.partition(".")
    power = Fraction(10) ** int(parts["e"] or parts["p"] or parts["d"] or 0)
    value = scale * power * Fraction(int(whole + fraction or "0"), 10 ** len(fraction))
    if not fraction:
        return Number(value, None, Fraction(0))
    last_place = abs(scale) * power / 10 ** len(fraction)
    return Number(value, len((whole + fraction).lstrip("0")), last_place)


def _lower(word: re.Match[str]) -> str:
    return word[0] if word[0].casefold() in _GREEK else word[0].casefold()
