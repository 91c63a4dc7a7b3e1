"""How the simulated solver ends its final part, and how that end is read again without doubt.

Every end is written from a template, and the reader knows all of them: so what a trajectory
commits to is known whatever a parser makes of it. Knows nothing of equality.
"""

from random import Random
from typing import NamedTuple

_PLAIN = (
    ("\n\n\\boxed{", "}"),
    ("\n\nFinal answer: ", ""),
    ("\n\n**Final answer:** ", ""),
    ("\n\nThe answer is ", "."),
    ("\n\n**Final Answer**\n\n", ""),
    ("\n\n<answer>", "</answer>"),
    ("\n\nThis gives:\n\n\\[\n", "\n\\]"),
    ("\n\nThe answer is $", "$."),
    ("\n\n\\boxed{", "}\n\nThis is what was to be found: $\\boxed{\\text{QED}}$"),
)
_BOXED, _IN_A_LINE, _IN_FORMULAS, _WITH_QED = _PLAIN[0], _PLAIN[1:6], _PLAIN[6:8], _PLAIN[8]
_QED_RATE = 0.02
_RETRACTED = (
    ("\n\nCorrection, since a sign was lost above: \\boxed{", "}"),
    ("\n\nWait, that is wrong. It should be ", "."),
    (" is what one might expect, but it is wrong: the value is ", "."),
    ("\n\nHold on, I misread the statement.\n\nFinal answer: ", ""),
)
_COMMITTED = (*_PLAIN, *_RETRACTED)
_EITHER = "\n\nThe answer is either {one} or {two}; I cannot tell which."
_BOTH = (
    "\n\n\\boxed{{{one}}} or, with the other convention, \\boxed{{{two}}}. Both can be defended."
)
_UNDECIDED = "\n\nI went through all of the steps above, but they do not settle the matter yet."
_UNSOLVED = "\n\nI cannot solve this problem."
_OPEN = (_EITHER.rpartition("}")[2], _BOTH.rpartition("}")[2], _UNDECIDED, _UNSOLVED)


class Ending(NamedTuple):
    """The end of a final part that the simulated solver wrote."""

    answer: str | None
    """What it commits to; None: to nothing, or to no one thing."""


def committed(answer: str, rng: Random) -> str:
    """An answer → an end that states it."""
    # A box holds several lines, but a line that begins with "Final answer:" holds only one.
    if "\n" in answer or rng.random() < (0.9 if answer[-1:].isdigit() else 0.5):
        return _filled(_WITH_QED if rng.random() < _QED_RATE else _BOXED, answer)
    templates = _IN_A_LINE + _IN_FORMULAS if "\\" in answer else _IN_A_LINE
    return _filled(rng.choice(templates), answer)


def retracted(first: str, answer: str, rng: Random) -> str:
    """Two answers → an end that states the first one, takes it back and states the second."""
    template = _RETRACTED[0] if "\n" in answer else rng.choice(_RETRACTED)
    return f"{_filled(_BOXED, first)}{_filled(template, answer)}"


def undecided(one: str, two: str, rng: Random) -> str:
    """Two answers → an end that commits to neither of them."""
    return rng.choice((_EITHER, _BOTH)).format(one=one, two=two)


def without_answer() -> str:
    """An end that states nothing."""
    return _UNDECIDED


def unsolved() -> str:
    """The end of a trajectory on a problem that nobody knows."""
    return _UNSOLVED


def read_ending(text: str) -> Ending | None:
    """A final part → its end, if the simulated solver wrote it; linear in the text."""
    text = f"\n\n{text.strip()}"
    if text.isspace() or text.endswith(_OPEN):
        return Ending(None)
    last, answer = -1, None
    for opening, closing in _COMMITTED:
        start = text.rfind(opening)
        begin, end = start + len(opening), len(text) - len(closing)
        # The latest statement counts; of two templates that begin alike, the longer one.
        if start >= 0 and begin < end and text.endswith(closing) and begin > last:
            last, answer = begin, text[begin:end]
    return None if answer is None else Ending(answer)


def _filled(template: tuple[str, str], answer: str) -> str:
    return f"{template[0]}{answer}{template[1]}"
