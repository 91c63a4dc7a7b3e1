r"""JSON text of a model that forgets to escape LaTeX → JSON text that says what it meant.

An object that shows no sign of forgotten or doubled escapes is left as it is. A sign is an escape
that JSON does not know (`\alpha`, `\(`), one whose value would be a control character that is no
text (`\beta`, `\frac`), or one that leaves no word (`\theta`, `\nabla`). What a backslash means is
then decided by what stands around it; what stays open is a ParseError. docs/replies.md has the
table. Each string is read by `latex_marks`; the signs are those of the whole object.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from chimera_ray.errors import ParseError
from chimera_ray.text.latex_commands import COMMANDS, NO_TEXT, TEXT_ENDS
from chimera_ray.text.latex_marks import Mark, marks_of

MAX_BACKSLASHES = 200_000

# To the end where it is not closed: begun anew at each quote inside, that would be quadratic.
_STRING = re.compile(r'"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)', re.DOTALL)
_SIGNS_AFTER = frozenset("(){}[],;:!|%$#_")
_ROW_COMMANDS = frozenset(("begin", "end", "hline", "cline"))
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_LOST_COMMAND = re.compile(
    f"(?:{'|'.join(_CONTROLS[name[0]] + name[1:] for name in sorted(NO_TEXT))})(?![A-Za-z])"
)
_APOSTROPHE = re.compile(r"\\'(?:s|t|d|m|ll|re|ve)?(?![A-Za-z{\\])")
_UMLAUT_BEFORE = re.compile(r"\b[A-Z][a-z]{0,9}\Z")
_UMLAUT_AFTER = re.compile(r"[aou][a-z]{2}")


class _Signs(NamedTuple):
    """What the backslashes of one object say together."""

    forgets: bool
    """an escape is missing somewhere"""
    escapes: bool
    """a command is escaped once"""
    doubles: bool
    """a command is escaped twice"""
    mixes: bool
    """one pair or three stand somewhere"""


def repaired(span: str) -> str:
    """JSON text → the same, with the backslashes that its LaTeX lacks, and none doubled.

    Raises:
        ParseError: a backslash has two meanings, or there are over 200,000 of them.
    """
    if "\\" not in span:
        return span
    if span.count("\\") > MAX_BACKSLASHES:
        raise ParseError(f"the JSON object has over {MAX_BACKSLASHES} backslashes")
    bodies = [
        (string.start(1), string[1]) for string in _STRING.finditer(span) if "\\" in string[1]
    ]
    marked = [(start, body, list(marks_of(body))) for start, body in bodies]
    signs = _signs([mark for _, _, marks in marked for mark in marks])
    parts: list[str] = []
    done = 0
    for start, body, marks in marked:
        ends_rows = any(mark.num_pairs == 2 and mark.in_rows for mark in marks)
        for mark in marks:
            parts += (span[done : start + mark.start], _pairs(mark, signs, ends_rows))
            parts.append(_single(body, mark, signs) if mark.is_single else mark.rest)
            done = start + mark.end
    return "".join((*parts, span[done:]))


def is_text(value: str) -> bool:
    r"""A string's value → whether it has no control character but tabs and line breaks.

    A return alone counts as one, and so does a tab or a line break before what remains of a
    command ("heta", "abla").
    """
    return _NOT_TEXT.search(value) is None and _LOST_COMMAND.search(value) is None


def _signs(marks: Sequence[Mark]) -> _Signs:
    return _Signs(
        forgets=any(mark.is_single and _forgets(mark) for mark in marks),
        escapes=any(mark.num_pairs == 1 and mark.is_command for mark in marks),
        doubles=any(_is_doubled(mark) and mark.is_command for mark in marks),
        mixes=any(mark.num_pairs in (1, 3) for mark in marks),
    )


def _forgets(mark: Mark) -> bool:
    if mark.is_code or mark.rest[:1] in ('"', "/", ""):
        return False
    if mark.rest[0] not in "bfnrt":
        return mark.rest[0] != "'"
    return mark.name in COMMANDS and (mark.rest[0] in "bf" or _is_certain(mark))


def _is_doubled(mark: Mark) -> bool:
    """Whether it looks like a command or a delimiter that was escaped twice."""
    is_two = mark.num_pairs == 2 and not mark.is_single
    return is_two and not mark.in_rows and (mark.is_command or mark.rest in _SIGNS_AFTER)


def _is_certain(mark: Mark) -> bool:
    """Whether the letters can only be the command, as LaTeX's braces follow or none is a word."""
    return mark.name in NO_TEXT or (mark.name in COMMANDS and mark.follower == "{")


def _single(body: str, mark: Mark, signs: _Signs) -> str:
    r"""The odd backslash and what stands behind it → itself, or with the backslash doubled."""
    kept, literal = "\\" + mark.rest, "\\\\" + mark.rest
    first = mark.rest[:1]
    if mark.is_code or first in ("", "/"):
        return kept
    if first == '"':
        return _quote(body, mark, signs)
    if first == "'" and _APOSTROPHE.match(body, mark.end - 2):
        return "'"
    if first not in "bfnrt":
        if (
            (first == "'" and mark.follower.isalpha())
            or first.isdigit()
            or (mark.name in ("x", "u") and mark.follower.isdigit())
        ):
            raise _ambiguous(mark)
        return literal
    if mark.name not in COMMANDS or len(mark.name) == 1:
        return _unknown(mark, signs)
    if first in "bf" or _is_certain(mark):
        return literal
    return literal if _is_lost(mark, signs) else kept


def _quote(body: str, mark: Mark, signs: _Signs) -> str:
    r"""`\"`, which is also LaTeX's umlaut: `Schr\"odinger`."""
    before = body[max(0, mark.start - 12) : mark.start]
    is_umlaut = (
        mark.num_pairs == 0
        and _UMLAUT_AFTER.match(body, mark.end)
        and _UMLAUT_BEFORE.search(before)
    )
    if is_umlaut and not signs.forgets:
        raise _ambiguous(mark)
    return '\\\\\\"' if is_umlaut else '\\"'


def _unknown(mark: Mark, signs: _Signs) -> str:
    """A JSON escape before letters that are no known command, or before none → itself."""
    first = mark.rest[0]
    has_letters = len(mark.name) > 1
    is_strange = has_letters and (
        first in "rt" or mark.follower in ("{", "_", "^") or mark.place == "inline"
    )
    if first in "bf" or (signs.forgets and is_strange and not mark.name[1:2].isupper()):
        raise _ambiguous(mark)
    return "\\" + mark.rest


def _is_lost(mark: Mark, signs: _Signs) -> bool:
    r"""`\n`, `\r` or `\t` before a command's other letters → whether the command is meant.

    Raises:
        ParseError: both readings are possible.
    """
    if mark.place == "text":
        if mark.is_glued and mark.follower not in ("_", "^", "{", "="):
            if mark.rest[0] == "n" or not signs.forgets:
                return False
        elif signs.forgets and mark.name in TEXT_ENDS and mark.before in (" ", "(", ""):
            return True
    elif mark.place != "unclear" and not mark.is_glued:
        if mark.place == "inline":
            # Prices are in dollars, too: "for $5\nless than the $6 of others" has no formula.
            may_be_price = mark.before.isdigit() and len(mark.name) > 2
            if mark.name in TEXT_ENDS or (signs.forgets and not may_be_price):
                return True
        elif mark.place == "display" and mark.is_first:
            if signs.escapes and not signs.forgets:
                return False
        elif signs.forgets and (mark.before in " =+-*/<>^_({[|&" or mark.before.isalpha()):
            return True
    raise _ambiguous(mark)


def _pairs(mark: Mark, signs: _Signs, ends_rows: bool) -> str:
    r"""The pairs of a run → as many backslashes as JSON needs to say what was meant."""
    if mark.num_pairs == 0:
        return ""
    if signs.doubles:
        return _undoubled(mark, signs)
    is_kept = True
    if mark.num_pairs == 1:
        if mark.in_rows and _is_row_end(mark):
            if signs.forgets:
                return "\\" * 4
            is_kept = ends_rows
        elif signs.forgets:
            is_kept = _is_escaped(mark)
    elif mark.num_pairs == 2:
        is_name = mark.is_command or (len(mark.name) > 2 and not mark.in_rows)
        is_kept = mark.is_single or not (is_name or _is_doubled(mark))
    elif mark.num_pairs == 4:
        is_kept = not (mark.in_rows or mark.is_command)
    if not is_kept:
        raise _ambiguous(mark)
    return "\\\\" * mark.num_pairs


def _undoubled(mark: Mark, signs: _Signs) -> str:
    is_row_end = mark.in_rows and mark.num_pairs == 2 and _is_row_end(mark)
    if signs.forgets or signs.mixes or mark.num_pairs not in (2, 4) or is_row_end:
        raise _ambiguous(mark)
    return "\\" * mark.num_pairs


def _is_row_end(mark: Mark) -> bool:
    r"""Whether `\\` would end a row: before a space, a number, one letter or an escape."""
    if mark.is_single:
        return mark.rest[0] != '"'
    return not mark.is_command and mark.rest not in _SIGNS_AFTER and len(mark.name) < 2


def _is_escaped(mark: Mark) -> bool:
    """Whether one pair escapes a command's backslash, in an object that forgets others."""
    if mark.is_single:
        return mark.rest == '"'
    if not mark.in_rows:
        # `\\$` is a dollar, or a line's end and a formula's.
        return mark.is_command or (mark.rest in _SIGNS_AFTER and mark.rest != "$")
    return mark.is_command and (len(mark.name) > 3 or mark.name in _ROW_COMMANDS)


def _ambiguous(mark: Mark) -> ParseError:
    slashes = "\\" * (2 * mark.num_pairs + mark.is_single)
    return ParseError(f"an escape has two meanings in the reply: {slashes[:8]}{mark.rest[:20]!r}")
