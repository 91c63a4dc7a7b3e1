"""Answers that are bare numbers: fractions, percentages, powers of ten, decimals, ratios."""

from collections.abc import Iterator
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from math import gcd, isqrt
from random import Random

from chimera_ray.backends.simulated_forms.notation import decimal, latex, plain
from chimera_ray.backends.simulated_forms.question import Question, posed


def fraction(rng: Random) -> Question:
    """The chance of two independent events, as a fraction."""
    one, two = (Fraction(rng.randint(1, 11), 12 + rng.randrange(9)) for _ in range(2))
    truth = one * two
    slips = [1 / truth, 1 - truth, -truth, one + two, truth + Fraction(1, truth.denominator)]
    near = Fraction(round(truth * 100), 100)
    return posed(
        "fraction",
        f"A seed of one strain germinates with probability {one}, a seed of another with "
        f"probability {two}, independently of each other. With what probability do both "
        "germinate? Any exact form of the number counts.",
        [f"The events are independent, so {one} and {two} are multiplied."],
        _spelled_fraction,
        truth,
        [*slips, near],
    )


def _spelled_fraction(value: Fraction) -> Iterator[str]:
    top, bottom = value.numerator, value.denominator
    yield plain(value)
    yield latex(value)
    if bottom > 1:
        yield latex(value).replace("frac", "dfrac")
        sign = "-" if top < 0 else ""
        yield f"{sign}{2 * abs(top)}/{2 * bottom}"
        yield rf"{sign}\frac{{{3 * abs(top)}}}{{{3 * bottom}}}"
        yield f"{top} / {bottom}"
        if top > bottom:
            yield rf"{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}"
        short = decimal(value)
        if short is not None:
            yield short


def percentage(rng: Random) -> Question:
    """A share of a population, as a percentage."""
    total = rng.choice((40, 80, 160, 200, 250, 400, 500, 800, 1000))
    part = rng.randint(3, total - 3)
    truth = Fraction(100 * part, total)
    slips = [100 - truth, truth * 10, truth / 10, truth / 100, truth + 1, Fraction(part), -truth]
    return posed(
        "percentage",
        f"Of {total} cells on a slide, {part} carry the marker. What percentage of the cells is "
        "that? Give the exact percentage, with its sign.",
        [f"Divide {part} by {total}.", "Multiply by one hundred."],
        _spelled_percentage,
        truth,
        slips,
    )


def _spelled_percentage(value: Fraction) -> Iterator[str]:
    shown = decimal(value) or plain(value)
    yield from (f"{shown}%", rf"{shown}\%", f"{shown} %", rf"{shown}\,\%")
    yield from (f"{shown} percent", f"{shown} per cent")


def scientific(rng: Random) -> Question:
    """A large or small count in scientific notation."""
    factor, exponent = rng.randint(2, 9), rng.choice((-7, -6, -5, -4, 5, 6, 7, 8, 9, 11, 23))
    mantissa = factor * rng.randint(-(-100 // factor), 999 // factor)
    truth = (mantissa, exponent)
    each = f"{Decimal(mantissa // factor).scaleb(-2)}"
    swapped = int(str(mantissa)[1] + str(mantissa)[0] + str(mantissa)[2])
    slips = [(mantissa, exponent + 1), (mantissa, exponent - 1), (mantissa, -exponent)]
    slips += [(mantissa + 1, exponent), (-mantissa, exponent)]
    slips += [(swapped, exponent)] if swapped >= 100 else []
    return posed(
        "scientific",
        f"One litre of a solution holds {each} \\times 10^{{{exponent}}} mol of a salt. How many "
        f"moles do {factor} litres of it hold? Give the number in scientific notation, with two "
        "digits after the decimal point.",
        [f"Multiply {each} by {factor}.", "Shift the point until one digit stands before it."],
        _spelled_scientific,
        truth,
        slips,
    )


def _spelled_scientific(value: tuple[int, int]) -> Iterator[str]:
    hundredths, power = value
    shown = f"{Decimal(hundredths).scaleb(-2):.2f}"
    yield rf"{shown} \times 10^{{{power}}}"
    yield rf"{shown}\times10^{{{power}}}"
    yield rf"{shown} \cdot 10^{{{power}}}"
    yield from (f"{shown}e{power}", f"{shown}E{power:+03d}", f"{shown} × 10^{power}")
    yield from (f"{shown}*10^{power}", f"{shown} x 10^{{{power}}}")
    exact = Fraction(hundredths, 100) * Fraction(10) ** power
    if exact.denominator == 1 and abs(exact) < 10**10:
        yield from (f"{exact.numerator}", f"{exact.numerator:,}")


def rounded(rng: Random) -> Question:
    """A root to a stated number of decimals."""
    places = rng.choice((2, 3, 4))
    while isqrt(radicand := rng.randint(2, 9999)) ** 2 == radicand:
        pass
    with localcontext() as context:
        context.prec = 40
        root, unit = Decimal(radicand).sqrt(), Decimal(1).scaleb(-places)
        truth = root.quantize(unit, ROUND_HALF_UP)
        slips = [root.quantize(unit, ROUND_DOWN), truth + unit, truth - unit, truth + 10 * unit]
        slips += [root.quantize(unit * 10, ROUND_HALF_UP) + unit * 10, -truth]
    return posed(
        "rounded",
        f"A square plot has an area of {radicand} square metres. How many metres long is its "
        f"side? Give the number alone, rounded to {places} decimal places.",
        [f"The side is the square root of {radicand}.", "One place more decides the rounding."],
        lambda value: (f"{value}", rf"\approx {value}", f"≈ {value}", f"about {value}"),
        truth,
        slips,
    )


def ratio(rng: Random) -> Question:
    """The ratio of two or three phenotypes, in lowest terms."""
    counts = [rng.randint(1, 12) for _ in range(rng.choice((2, 3)))]
    while len(set(counts)) < len(counts) or gcd(*counts) > 1:
        counts = [rng.randint(1, 12) for _ in counts]
    scale = rng.randint(7, 90)
    truth = tuple(counts)
    slips = [truth[::-1], (*truth[:-1], truth[-1] + 1), (truth[0] + 1, *truth[1:])]
    slips += [(*truth, 1), truth[1:] + truth[:1]]
    names = ("red", "white", "pink")[: len(truth)]
    seen = ", ".join(f"{count * scale} {name}" for count, name in zip(truth, names, strict=True))
    return posed(
        "ratio",
        f"A cross gives flowers of these colours: {seen}. In which ratio do {' to '.join(names)} "
        "stand, in lowest terms?",
        [f"All of the counts share the factor {scale}."],
        _spelled_ratio,
        truth,
        slips,
    )


def _spelled_ratio(value: tuple[int, ...]) -> Iterator[str]:
    yield from (sign.join(map(str, value)) for sign in (":", " : ", " to ", "{:}", r"\!:\!"))


def time_signature(rng: Random) -> Question:
    """The time signature of a song's bars."""
    notes = {2: "half", 4: "quarter", 8: "eighth", 16: "sixteenth"}
    beats, note = rng.choice((2, 3, 4, 5, 6, 7, 9, 12)), rng.choice(tuple(notes))
    bars = rng.randint(8, 60)
    other = {2: 4, 4: 8, 8: 4, 16: 8}[note]
    scaled = beats * other // note if beats * other % note == 0 else beats + 1
    slips = [(scaled, other), (beats, other), (beats + 1, note), (note, beats)]
    return posed(
        "time_signature",
        f"A hymn of {bars} bars holds {beats} {notes[note]} notes in each of its bars, and the "
        f"{notes[note]} note is its beat. What is its time signature?",
        ["The upper figure counts the beats of a bar, the lower one names the note of a beat."],
        lambda value: (
            f"{value[0]}/{value[1]}",
            rf"\frac{{{value[0]}}}{{{value[1]}}}",
            f"{value[0]} / {value[1]}",
            f"{value[0]}/{value[1]} time",
        ),
        (beats, note),
        slips,
    )
