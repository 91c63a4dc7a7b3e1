r"""The text behind a number → its unit: what it measures, and an exact scale.

Symbols keep their case: m and M, Cal and cal, NO and No are never the same. Only what converts by
definition converts; temperatures, angles, bytes, activities and doses never do, nor a torque into
an energy.
"""

import re
from fractions import Fraction
from typing import NamedTuple

_MAX_CHARS = 80

_PREFIXES = {
    **{"T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "d": -1, "c": -2, "m": -3},
    **{r"\mu": -6, "u": -6, "n": -9, "p": -12, "f": -15},
}
_PREFIX_NAMES = {
    **{"tera": 12, "giga": 9, "mega": 6, "kilo": 3, "hecto": 2, "deci": -1, "centi": -2},
    **{"milli": -3, "micro": -6, "nano": -9, "pico": -12, "femto": -15},
}
_SI = {
    **{"m": "m", "g": "g", "s": "s", "A": "A", "K": "K", "mol": "mol"},
    **{"N": "kg m s-2", "J": "kg m2 s-2", "W": "kg m2 s-3", "Pa": "kg m-1 s-2", "C": "A s"},
    **{"V": "kg m2 s-3 A-1", "F": "A2 s4 kg-1 m-2", r"\Omega": "kg m2 s-3 A-2"},
    **{"T": "kg s-2 A-1", "Wb": "kg m2 s-2 A-1", "H": "kg m2 s-2 A-2", "Hz": "Hz"},
    **{"L": "l", "l": "l", "eV": "eV", "Bq": "Bq", "Gy": "Gy", "Sv": "Sv"},
    **{
        "lm": "lm",
        "lx": "lx",
        "cd": "cd",
        "rad": "rad",
        "S": "A2 s3 kg-1 m-2",
        "cal": "cal",
        "M": "mol l-1",
        "Wh": "Wh",
    },
}
"""units that take prefixes, in terms of what they are compared by"""
_OTHERS = {
    **{"min": ("s", 60), "h": ("s", 3600), "hr": ("s", 3600), "hrs": ("s", 3600)},
    **{"bar": ("kg m-1 s-2", 100_000), "mbar": ("kg m-1 s-2", 100)},
    **{"lbs": ("lb", 1), "sec": ("s", 1), "ha": ("m2", 10_000), "in": ("in", 1), "ft": ("in", 12)},
    **{name: (name, 1) for name in ("Cal", "B", "kB", "KB", "MB", "GB", "TB", "Kb", "Mb", "bit")},
    **{name: (name, 1) for name in ("atm", "torr", "mmHg", "psi", "lb", "oz", "mi", "yd")},
    **{name: (name, 1) for name in ("dB", "u", "Da", "sr", "kat", "ppm", "rpm", "mph", "yr")},
    **{"$": ("$", 1), "€": ("€", 1), "£": ("£", 1), "USD": ("USD", 1), "EUR": ("EUR", 1)},
    **{r"^\circ": ("deg", 1), r"^\circ C": ("degC", 1), r"^\circ F": ("degF", 1)},
}
_NAMES = {
    **{"meter": "m", "metre": "m", "gram": "g", "second": "s", "ampere": "A", "amp": "A"},
    **{"kelvin": "K", "mole": "mol", "newton": "N", "joule": "J", "watt": "W", "pascal": "Pa"},
    **{"coulomb": "C", "volt": "V", "farad": "F", "ohm": r"\Omega", "tesla": "T", "weber": "Wb"},
    **{"henry": "H", "hertz": "Hz", "liter": "L", "litre": "L", "radian": "rad", "calorie": "cal"},
    **{"becquerel": "Bq", "gray": "Gy", "siemen": "S", "sievert": "Sv", "electronvolt": "eV"},
}
_OTHER_NAMES = {
    **{"minute": ("s", 60), "hour": ("s", 3600), "day": ("s", 86_400), "week": ("s", 604_800)},
    **{"month": ("month", 1), "year": ("yr", 1), "inch": ("in", 1), "foot": ("in", 12)},
    **{"inches": ("in", 1), "feet": ("in", 12), "mile": ("mi", 1), "yard": ("yd", 1)},
    **{"pound": ("pound", 1), "dollar": ("$", 1), "cent": ("cent", 1), "euro": ("€", 1)},
    **{"degree": ("deg", 1), "byte": ("B", 1), "Calorie": ("Cal", 1), "unit": ("unit", 1)},
    **{"henries": ("kg m2 s-2 A-2", 1), "atmosphere": ("atm", 1), "ounce": ("oz", 1)},
}
_REFUSED = frozenset({"pm", "am", "cd", "Pm"})
_PART = re.compile(
    r"(?P<name>\^\\circ ?(?:[CF](?![A-Za-z]))?|[A-Za-z]?\\(?:mu|Omega) ?[A-Za-z]*|[A-Za-z]+|[$€£])"
    r"(?:\^(?:\{(?P<braced>-?\d)\}|(?P<power>-?\d)))?"
    r"(?P<joint> ?\\cdot ?|\*| ?/ ?| )?"
)
_WORDS = (
    (re.compile(r"\b[Ss]quare ([A-Za-z]+)"), r"\1^2"),
    (re.compile(r"\b[Cc]ubic ([A-Za-z]+)"), r"\1^3"),
    (re.compile(r"\b([A-Za-z]+) squared\b"), r"\1^2"),
    (re.compile(r"\b([A-Za-z]+) cubed\b"), r"\1^3"),
    (re.compile(r" per "), "/"),
    (re.compile(r"^degrees? ([CF])(?:elsius|ahrenheit)?$"), r"^\\circ \1"),
    (re.compile(r"^\^\\circ ([CF])(?:elsius|ahrenheit)$"), r"^\\circ \1"),
    (re.compile(r"^\\frac\{([^{}]+)\}\{([^{}]+)\}$"), r"\1/(\2)"),
    (re.compile(r"^deg$"), r"^\\circ"),
)
_DIMENSION = re.compile(r"([^\d\s-]+)(-?\d)?")


class Unit(NamedTuple):
    """What a number counts."""

    dimensions: tuple[tuple[str, int], ...]
    scale: Fraction
    is_torque: bool
    """newtons times metres, which are not always joules"""


def unit(text: str) -> Unit | None:
    """Normal text → the unit it is, if it is nothing else."""
    text = text.strip()
    if not 0 < len(text) <= _MAX_CHARS:
        return None
    for pattern, replacement in _WORDS:
        text = pattern.sub(replacement, text)
    text, is_enclosed = _without_parentheses(text)
    dimensions: dict[str, int] = {}
    scale, sign, names = Fraction(1), 1, []
    position = 0
    while position < len(text):
        part = _PART.match(text, position)
        known = _known(part["name"].strip()) if part else None
        if part is None or known is None:
            return None
        times = sign * int(part["braced"] or part["power"] or 1)
        if times * sign < 0 and _is_two_units(part["name"]):
            return None  # "m s^{-1}", written "ms^{-1}"
        names.append((part["name"], times))
        scale *= known[1] ** times
        for name, power in known[0].items():
            dimensions[name] = dimensions.get(name, 0) + power * times
        position = part.end()
        joint = (part["joint"] or "").strip()
        if (position == len(text)) != (part["joint"] is None):
            return None
        if (joint == "/" and sign < 0) or (
            joint != "/" and part["joint"] and sign < 0 and not is_enclosed
        ):
            return None  # "J/kg K"
        sign = -1 if joint == "/" else sign
    is_torque = any(name.endswith("N") and times == 1 for name, times in names) and any(
        name.endswith("m") and times == 1 for name, times in names
    )
    return Unit(tuple(sorted((k, v) for k, v in dimensions.items() if v)), scale, is_torque)


def _without_parentheses(text: str) -> tuple[str, bool]:
    """Unit → the same without parentheses that hold all of its denominator, if there are any."""
    top, slash, bottom = text.partition("/")
    if slash and bottom.startswith("(") and bottom.endswith(")") and "/" not in bottom:
        return f"{top}/{bottom[1:-1]}", True
    return text, False


def _known(name: str) -> tuple[dict[str, int], Fraction] | None:
    """A unit's name or symbol → its dimensions and its scale, if it is in a table."""
    if name in _REFUSED:
        return None
    if name in _SI or name in _OTHERS:
        return _dimensions(*((_SI[name], 1) if name in _SI else _OTHERS[name]))
    for prefix, power in _PREFIXES.items():
        symbol = name.removeprefix(prefix).strip()
        if name.startswith(prefix) and symbol in _SI:
            return _scaled(_dimensions(_SI[symbol], 1), power)
    return _known_word(name)


def _is_two_units(name: str) -> bool:
    return len(name) == 2 and name not in _OTHERS and {*name} <= {*_SI, *_OTHERS}


def _known_word(name: str) -> tuple[dict[str, int], Fraction] | None:
    for word in (name, name.removesuffix("s")):
        for spelled in (word, word[:1].lower() + word[1:]):
            if spelled in _OTHER_NAMES:
                return _dimensions(*_OTHER_NAMES[spelled])
            if spelled in _NAMES:
                return _dimensions(_SI[_NAMES[spelled]], 1)
            for prefix, power in _PREFIX_NAMES.items():
                base = spelled.removeprefix(prefix)
                if base != spelled and base in _NAMES:
                    return _scaled(_dimensions(_SI[_NAMES[base]], 1), power)
    return None


def _dimensions(text: str, scale: int) -> tuple[dict[str, int], Fraction]:
    """What a table says → dimensions with kg as thousand g, litres as cubic metres."""
    found: dict[str, int] = {}
    factor = Fraction(scale)
    for name, power in _DIMENSION.findall(text):
        times = int(power or 1)
        if name == "kg":
            name, factor = "g", factor * Fraction(1000) ** times
        elif name == "l":
            name, factor, times = "m", factor / Fraction(1000) ** times, 3 * times
        found[name] = found.get(name, 0) + times
    return found, factor


def _scaled(known: tuple[dict[str, int], Fraction], power: int) -> tuple[dict[str, int], Fraction]:
    return known[0], known[1] * Fraction(10) ** power
