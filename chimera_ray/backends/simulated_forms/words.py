"""Answers in which the order carries the meaning: permutations, words, operators, vectors."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from random import Random

from chimera_ray.backends.simulated_forms.question import Question, posed

Word = tuple[tuple[str, int], ...]


def permutation(rng: Random) -> Question:
    """The product of two permutations, in cycle notation."""
    one, two = (tuple(rng.sample(range(5), 5)) for _ in range(2))
    truth, other = _after(one, two), _after(two, one)
    if truth == other or not _cycles(truth):
        return permutation(rng)
    inverse = tuple(truth.index(place) for place in range(5))
    swapped = (truth[1], truth[0], *truth[2:])
    return posed(
        "permutation",
        f"Let s = {_written(_cycles(one))} and t = {_written(_cycles(two))} in the symmetric "
        "group on {1, 2, 3, 4, 5}. Write the product st, which applies t first, as a product of "
        "disjoint cycles.",
        ["Follow each of the five points through t and then through s."],
        _spelled_permutation,
        truth,
        [other, inverse, swapped, tuple(range(5))],
    )


def _after(one: Sequence[int], two: Sequence[int]) -> tuple[int, ...]:
    return tuple(one[place] for place in two)


def _cycles(images: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    seen: set[int] = set()
    for start in range(len(images)):
        cycle = []
        while start not in seen:
            seen.add(start)
            cycle.append(start + 1)
            start = images[start]
        if len(cycle) > 1:
            found.append(cycle)
    return found


def _written(cycles: Sequence[Sequence[int]], joint: str = " ") -> str:
    return "".join(f"({joint.join(map(str, cycle))})" for cycle in cycles) or "()"


def _spelled_permutation(value: tuple[int, ...]) -> Iterator[str]:
    cycles = _cycles(value)
    turned = [cycle[1:] + cycle[:1] for cycle in cycles]
    for joint in (" ", "", r"\,", r"\ "):
        yield _written(cycles, joint)
    yield _written(cycles[::-1])
    yield from (_written(turned), _written(turned, ""))
    if not cycles:
        yield from ("e", "id", "the identity")


def group_word(rng: Random) -> Question:
    """A commutator or a conjugate in a free group, which no power of letters can replace."""
    one, two = rng.sample(("a", "b", "c", "g", "h", "x", "y"), 2)
    m, n = rng.randint(1, 5), rng.randint(1, 5)
    truth: Word = ((one, m), (two, n), (one, -m), (two, -n))
    slips: list[Word] = [
        ((two, n), (one, m), (two, -n), (one, -m)),
        (),
        ((one, m), (two, n), (one, -m)),
        ((one, -m), (two, -n), (one, m), (two, n)),
        ((one, m), (two, n), (one, m), (two, -n)),
    ]
    return posed(
        "group_word",
        f"In the free group on {one} and {two}, the commutator of g and h is "
        f"g h g^{{-1}} h^{{-1}}. Write the commutator of {_power(one, m)} and {_power(two, n)} as "
        "a reduced word.",
        ["Nothing commutes in a free group, so nothing cancels but a letter and its inverse."],
        _spelled_word,
        truth,
        slips,
    )


def _power(letter: str, exponent: int) -> str:
    return letter if exponent == 1 else f"{letter}^{{{exponent}}}"


def _spelled_word(value: Word) -> Iterator[str]:
    if not value:
        yield from ("1", "e", "the empty word")
        return
    powers = [_power(*factor) for factor in value]
    yield from ("".join(powers), " ".join(powers), r"\cdot ".join(powers), r"\,".join(powers))
    yield "".join(powers).replace("{", "").replace("}", "")


def operator_product(rng: Random) -> Question:
    """Operators applied one after the other."""
    truth = tuple(rng.sample("ABCDFGHKLMPQRSTUVW", 3))
    slips = [tuple(order) for order in permutations(truth) if order != truth]
    steps = ("The operator that acts first stands next to the state, so on the right.",)
    kind = rng.choice(("measuring device", "optical bench", "quantum circuit", "filter chain"))
    return posed(
        "operator_product",
        f"In a {kind}, the linear operator {truth[2]} acts on a state first, then {truth[1]}, and "
        f"{truth[0]} last. No two of them commute. Write the operator of the whole as a product.",
        steps,
        lambda value: (
            "".join(value),
            " ".join(value),
            r"\,".join(value),
            "".join(rf"\hat{{{letter}}}" for letter in value),
            r" \cdot ".join(value),
        ),
        truth,
        [*slips, truth[:2]],
    )


def spin_product(rng: Random) -> Question:
    """A product of two spin matrices."""
    x, y = rng.sample("xyz", 2)
    factor = rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9)) * rng.choice((1, -1))
    truth, length = (factor, x, y), rng.randint(2, 900)
    slips = [(factor, y, x), (factor, x, x), (factor + 1, x, y), (0, x, y)]
    return posed(
        "spin_product",
        f"The Pauli matrices are s_x, s_y and s_z, written with sigma. A pulse of {length} ns "
        f"multiplies the state by {factor} s_{y} first, and then from the left by s_{x}. Which "
        "product of Pauli matrices, in this order and not evaluated, is the pulse as a whole?",
        ["What comes later stands further to the left; the number may stand in front."],
        _spelled_spins,
        truth,
        slips,
    )


def _spelled_spins(value: tuple[int, str, str]) -> Iterator[str]:
    factor, x, y = value
    if factor == 0:
        yield "0"
        return
    shown = {1: "", -1: "-"}.get(factor, f"{factor}")
    yield from (rf"{shown}\sigma_{x}\sigma_{y}", rf"{shown}\sigma_{x} \sigma_{y}")
    yield from (rf"{shown}\sigma_{{{x}}}\,\sigma_{{{y}}}", f"{shown}σ_{x}σ_{y}")


def cross_product(rng: Random) -> Question:
    """An angular momentum as a cross product."""
    place, velocity = rng.sample("abcdnpqrsuvw", 2)
    mass = rng.randint(2, 60)
    truth = (mass, place, velocity)
    slips = [(-mass, place, velocity), (mass, place, ""), (1, place, velocity)]
    slips += [(mass, "dot", place + velocity), (mass, velocity, "")]
    return posed(
        "cross_product",
        f"A body of mass {mass} is at the place {place}, a vector from the origin, and has the "
        f"velocity vector {velocity}. Write its angular momentum about the origin as a multiple "
        "of a cross product.",
        ["Angular momentum is place times momentum, in this order."],
        _spelled_cross,
        truth,
        slips,
    )


def _spelled_cross(value: tuple[int, str, str]) -> Iterator[str]:
    factor, one, two = value
    if one == "dot":
        yield rf"{factor} {two[0]} \cdot {two[1]}"
        return
    if not two:
        yield from (f"{factor}{one}", rf"{factor}\mathbf{{{one}}}")
        return
    for sign, first, second in (("", one, two), ("-", two, one)):
        number = factor if not sign else -factor
        shown = {1: "", -1: "-"}.get(number, f"{number}")
        yield rf"{shown} {first} \times {second}".strip()
        yield rf"{shown}\,\mathbf{{{first}}} \times \mathbf{{{second}}}"
        yield f"{shown}({first} × {second})"


def spaces(rng: Random) -> Question:
    """A product of two spheres."""
    dimensions = tuple(sorted((rng.randint(1, 9), rng.randint(1, 9))))
    one, two = dimensions
    slips = [(one + two,), (one, two + 1), (one + two + 1,), (one,), (1, one, two)]
    joints = [f"a point of the {n}-dimensional unit sphere" for n in dimensions]
    robot = rng.choice(("crane", "arm", "probe", "camera", "rover", "antenna"))
    return posed(
        "spaces",
        f"A state of {robot} {rng.randint(2, 900)} is a pair: {joints[0]}, and, "
        f"independently of it, {joints[1]}. Name the space of its states as a product of spheres.",
        ["Independent coordinates make a product of spaces, of which none is a larger sphere."],
        _spelled_spaces,
        dimensions,
        slips,
    )


def _spelled_spaces(value: tuple[int, ...]) -> Iterator[str]:
    spheres = [f"S^{n}" if n < 10 else f"S^{{{n}}}" for n in sorted(value)]
    framed = [f"S^{{{n}}}" for n in sorted(value)]
    yield from (r" \times ".join(spheres), r"\times ".join(framed), " × ".join(spheres))
    yield r" \times ".join(spheres[::-1])
