"""Answers in letters: polynomials, rational functions, lines, complex numbers, ordinals."""

from collections.abc import Iterator
from random import Random

from chimera_ray.backends.simulated_forms.notation import respelled, summed
from chimera_ray.backends.simulated_forms.question import Question, posed

_LETTERS = ("x", "y", "u", "v", "a", "b", "s", "t")


def polynomial(rng: Random) -> Question:
    """A product of two linear forms in two letters."""
    one, two = rng.sample(_LETTERS, 2)
    factors = [(rng.randint(1, 9), rng.choice((-1, 1)) * rng.randint(1, 9)) for _ in range(2)]
    truth = (one, two, *_multiplied(*factors))
    first, mixed, last = truth[2:]
    slips = [(one, two, first, -mixed, last), (one, two, first, mixed, -last)]
    slips += [(two, one, first, mixed, last), (one, two, first + 1, mixed, last)]
    slips += [(one, two, first, 0, last), (one, two, first, mixed + 1, last)]
    shown = [summed([(f[0], one), (f[1], two)]) for f in factors]
    return posed(
        "polynomial",
        f"Write the product of {shown[0]} and {shown[1]} as a polynomial in {one} and {two}.",
        [f"Multiply each term of {shown[0]} by each term of {shown[1]}."],
        _spelled_polynomial,
        truth if one < two else (two, one, last, mixed, first),
        [slip if slip[0] < slip[1] else (slip[1], slip[0], *slip[:1:-1]) for slip in slips],
    )


def _multiplied(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int, int]:
    return one[0] * two[0], one[0] * two[1] + one[1] * two[0], one[1] * two[1]


def _spelled_polynomial(value: tuple[str, str, int, int, int]) -> Iterator[str]:
    one, two, first, mixed, last = value
    terms = [(first, f"{one}^2"), (mixed, f"{one}{two}"), (last, f"{two}^2")]
    yield from respelled(summed(terms))
    yield summed(terms[::-1])
    yield summed([(first, f"{one}^{{2}}"), (mixed, f"{two}{one}"), (last, f"{two}^{{2}}")])
    starred = summed([(first, f"*{one}**2"), (mixed, f"*{one}*{two}"), (last, f"*{two}**2")])
    yield starred.replace(" *", " ").replace("-*", "-").removeprefix("*")


def tiny_term(rng: Random) -> Question:
    """A polynomial with a term that is far below any tolerance."""
    power, degree, letter = rng.randint(60, 400), rng.randint(2, 6), rng.choice(_LETTERS)
    truth = (letter, degree, 1, power)
    slips = [(letter, degree, 0, 0), (letter, degree, -1, power), (letter, degree, 1, power + 1)]
    slips += [(letter, degree + 1, 1, power)]
    return posed(
        "tiny_term",
        f"The graph of the function {letter}^{{{degree}}} is shifted upward by one half of "
        f"2^{{-{power - 1}}}. Which polynomial in {letter} has the shifted graph?",
        ["A shift upward adds a constant.", f"Half of 2^{{-{power - 1}}} is the next power."],
        _spelled_tiny_term,
        truth,
        slips,
    )


def _spelled_tiny_term(value: tuple[str, int, int, int]) -> Iterator[str]:
    letter, degree, sign, power = value
    head = f"{letter}^{{{degree}}}"
    if sign == 0:
        yield from (head, f"{letter}^{degree}")
        return
    mark = "+" if sign > 0 else "-"
    yield from respelled(f"{head} {mark} 2^{{-{power}}}")
    yield rf"{head}{mark}\frac{{1}}{{2^{{{power}}}}}"
    yield f"{letter}^{degree} {mark} 1/2^{{{power}}}"
    if sign > 0:
        yield f"2^{{-{power}}}+{head}"


def rational(rng: Random) -> Question:
    """A sum of two simple fractions in one letter."""
    letter = rng.choice(_LETTERS)
    one, two = sorted(rng.sample(range(1, 13), 2))
    weights = rng.randint(1, 5), rng.randint(1, 5)
    # (letter, poles, weights) says p/(x+a) + q/(x+b), and says it in one way only.
    truth = (letter, one, two, *weights)
    slips = [(letter, one, two, *weights[::-1]), (letter, one, two, weights[0], -weights[1])]
    slips += [(letter, -two, -one, *weights), (letter, one, two + 1, *weights)]
    slips += [(letter, one, two, weights[0] + 1, weights[1])]
    return posed(
        "rational",
        f"Write the sum of {weights[0]}/({letter} + {one}) and {weights[1]}/({letter} + {two}) as "
        "one fraction.",
        [f"The common denominator is the product of {letter} + {one} and {letter} + {two}."],
        _spelled_rational,
        truth,
        slips,
    )


def _spelled_rational(value: tuple[str, int, int, int, int]) -> Iterator[str]:
    letter, one, two, p, q = value
    top = summed([(p + q, letter), (p * two + q * one, "")])
    factors = [summed([(1, letter), (pole, "")]) for pole in (one, two)]
    bottom = f"({factors[0]})({factors[1]})"
    spread = summed([(1, f"{letter}^2"), (one + two, letter), (one * two, "")])
    yield from (rf"\frac{{{top}}}{{{bottom}}}", f"({top})/({bottom})")
    yield from (rf"\frac{{{top}}}{{{spread}}}", f"({top})/({spread})".replace(" ", ""))
    yield rf"\dfrac{{{top}}}{{({factors[1]})({factors[0]})}}"


def line(rng: Random) -> Question:
    """The equation of a line through two points."""
    slope, height = rng.choice((-1, 1)) * rng.randint(2, 9), rng.choice((-1, 1)) * rng.randint(1, 9)
    one, two = rng.sample(range(-6, 7), 2)
    truth = ("y", slope, height)
    slips = [("y", -slope, height), ("y", slope, -height), ("x", slope, height)]
    slips += [("y", height, slope), ("y", slope, height + 1)]
    points = [f"({x}, {slope * x + height})" for x in (one, two)]
    return posed(
        "line",
        f"Find the equation of the line through the points {points[0]} and {points[1]} of the "
        "plane with the coordinates x and y.",
        [f"The slope is the quotient of the differences between {points[0]} and {points[1]}."],
        _spelled_line,
        truth,
        slips,
    )


def _spelled_line(value: tuple[str, int, int]) -> Iterator[str]:
    left, slope, height = value
    right = "x" if left == "y" else "y"
    said = summed([(slope, right), (height, "")])
    yield from (f"{left} = {said}", f"{left}={said}".replace(" ", ""), f"{said} = {left}")
    yield f"{left} = {summed([(height, ''), (slope, right)])}"
    yield f"{summed([(slope, right), (-1, left), (height, '')])} = 0"


def complex_number(rng: Random) -> Question:
    """A product of two complex numbers."""
    parts = [rng.choice((-1, 1)) * rng.randint(1, 12) for _ in range(4)]
    a, b, c, d = parts
    real, imaginary = a * c - b * d, a * d + b * c
    if 0 in (real, imaginary) or abs(real) == abs(imaginary):
        return complex_number(rng)
    slips = [(real, -imaginary), (imaginary, real), (-real, imaginary), (real, 0)]
    slips += [(a * c + b * d, imaginary), (real, imaginary + 1)]
    return posed(
        "complex",
        f"What is the product of {_spelled_sum(a, b)} and {_spelled_sum(c, d)}, where i is the "
        "imaginary unit?",
        ["Multiply each part by each part; the square of i is -1."],
        _spelled_complex,
        (real, imaginary),
        slips,
    )


def _spelled_sum(real: int, imaginary: int) -> str:
    return summed([(real, ""), (imaginary, "i")])


def _spelled_complex(value: tuple[int, int]) -> Iterator[str]:
    real, imaginary = value
    yield from respelled(_spelled_sum(real, imaginary))
    yield summed([(imaginary, "i"), (real, "")])
    yield summed([(real, ""), (imaginary, r"\mathrm{i}")])
    if imaginary not in (0, 1, -1):
        yield f"{real} {'-' if imaginary < 0 else '+'} i{abs(imaginary)}"


def ordinal(rng: Random) -> Question:
    """The order type of copies of the naturals, followed by finitely many points."""
    copies, points = rng.randint(1, 9), rng.randint(1, 30)
    before = rng.randint(1, 50)
    truth = (copies, points)
    slips = [(copies, 0), (copies, points + 1), (copies + 1, 0), (copies + 1, points)]
    head = "one copy" if copies == 1 else f"{copies} copies, one after the other,"
    return posed(
        "ordinal",
        f"A well-ordered queue begins with {before} guests; then follow {head} of the natural "
        f"numbers, and at last {points} guests more. What is its order type, as an ordinal?",
        [f"The {before} guests in front are swallowed by the first copy."],
        _spelled_ordinal,
        truth,
        slips,
    )


def _spelled_ordinal(value: tuple[int, int]) -> Iterator[str]:
    copies, points = value
    for omega in (r"\omega", "ω"):
        head = omega if copies == 1 else rf"{omega}\cdot {copies}"
        yield f"{head}+{points}" if points else head
        yield f"{head} + {points}" if points else f"1+{head}"
        if points and copies > 1:
            yield f"{omega}{copies}+{points}"
