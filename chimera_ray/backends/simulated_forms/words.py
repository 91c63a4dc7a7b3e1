"""Answers in which order and case carry the meaning: products, names, formulas of molecules."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from random import Random

from chimera_ray.backends.simulated_forms.notation import listed
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


def proposition(rng: Random) -> Question:
    """An implication without its arrow."""
    one, two = rng.sample("pqrstuvw", 2)
    is_negated = rng.random() < 0.5
    truth = (("not", one), "or", ("not" if is_negated else "", two))
    slips = [(("", one), "or", truth[2]), (truth[0], "and", truth[2])]
    slips += [(("", one), "and", truth[2]), (truth[0], "or", ("" if is_negated else "not", two))]
    slips += [(("not", two), "or", ("not" if is_negated else "", one))] if not is_negated else []
    said, rule = f"not {two}" if is_negated else two, rng.randint(1, 900)
    return posed(
        "proposition",
        f"Rule {rule} of a system says: if {one}, then {said}. Rewrite rule {rule} as a formula of "
        "classical logic with negation and one other connective, and without an arrow.",
        ["An implication fails in one case only; say that this case does not occur."],
        _spelled_proposition,
        truth,
        slips,
    )


def _spelled_proposition(
    value: tuple[tuple[str, str], str, tuple[str, str]],
) -> Iterator[str]:
    (left, one), joint, (right, two) = value
    ors, ands = (r"\lor", r"\vee", "∨", "or"), (r"\land", r"\wedge", "∧", "and")
    signs = ors if joint == "or" else ands
    for no, sign in zip((r"\lnot ", "~", "¬", "not "), signs, strict=True):
        first = f"{no}{one}" if left else one
        second = f"{no}{two}" if right else two
        yield from (f"{first} {sign} {second}", f"{second} {sign} {first}")


def name(rng: Random) -> Question:
    """A person among others with the same initials or the same surname."""
    people = rng.sample(_PEOPLE, 6)
    by_year = sorted(people, key=lambda person: person[2])
    place = rng.randrange(len(by_year))
    said = "; ".join(f"{first} {last}, born {year}" for first, last, year in people)
    rank = ("first", "second", "third", "fourth", "fifth", "last")[place]
    truth = by_year[place]
    others = [person for person in _PEOPLE if person != truth]
    alike = [p for p in others if _initials(p) == _initials(truth) or p[1] == truth[1]]
    return posed(
        "name",
        f"A register holds these names: {said}. Who of them was born {rank}? Give initials and "
        "surname.",
        ["Put the years in order, and count."],
        _spelled_name,
        truth,
        [*alike, *(person for person in people if person != truth)],
    )


_PEOPLE = (
    ("Johann Sebastian", "Bach", 1685),
    ("John Stuart", "Mill", 1806),
    ("Johann Christian", "Bach", 1735),
    ("Joseph", "Haydn", 1732),
    ("James", "Mill", 1773),
    ("Thomas Stearns", "Eliot", 1888),
    ("Thomas Edward", "Lawrence", 1889),
    ("David Herbert", "Lawrence", 1885),
    ("Hilda", "Doolittle", 1886),
    ("Edward Morgan", "Forster", 1879),
    ("Emily", "Dickinson", 1830),
    ("Charles", "Dickens", 1812),
    ("Charlotte", "Brontë", 1816),
    ("Anne", "Brontë", 1820),
    ("Emily", "Brontë", 1818),
    ("Clive Staples", "Lewis", 1898),
    ("Carl Spencer", "Lowell", 1801),
    ("Jane", "Austen", 1775),
)


def _initials(person: tuple[str, str, int]) -> str:
    return " ".join(f"{word[0]}." for word in person[0].split())


def _spelled_name(person: tuple[str, str, int]) -> Iterator[str]:
    first, last, _ = person
    short = _initials(person)
    yield from (f"{short} {last}", f"{short.replace(' ', '')} {last}", f"{first} {last}")
    yield from (f"{last}, {short}", rf"\text{{{short} {last}}}", f"{short.replace('.', '')} {last}")


def species(rng: Random) -> Question:
    """A species among others of its genus."""
    seen = rng.sample(_SPECIES, 5)
    counts = rng.sample(range(11, 400), 5)
    place = rng.randrange(5)
    truth = [kind for _, kind in sorted(zip(counts, seen, strict=True))][place]
    said = "; ".join(f"{g} {s} {count}" for (g, s), count in zip(seen, counts, strict=True))
    rank = ("fewest", "second fewest", "third most", "second most", "most")[place]
    alike = [kind for kind in _SPECIES if kind != truth and kind[0][0] == truth[0][0]]
    return posed(
        "species",
        f"A plate shows colonies of these bacteria: {said}. Which species has the {rank} "
        "colonies? The name of the genus may be shortened to its letter.",
        [f"Put the numbers {listed(sorted(counts))} beside their names."],
        _spelled_species,
        truth,
        [*alike, *(kind for kind in seen if kind != truth)],
    )


_SPECIES = (
    ("Escherichia", "coli"),
    ("Enterococcus", "faecalis"),
    ("Enterococcus", "faecium"),
    ("Escherichia", "fergusonii"),
    ("Bacillus", "subtilis"),
    ("Bacillus", "cereus"),
    ("Bacteroides", "fragilis"),
    ("Staphylococcus", "aureus"),
    ("Streptococcus", "pyogenes"),
    ("Salmonella", "bongori"),
    ("Pseudomonas", "putida"),
    ("Proteus", "mirabilis"),
)


def _spelled_species(kind: tuple[str, str]) -> Iterator[str]:
    genus, own = kind
    yield from (f"{genus[0]}. {own}", f"{genus} {own}", rf"\textit{{{genus[0]}. {own}}}")
    yield from (rf"\textit{{{genus} {own}}}", f"{genus[0]}.{own}")
