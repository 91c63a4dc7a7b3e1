"""Answers that are closed forms of numbers: roots, multiples of pi, logarithms, values of e."""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from math import comb, isqrt
from random import Random

from chimera_ray.backends.simulated_forms.notation import latex, plain, respelled, summed
from chimera_ray.backends.simulated_forms.question import Question, posed


def root(rng: Random) -> Question:
    """The diagonal of a box, which is no integer."""
    one, two, three = (rng.randint(1, 30) for _ in range(3))
    truth = one**2 + two**2 + three**2
    if _is_square(truth):
        return root(rng)
    outer, inner = _extracted(truth)
    slips: list[tuple[str, int | str]] = [
        ("root", number)
        for number in (
            truth + 1,
            inner * 4,
            inner**2 * outer,
            one**2 + two**2,
            outer**2 * inner * 4,
        )
    ]
    slips += [("number", truth), ("number", one + two + three)]
    slips += [("number", str(Decimal(truth).sqrt().quantize(Decimal("0.01"))))]
    return posed(
        "root",
        f"A box has edges of {one}, {two} and {three} units. How long is its space diagonal? Give "
        "the exact length, not a decimal.",
        [f"Add the squares of {one}, {two} and {three}.", "Take the root and draw out squares."],
        _spelled_root,
        ("root", truth),
        [slip for slip in slips if slip[0] == "number" or not _is_square(slip[1])],
    )


def _is_square(number: int | str) -> bool:
    return isqrt(int(number)) ** 2 == int(number)


def _extracted(radicand: int) -> tuple[int, int]:
    """A number → (k, m) with k²m equal to it and no square left in m."""
    outer = next(k for k in range(isqrt(radicand), 0, -1) if radicand % k**2 == 0)
    return outer, radicand // outer**2


def _spelled_root(value: tuple[str, int | str]) -> Iterator[str]:
    kind, number = value
    if kind == "number":
        yield f"{number}"
        return
    outer, inner = _extracted(int(number))
    yield from (rf"\sqrt{{{number}}}", f"sqrt({number})", f"√{number}", f"{number}^{{1/2}}")
    if outer > 1:
        yield from (rf"{outer}\sqrt{{{inner}}}", f"{outer}*sqrt({inner})", f"{outer}√{inner}")
        yield rf"{outer} \sqrt {{{inner}}}"


def large_root(rng: Random) -> Question:
    """A hypotenuse that no floating-point number tells from its longer leg."""
    half, leg = rng.randint(60, 400), rng.choice((1, 3, 5, 7))
    truth = (2 * half, leg**2)
    slips = [(2 * half, 0), (2 * half, -(leg**2)), (2 * half + 2, leg**2), (2 * half, leg)]
    return posed(
        "large_root",
        f"The legs of a right triangle are 2^{{{half}}} and {leg}. How long is the hypotenuse, "
        "exactly?",
        [f"Square both of the legs; {leg} is small, but it is not zero."],
        _spelled_large_root,
        truth,
        slips,
    )


def _spelled_large_root(value: tuple[int, int]) -> Iterator[str]:
    power, rest = value
    if rest == 0:
        yield from (f"2^{{{power // 2}}}", f"2^({power // 2})", rf"\sqrt{{2^{{{power}}}}}")
        return
    tail = f"{rest:+d}"
    yield from (rf"\sqrt{{2^{{{power}}}{tail}}}", f"sqrt(2^{power} {tail[0]} {tail[1:]})")
    yield from (rf"\sqrt{{4^{{{power // 2}}}{tail}}}", f"(2^{{{power}}}{tail})^{{1/2}}")


def multiple_of_pi(rng: Random) -> Question:
    """The volume of a cone."""
    radius, height = rng.randint(2, 15), rng.randint(2, 20)
    truth = Fraction(radius**2 * height, 3)
    slips = [(truth * 3, 1), (truth, 0), (truth, 2), (truth + 1, 1), (-truth, 1), (1 / truth, 1)]
    return posed(
        "multiple_of_pi",
        f"A cone has a base of radius {radius} and the height {height}. What is its volume, "
        "exactly?",
        [f"The base has the area {radius}^2 times the circle's constant.", "Take a third of it."],
        _spelled_multiple,
        (truth, 1),
        slips,
    )


def _spelled_multiple(value: tuple[Fraction, int]) -> Iterator[str]:
    factor, power = value
    if power == 0:
        yield from (plain(factor), latex(factor))
        return
    raised = f"^{power}" if power > 1 else ""
    sign, top, bottom = "-" if factor < 0 else "", abs(factor.numerator), factor.denominator
    count = "" if top == 1 else f"{top}"
    over, under = (f"/{bottom}", bottom) if bottom > 1 else ("", 1)
    yield from (rf"{sign}{count}\pi{raised}{over}", f"{sign}{count}π{raised}{over}")
    yield f"{sign}{count}{'*' if count else ''}pi{raised}{over}"
    if under > 1:
        yield rf"{latex(factor)}\pi{raised}"
        yield rf"{sign}\frac{{{count}\pi{raised}}}{{{bottom}}}"


def logarithm(rng: Random) -> Question:
    """An exponent that is no fraction."""
    base, other = rng.sample((2, 3, 5, 7, 11, 13), 2)
    number = other * rng.choice([n for n in (1, 4, 6, 9, 10, 14, 15) if n != base])
    start = rng.randint(2, 90)
    truth = ("log", base, number)
    slips = [("log", number, base), ("log", base, number + 1), ("ln", 0, number)]
    slips += [("log", base, number * 2), ("ratio", number, base), ("log", 10, base * number)]
    return posed(
        "logarithm",
        f"A culture of {start} cells multiplies by {base} every hour. After how many hours are "
        f"there {start * number} cells? Give the exact number.",
        [f"Solve {base}^t = {start * number}/{start} for t."],
        _spelled_logarithm,
        truth,
        slips,
    )


def _spelled_logarithm(value: tuple[str, int, int]) -> Iterator[str]:
    kind, base, number = value
    if kind == "ln":
        yield from (rf"\ln {number}", rf"\ln({number})", f"ln({number})")
    elif kind == "ratio":
        yield from (plain(Fraction(base, number)), latex(Fraction(base, number)))
    elif base == 10:
        yield from (rf"\log_{{10}}({number})", rf"\log_{{10}} {number}", f"log10({number})")
    else:
        yield from (rf"\log_{{{base}}}({number})", rf"\log_{{{base}}} {number}")
        yield from (f"log_{base}({number})", f"log{base}({number})")
        yield from (rf"\frac{{\ln {number}}}{{\ln {base}}}", f"ln({number})/ln({base})")
        yield rf"\frac{{\log {number}}}{{\log {base}}}"


def value_with_e(rng: Random) -> Question:
    """An integral whose value is p e + q."""
    slope, constant = rng.randint(1, 30), rng.randint(1, 40)
    truth = ("e", constant, slope - constant)
    if truth[2] == 0:
        slope, truth = slope + 1, ("e", constant, 1)
    _, factor, rest = truth
    slips = [("e", factor, -rest), ("e", rest, factor), ("e", factor, 0), ("e", -factor, rest)]
    slips += [("power", factor, rest), ("e", factor + 1, rest)]
    return posed(
        "value_with_e",
        f"What is the integral of ({summed([(slope, 'x'), (constant, '')])}) e^x over x from 0 to "
        "1, exactly? Here e is Euler's number.",
        [f"Integrate by parts: the derivative of the bracket is {slope}."],
        _spelled_with_e,
        truth,
        slips,
    )


def _spelled_with_e(value: tuple[str, int, int]) -> Iterator[str]:
    kind, factor, rest = value
    if kind == "power":  # "2e - 1" read as a power of ten
        yield f"{Decimal(factor).scaleb(rest):f}"
        return
    yield summed([(factor, "e"), (rest, "")])
    yield summed([(rest, ""), (factor, "e")])
    yield summed([(factor, r"\mathrm{e}"), (rest, "")])


def trigonometric(rng: Random) -> Question:
    """The derivative of a power of a sine or a cosine."""
    power, factor = rng.randint(3, 9), rng.randint(2, 40)
    outer, inner, sign = rng.choice((("sin", "cos", 1), ("cos", "sin", -1)))
    truth = (sign * factor * power, outer, power - 1, inner)
    slips = [(-truth[0], *truth[1:]), (truth[0], inner, power - 1, outer)]
    slips += [(truth[0], outer, power, inner), (sign * factor, outer, power - 1, inner)]
    slips += [(truth[0], outer, power - 1, "")]
    return posed(
        "trigonometric",
        rf"What is the derivative of {factor}\{outer}^{power}(x) with respect to x?",
        [f"By the chain rule, take the power {power} down and differentiate the inner function."],
        _spelled_trigonometric,
        truth,
        slips,
    )


def _spelled_trigonometric(value: tuple[int, str, int, str]) -> Iterator[str]:
    factor, outer, power, inner = value
    last, bare = (rf"\{inner}(x)", rf"\{inner} x") if inner else ("", "")
    yield rf"{factor}\{outer}^{power}(x){last}"
    yield rf"{factor}\{outer}^{{{power}}}(x){last}"
    yield rf"{factor} \{outer}^{power} x {bare}".strip()
    yield rf"{factor}(\{outer} x)^{power} {bare}".strip()
    yield rf"{factor}{last}\{outer}^{{{power}}}(x)"


def special_value(rng: Random) -> Question:
    """A value of a Bessel function, which stays as it is."""
    order, point = rng.sample(range(1, 10), 2)
    factor = rng.randint(2, 60)
    truth = (factor, "J", order, point)
    slips = [(factor, "J", point, order), (factor * point, "J", order, 1), (1, "J", order, point)]
    slips += [(factor, "Y", order, point), (-factor, "J", order, point)]
    slips += [(factor, "J", order + 1, point), (factor, "J", order, point + 1)]
    return posed(
        "special_value",
        f"The solution of x^2 y'' + x y' + (x^2 - {order**2}) y = 0 that is finite at zero and "
        f"normalised as usual is the Bessel function J of order {order}. The deflection of a "
        f"membrane is {factor} times this function. Express the deflection at x = {point}.",
        ["The order is the subscript, the place the argument."],
        _spelled_special_value,
        truth,
        slips,
    )


def _spelled_special_value(value: tuple[int, str, int, int]) -> Iterator[str]:
    factor, letter, order, point = value
    shown = "" if factor == 1 else f"{factor}"
    yield from (f"{shown}{letter}_{order}({point})", f"{shown}{letter}_{{{order}}}({point})")
    yield rf"{shown}\,{letter}_{{{order}}}\left({point}\right)"
    if shown:
        yield rf"{shown} \cdot {letter}_{order}({point})"


def inverse_value(rng: Random) -> Question:
    """A value of an inverse function that has no name."""
    point, factor = rng.randint(2, 40), rng.randint(3, 40)
    truth = (1, -1, point)
    slips = [(factor, -1, point), (point, -1, 1), (1, 1, point), (-1, -1, point), (1, -1, factor)]
    return posed(
        "inverse_value",
        f"Let f(x) = x^5 + {factor}x for all real x, with the inverse function f^{{-1}}. Express "
        f"the one real solution of x^5 + {factor}x = {point} by the inverse function.",
        [f"The sum grows with x since {factor} is positive, so each value is taken once."],
        _spelled_inverse_value,
        truth,
        slips,
    )


def _spelled_inverse_value(value: tuple[int, int, int]) -> Iterator[str]:
    factor, power, point = value
    shown = {1: "", -1: "-"}.get(factor, f"{factor}")
    name = "f^{-1}" if power < 0 else "f"
    yield from (f"{shown}{name}({point})", rf"{shown}{name}\left({point}\right)")
    if power < 0:
        yield f"{shown}f^(-1)({point})"


def power_of_two(rng: Random) -> Question:
    """A sum of binomial coefficients: a large power, or one less."""
    size, is_all = rng.randint(70, 300), rng.random() < 0.5
    truth = (size, 0 if is_all else -1)
    slips = [(size, -1 if is_all else 0), (size, 1), (size - 1, truth[1]), (size + 1, truth[1])]
    what = "" if is_all else "non-empty "
    return posed(
        "power_of_two",
        f"How many {what}subsets has a set of {size} elements? Give the exact number in terms of "
        "a power.",
        [f"There are {comb(size, 2)} subsets of two elements; each element is in or out."],
        _spelled_power,
        truth,
        slips,
    )


def _spelled_power(value: tuple[int, int]) -> Iterator[str]:
    size, rest = value
    tail = f" {'-' if rest < 0 else '+'} {abs(rest)}" if rest else ""
    yield from respelled(f"2^{{{size}}}{tail}")
    yield f"2^({size}){tail}"
    yield rf"2 \cdot 2^{{{size - 1}}}{tail}"
