"""The rules against pairs written down without a look at them: tests/data/answers."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from chimera_ray.metrics.answers.match import match_answer

_DATA = Path(__file__).parents[3] / "data" / "answers"
_MAIN_FORMS = {
    *("integer", "decimal", "fraction", "scientific", "unit", "percentage", "closed form"),
    *("polynomial", "rational function", "interval", "tuple"),
}
"""Forms that the rules are there for: the others may all be left to the grader."""


def _pairs(name: str) -> list[dict[str, Any]]:
    lines = (_DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


_UNEQUAL = _pairs("unequal")
_EQUAL = _pairs("equal")


def _accepted(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Pairs → those that are accepted, whichever of the two is the reference."""
    both_ways = [way for one, other in pairs for way in ((one, other), (other, one))]

    async def ask() -> list[tuple[str, str]]:
        matches = [await match_answer(*pair) for pair in both_ways]
        return [pair for pair, match in zip(both_ways, matches, strict=True) if match.is_equal]

    return asyncio.run(ask())


def _as_tuple(pair: dict[str, Any]) -> tuple[str, str]:
    return pair["reference"], pair["predicted"]


def test_unequal_pairs_are_many_of_many_kinds_a_third_mutated() -> None:
    num_mutated = sum(pair.get("mutated", False) for pair in _UNEQUAL)
    assert len({_as_tuple(pair) for pair in _UNEQUAL}) == len(_UNEQUAL) >= 500
    assert len({pair["kind"] for pair in _UNEQUAL}) >= 25
    assert 3 * num_mutated >= len(_UNEQUAL)


def test_equal_pairs_are_many_of_many_forms() -> None:
    forms = Counter(pair["form"] for pair in _EQUAL)
    assert len({_as_tuple(pair) for pair in _EQUAL}) == len(_EQUAL) >= 300
    assert len(forms) >= 12
    assert forms.keys() >= _MAIN_FORMS


def test_equal_pairs_none_is_an_unequal_pair() -> None:
    unequal = {_as_tuple(pair) for pair in _UNEQUAL}
    assert unequal.isdisjoint(_as_tuple(pair) for pair in _EQUAL)


@pytest.mark.process
@pytest.mark.parametrize("kind", sorted({pair["kind"] for pair in _UNEQUAL}))
def test_match_unequal_pairs_none_is_accepted(kind: str) -> None:
    assert _accepted(_as_tuple(pair) for pair in _UNEQUAL if pair["kind"] == kind) == []


@pytest.mark.process
def test_match_equal_pairs_of_main_forms_four_in_five_are_accepted() -> None:
    pairs = [_as_tuple(pair) for pair in _EQUAL if pair["form"] in _MAIN_FORMS]
    accepted = set(_accepted(pairs))
    assert sum(pair in accepted for pair in pairs) >= 0.8 * len(pairs)
