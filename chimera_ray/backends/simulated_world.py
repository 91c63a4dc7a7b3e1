"""The world of the simulated teacher: problems with known true answers, made from (task, seed).

An item is the same in every process, and its text ends with the catalogue number that names it, so
a teacher without memory finds the truth again from any prompt that quotes the problem. Knows
nothing about roles, prompts or error rates.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache, lru_cache
from hashlib import sha256
from itertools import pairwise
from random import Random
from threading import Lock
from typing import Any, NamedTuple

from chimera_ray.backends.simulated_catalogue import CATALOGUE, Entry
from chimera_ray.backends.simulated_generators import new_generator

SEED_END = 10**9
"""Seeds run from 0 up to, but not including, this."""

_MAX_ANSWER_CHARS = 2_000
_CATALOGUE_NUMBER = re.compile(r"Catalogue number: ([a-z_0-9]{1,40})/(0|[1-9][0-9]{0,8})(?![0-9])")
_ITEMS_LOCK = Lock()


class Item(NamedTuple):
    """One problem of the world with its truth."""

    task: str
    """A key of the catalogue."""
    seed: int
    problem: str
    """The text, its catalogue number in the last line."""
    answer: str
    """The one true answer."""
    steps: tuple[str, ...]
    """A worked way to the answer that does not name it; at least one line."""


# ---- items ----------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def make_item(task: str, seed: int) -> Item:
    """(task, seed) → the item, the same in every process and on every day.

    Raises:
        ValueError: the catalogue has no such task, or the seed is out of range.
    """
    entry = CATALOGUE.get(task)
    if entry is None:
        raise ValueError(f"task '{task}' is not in the catalogue of the simulated world")
    if not 0 <= seed < SEED_END:
        raise ValueError(f"seed {seed} of task '{task}' is not in [0, {SEED_END})")
    made = _generate(task, seed, entry)
    metadata = made["metadata"]
    question = str(made["question"])
    for passage in entry.cut:
        question = question.replace(passage, "")
    question = f"{question.strip()}\n{entry.note}".strip()
    answer = entry.answer.format(**metadata) if entry.answer else str(made["answer"])
    return Item(
        task=task,
        seed=seed,
        problem=f"{question}\n\n(Catalogue number: {task}/{seed})",
        answer=answer.strip(),
        steps=_worked_steps(entry, metadata),
    )


def find_item(text: str) -> Item | None:
    """Text → the item that its last catalogue number names, if there is one and it exists."""
    numbers = _CATALOGUE_NUMBER.findall(text)
    if not numbers:
        return None
    task, seed = numbers[-1]
    return make_item(task, int(seed)) if task in CATALOGUE else None


def _generate(task: str, seed: int, entry: Entry) -> Mapping[str, Any]:
    # Some generators load their data on first use; one lock keeps every thread off half of it.
    with _ITEMS_LOCK:
        if task == "gsm_symbolic":  # chooses its template while it is constructed
            made = new_generator(task, seed, entry.config)[0]
        else:
            # A generator seeds each item with (its seed + index), whatever its nominal size.
            made = _kept_generator(task)[seed]
    checked: Mapping[str, Any] = made
    return checked


@cache
def _kept_generator(task: str) -> Any:  # noqa: ANN401 - reasoning_gym has no types
    return new_generator(task, 0, CATALOGUE[task].config)


def _worked_steps(entry: Entry, metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """Metadata → steps: the generator's own solution, else the table's lines with its states."""
    if "answer_cot" in metadata:
        told, _, _ = str(metadata["answer_cot"]).partition("####")
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        return tuple(line for line in lines if not line.startswith("Therefore"))
    steps = [step.format(**metadata) for step in entry.steps]
    # The last state is the answer.
    for number, state in enumerate(metadata.get("states", ())[:-1]):
        steps.append(f"State {number}: {state}")
    return tuple(steps)


# ---- answers --------------------------------------------------------------------------------

_WRAPPERS = (
    ("\\boxed{", "}"), ("\\text{", "}"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"),
    ("$", "$"), ('"', '"'), ("'", "'"), ("`", "`"),
)  # fmt: skip
_SPACED_SIGN = re.compile(r" ?([,;:→+*/=()\[\]{}|]) ?")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,60}(?:\.[0-9]{0,60})?|\.[0-9]{1,60})(?:e[+-]?[0-9]{1,3})?")
_HEXADECIMAL = re.compile(r"(-?)0x([0-9a-f]{1,60})")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:,[0-9]{3}){1,20}(?:\.[0-9]{1,60})?")
_RATIO = re.compile(r"([+-]?[0-9]{1,60})/([0-9]{1,60})")


def is_true_answer(item: Item, answer: str) -> bool:
    """(item, answer) → true if the answer is the item's: the same text, or the same number.

    Two ratios are compared as texts, because the tasks ask for lowest terms.
    """
    if len(answer) > _MAX_ANSWER_CHARS:
        return False
    given, true = _normal_form(answer), _normal_form(item.answer)
    if given == true:
        return True
    if "/" in given and "/" in true:
        return False
    value = _value(given)
    return value is not None and value == _value(true)


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


# ---- wrong answers --------------------------------------------------------------------------

_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9]+(?:\.[0-9]+)?")
_ROLES = re.compile(r" is an? ([a-z]+)/([a-z]+)")
_TRIES = 40


def wrong_answer(item: Item, seed: int) -> str:
    """(item, seed) → a plausible answer that is never true, the same for the same arguments."""
    rng = Random(f"wrong/{item.task}/{item.seed}/{seed}")
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


# ---- topics ---------------------------------------------------------------------------------

_NUM_BORROWED_TOPICS = 8


def taxonomy() -> dict[str, dict[str, tuple[str, ...]]]:
    """The table as subject → area → topics, in the order of the table."""
    subjects: dict[str, dict[str, tuple[str, ...]]] = {}
    for entry in CATALOGUE.values():
        areas = subjects.setdefault(entry.subject, {})
        areas[entry.area] = (*areas.get(entry.area, ()), entry.topic)
    return subjects


def topics_of(subject: str) -> dict[str, tuple[str, ...]]:
    """Subject → its areas and topics; for a subject the table lacks, a pick from all of them."""
    for known, areas in taxonomy().items():
        if _topic_key(known) == _topic_key(subject):
            return areas
    tasks = Random(f"topics/{_topic_key(subject)}").sample(sorted(CATALOGUE), _NUM_BORROWED_TOPICS)
    borrowed: dict[str, tuple[str, ...]] = {}
    for entry in map(CATALOGUE.__getitem__, tasks):
        borrowed[entry.area] = (*borrowed.get(entry.area, ()), entry.topic)
    return borrowed


def task_of(subject: str, topic: str) -> str:
    """(subject, topic) → the task of the topic; for a topic the table lacks, a hashed choice."""
    known = _task_by_topic().get(_topic_key(topic))
    if known is not None:
        return known
    digest = sha256(f"{_topic_key(subject)}/{_topic_key(topic)}".encode()).digest()
    return sorted(CATALOGUE)[int.from_bytes(digest[:8]) % len(CATALOGUE)]


@cache
def _task_by_topic() -> Mapping[str, str]:
    return {_topic_key(entry.topic): task for task, entry in CATALOGUE.items()}


def _topic_key(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
