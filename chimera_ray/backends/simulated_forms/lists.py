"""Answers of several parts: sets, multisets, tuples, matrices, lettered parts, choices."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from random import Random

from chimera_ray.backends.simulated_forms.notation import listed, summed
from chimera_ray.backends.simulated_forms.question import Question, posed

Pair = tuple[int, int]
Square = tuple[Pair, Pair]


def finite_set(rng: Random) -> Question:
    """The roots of a cubic."""
    roots = sorted(rng.sample([n for n in range(-9, 10) if n], 3))
    truth = frozenset(roots)
    one, two, three = roots
    slips = [truth - {two}, truth - {one}, truth | {one - 1}, frozenset(-root for root in roots)]
    slips += [(truth - {three}) | {three + 1}, (truth - {one}) | {-one}]
    pairs = one * two + one * three + two * three
    terms = [(1, "x^3"), (-sum(roots), "x^2"), (pairs, "x"), (-one * two * three, "")]
    return posed(
        "finite_set",
        f"Find the set of all real x with {summed(terms)} = 0.",
        [f"The roots add up to {sum(roots)}, and their product is {one * two * three}."],
        _spelled_set,
        truth,
        slips,
    )


def _spelled_set(value: frozenset[int]) -> Iterator[str]:
    up = sorted(value)
    yield from (rf"\{{{listed(up)}\}}", f"{{{listed(up)}}}", rf"\{{{listed(up[::-1])}\}}")
    yield from (listed(up), listed(up[1:] + up[:1]), f"x = {listed(up)}")
    yield rf"x \in \left\{{{listed(up)}\right\}}"
    if len(up) > 1:
        yield f"{listed(up[:-1])} and {up[-1]}"


def multiset(rng: Random) -> Question:
    """The eigenvalues of a triangular matrix, with their multiplicities."""
    one, two = sorted(rng.sample([n for n in range(-9, 10) if n], 2))
    times = rng.choice(((2, 1), (1, 2), (3, 1), (1, 3)))
    truth = tuple(sorted([one] * times[0] + [two] * times[1]))
    size = len(truth)
    slips = [tuple(sorted([one] * times[1] + [two] * times[0])), (one, two)]
    slips += [truth[:-1] if times[1] > 1 else truth[1:], tuple(-number for number in truth[::-1])]
    slips += [(*truth[:-1], truth[-1] + 1), (one - 1, *truth[1:])]
    diagonal = rng.sample(truth, size)
    rows = [
        [0] * place + [number] + [rng.randint(-5, 5) for _ in range(size - place - 1)]
        for place, number in enumerate(diagonal)
    ]
    return posed(
        "multiset",
        f"List the eigenvalues of the matrix {rows}, given by its rows, each as often as its "
        "algebraic multiplicity says.",
        ["The matrix is triangular, so its characteristic polynomial is a product."],
        _spelled_multiset,
        truth,
        slips,
    )


def _spelled_multiset(value: tuple[int, ...]) -> Iterator[str]:
    yield from (rf"\{{{listed(value)}\}}", f"{{{listed(value)}}}", listed(value))
    yield from (listed(value[::-1]), rf"\{{{listed(value[1:] + value[:1])}\}}")
    counted = [f"{n} (multiplicity {m})" if m > 1 else f"{n}" for n, m in Counter(value).items()]
    yield listed(counted)
    yield listed(counted[::-1])


def point(rng: Random) -> Question:
    """The solution of a triangular linear system."""
    truth = tuple(rng.choice((-1, 1)) * rng.randint(1, 12) for _ in range(3))
    x, y, z = truth
    a, b, c = (rng.randint(2, 9) for _ in range(3))
    slips = [(y, x, z), (x, z, y), (-x, y, z), (x, y, -z), (x, y + 1, z), (x, y), (z, y, x)]
    return posed(
        "point",
        f"Solve the system x + {a}y + {b}z = {x + a * y + b * z}, y + {c}z = {y + c * z}, "
        f"{a}z = {a * z}. Give (x, y, z).",
        ["Begin with the last equation, and put what it gives into the ones above."],
        _spelled_point,
        truth,
        slips,
    )


def _spelled_point(value: tuple[int, ...]) -> Iterator[str]:
    yield from (f"({listed(value)})", f"({listed(value)})".replace(" ", ""))
    yield rf"\left({listed(value)}\right)"
    named = [f"{letter} = {number}" for letter, number in zip("xyz", value, strict=False)]
    yield listed(named)
    if len(value) == 3:
        yield from (f"(x, y, z) = ({listed(value)})", f"{named[0]}, {named[1]} and {named[2]}")
        yield listed(named[::-1])


def matrix(rng: Random) -> Question:
    """A product of two matrices, in this order."""
    one, two = _square(rng), _square(rng)
    truth = _times(one, two)
    (a, b), (c, d) = truth
    slips: list[Square] = [_times(two, one), ((a, c), (b, d)), ((a, -b), (c, d))]
    slips += [((a, b), (c, d + 1)), ((c, d), (a, b))]
    return posed(
        "matrix",
        f"Let A be the matrix with the rows {one[0]} and {one[1]}, and B the one with the rows "
        f"{two[0]} and {two[1]}. What is the product AB?",
        ["Multiply the rows of the first by the columns of the second."],
        _spelled_matrix,
        truth,
        slips,
    )


def _square(rng: Random) -> Square:
    a, b, c, d = (rng.randint(-7, 9) for _ in range(4))
    return (a, b), (c, d)


def _times(one: Square, two: Square) -> Square:
    (a, b), (c, d) = one
    (e, f), (g, h) = two
    return (a * e + b * g, a * f + b * h), (c * e + d * g, c * f + d * h)


def _spelled_matrix(value: Square) -> Iterator[str]:
    (a, b), (c, d) = value
    for kind in ("p", "b"):
        begin, end = rf"\begin{{{kind}matrix}}", rf"\end{{{kind}matrix}}"
        yield rf"{begin} {a} & {b} \\ {c} & {d} {end}"
        yield rf"{begin}{a}&{b}\\{c}&{d}{end}"
    yield from (f"[[{a}, {b}], [{c}, {d}]]", f"[[{a},{b}],[{c},{d}]]")


def parts(rng: Random) -> Question:
    """Two lettered questions at once."""
    length, width = rng.sample(range(3, 60), 2)
    truth = (length * width, 2 * (length + width))
    first, second = truth
    slips: list[tuple[int, ...]] = [(second, first), (first, second + 2), (first + 1, second)]
    slips += [(first,), (first, length + width), (-first, second)]
    return posed(
        "parts",
        f"A field is {length} units long and {width} units wide. (a) What is its area? (b) What "
        "is its perimeter? Give both numbers, each with its letter.",
        [f"Multiply {length} and {width}; add them and double the sum."],
        _spelled_parts,
        truth,
        slips,
    )


def _spelled_parts(value: tuple[int, ...]) -> Iterator[str]:
    named = [f"({letter}) {number}" for letter, number in zip("ab", value, strict=False)]
    yield from (", ".join(named), "; ".join(named), " and ".join(named), "\n".join(named))
    yield ", ".join(f"({letter}) = {n}" for letter, n in zip("ab", value, strict=False))
    yield ", ".join(f"{letter}) {n}" for letter, n in zip("ab", value, strict=False))
    yield ", ".join(named[::-1])


def choice(rng: Random) -> Question:
    """One of four lettered quantities."""
    speed, seconds = rng.randint(11, 40), rng.randint(3, 30)
    wrong = [speed + 3, speed * 2, speed + 10]
    offered = rng.sample([speed, *wrong], 4)
    letters = dict(zip(offered, "ABCD", strict=True))
    truth = (letters[speed], speed)
    slips = [(letters[other], other) for other in wrong]
    mixed = [(letters[speed], other) for other in wrong] + [(letters[wrong[0]], speed)]
    options = "\n".join(f"({letter}) {value} m/s" for value, letter in letters.items())
    return posed(
        "choice",
        f"A swift flies {speed * seconds} metres in {seconds} seconds at constant speed. How fast "
        f"is it?\n{options}",
        [f"Divide {speed * seconds} by {seconds}."],
        lambda value: _spelled_choice(*value, is_offered=value in (truth, *slips)),
        truth,
        [*slips, *mixed],
    )


def _spelled_choice(letter: str, value: int, is_offered: bool) -> Iterator[str]:
    yield from (f"({letter}) {value} m/s", f"{letter}) {value} m/s", f"{letter}. {value} m/s")
    yield rf"\text{{({letter})}}\ {value}\,\text{{m/s}}"
    if is_offered:
        yield from (letter, f"({letter})", f"Option {letter}", rf"\text{{({letter})}}")
        yield f"{value} m/s"


def selection(rng: Random) -> Question:
    """Which of four statements hold."""
    number = rng.randint(12, 997)
    divisors = rng.sample((2, 3, 4, 5, 6, 7, 9, 11), 4)
    holds = [number % divisor == 0 for divisor in divisors]
    truth = frozenset(letter for letter, is_true in zip("abcd", holds, strict=True) if is_true)
    if not 1 < len(truth) < 4:
        return selection(rng)
    slips = [truth ^ {letter} for letter in "abcd"] + [frozenset("abcd") - truth]
    slips += [truth ^ {one, two} for one, two in pairwise("abcd")]
    said = "; ".join(f"({x}) {d} divides it" for x, d in zip("abcd", divisors, strict=True))
    return posed(
        "selection",
        f"Which of these statements about the number {number} are true? {said}. Give the letters.",
        [f"Divide {number} by each of {listed(divisors)}."],
        lambda value: _spelled_selection(sorted(value)),
        truth,
        [slip for slip in slips if slip],
    )


def _spelled_selection(letters: Sequence[str]) -> Iterator[str]:
    framed = [f"({letter})" for letter in letters]
    yield from (listed(framed), listed(letters), "".join(framed), listed(framed[::-1]))
    if len(letters) > 1:
        yield f"{listed(framed[:-1])} and {framed[-1]}"
        yield f"{listed(letters[:-1])} and {letters[-1]}"


def yes_or_no(rng: Random) -> Question:
    """Whether a number is a multiple, and why."""
    divisor, number = rng.randint(3, 19), rng.randint(100, 9999)
    number -= number % divisor if rng.random() < 0.5 else 0
    remainder = number % divisor
    truth = (remainder == 0, remainder)
    slips = [(not truth[0], remainder), (truth[0], remainder + 1)]
    slips += [(remainder != 0, (remainder + 2) % divisor)]
    return posed(
        "yes_or_no",
        f"Is {number} a multiple of {divisor}? Say yes or no, and give the remainder of the "
        "division as the reason.",
        [f"Divide {number} by {divisor} and keep what is left over."],
        _spelled_yes_or_no,
        truth,
        slips,
    )


def _spelled_yes_or_no(value: tuple[bool, int]) -> Iterator[str]:
    for word, joint in product(("Yes", "yes") if value[0] else ("No", "no"), (", the ", "; ")):
        yield f"{word}{joint}remainder is {value[1]}"
    said = "Yes" if value[0] else "No"
    yield from (f"{said} (remainder {value[1]})", rf"\text{{{said}, the remainder is }} {value[1]}")
