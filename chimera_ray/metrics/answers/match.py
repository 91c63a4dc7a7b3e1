r"""A reference answer and a predicted one → equal beyond doubt, or left open for a judge.

Only acceptance means something here: "not equal" never means "wrong". Accepted is what has the same
normal text, what both sides are read as without remainder and shown to be the same by exact
arithmetic, and a longer decimal where the reference says that it is rounded. No text is guessed at.
"""

from typing import NamedTuple

from chimera_ray.metrics.answers.comparison import Outcome, compare
from chimera_ray.metrics.answers.normal_text import normal_text
from chimera_ray.metrics.answers.pool import shared_pool
from chimera_ray.metrics.answers.reading import Reading, read, read_without_unit
from chimera_ray.metrics.answers.rounding import rounded, rounds_to

MAX_TEXT_CHARS = 20_000


class Match(NamedTuple):
    """How two answers compare."""

    is_equal: bool
    """True: the same answer. False: left open, never "different"."""
    rule: str
    """The rule that accepted, or what left it open."""


async def match_answer(reference: str, predicted: str) -> Match:
    """Reference and predicted answer → equal, if a rule or a proof says so."""
    match, outcome = _match(reference, predicted)
    if not outcome:
        return match
    return match if await shared_pool().proves(outcome) else Match(False, "unproven")


def equal_by_rule(reference: str, predicted: str) -> Match | None:
    """Reference and predicted answer → their match, or None where only a proof can tell.

    Linear in both texts; no child process is asked.
    """
    match, outcome = _match(reference, predicted)
    return None if outcome else match


def _match(reference: str, predicted: str) -> tuple[Match, Outcome]:
    """Two answers → their match, and the pairs that have to be proven for it to hold."""
    if max(len(reference), len(predicted)) > MAX_TEXT_CHARS:
        return Match(False, "too_long"), ()
    left, right = normal_text(reference), normal_text(predicted)
    if not left or not right:
        return Match(False, "empty"), ()
    if left == right:
        return Match(True, "text"), ()
    if aim := rounded(left):
        return (Match(True, "rounding") if rounds_to(right, aim) else Match(False, "rounding")), ()
    try:
        return _compared(*_readings(left, right))
    except (ArithmeticError, ValueError, RecursionError):
        # No arithmetic on a model's text may end the row's stage.
        return Match(False, "unread"), ()


def _compared(left: Reading | None, right: Reading | None) -> tuple[Match, Outcome]:
    """Two readings, if both texts could be read → their match, and the pairs to prove."""
    if left is None or right is None:
        return Match(False, "unread"), ()
    outcome = compare(left, right)
    if outcome is None:
        return Match(False, "not_shown" if left.kind == right.kind else "kinds"), ()
    return Match(True, _rule(left, right) if not outcome else "proof"), outcome


def _readings(left: str, right: str) -> tuple[Reading | None, Reading | None]:
    """Two normal texts → what they are; no unit is read where only one side would have one."""
    found = read(left), read(right)
    kinds = {reading.kind for reading in found if reading}
    if kinds == {"scalar", "quantity"}:
        return read_without_unit(left), read_without_unit(right)
    return found


def _rule(left: Reading, right: Reading) -> str:
    """Two readings that are the same → the name of the rule."""
    if left.kind != right.kind:
        return "named_value"
    if left.kind != "scalar":
        return left.kind
    if left.numeral and right.numeral:
        return "number"
    return "expression" if left.has_letters or right.has_letters else "closed_form"
