"""Problems → those that resemble no earlier one."""

import re
from random import Random
from typing import Any

import pytest
from fakes import PROBLEM
from planted import KINDS, TEMPLATES, filled
from pydantic import ValidationError

from chimera_ray.schemas import Problem
from chimera_ray.stage import Reject
from chimera_ray.stages.dedupe_problems import DedupeProblemsParams, dedupe_problems

WORDS = [f"w{place}" for place in "abcdefghijklmnopqrstuvwxyz"]
TEXT = "Let the graph be planar and finite with seven vertices and find its largest degree"


def _problems(*texts: str) -> list[Problem]:
    return [
        PROBLEM.model_copy(update={"problem": text, "draft_index": place})
        for place, text in enumerate(texts)
    ]


def _fold(rows: list[Problem], **params: Any) -> list[Problem | Reject]:
    return list(dedupe_problems.run(rows, DedupeProblemsParams(**params)))


@pytest.mark.parametrize(
    "params", [{"max_changed_words": -0.01}, {"max_changed_words": 1}], ids=str
)
def test_dedupe_problems_impossible_params_are_refused(params: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        DedupeProblemsParams.model_validate(params)


@pytest.mark.parametrize("again", [TEXT, TEXT.upper() + "!", TEXT + " now"])
def test_dedupe_problems_repeat_is_rejected_and_the_earlier_kept(again: str) -> None:
    first, second = _problems(TEXT, again)
    kept, reject = _fold([first, second])
    assert kept == first
    assert isinstance(reject, Reject)
    assert reject.reason == "duplicate_problem"
    assert re.fullmatch(
        r"Mathematics / Ramsey theory / draft 0: 0 of 1[56] words differ", reject.detail
    )


def test_dedupe_problems_across_topics_counts_as_well() -> None:
    elsewhere = PROBLEM.model_copy(update={"subject": "Physics", "topic": "Optics"})
    reject = _fold([*_problems(TEXT), elsewhere.model_copy(update={"problem": TEXT})])[1]
    assert isinstance(reject, Reject)


def test_dedupe_problems_change_at_the_limit_is_a_repeat() -> None:
    rows = _problems(" ".join(WORDS[:20]), " ".join([*WORDS[:18], "other", "words"]))
    reject = _fold(rows, max_changed_words=0.1)[1]
    assert isinstance(reject, Reject)
    assert reject.detail.endswith("draft 0: 2 of 20 words differ")
    assert _fold(rows, max_changed_words=0.099) == rows


def test_dedupe_problems_rejected_problem_rejects_no_other() -> None:
    # The second is near the first, the third near the second alone.
    changed = [" ".join([*("new" + word for word in WORDS[:k]), *WORDS[k:]]) for k in (0, 2, 4)]
    rows = _problems(*changed)
    first, second, third = _fold(rows, max_changed_words=0.1)
    assert (first, third) == (rows[0], rows[2])
    assert isinstance(second, Reject)


def test_dedupe_problems_one_template_with_other_numbers_keeps_all() -> None:
    dice = Random(3)
    texts = dict.fromkeys(filled(template, dice) for template in TEMPLATES[:8] for _ in range(25))
    rows = _problems(*texts)
    assert _fold(rows) == rows


@pytest.mark.parametrize("kind", KINDS)
def test_dedupe_problems_planted_copies_are_found(kind: str) -> None:
    dice = Random(kind)
    texts = [filled(template, dice) for template in TEMPLATES]
    copies = [KINDS[kind](text, dice) for text in texts]
    kept = _fold(_problems(*texts, *copies))
    assert kept[: len(texts)] == _problems(*texts)
    found = sum(isinstance(row, Reject) for row in kept[len(texts) :])
    assert found >= 0.95 * len(texts)


def test_dedupe_problems_different_numbers_are_different_problems() -> None:
    rows = _problems("What is 2 + 3?", "What is 2 + 4?")
    assert _fold(rows) == rows


def test_dedupe_problems_no_rows_gives_none() -> None:
    assert _fold([]) == []
