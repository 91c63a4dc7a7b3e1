"""Answers of the simulated world: which are true, which say the same, and plausible wrong ones.

Knows the truth by how an item was made, and nothing of the rules that label trajectories: an audit
that used them would find no fault with them.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from random import Random

from chimera_ray.backends.simulated_catalogue import CATALOGUE
from chimera_ray.backends.simulated_world import Item, make_item

_MAX_ANSWER_CHARS = 2_000

# ---- equality -------------------------------------------------------------------------------

_WRAPPERS = (
    ("\\boxed{", "}"), ("\\text{", "}"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"),
    ("$", "$"), ('"', '"'), ("'", "'"), ("`", "`"),
)  # fmt: skip
_SPACED_SIGN = re.compile(r" ?([,;:→+*/=()\[\]{}|]) ?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:e[+-]?[0-9]{1,3})?")
_HEXADECIMAL = re.compile(r"(-?)0x([0-9a-f]{1,60})")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3}){1,20}(?:\.[0-9]{1,60})?")
_RATIO = re.compile(r"([+-]?[0-9]{1,60})/([0-9]{1,60})")
_SPACING = re.compile(r"\\(?:left|right)(?![A-Za-z])|\\[,;!]")
# "x! = 2" is no "x != 2".
_LOOSE_SPACE = re.compile(r"(?<=[^\w!]) | (?<!! )(?=[^\w])")


def is_true_answer(item: Item, answer: str) -> bool:
    """(item, answer) → true if the answer is the item's, in whatever spelling."""
    return same_answer(item, item.answer, answer)


def same_answer(item: Item | None, one: str, other: str) -> bool:
    """Two answers to an item → whether they say the same; to None: to a problem of nobody's.

    Where the item knows its spellings, two of one value are the same answer, true or not, and
    anything else equals only itself. Elsewhere the same text is, and the same number; two ratios
    are compared as texts, because the tasks ask for lowest terms.
    """
    if max(len(one), len(other)) > _MAX_ANSWER_CHARS:
        return False
    if item is not None and item.values:
        forms, known = (_exact_form(one), _exact_form(other)), _known(item)
        return forms[0] == forms[1] or known.get(forms[0], -1) == known.get(forms[1], -2)
    given, true = _normal_form(one), _normal_form(other)
    if given == true:
        return True
    if "/" in given and "/" in true:
        return False
    value = _value(given)
    return value is not None and value == _value(true)


@lru_cache(maxsize=4096)
def _known(item: Item) -> Mapping[str, int]:
    """An item → the place of the value that each of its spellings writes."""
    return {
        _exact_form(spelling): place
        for place, spellings in enumerate(item.values)
        for spelling in spellings
    }


def _exact_form(text: str) -> str:
    """Text → the same without wrappers and needless spaces; case and signs stay."""
    text = _SPACING.sub(" ", text.replace("\u2212", "-"))
    return _LOOSE_SPACE.sub("", _unwrapped(" ".join(text.split())))


def _normal_form(text: str) -> str:
    text = " ".join(text.casefold().split())
    text = text.replace("\u2212", "-").replace("\u00d7", "*").replace("\\times", "*")
    text = _unwrapped(text).replace(" - ", "-").replace("\\$", "$")
    return re.sub(r"\ban (?=[aeiou])", "a ", _SPACED_SIGN.sub(r"\1", text))


def _unwrapped(text: str) -> str:
    while True:
        text = text.strip().rstrip(". ")
        for left, right in _WRAPPERS:
            is_long_enough = len(text) >= len(left) + len(right)
            if is_long_enough and text.startswith(left) and text.endswith(right):
                text = text[len(left) : -len(right)]
                break
        else:
            return text


def _value(text: str) -> Fraction | None:
    """Text in normal form → the number it writes, if it writes one and nothing else."""
    if _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    if hexadecimal := _HEXADECIMAL.fullmatch(text):
        return Fraction(int(hexadecimal[1] + hexadecimal[2], 16))
    if ratio := _RATIO.fullmatch(text):
        return Fraction(int(ratio[1]), int(ratio[2])) if int(ratio[2]) else None
    return Fraction(text) if _DECIMAL.fullmatch(text) else None


# ---- other answers --------------------------------------------------------------------------

_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9]+(?:\.[0-9]+)?")
_ROLES = re.compile(r" is an? ([a-z]+)/([a-z]+)")
_TRIES = 40


def variant_of(item: Item, rng: Random) -> str:
    """An item → its true answer, in one of the spellings that solvers use."""
    return rng.choice(item.values[0]) if item.values else item.answer


def wrong_answer(item: Item, seed: int) -> str:
    """(item, seed) → a plausible answer that is never true, the same for the same arguments."""
    rng = Random(f"wrong/{item.task}/{item.seed}/{seed}")
    if item.values:
        return rng.choice(rng.choice(item.values[1:]))
    for candidate in _wrong_candidates(item, rng):
        if candidate and not is_true_answer(item, candidate):
            return candidate
    return f"not {item.answer}"


def _wrong_candidates(item: Item, rng: Random) -> Iterator[str]:
    entry = CATALOGUE[item.task]
    if entry.rivals:
        rivals = sorted(set(re.findall(entry.rivals, item.problem)))
        yield from rng.sample(rivals, len(rivals))
    if roles := _ROLES.search(item.problem):
        yield from (_flip_role(item.answer, roles[1], roles[2], rng) for _ in range(_TRIES))
    if not entry.is_closed:
        yield from (_alter(item.answer, rng) for _ in range(_TRIES))
    for _ in range(_TRIES):
        other = make_item(item.task, rng.randrange(_TRIES)).answer
        if bool(_NUMBER.search(other)) == bool(_NUMBER.search(item.answer)):
            yield other


def _alter(answer: str, rng: Random) -> str:
    """Answer → the answer with one small slip, in the manner its form allows."""
    if answer.startswith("['"):
        kept = answer[1:-1].split(", ")
        kept.pop(rng.randrange(len(kept)))
        return f"[{', '.join(kept)}]"
    parts = re.findall(r"[^\s,]+", answer)
    are_numbers = [bool(_NUMBER.search(part)) for part in parts]
    # Terms and factors may change places without harm; a plain sequence may not.
    is_sequence = (
        len(parts) > 1 and len(set(are_numbers)) == 1 and not re.search(r"[+*\u00d7]", answer)
    )
    if is_sequence and rng.random() < 0.8:
        return _swap_neighbours(answer, r"[^\s,]+", rng)
    return _nudge(answer, rng) if any(are_numbers) else _swap_neighbours(answer, r"\w", rng)


def _swap_neighbours(answer: str, pattern: str, rng: Random) -> str:
    """Answer → the answer with two unequal neighbours changed, if it has any."""
    found = list(re.finditer(pattern, answer))
    pairs = [(one, two) for one, two in pairwise(found) if one[0].casefold() != two[0].casefold()]
    if not pairs:
        return answer
    one, two = rng.choice(pairs)
    middle = answer[one.end() : two.start()]
    return f"{answer[: one.start()]}{two[0]}{middle}{one[0]}{answer[two.end() :]}"


def _nudge(answer: str, rng: Random) -> str:
    """Answer → the answer with one of its numbers a little off, in the same notation."""
    found = rng.choice(list(_NUMBER.finditer(answer)))
    number = found[0]
    shift = rng.choice((-2, -1, 1, 2) if len(number) == 1 else (-10, -2, -1, 1, 2, 10))
    if number.startswith("0x"):
        changed = hex(abs(int(number, 16) + shift))
    else:
        whole, point, decimals = number.partition(".")
        is_padded = bool(decimals) or ":" in answer
        width = len(whole) + len(decimals) if is_padded else 1
        digits = str(abs(int(whole + decimals) + shift)).zfill(width)
        cut = len(digits) - len(decimals)
        changed = f"{digits[:cut]}{point}{digits[cut:]}"
    return f"{answer[: found.start()]}{changed}{answer[found.end() :]}"


def _flip_role(answer: str, one: str, two: str, rng: Random) -> str:
    """Answer → the answer with one person in the other of the two roles."""
    found = rng.choice(list(re.finditer(rf"\ban? ({one}|{two})\b", answer)))
    role = two if found[1] == one else one
    article = "an" if role[0] in "aeiou" else "a"
    return f"{answer[: found.start()]}{article} {role}{answer[found.end() :]}"


# ---- blind spots ----------------------------------------------------------------------------


def is_in_blind_spot(item: Item, rate: float, seed: int) -> bool:
    """An item and a blind spot → whether every wrong answer to this problem passes for true there.

    Drawn from the problem and the seed alone, so whoever shares the seed fails at the same
    problems; of two rates, the smaller blind spot lies within the larger.
    """
    return Random(f"blind spot/{seed}/{item.task}/{item.seed}").random() < rate
