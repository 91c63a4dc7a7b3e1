"""Answers in which a name or a sign decides: propositions, persons, species."""

from collections.abc import Iterator
from random import Random

from chimera_ray.backends.simulated_forms.notation import listed
from chimera_ray.backends.simulated_forms.question import Question, posed


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
