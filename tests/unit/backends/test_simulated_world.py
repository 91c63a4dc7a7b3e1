"""The simulated world: items are repeatable, truth is true, and wrong answers never are."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from chimera_ray.backends.simulated_answers import is_true_answer, wrong_answer
from chimera_ray.backends.simulated_catalogue import CATALOGUE
from chimera_ray.backends.simulated_world import (
    SEED_END,
    Item,
    find_item,
    make_item,
    task_of,
    taxonomy,
    topics_of,
)

SUBJECTS = {
    "Mathematics", "Computer Science", "Chemistry", "Physics",
    "Literature", "History", "Biology", "Linguistics",
}  # fmt: skip

SEEDS = (0, 1, 2, 3, SEED_END - 1)

_PRINT_ITEMS = """
import json
from chimera_ray.backends.simulated_catalogue import CATALOGUE
from chimera_ray.backends.simulated_answers import wrong_answer
from chimera_ray.backends.simulated_world import make_item, task_of, topics_of
items = [make_item(task, 11) for task in CATALOGUE]
print(json.dumps([[list(i[:4]), list(i.steps), wrong_answer(i, 3)] for i in items]))
print(json.dumps([topics_of("Geology"), task_of("Geology", "Strata")]))
"""


def _item(answer: str, task: str = "gcd") -> Item:
    return Item(task, 1, "…", answer, ("…",))


def test_make_item_every_task_gives_the_same_items_again() -> None:
    numbers = [(task, seed) for task in CATALOGUE for seed in SEEDS]
    items = [make_item(*number) for number in numbers]
    make_item.cache_clear()
    for number, item in zip(numbers, items, strict=True):
        assert make_item(*number) == item, number


def test_make_item_every_task_gives_distinct_problems() -> None:
    for task in CATALOGUE:
        problems = {make_item(task, seed).problem.rpartition("(")[0] for seed in SEEDS}
        assert len(problems) == len(SEEDS), task


@pytest.mark.parametrize("seed", SEEDS)
def test_make_item_every_task_gives_a_sound_item(seed: int) -> None:
    for task, entry in CATALOGUE.items():
        item = make_item(task, seed)
        assert item.problem.endswith(f"(Catalogue number: {task}/{seed})")
        assert len(item.problem) < 1_560, task
        assert 0 < len(item.answer) < 200, task
        assert item.steps, task
        assert all(item.steps), task
        assert not any(passage in item.problem for passage in entry.cut), task
        assert find_item(item.problem) == item, task


@pytest.mark.parametrize("seed", range(6))
def test_wrong_answer_every_task_is_plausible_and_never_true(seed: int) -> None:
    for item in (make_item(task, seed) for task in CATALOGUE):
        assert is_true_answer(item, item.answer), item
        assert is_true_answer(item, f" $\\boxed{{{item.answer}}}$. "), item
        wrong = [wrong_answer(item, choice) for choice in range(8)]
        assert wrong == [wrong_answer(item, choice) for choice in range(8)], item
        assert not any(is_true_answer(item, answer) for answer in wrong), item
        assert not any(answer.startswith("not ") for answer in wrong), item


@pytest.mark.process
def test_world_another_process_and_hash_seed_agrees() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _PRINT_ITEMS],
        env={**os.environ, "PYTHONHASHSEED": "4242"},
        capture_output=True,
        text=True,
        check=True,
    )
    items_line, topics_line = found.stdout.splitlines()
    here = [make_item(task, 11) for task in CATALOGUE]
    assert json.loads(items_line) == [
        [list(i[:4]), list(i.steps), wrong_answer(i, 3)] for i in here
    ]
    areas = {area: list(topics) for area, topics in topics_of("Geology").items()}
    assert json.loads(topics_line) == [areas, task_of("Geology", "Strata")]


def test_make_item_many_threads_agree() -> None:
    numbers = [(task, seed) for task in islice(CATALOGUE, 30) for seed in range(20, 24)]
    alone = [make_item(*number) for number in numbers]
    make_item.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: make_item(*number), numbers)) == alone


@pytest.mark.parametrize(("task", "seed"), [("alchemy", 1), ("gcd", -1), ("gcd", SEED_END)])
def test_make_item_outside_the_world_raises(task: str, seed: int) -> None:
    with pytest.raises(ValueError, match=str(task)):
        make_item(task, seed)


def test_find_item_takes_the_last_number_of_a_long_text() -> None:
    text = (
        f"Example: {make_item('lcm', 4).problem}\n{'x ' * 9_000}Now: {make_item('gcd', 7).problem}"
    )
    assert find_item(f"{text} Reply in JSON.") == make_item("gcd", 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "What is 2 + 2?",
        "(Catalogue number: alchemy/3)",
        "(Catalogue number: gcd/)",
        "(Catalogue number: gcd/007)",
        "(Catalogue number: gcd/-7)",
        "(Catalogue number: gcd/٣)",
        "(Catalogue number: gcd/1000000000)",
        f"(Catalogue number: gcd/{'9' * 100_000})",
        f"(Catalogue number: {'g' * 100_000}/1)",
        "Catalogue number: " * 50_000,
        "(Catalogue number: ../../etc/passwd/1)",
    ],
    ids=range(12),
)
def test_find_item_hostile_text_gives_none(text: str) -> None:
    assert find_item(text) is None


@pytest.mark.parametrize(
    ("true", "given", "is_true"),
    [
        ("7.140", "7.14", True),
        ("1234567", "$1,234,567$", True),
        ("-1.37e-03", "\\boxed{-0.00137}", True),
        ("0x1f", "31", True),
        ("1/4", "0.25", True),
        ("1/4", "2/8", False),
        ("1/4", "1/0", False),
        ("2 \N{MULTIPLICATION SIGN} 3", "2*3", True),
        ("Friday", ' "friday." ', True),
        ("1 2\n3 4", "1 2 3 4", True),
        ("1 2 3", "123", False),
        ("['1', '2']", "['1','2']", True),
        ("Ann is an egoist, and Bo is a knight.", "Ann is a egoist, and Bo is a knight", True),
        ("74 days, 00:05", "74 days,  00:05", True),
        ("12", "", False),
        ("12", "nan", False),
        ("12", "1e999999999", False),
        ("12", "12" * 9_000, False),
        ("12", "[" * 1_900, False),
        ("12", "'" * 1_900, False),
    ],
)
def test_is_true_answer_compares_text_and_value(true: str, given: str, is_true: bool) -> None:
    assert is_true_answer(_item(true), given) is is_true


def test_catalogue_is_wide_and_its_topics_are_distinct() -> None:
    subjects = taxonomy()
    assert len(CATALOGUE) >= 48
    assert set(subjects) == SUBJECTS
    assert all(sum(map(len, areas.values())) >= 4 for areas in subjects.values())
    keys = {"".join(filter(str.isalnum, entry.topic.casefold())) for entry in CATALOGUE.values()}
    assert len(keys) == len(CATALOGUE)


def test_task_of_known_topics_inverts_the_table() -> None:
    for task, entry in CATALOGUE.items():
        assert entry.topic in topics_of(entry.subject)[entry.area]
        assert task_of(entry.subject, entry.topic.upper()) == task


@pytest.mark.parametrize("subject", ["Geology", "", "量子", "x" * 10_000])
def test_topics_of_unknown_subject_borrows_known_topics(subject: str) -> None:
    topics = [topic for topics in topics_of(subject).values() for topic in topics]
    assert len(set(topics)) == len(topics) >= 4
    assert all(CATALOGUE[task_of(subject, topic)].topic == topic for topic in topics)
    assert task_of(subject, "Plate tectonics") in CATALOGUE


@pytest.mark.process
def test_make_item_is_what_the_whole_package_makes() -> None:
    program = (
        "import json, reasoning_gym\n"
        "from chimera_ray.backends.simulated_world import CATALOGUE, make_item\n"
        "print(json.dumps([make_item(task, seed) for task in CATALOGUE for seed in (0, 77)]))"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    here = [make_item(task, seed) for task in CATALOGUE for seed in (0, 77)]
    assert json.loads(found.stdout) == json.loads(json.dumps(here))
