"""Answers that carry more than their number: units, dates, spans of years."""

from collections.abc import Iterator
from datetime import date, timedelta
from fractions import Fraction
from random import Random
from typing import NamedTuple

from chimera_ray.backends.simulated_forms.notation import decimal
from chimera_ray.backends.simulated_forms.question import Question, posed

_MAX_DIGITS = 8
# A unit: what it measures, how much of the base unit it is, its sign, and its names in words.
_UNITS = {
    "m/s": ("speed", Fraction(1), ("metres per second", "meters per second", "m s^{-1}")),
    "km/h": ("speed", Fraction(5, 18), ("kilometres per hour", "kilometers per hour", "km h^{-1}")),
    "m/s^2": ("acceleration", Fraction(1), ("metres per second squared", "m s^{-2}")),
    "cal": ("energy", Fraction("4.184"), ("small calories",)),
    "Cal": ("energy", Fraction(4184), ("kcal", "kilocalories")),
    "J": ("energy", Fraction(1), ("joules", "N m")),
    "kJ": ("energy", Fraction(1000), ("kilojoules",)),
    "mW": ("power", Fraction(1, 1000), ("milliwatts",)),
    "W": ("power", Fraction(1), ("watts", "J/s")),
    "MW": ("power", Fraction(10**6), ("megawatts",)),
    "mm": ("length", Fraction(1, 1000), ("millimetres", "millimeters")),
    "m": ("length", Fraction(1), ("metres", "meters")),
    "km": ("length", Fraction(1000), ("kilometres", "kilometers")),
    "m^2": ("area", Fraction(1), ("square metres", "square meters")),
    "s": ("time", Fraction(1), ("seconds", "sec")),
    "ms": ("time", Fraction(1, 1000), ("milliseconds",)),
    "min": ("time", Fraction(60), ("minutes",)),
    "S": ("conductance", Fraction(1), ("siemens",)),
}


class _Scene(NamedTuple):
    """What is asked for: a product or a quotient of two numbers, in a unit."""

    text: str
    unit: str
    is_quotient: bool
    mistaken: tuple[str, ...]
    """units that a careless solver writes instead"""


_SCENES = (
    _Scene(
        "A tram covers {one} metres in {two} seconds at constant speed. How fast is it?",
        "m/s", True, ("km/h", "m/s^2", "m"),
    ),
    _Scene(
        "A cyclist who starts from rest reaches {one} metres per second after {two} seconds of "
        "constant acceleration. How large is the acceleration?",
        "m/s^2", True, ("m/s", "km/h"),
    ),
    _Scene(
        "One portion of a meal has {one} Cal, the large calories of food labels. What is the "
        "energy of {two} portions?",
        "Cal", False, ("cal", "J", "kJ"),
    ),
    _Scene(
        "A laser diode emits {one} mW. How much do {two} such diodes emit together?",
        "mW", False, ("MW", "W"),
    ),
    _Scene(
        "A wall is built of {two} courses of {one} mm each. How high is it?",
        "mm", False, ("m", "km", "m^2"),
    ),
    _Scene(
        "Each of {two} equal conductors in parallel has a conductance of {one} siemens. What is "
        "the conductance of them all?",
        "S", False, ("s", "ms"),
    ),
    _Scene(
        "A pendulum needs {one} seconds for one swing. How long does it take for {two} swings?",
        "s", False, ("ms", "S", "min"),
    ),
)  # fmt: skip


def unit(rng: Random) -> Question:
    """A quantity with its unit."""
    scene = rng.choice(_SCENES)
    two, result = rng.randint(3, 40), rng.randint(2, 60)
    one = result * two if scene.is_quotient else result
    number = result if scene.is_quotient else result * two
    truth = _measured(number, scene.unit)
    slips = [_measured(number, name) for name in scene.mistaken]
    slips += [_measured(number + shift, scene.unit) for shift in (-1, 1, 10)]
    slips += [_measured(number * 10, scene.unit), _measured(-number, scene.unit)]
    return posed(
        "unit",
        f"{scene.text.format(one=one, two=two)} Give the quantity with its unit.",
        [f"{'Divide' if scene.is_quotient else 'Multiply'} {one} by {two}, and keep the units."],
        _spelled_quantity,
        truth,
        slips,
    )


def _measured(number: int, name: str) -> tuple[Fraction, str]:
    measures, factor, _ = _UNITS[name]
    return number * factor, measures


def _spelled_quantity(value: tuple[Fraction, str]) -> Iterator[str]:
    for name, (measures, factor, words) in _UNITS.items():
        number = decimal(value[0] / factor, 4) if measures == value[1] else None
        if number is None or len(number) > _MAX_DIGITS:
            continue
        yield from (f"{number} {name}", f"{number}{name}", rf"{number}\,\text{{{name}}}")
        yield from (rf"{number}\ \mathrm{{{name}}}", rf"{number} \text{{ {name}}}")
        yield from (f"{number} {word}" for word in words)


_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)


def calendar_date(rng: Random) -> Question:
    """The day so many days after another."""
    start = date(rng.randint(1583, 1989), 1, 1) + timedelta(rng.randrange(365))
    num_days = rng.randint(20, 900)
    truth = start + timedelta(num_days)
    slips = [truth + timedelta(shift) for shift in (-1, 1, 10, 365)]
    if truth.day <= 12:
        slips.append(truth.replace(month=truth.day, day=truth.month))
    return posed(
        "date",
        f"A treaty was signed on {_written(start)} (Gregorian calendar) and came into force "
        f"{num_days} days later, the day of signing counted as day zero. On which day, month and "
        "year was that?",
        [f"Count {num_days} days from {_written(start)}, a month at a time."],
        _spelled_date,
        truth,
        slips,
    )


def _written(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _spelled_date(day: date) -> Iterator[str]:
    month = _MONTHS[day.month - 1]
    yield from (_written(day), f"{month} {day.day}, {day.year}", day.isoformat())
    yield from (f"{day.day}. {month} {day.year}", f"{day.day} {month}, {day.year}")


def year_span(rng: Random) -> Question:
    """The first and the last year of a span."""
    first, middle, last = sorted(rng.sample(range(1100, 1980), 3))
    truth: tuple[int, ...] = (first, last)
    slips: list[tuple[int, ...]] = [
        (last, first),
        (first, middle),
        (middle, last),
        (first, last + 1),
        (first - 1, last),
    ]
    slips += [(first - last,), (last - first,)]
    return posed(
        "year_span",
        f"A chronicle was begun in {first}, was taken up by another hand in {middle}, and its "
        f"last entry was made {last - middle} years after that. Which years does it span? Give "
        "the first and the last one.",
        [f"The first hand wrote for {middle - first} years, the second for {last - middle}."],
        _spelled_span,
        truth,
        slips,
    )


def _spelled_span(value: tuple[int, ...]) -> Iterator[str]:
    if len(value) == 1:
        yield f"{value[0]}"
        return
    first, last = value
    yield from (f"{first}-{last}", f"{first}–{last}", f"{first}--{last}", f"{first} - {last}")
    yield from (f"{first} to {last}", f"from {first} to {last}", rf"{first}\text{{–}}{last}")
