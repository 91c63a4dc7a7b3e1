"""A question with one true answer, plausible wrong ones, and how solvers spell each of them.

Truth is built, never recognised: an answer is a value, equal values are the same answer, and every
spelling belongs to exactly one of them. So nothing here has to read what an answer means.
"""

from collections.abc import Callable, Hashable, Iterable
from random import Random
from typing import NamedTuple, TypeVar

Value = TypeVar("Value", bound=Hashable)


class Question(NamedTuple):
    """One question of a form."""

    form: str
    text: str
    steps: tuple[str, ...]
    """a worked way that does not name the answer"""
    values: tuple[tuple[str, ...], ...]
    """the spellings of each answer: first of the true one, then of each wrong one"""


Maker = Callable[[Random], Question]


def posed(
    form: str,
    text: str,
    steps: Iterable[str],
    spell: Callable[[Value], Iterable[str]],
    truth: Value,
    slips: Iterable[Value],
) -> Question:
    """The parts of a question → it, without the slips that come out true or twice."""
    values = dict.fromkeys((truth, *slips))
    spelled = tuple(tuple(dict.fromkeys(spell(value))) for value in values)
    return Question(form, text, tuple(steps), spelled)
