"""Two readings → the same, or not shown to be, or the same if some pairs can be proven equal.

No tolerance anywhere: numbers are rationals, expressions exact. What is only close is refused here,
or handed on as a pair to prove.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from chimera_ray.metrics.answers.algebra import Ring
from chimera_ray.metrics.answers.cautions import check_letters
from chimera_ray.metrics.answers.closed_forms import is_same_value, value_of
from chimera_ray.metrics.answers.estimate import are_close
from chimera_ray.metrics.answers.numerals import may_be_two_metres, may_number_a_version
from chimera_ray.metrics.answers.reading import Reading, named_value
from chimera_ray.metrics.answers.tree import (
    Tree,
    Unreadable,
    letters,
    negative_tree,
    number_tree,
    product_tree,
)


class Pair(NamedTuple):
    """Two closed forms of about the same value."""

    left: Tree
    right: Tree


Outcome: TypeAlias = tuple[Pair, ...] | None
"""the pairs that are left to prove, none if all is shown; None: not shown to be the same"""

_SAME: Outcome = ()


def compare(left: Reading, right: Reading) -> Outcome:
    """Two readings → their outcome; two kinds are never the same, but for "x = 5" and 5."""
    if left.kind != right.kind:
        return _compare_named(left, right)
    if left.form != right.form or len(left.parts) != len(right.parts):
        return None
    if left.kind in ("choice", "infinity"):
        return _SAME
    if left.kind == "formula":
        return _SAME if left.formula == right.formula else None
    if left.kind == "scalar":
        return _compare_scalars(left, right)
    if left.kind == "quantity":
        return _compare_quantities(left, right)
    if left.kind in ("equation", "membership"):
        return _compare_equations(left, right)
    if left.kind in ("set", "union") or (left.kind == "list" and _names_letters(left, right)):
        return _in_any_order(left.parts, right.parts)
    return _all(left.parts, right.parts)


def _all(left: Sequence[Reading], right: Sequence[Reading]) -> Outcome:
    pairs: tuple[Pair, ...] = ()
    for a, b in zip(left, right, strict=True):
        outcome = _compare_members(a, b)
        if outcome is None:
            return None
        pairs += outcome
    return pairs


def _compare_members(left: Reading, right: Reading) -> Outcome:
    """Two members → their outcome; "y = 1, x = 2" is not "1, 2"."""
    return compare(left, right) if left.kind == right.kind else None


def _in_any_order(left: Sequence[Reading], right: Sequence[Reading]) -> Outcome:
    """Members of two sets → each matched with one of the other's: repetition counts."""
    rest = list(right)
    pairs: tuple[Pair, ...] = ()
    for a in left:
        outcomes = ((place, _compare_members(a, b)) for place, b in enumerate(rest))
        place, outcome = next(
            ((p, found) for p, found in outcomes if found is not None), (-1, None)
        )
        if outcome is None:
            return None
        pairs += outcome
        del rest[place]
    return pairs


def _names_letters(left: Reading, right: Reading) -> bool:
    """Two lists → whether each gives values to letters, "x = 1, y = 2", one to each."""
    for reading in (left, right):
        named = [named_value(part) for part in reading.parts]
        if len({pair[0] for pair in named if pair}) != len(reading.parts):
            return False
    return True


def _compare_named(left: Reading, right: Reading) -> Outcome:
    for reading, other in ((left, right), (right, left)):
        named = named_value(reading)
        if (
            named
            and other.kind not in ("equation", "membership", "choice")
            and not other.has_letters
        ):
            return compare(named[1], other)
    return None


def _compare_scalars(left: Reading, right: Reading) -> Outcome:
    first, second = left.numeral, right.numeral
    if first and second:
        if first.value != second.value:
            return None
        if may_number_a_version(first, second) or may_be_two_metres(first, second):
            return None
        is_mixed = first.is_percent != second.is_percent
        return None if is_mixed and first.value.denominator == 1 else _SAME
    return compare_trees(left.tree, right.tree)


def _compare_quantities(left: Reading, right: Reading) -> Outcome:
    if not (left.unit and right.unit and left.tree and right.tree):
        return None
    if left.unit.dimensions != right.unit.dimensions or left.unit.is_torque != right.unit.is_torque:
        return None
    if left.numeral and right.numeral and left.unit.scale == right.unit.scale:
        return _compare_scalars(left, right)
    trees = (
        product_tree(reading.tree, number_tree(reading.unit.scale))
        for reading in (left, right)
        if reading.tree and reading.unit
    )
    return compare_trees(*trees)


def _compare_equations(left: Reading, right: Reading) -> Outcome:
    """Two equations → the same letter with the same value, or the same difference of the sides."""
    first, second = named_value(left), named_value(right)
    if first and second:
        return compare(first[1], second[1]) if first[0] == second[0] else None
    sides = [part.tree for part in (*left.parts, *right.parts) if part.kind == "scalar"]
    if len(sides) != 4 or not (left.has_letters and right.has_letters):
        return None
    a, b, c, d = (side for side in sides if side is not None)
    for turned in ((c, d), (d, c)):
        if _compare_differences((a, b), turned) == _SAME:
            return _SAME
    return None


def _compare_differences(left: tuple[Tree, Tree], right: tuple[Tree, Tree]) -> Outcome:
    differences = [Tree("sum", "", (pair[0], negative_tree(pair[1]))) for pair in (left, right)]
    outcome = compare_trees(*differences)
    # "x = x + 1" holds letters that cancel.
    is_constant = compare_trees(differences[0], number_tree(Fraction(0))) == _SAME
    return None if is_constant else outcome


def compare_trees(left: Tree | None, right: Tree | None) -> Outcome:
    """Two expressions → shown equal, or to be proven so if they are numbers of about one value."""
    if left is None or right is None:
        return None
    ring = Ring()
    try:
        check_letters(left, right)
        is_close = are_close(left, right)
        if is_close is False:
            return None
        values = value_of(left, ring), value_of(right, ring)
        if is_close is None:
            rational = values[0].quotient.rational
            return (
                _SAME if rational is not None and rational == values[1].quotient.rational else None
            )
        if is_same_value(*values, ring):
            return _SAME
    except Unreadable:
        return None
    return None if letters(left) or letters(right) else (Pair(left, right),)
