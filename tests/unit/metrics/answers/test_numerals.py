"""A number's text is read exactly, or not at all."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera_ray.metrics.answers.normal_text import normal_text
from chimera_ray.metrics.answers.numerals import numeral
from chimera_ray.metrics.answers.units import unit


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_numeral_any_fraction_is_exact(top: int, bottom: int) -> None:
    sign = "-" if top < 0 else ""
    read = numeral(normal_text(rf"{sign}\frac{{{abs(top)}}}{{{bottom}}}"))
    assert read is not None
    assert read.value * bottom == top


@given(st.integers(0, 10**12), st.integers(0, 9))
def test_numeral_any_decimal_is_exact(digits: int, places: int) -> None:
    whole, part = divmod(digits, 10**places)
    written = f"{whole}.{part:0{places}d}" if places else str(whole)
    read = numeral(written)
    assert read is not None
    assert (read.value, read.num_decimals) == (Fraction(digits, 10**places), places)


@pytest.mark.parametrize(
    "text",
    ["007", "00.5", "1,5", "1,23", "12,34", "6/8", "1/0", "9/11", "2e-1", "1.2.3", "1/02", "."],
)
def test_numeral_what_may_be_something_else_is_not_read(text: str) -> None:
    assert numeral(text) is None


@pytest.mark.parametrize(
    ("text", "dimensions", "scale"),
    [
        ("km", (("m", 1),), Fraction(1000)),
        ("km/h", (("m", 1), ("s", -1)), Fraction(5, 18)),
        ("kg m^2/s^2", (("g", 1), ("m", 2), ("s", -2)), Fraction(1000)),
        ("J/(kg K)", (("K", -1), ("m", 2), ("s", -2)), Fraction(1)),
        ("kilometers per hour", (("m", 1), ("s", -1)), Fraction(5, 18)),
        ("square meters", (("m", 2),), Fraction(1)),
        (r"k\Omega", (("A", -2), ("g", 1), ("m", 2), ("s", -3)), Fraction(10**6)),
    ],
)
def test_unit_symbols_and_names_have_exact_scales(
    text: str, dimensions: tuple[tuple[str, int], ...], scale: Fraction
) -> None:
    read = unit(text)
    assert read is not None
    assert (read.dimensions, read.scale) == (dimensions, scale)


@pytest.mark.parametrize(
    "text", ["apples", "KM", "J/kg K", "m/s/s", "pm", "ms^{-1}", "m2", "", "m/"]
)
def test_unit_what_is_unknown_or_has_two_readings_is_not_read(text: str) -> None:
    assert unit(text) is None
