"""Every text function on hostile texts of 160,000 characters: none grows faster than its text.

A clock tells nothing on a busy machine, so two other things are bounded. Lines of Python that a
function runs are counted at two lengths, since a loop that goes back over the text runs four times
as many for twice the text. What runs inside one regular expression has no lines: there a quadratic
one on 160,000 characters takes minutes, and the suite's timeout ends it. The clock is read by
`benchmarks/text_doubling.py`, whose functions and shapes these are.
"""

import sys
from types import FrameType
from typing import Any

import pytest
from text_shapes import SUBJECTS, Shape, Subject, function_of

CHARS = 160_000
COUNTED_CHARS = 1_000
MAX_RATIO = 2.5
FLOOR_LINES = 500
"""what a call costs whatever the text"""

each_subject = pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)


@each_subject
def test_text_function_long_hostile_text_ends(subject: Subject) -> None:
    for shape in subject.own_shapes:
        text = shape.text(min(CHARS, subject.max_chars))
        assert len(text) > min(CHARS, subject.max_chars) * 0.9
        subject.call(function_of(subject), text)


@each_subject
def test_text_function_twice_the_text_runs_no_more_than_twice_the_lines(subject: Subject) -> None:
    for shape in subject.shapes:
        once, twice = (_num_lines(subject, shape, n) for n in (COUNTED_CHARS, 2 * COUNTED_CHARS))
        assert twice <= MAX_RATIO * max(once, FLOOR_LINES), shape


def _num_lines(subject: Subject, shape: Shape, num_chars: int) -> int:
    """A function and a text → how many lines of Python it runs."""
    function, text, num_lines = function_of(subject), shape.text(num_chars), 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal num_lines
        num_lines += event == "line"
        return count

    subject.call(function, shape.text(10))  # what is imported or compiled at first counts not
    before = sys.gettrace()
    sys.settrace(count)
    try:
        subject.call(function, text)
    finally:
        sys.settrace(before)
    return num_lines
