"""The world of the simulated teacher: problems with known true answers, made from (task, seed).

An item is the same in every process, and its text ends with the catalogue number that names it, so
a teacher without memory finds the truth again from any prompt that quotes the problem. Knows
nothing about roles, prompts or error rates.
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from hashlib import sha256
from random import Random
from threading import Lock
from typing import Any, NamedTuple

from chimera_ray.backends.simulated_catalogue import CATALOGUE
from chimera_ray.backends.simulated_entry import Entry
from chimera_ray.backends.simulated_generators import new_generator

SEED_END = 10**9
"""Seeds run from 0 up to, but not including, this."""

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
    form: str = "plain"
    """What kind of thing the answer is."""
    values: tuple[tuple[str, ...], ...] = ()
    """The spellings of each answer, first of the true one; none: the answer is a plain text."""


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
    number = f"(Catalogue number: {task}/{seed})"
    if entry.forms:
        rng = Random(number)
        form, text, steps, values = rng.choice(entry.forms)(rng)
        return Item(task, seed, f"{text}\n\n{number}", values[0][0], steps, form, values)
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
        problem=f"{question}\n\n{number}",
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
