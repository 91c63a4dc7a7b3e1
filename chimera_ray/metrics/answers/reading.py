r"""Normal text → what the answer is, of one kind, without a remainder; None if it is not certain.

Left unread, since they have two readings: "1,5" and "(1,234)" (a comma within a number?), "6/8" (a
time signature?), "10-12" (a range?), "2e-1", "x!=2", a choice with text behind it.
"""

import itertools
import re
from collections.abc import Iterable
from typing import NamedTuple

from chimera_ray.metrics.answers.chemistry import Formula, formula
from chimera_ray.metrics.answers.expression import expression
from chimera_ray.metrics.answers.names import ANGLE_FUNCTIONS
from chimera_ray.metrics.answers.numerals import Numeral, numeral, numeral_and_rest
from chimera_ray.metrics.answers.tokens import Tokens, split, text_of, tokens_of
from chimera_ray.metrics.answers.tree import Tree, Unreadable, letters, number_tree, walk
from chimera_ray.metrics.answers.units import Unit, unit

_MAX_CHARS = 2_000
_MAX_PARTS = 64
_MAX_DEPTH = 6
_MAX_SPLITS = 12

_CHOICE = re.compile(
    r"(?:(?:[Oo]ption|[Cc]hoice) )?"
    r"(?:\((?P<round>[A-Ja-h])\)|(?P<half>[A-Ja-h])\)|(?P<plain>[A-J]):?)"
)
_TWO_READINGS = re.compile(
    r"\d+/\d+|-?[\d./]+(?:-[\d./]+)+|(?P<base>\d+)\^\S+-(?P=base)\^\S+|\([A-Za-z]+\)"
    r"|-?[\d./]+(?P<unit>[A-Za-z]+)-[\d./]+(?P=unit)|.*(?:\d[eE][-+]?\d|! ?=).*",
    re.DOTALL,
)
_THOUSANDS = re.compile(r"(?<!\d)\d{1,3},\d{3}(?!\d)")
_UNIT_START = re.compile(r"(?<=[\d}) ])(?=[A-Za-z\\^])")
_COMMA = frozenset({","})
_CUP = frozenset({r"\cup"})
_RELATIONS = frozenset({"=", "<", ">", r"\le", r"\ge", r"\ne", r"\in"})
_TURNED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_BRACKETED = frozenset("pqfgh")
_INFINITIES = {r"\infty": "+", r"+\infty": "+", r"-\infty": "-"}


class Reading(NamedTuple):
    """An answer that has been understood."""

    kind: str
    """choice, scalar, quantity, formula, infinity, set, tuple, list, union, matrix, equation,
    membership, or inequality"""
    form: str = ""
    """what has to agree between two of a kind: the letter, the brackets, the shape, the signs"""
    tree: Tree | None = None
    """of a scalar or a quantity"""
    numeral: Numeral | None = None
    """how the scalar or the quantity is written, if as one number"""
    unit: Unit | None = None
    formula: Formula | None = None
    parts: "tuple[Reading, ...]" = ()

    @property
    def has_letters(self) -> bool:
        """Whether anything unknown is in it."""
        is_open = self.tree is not None and bool(letters(self.tree))
        return is_open or any(part.has_letters for part in self.parts)


def read(text: str) -> Reading | None:
    """Normal text → what it is, or None."""
    if len(text) > _MAX_CHARS:
        return None
    try:
        return _whole(text)
    except Unreadable:
        return None


def read_without_unit(text: str) -> Reading | None:
    """Normal text → the expression that it is where no letter of it is a unit, or None."""
    try:
        return Reading("scalar", tree=expression(_tokens(text)))
    except Unreadable:
        return None


def _whole(text: str) -> Reading:
    if choice := _CHOICE.fullmatch(text):
        letter = choice["round"] or choice["half"] or choice["plain"]
        return Reading("choice", letter)
    if written := formula(text):
        return Reading("formula", formula=written)
    if simple := _simple(text):
        return simple
    if _THOUSANDS.search(text):
        raise Unreadable
    tokens = _tokens(text)
    pieces, commas = split(tokens, _COMMA)
    if not commas:
        return _related(tokens)
    is_bare_pair = len(pieces) == 2 and all(len(piece) == 1 for piece in pieces)
    is_of_numbers = is_bare_pair and all(piece[0].kind == "number" for piece in pieces)
    if is_of_numbers and not pieces[1][0].is_spaced:
        raise Unreadable  # "1,5"
    return Reading("list", parts=_bounded(_related(piece) for piece in pieces))


def _tokens(text: str) -> Tokens:
    tokens = tokens_of(text)
    if not tokens:
        raise Unreadable
    return tokens


def _bounded(parts: Iterable[Reading]) -> tuple[Reading, ...]:
    found = tuple(parts)
    if len(found) > _MAX_PARTS:
        raise Unreadable
    return found


def _simple(text: str) -> Reading | None:
    """Normal text → the number, or the number with a unit, that it is, if it is one."""
    if written := numeral(text):
        return Reading("scalar", tree=number_tree(written.value), numeral=written)
    if text[:1] in "$€£" and (written := numeral(text[1:])) and text[1:2] not in "+-":
        currency = unit(text[0])
        return Reading("quantity", "", number_tree(written.value), written, currency)
    if (begun := numeral_and_rest(text)) and (counted := unit(begun[1])):
        return Reading("quantity", "", number_tree(begun[0].value), begun[0], counted)
    return _closed_form_with_unit(text)


def _closed_form_with_unit(text: str) -> Reading | None:
    for start in [match.start() for match in _UNIT_START.finditer(text)][-_MAX_SPLITS:]:
        counted = unit(text[start:])
        if counted is None:
            continue
        try:
            tree = expression(_tokens(text[:start].strip()))
        except Unreadable:
            continue
        if any(part.head in ANGLE_FUNCTIONS for part in walk(tree)):
            continue  # \cos 60^\circ
        if not letters(tree) and not _TWO_READINGS.fullmatch(text[:start].strip()):
            return Reading("quantity", tree=tree, unit=counted)
    return None


def _related(tokens: Tokens) -> Reading:
    """Tokens → the equation or the inequality that they are, or what stands alone."""
    sides, signs = split(tokens, _RELATIONS)
    if not signs:
        return _alone(tokens, 0)
    if any(token.text == "!" and after.text == "=" for token, after in itertools.pairwise(tokens)):
        raise Unreadable  # "x!=2"
    parts = [_alone(side, 0) for side in sides]
    if signs == [r"\in"] and parts[1].kind in ("tuple", "set", "union"):
        return Reading("membership", parts=tuple(parts))
    if signs == ["="]:
        return Reading("equation", parts=tuple(parts))
    if len(signs) == 1 and _letter(parts[0]) is None:
        parts, signs = parts[::-1], [_TURNED.get(signs[0], "")]
    if len(signs) == 2 and (signs[0] in (">", r"\ge")):
        parts, signs = parts[::-1], [_TURNED.get(sign, "") for sign in signs[::-1]]
    at = 0 if len(signs) == 1 else 1
    letter = _letter(parts[at])
    bounds = tuple(part for place, part in enumerate(parts) if place != at)
    is_chain = len(signs) == 1 or (len(signs) == 2 and {*signs} <= {"<", r"\le"})
    is_plain = all(part.kind in ("scalar", "quantity") and not part.has_letters for part in bounds)
    if letter is None or not is_chain or not is_plain:
        raise Unreadable
    return Reading("inequality", " ".join([letter, *signs]), parts=bounds)


def _letter(reading: Reading) -> str | None:
    """Reading → the letter that it is, if it is a letter alone."""
    is_letter = reading.tree is not None and reading.tree.head == "letter" and not reading.unit
    return reading.tree.name if is_letter and reading.tree else None


def named_value(reading: Reading) -> tuple[str, Reading] | None:
    """Reading → the letter and the value without letters of "x = 5" or "5 = x", if it is that."""
    if reading.kind not in ("equation", "membership"):
        return None
    for named, value in (reading.parts, reading.parts[::-1]):
        letter = _letter(named)
        if letter is not None and not value.has_letters:
            return letter, value
    return None


def _alone(tokens: Tokens, depth: int) -> Reading:
    """Tokens without comma or relation outside brackets → the one thing that they are."""
    if not tokens or depth > _MAX_DEPTH:
        raise Unreadable
    text = text_of(tokens)
    if simple := _simple(text):
        return simple
    is_word = len(tokens) == 1 and tokens[0].kind == "word" and len(text) > 1 and text != "pi"
    if is_word or _TWO_READINGS.fullmatch(text):
        raise Unreadable
    if text.startswith(r"\begin"):
        return _matrix(tokens, depth)
    members, cups = split(tokens, _CUP)
    if cups:
        parts = _bounded(_alone(member, depth + 1) for member in members)
        if any(part.kind not in ("tuple", "set") for part in parts):
            raise Unreadable
        return Reading("union", parts=parts)
    return _enclosed(tokens, depth) or Reading("scalar", tree=expression(tokens))


def _enclosed(tokens: Tokens, depth: int) -> Reading | None:
    """Tokens → the set, the tuple or the interval that they are, if brackets enclose them all."""
    first, last = tokens[0].text, tokens[-1].text
    is_set = (first, last) in ((r"\{", r"\}"), ("{", "}"))
    if not is_set and not (first in ("(", "[") and last in (")", "]")):
        return None
    try:
        pieces, commas = split(tokens[1:-1], _COMMA)
    except Unreadable:
        return None  # "(a+b)(c+d)"
    if not commas and first != r"\{":
        return None
    parts = _bounded(_member(piece, depth + 1) for piece in pieces)
    if is_set and len(parts) == 2 and any(_letter(part) in _BRACKETED for part in parts):
        raise Unreadable  # \{q, p\} may be a Poisson bracket
    if is_set:
        return Reading("set", parts=parts)
    if any(part.kind == "infinity" for part in parts) and len(parts) != 2:
        raise Unreadable
    return Reading("tuple", first + last, parts=parts)


def _member(tokens: Tokens, depth: int) -> Reading:
    sign = _INFINITIES.get(text_of(tokens))
    return Reading("infinity", sign) if sign else _alone(tokens, depth)


def _matrix(tokens: Tokens, depth: int) -> Reading:
    r"""Tokens from \begin to \end → the matrix, by rows; only round and square brackets count."""
    frame = [token.text for token in (*tokens[:4], *tokens[-4:])]
    name = frame[2] if len(tokens) > 8 else ""
    if name not in ("pmatrix", "bmatrix"):
        raise Unreadable
    if frame != [r"\begin", "{", name, "}", r"\end", "{", name, "}"]:
        raise Unreadable
    body = tokens[4:-4]
    if body[-1].text == "\\\\":
        body = body[:-1]
    rows, _ = split(body, frozenset({"\\\\"}))
    cells = [split(row, frozenset({"&"}))[0] for row in rows]
    if len({len(row) for row in cells}) != 1:
        raise Unreadable
    parts = _bounded(_alone(cell, depth + 1) for row in cells for cell in row)
    if any(part.kind != "scalar" for part in parts):
        raise Unreadable
    return Reading("matrix", f"{len(cells)}x{len(cells[0])}", parts=parts)
