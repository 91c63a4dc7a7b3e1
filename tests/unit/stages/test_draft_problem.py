"""Draft → one problem with one answer, or nothing."""

from typing import Any

import pytest
from fakes import DRAFT, HALF, Said, ScriptedModel, each_fault, perform_on, require_failed, rows_of

from chimera_ray.schemas import Problem, Record

PARTS = {
    "problem": r"Let $\frac{a}{b} = {{ 1 }}$. Find a.",
    "reasoning": "By design.",
    "solution": "a = b",
    "answer": "b",
}


def _draft(*script: Said) -> tuple[Record, ScriptedModel]:
    drafter = ScriptedModel(*script)
    return perform_on("draft_problem", DRAFT, {"drafter": drafter}), drafter


@each_fault
def test_draft_problem_unusable_reply_fails_the_row(fault: Said, reason: str, status: str) -> None:
    record, _ = _draft(fault)
    require_failed(record, reason)
    assert [call.status for call in record.calls] == [status]


@pytest.mark.parametrize(
    "change",
    [
        {"problem": ""},
        {"problem": " \n "},
        {"answer": ""},
        {"answer": None},
        {"answer": ["b", "c"]},
        {"answer": True},
        {"problem": HALF},
    ],
    ids=str,
)
def test_draft_problem_part_that_is_wrong_fails_the_row(change: dict[str, Any]) -> None:
    require_failed(_draft({**PARTS, **change})[0], "unparsable")


@pytest.mark.parametrize(
    "change",
    [
        {"problem": "The statement alone."},
        {"problem": "..."},
        {"problem": "<the statement>"},
        {"reasoning": "how the answer is found, step by step"},
        {"solution": "..."},
        {"answer": "the final answer alone, concise and easy to check"},
        {"answer": "The answer is an exact integer."},
        {"answer": "..."},
    ],
    ids=str,
)
def test_draft_problem_part_that_copies_the_prompt_is_rejected_by_name(
    change: dict[str, Any],
) -> None:
    record, _ = _draft({**PARTS, **change})
    assert (record.outcome, record.reason) == ("rejected", "copied_prompt")
    assert record.detail.startswith(next(iter(change)))


@pytest.mark.parametrize(
    ("change", "answer"), [({"answer": 42}, "42"), ({"answer": 1.50}, "1.5"), ({"proof": "x"}, "b")]
)
def test_draft_problem_near_miss_is_read(change: dict[str, Any], answer: str) -> None:
    (problem,) = rows_of(_draft({**PARTS, **change})[0], Problem)
    assert problem.reference_answer == answer


@pytest.mark.parametrize("missing", PARTS)
def test_draft_problem_missing_part_fails_the_row(missing: str) -> None:
    parts = {name: text for name, text in PARTS.items() if name != missing}
    require_failed(_draft(parts)[0], "unparsable")


def test_draft_problem_two_different_problems_fail_the_row() -> None:
    record, _ = _draft(f'{{"problem": "1", {_rest()}}} {{"problem": "2", {_rest()}}}')
    require_failed(record, "unparsable")


def test_draft_problem_whole_reply_gives_the_problem_beside_its_draft() -> None:
    record, drafter = _draft({**PARTS, "answer": " b\n"})
    (problem,) = rows_of(record, Problem)
    assert problem == Problem(
        **DRAFT.model_dump(),
        problem=PARTS["problem"],
        reference_answer="b",
        draft_reasoning="By design.",
        draft_solution="a = b",
    )
    (prompt,) = drafter.prompts
    for said in (DRAFT.subject, DRAFT.area, DRAFT.topic, DRAFT.facet):
        assert f">{said}</" in prompt


def test_draft_problem_latex_with_forgotten_escapes_is_repaired() -> None:
    record, _ = _draft(r'{"problem": "\alpha \neq \frac{1}{2}", ' + _rest() + "}")
    assert rows_of(record, Problem)[0].problem == r"\alpha \neq \frac{1}{2}"


def test_draft_problem_second_try_draws_anew_and_keeps_the_first_call() -> None:
    first, _ = _draft("I would rather not.")
    drafter = ScriptedModel(PARTS)
    second = perform_on("draft_problem", DRAFT, {"drafter": drafter}, earlier=first.calls)
    assert len(rows_of(second, Problem)) == 1
    marks = [(call.status, call.is_replayed, call.text) for call in second.calls]
    assert marks[1] == ("unparsable", True, "")
    assert marks[0][:2] == ("ok", False)
    assert second.calls[0].seed != first.calls[0].seed


def _rest() -> str:
    return '"reasoning": "", "solution": "", "answer": "b"'
