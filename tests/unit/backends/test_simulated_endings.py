"""The ends of the simulated solver's final parts: written from templates, read without doubt."""

from random import Random

import pytest

from chimera_ray.backends.simulated_answers import wrong_answer
from chimera_ray.backends.simulated_catalogue import CATALOGUE
from chimera_ray.backends.simulated_endings import (
    Ending,
    committed,
    read_ending,
    retracted,
    undecided,
    unsolved,
    without_answer,
)
from chimera_ray.backends.simulated_world import Item, make_item

WAY = "First this.\n\nThen that, as one might expect."
each_item = pytest.mark.parametrize("item", [make_item(task, 6) for task in CATALOGUE])


@each_item
def test_read_ending_of_any_committed_answer_is_that_answer(item: Item) -> None:
    for seed in range(40):
        assert read_ending(WAY + committed(item.answer, Random(seed))) == Ending(item.answer)


@each_item
def test_read_ending_of_a_retraction_is_the_second_answer(item: Item) -> None:
    wrong = wrong_answer(item, 1)
    for seed in range(12):
        assert read_ending(WAY + retracted(wrong, item.answer, Random(seed))) == Ending(item.answer)
        assert read_ending(WAY + retracted(item.answer, wrong, Random(seed))) == Ending(wrong)


@each_item
def test_read_ending_of_two_answers_is_none_of_them(item: Item) -> None:
    for seed in range(4):
        said = undecided(item.answer, wrong_answer(item, 1), Random(seed))
        assert item.answer in said
        assert read_ending(WAY + said) == Ending(None)


@pytest.mark.parametrize("text", [without_answer(), WAY + without_answer(), unsolved(), "", " \n "])
def test_read_ending_without_an_answer_is_none(text: str) -> None:
    assert read_ending(text) == Ending(None)


@pytest.mark.parametrize(
    "text",
    ["So it is 5.", "Answer: 5", "\\boxed{5} it is", "x" * 100_000, "\n\n\\boxed{" * 20_000],
    ids=["words", "answer", "box", "long", "boxes"],
)
def test_read_ending_of_a_text_of_nobodys_is_unknown(text: str) -> None:
    assert read_ending(text) is None


def test_committed_uses_several_ways_to_say_it() -> None:
    said = {committed("\\pi r", Random(seed)) for seed in range(600)}
    assert len(said) >= 8
    assert any("QED" in text for text in said)
