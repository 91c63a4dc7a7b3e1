"""True answers of the simulated world → the same with one thing changed, so that they are false.

Each strategy changes what cannot change without a change of the answer; what the world itself would
still call true, or what has the same value by exact arithmetic, is left out. The rules under test
have no say in it.
"""

import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import count
from random import Random
from typing import NamedTuple

from chimera_ray.backends.simulated_answers import is_true_answer, wrong_answer
from chimera_ray.backends.simulated_catalogue import CATALOGUE
from chimera_ray.backends.simulated_world import Item, make_item

_COMMAND = re.compile(r"\\[A-Za-z]+|\\.")
_NUMERAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_UNITS = {
    "days": "hours", "hours": "minutes", "min": "s", "km/h": "m/s", "m/s": "km/h", "km": "m",
    "cm": "mm", "mm": "cm", "kg": "g", "mg": "g", "mL": "L", "kJ": "J", "kPa": "Pa", "kHz": "Hz",
    "ms": "s", "m": "km", "s": "ms", "g": "mg", "L": "mL", "J": "kJ", "N": "J", "W": "J", "V": "W",
    "A": "V", "K": "J", "Hz": "kHz", "Pa": "kPa", "mol": "mmol", "°C": "K", "%": "‰",
}  # fmt: skip
_LONGEST_FIRST = "|".join(sorted(_UNITS, key=len, reverse=True))
_UNIT = re.compile(rf"(?<=[0-9])(?P<gap> ?)(?P<unit>{_LONGEST_FIRST})(?![A-Za-z/^0-9])")
_OPERANDS = re.compile(
    r"(?<![\w.^/*×-])(?P<one>[0-9]+(?:\.[0-9]+)?|[a-z])(?P<sign> ?[-/:] ?)"
    r"(?P<two>[0-9]+(?:\.[0-9]+)?i?|[a-z])(?![\w.^/*×-])"
)
_INTERVAL = re.compile(r"[\[(][^\[\](),']+,[^\[\](),']+[\])]")
_SEQUENCE = re.compile(r"[^\s,{}+*×\\()]+(?:,? [^\s,{}+*×\\()]+)+|[^\s,]+(?:,? [A-Za-z][^\s,]*)+")
_FACTORS = re.compile(r"[0-9]+(?: ?[×*] ?[0-9]+)+")


class Mutant(NamedTuple):
    """A true answer and a false one made from it."""

    task: str
    strategy: str
    answer: str
    changed: str


def make_mutants(number: int) -> Iterator[Mutant]:
    """Number → so many mutants, the same every time, of all tasks and strategies in turn."""
    seen: set[tuple[str, str]] = set()
    for seed in count():
        for task in sorted(CATALOGUE):
            item = make_item(task, seed)
            for strategy, changed in _changed(item, seed):
                if (item.answer, changed) in seen or _is_true(item, changed):
                    continue
                seen.add((item.answer, changed))
                yield Mutant(task, strategy, item.answer, changed)
                if len(seen) == number:
                    return


def _changed(item: Item, seed: int) -> Iterator[tuple[str, str]]:
    """An item → each strategy that finds something to change in its answer, with what it makes."""
    for strategy, change in STRATEGIES.items():
        if strategy in _OF_SEQUENCES and item.values:
            continue  # "4 August 1921" says what "August 4 1921" says
        changed = change(item.answer, Random(f"{strategy}/{item.task}/{seed}"))
        if changed is not None:
            yield strategy, changed
    yield "the world's own mistake", wrong_answer(item, seed)


def _is_true(item: Item, changed: str) -> bool:
    if is_true_answer(item, changed) or changed.split() == item.answer.split():
        return True
    value = _product(item.answer)
    return value is not None and value == _product(changed)


def _product(text: str) -> Fraction | None:
    """Product of integers → its value, whatever the order of its factors."""
    if not _FACTORS.fullmatch(text):
        return None
    value = Fraction(1)
    for factor in _NUMERAL.findall(text):
        value *= int(factor)
    return value


def _spots(text: str, pattern: str) -> list[re.Match[str]]:
    masked = _COMMAND.sub(lambda command: "\0" * len(command[0]), text)
    return list(re.finditer(pattern, masked))


def _put(text: str, found: re.Match[str], new: str) -> str:
    return text[: found.start()] + new + text[found.end() :]


def _digit(text: str, rng: Random) -> str | None:
    spots = _spots(text, r"[0-9]")
    if not spots:
        return None
    found = rng.choice(spots)
    return _put(text, found, str((int(found[0]) + rng.randint(1, 9)) % 10))


def _sign(text: str, rng: Random) -> str | None:
    """A sign before a number that is not zero, or a minus before the only number."""
    spots = _spots(text, r"[-+](?= ?(?:[a-z]|[0-9.]*[1-9]))")
    if spots:
        found = rng.choice(spots)
        is_leading = (
            not text[: found.start()].strip() or text[: found.start()].rstrip()[-1] in "([{,='"
        )
        return _put(text, found, "-" if found[0] == "+" else "" if is_leading else "+")
    only = _NUMERAL.findall(text)
    return f"-{text}" if len(only) == 1 and text[0] in "123456789" else None


def _unit(text: str, rng: Random) -> str | None:
    """Another unit; a percent sign behind a bare number that is not zero."""
    if re.fullmatch(r"-?[0-9]*[1-9][0-9]*(?:\.[0-9]+)?", text):
        return f"{text}%"
    spots = list(_UNIT.finditer(text))
    if not spots:
        return None
    found = rng.choice(spots)
    return _put(text, found, found["gap"] + _UNITS[found["unit"]])


def _index(text: str, rng: Random) -> str | None:
    spots = _spots(text, r"(?<=[_^])[0-9]|(?<=[_^]\{)[0-9]|(?<=[0-9]e[-+])[0-9]+")
    if not spots:
        return None
    found = rng.choice(spots)
    return _put(text, found, str(int(found[0]) + 1).zfill(len(found[0])))


def _operands(text: str, rng: Random) -> str | None:
    """Two operands of "-", "/" or ":" change places, where no square or the like undoes it."""
    if re.search(r"\)\^|\||cos", text):
        return None
    spots = [found for found in _OPERANDS.finditer(text) if found["one"] != found["two"]]
    if not spots:
        return None
    found = rng.choice(spots)
    return _put(text, found, found["two"] + found["sign"] + found["one"])


def _neighbours(text: str, rng: Random) -> str | None:
    """Two unequal neighbouring digits, or letters of one word, change places."""
    spots = _spots(text, r"(?=[0-9]{2}|(?<=[A-Za-z])[a-z]{2}[a-z])")
    spots = [found for found in spots if text[found.start()] != text[found.start() + 1]]
    if not spots:
        return None
    place = rng.choice(spots).start()
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


def _members(text: str, rng: Random) -> str | None:
    """Two unequal neighbouring members of a plain sequence change places."""
    if not _SEQUENCE.fullmatch(text) or re.search(r"\b(?:and|or)\b|^-?[0-9.]+, ", text):
        return None
    parts = re.split(r"(,? )", text)
    places = [
        place
        for place in range(0, len(parts) - 2, 2)
        if parts[place].casefold() != parts[place + 2].casefold()
    ]
    if not places:
        return None
    place = rng.choice(places)
    parts[place], parts[place + 2] = parts[place + 2], parts[place]
    return "".join(parts)


def _bracket(text: str, rng: Random) -> str | None:
    if not _INTERVAL.fullmatch(text):
        return None
    if rng.random() < 0.5:
        return ("(" if text[0] == "[" else "[") + text[1:]
    return text[:-1] + (")" if text[-1] == "]" else "]")


STRATEGIES: dict[str, Callable[[str, Random], str | None]] = {
    "one digit": _digit,
    "one sign": _sign,
    "one unit": _unit,
    "one index or exponent": _index,
    "order of two operands": _operands,
    "two neighbouring characters": _neighbours,
    "two neighbouring members": _members,
    "one bracket": _bracket,
}
_OF_SEQUENCES = ("two neighbouring members",)
