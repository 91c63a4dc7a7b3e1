"""Answers that are names of chemistry: formulas of molecules and ions, names of alkenes."""

from collections.abc import Iterator
from random import Random

from chimera_ray.backends.simulated_forms.question import Question, posed

_WORDS = {"C": "carbon", "H": "hydrogen", "O": "oxygen", "N": "nitrogen", "S": "sulfur"}
_LOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
Formula = tuple[tuple[str, int], ...]


def formula(rng: Random) -> Question:
    """A molecule, by its counts of atoms."""
    symbols = rng.choice(("CHO", "CO", "NO", "CHN", "CS", "CHS", "NOS"))
    truth: Formula = tuple((symbol, rng.randint(1, 12)) for symbol in symbols)
    first, *rest = truth
    slips: list[Formula] = [((first[0], first[1] + 1), *rest), tuple(_rotated(truth))]
    slips += [(*truth[:-1], (truth[-1][0], truth[-1][1] + 1)), truth[:-1]]
    # "NO" in other letters is nobelium, "CO" cobalt: the case decides.
    slips += [(first, *((symbol.lower(), count) for symbol, count in rest))]
    said = ", ".join(f"{count} of {_WORDS[symbol]}" for symbol, count in truth)
    mass = rng.randint(2, 900)
    return posed(
        "formula",
        f"Each molecule in a sample of {mass} mg has these atoms and no others: {said}. Write its "
        f"molecular formula, the elements in the order {', '.join(symbols)}.",
        ["Each symbol is followed by the count of its atoms; a count of one is left out."],
        _spelled_formula,
        truth,
        slips,
    )


def _rotated(truth: Formula) -> Iterator[tuple[str, int]]:
    counts = [count for _, count in truth]
    for (symbol, _), count in zip(truth, counts[1:] + counts[:1], strict=True):
        yield symbol, count


def _spelled_formula(value: Formula) -> Iterator[str]:
    plain = "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in value)
    yield from (plain, plain.translate(_LOW), rf"\ce{{{plain}}}")
    lowered = "".join(
        symbol if count == 1 else f"{symbol}_{count}" if count < 10 else f"{symbol}_{{{count}}}"
        for symbol, count in value
    )
    yield from (lowered, rf"\mathrm{{{lowered}}}", rf"\text{{{plain}}}")


def ion(rng: Random) -> Question:
    """An ion, by its atoms and its charge."""
    centre, count, charge = rng.choice("SNCP"), rng.randint(2, 4), rng.choice((-3, -2, -1, 1, 2))
    truth = (centre, count, charge)
    slips = [(centre, count, -charge), (centre, count + 1, charge), (centre, count, 0)]
    slips += [(centre, count, charge + (1 if charge > 0 else -1))]
    names = {**_WORDS, "P": "phosphorus"}
    kind = "lacks" if charge > 0 else "has an excess of"
    electrons = "one electron" if abs(charge) == 1 else f"{abs(charge)} electrons"
    volume = rng.randint(2, 900)
    return posed(
        "ion",
        f"In {volume} mL of a solution, each ion of one kind has one atom of {names[centre]} and "
        f"{count} atoms of oxygen, and {kind} {electrons}. Write its formula with its charge.",
        ["Electrons are negative: more of them make the charge negative."],
        _spelled_ion,
        truth,
        slips,
    )


def _spelled_ion(value: tuple[str, int, int]) -> Iterator[str]:
    centre, count, charge = value
    sign = "-" if charge < 0 else "+"
    size = "" if abs(charge) == 1 else f"{abs(charge)}"
    raised = f"^{{{size}{sign}}}" if charge else ""
    yield from (f"{centre}O_{count}{raised}", rf"\mathrm{{{centre}O_{count}{raised}}}")
    yield from (f"{centre}O_{{{count}}}{raised}", rf"\ce{{{centre}O{count}{raised}}}")
    if charge:
        yield f"{centre}O{count}^{size}{sign}"


_STEMS = {4: "but", 5: "pent", 6: "hex", 7: "hept", 8: "oct", 9: "non", 10: "dec"}


def alkene(rng: Random) -> Question:
    """A straight-chain alkene and the side that its hydrogens are on."""
    length = rng.choice(tuple(_STEMS))
    place = rng.randint(2, length // 2)
    is_trans = rng.random() < 0.5
    truth = (is_trans, length, place)
    other = length + 1 if length < 10 else length - 1
    slips = [(not is_trans, length, place), (is_trans, other, place), (not is_trans, other, place)]
    if 2 * place + 1 != length:  # else it is the same molecule, counted from its other end
        slips.append((is_trans, length, place + 1))
    mass = rng.randint(2, 900)
    return posed(
        "alkene",
        f"A flask holds {mass} mg of a hydrocarbon, an unbranched chain of {length} carbon atoms "
        f"with one double bond, between the atoms {place} and {place + 1}. The two hydrogen atoms "
        f"at the double bond are on {'opposite sides' if is_trans else 'the same side'}. Name it, "
        "with its stereodescriptor.",
        ["Count from the end that is nearer to the double bond."],
        _spelled_alkene,
        truth,
        slips,
    )


def _spelled_alkene(value: tuple[bool, int, int]) -> Iterator[str]:
    is_trans, length, place = value
    stem = _STEMS[length]
    for mark in ("(E)", "trans") if is_trans else ("(Z)", "cis"):
        yield from (f"{mark}-{stem}-{place}-ene", f"{mark}-{place}-{stem}ene")
    yield rf"\text{{({'E' if is_trans else 'Z'})-{stem}-{place}-ene}}"
