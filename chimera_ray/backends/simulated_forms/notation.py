"""Numbers and sums as solvers write them."""

from collections.abc import Iterable, Sequence
from fractions import Fraction


def plain(value: Fraction | int) -> str:
    """A number → "5" or "-3/4"."""
    return str(Fraction(value))


def latex(value: Fraction | int) -> str:
    r"""A number → "5" or "-\frac{3}{4}"."""
    value = Fraction(value)
    if value.denominator == 1:
        return str(value)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def decimal(value: Fraction | int, max_decimals: int = 6) -> str | None:
    """A number → its exact decimal, if it has one of so few places."""
    value = Fraction(value)
    for places in range(max_decimals + 1):
        scaled = value * 10**places
        if scaled.denominator == 1:
            digits = str(abs(scaled.numerator)).zfill(places + 1)
            sign = "-" if value < 0 else ""
            whole, tail = (digits[:-places], digits[-places:]) if places else (digits, "")
            return f"{sign}{whole}{'.' if tail else ''}{tail}"
    return None


def summed(terms: Iterable[tuple[Fraction | int, str]]) -> str:
    """(coefficient, letters) of each term → their sum; a term without letters is a constant."""
    text = ""
    for coefficient, letters in terms:
        if coefficient == 0:
            continue
        size = coefficient if coefficient > 0 else -coefficient
        shown = letters if size == 1 and letters else f"{latex(size)}{letters}"
        sign = "-" if coefficient < 0 else "+"
        text += f" {sign} {shown}" if text else (f"-{shown}" if sign == "-" else shown)
    return text or "0"


def respelled(text: str) -> tuple[str, ...]:
    """A sum or product in LaTeX → itself, without spaces, and with one more of them."""
    return (text, text.replace(" ", ""), text.replace("+", " + ").replace("  ", " "))


def listed(items: Sequence[object]) -> str:
    """Items → "1, 2, 3"."""
    return ", ".join(map(str, items))
