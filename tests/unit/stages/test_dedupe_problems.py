"""Problems → those that resemble no earlier one."""

import re
from typing import Any

import pytest
from fakes import PROBLEM
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
    "params", [{"ngram_words": 0}, {"min_jaccard": 0}, {"min_jaccard": 1.01}], ids=str
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
        r"Mathematics / Ramsey theory / draft 0, Jaccard (1\.000|0\.\d{3})", reject.detail
    )


def test_dedupe_problems_across_topics_counts_as_well() -> None:
    elsewhere = PROBLEM.model_copy(update={"subject": "Physics", "topic": "Optics"})
    reject = _fold([*_problems(TEXT), elsewhere.model_copy(update={"problem": TEXT})])[1]
    assert isinstance(reject, Reject)


def test_dedupe_problems_similarity_at_the_threshold_is_a_duplicate() -> None:
    # 22 five-grams, 11 of them shared with 15 words: 11 of 22.
    rows = _problems(" ".join(WORDS), " ".join(WORDS[:15]))
    assert isinstance(_fold(rows, min_jaccard=0.5)[1], Reject)
    assert _fold(rows, min_jaccard=0.501) == rows


def test_dedupe_problems_rejected_problem_rejects_no_other() -> None:
    # The second is near the first, the third near the second alone.
    rows = _problems(" ".join(WORDS[:20]), " ".join(WORDS[4:24]), " ".join(WORDS[8:26]))
    first, second, third = _fold(rows, min_jaccard=0.6)
    assert (first, third) == (rows[0], rows[2])
    assert isinstance(second, Reject)


def test_dedupe_problems_different_numbers_are_different_problems() -> None:
    rows = _problems("What is 2 + 3?", "What is 2 + 4?")
    assert _fold(rows) == rows


def test_dedupe_problems_no_rows_gives_none() -> None:
    assert _fold([]) == []
