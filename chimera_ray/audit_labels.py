"""The labels of a run on simulated problems, measured against truth.

A label says that a trajectory's answer equals the reference answer. So a label is an error if it
says otherwise than the world does of these two: the answer that the solver committed to, and the
reference as it was given, wrong or not. Where the reference is wrong, such a label can be right and
yet call a true answer wrong, or a wrong one correct: that is counted apart. The committed answer is
what the simulated solver wrote, whatever was read from it; a reading that differs is counted as
well. Of a real solver nothing is known but what was read.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from chimera_ray.frontier import Standing
from chimera_ray.metrics.intervals import wilson
from chimera_ray.schemas import Example


class Measure(BaseModel):
    """A share: so many of so many."""

    name: str
    count: int
    total: int
    share: float | None
    interval: tuple[float, float] | None
    """95%, Wilson; None of nothing"""


class FormAudit(BaseModel):
    """The labels of one form of answer."""

    form: str
    labels: int
    by_rule: Measure
    """of the pairs that are equal: those that a rule accepted"""
    wrong_by_rule: Measure
    """of the labels that a rule decided"""
    wrong_by_grader: Measure
    """of the labels that the grader decided"""


class Label(NamedTuple):
    """One label and what the world knows of it."""

    form: str
    says_equal: bool
    is_by_rule: bool
    is_equal: bool
    """whether the committed answer is the reference answer"""
    is_true: bool
    """whether the committed answer is true"""
    has_true_reference: bool
    is_misread: bool
    """another answer was read than the committed one, or one where there is none"""
    is_unread: bool
    """there is a committed answer, and none was read"""

    @property
    def is_error(self) -> bool:
        """Whether it says otherwise than the world does."""
        return self.says_equal != self.is_equal


def measure(name: str, count: int, total: int) -> Measure:
    """A name and two counts → the measure, with its interval."""
    share = count / total if total else None
    return Measure(name=name, count=count, total=total, share=share, interval=wilson(count, total))


def labels_of(standing: Standing, is_simulated: bool) -> Iterator[Label]:
    """A standing and whether its solver is simulated → the labels whose truth is known."""
    from chimera_ray.backends.simulated_answers import is_true_answer, same_answer
    from chimera_ray.backends.simulated_endings import read_ending
    from chimera_ray.backends.simulated_world import find_item

    outputs = standing.outputs()
    for _, payload in outputs.rows(np.arange(len(outputs.ids))):
        row = Example.model_validate_json(payload)
        item = find_item(row.problem)
        if item is None:
            continue
        read = committed = row.predicted_answer
        if is_simulated:
            ending = read_ending(row.final_part)
            committed = None if ending is None else ending.answer
        has_answer = committed is not None
        yield Label(
            form=item.form,
            says_equal=row.is_correct,
            is_by_rule=row.decided_by == "rule",
            is_equal=has_answer and same_answer(item, row.reference_answer, committed or ""),
            is_true=has_answer and is_true_answer(item, committed or ""),
            has_true_reference=is_true_answer(item, row.reference_answer),
            is_misread=read is not None
            and not (has_answer and same_answer(item, read, committed or "")),
            is_unread=read is None and has_answer,
        )


def measures_of(labels: Sequence[Label], is_simulated: bool) -> list[Measure]:
    """Labels and whether their solver is simulated → what they come to, if there are any."""
    if not labels:
        return []
    equal = [label for label in labels if label.is_equal]
    called = [label for label in labels if label.says_equal]
    ruled = [label for label in labels if label.is_by_rule]
    graded = [label for label in labels if not label.is_by_rule]
    graded_equal = [label for label in graded if label.is_equal]
    graded_unequal = [label for label in graded if not label.is_equal]
    wrong_by_rule = [label for label in ruled if label.is_error]
    differing = sum(label.says_equal != label.is_true for label in labels)
    measures = [
        _share("wrong references among the published", labels, "has_true_reference", is_not=True),
        _share("label errors", labels, "is_error"),
        _share("label errors by rule: wrong accepts", ruled, "is_error"),
        _share("label errors by grader", graded, "is_error"),
        _share("grader's false accepts", graded_unequal, "says_equal"),
        _share("grader's false rejects", graded_equal, "says_equal", is_not=True),
        _share("label precision: truly equal of those called correct", called, "is_equal"),
        _share("label recall: called correct of the truly equal", equal, "says_equal"),
        _share("left open by the rules", labels, "is_by_rule", is_not=True),
        _share("left open of the truly equal", equal, "is_by_rule", is_not=True),
        measure("labels that differ from the truth", differing, len(labels)),
    ]
    if is_simulated:
        measures += [
            _share("answers read that were not committed to", labels, "is_misread"),
            _share("of these, among the wrong accepts by rule", wrong_by_rule, "is_misread"),
            _share("committed answers that were not read", labels, "is_unread"),
        ]
    return measures


def of_form(form: str, labels: Sequence[Label]) -> FormAudit:
    """A form of answer and its labels → what these come to."""
    ruled = [label for label in labels if label.is_by_rule]
    graded = [label for label in labels if not label.is_by_rule]
    equal = [label for label in labels if label.is_equal]
    return FormAudit(
        form=form,
        labels=len(labels),
        by_rule=_share("equal pairs decided by rule", equal, "is_by_rule"),
        wrong_by_rule=_share("wrong accepts by rule", ruled, "is_error"),
        wrong_by_grader=_share("label errors by grader", graded, "is_error"),
    )


def _share(name: str, labels: Iterable[Label], field: str, is_not: bool = False) -> Measure:
    held = [bool(getattr(label, field)) != is_not for label in labels]
    return measure(name, sum(held), len(held))
