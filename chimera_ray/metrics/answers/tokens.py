"""Normal text → tokens, of which there are few kinds; a text that holds others is not read."""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from chimera_ray.metrics.answers.tree import Unreadable

MAX_TOKENS = 400

_TOKEN = re.compile(
    r"(?P<space> )?(?:"
    r"(?P<number>\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<command>\\[A-Za-z]+|\\[{}\\])"
    r"|(?P<word>[A-Za-z]+)"
    r"|(?P<sign>[-+*/^_(){}\[\]|,=<>!&;%$'])"
    r")"
)


class Token(NamedTuple):
    """A piece of text that no reader cuts further, but for words."""

    kind: str
    """number, command, word, sign, or end"""
    text: str
    is_spaced: bool = False
    """a space stands before it"""


Tokens: TypeAlias = tuple[Token, ...]

END = Token("end", "")
_OPENING_OF = {")": ("(", "["), "]": ("(", "["), "}": ("{",), r"\}": (r"\{",)}
_OPENINGS = ("(", "[", "{", r"\{")


def tokens_of(text: str) -> Tokens | None:
    """Normal text → its tokens, or None if it holds another character or is too long."""
    found: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or len(found) == MAX_TOKENS:
            return None
        kind = str(match.lastgroup)
        found.append(Token(kind, match[kind], match["space"] is not None))
        position = match.end()
    return tuple(found)


def text_of(tokens: Sequence[Token]) -> str:
    """Tokens → the text they were cut from."""
    return "".join(" " * token.is_spaced + token.text for token in tokens).strip()


def split(tokens: Sequence[Token], marks: frozenset[str]) -> tuple[list[Tokens], list[str]]:
    """Tokens → the pieces between those marks that no bracket holds, and the marks found.

    Unreadable if a bracket is left open; "(1,2]" closes what it opens.
    """
    pieces: list[list[Token]] = [[]]
    found: list[str] = []
    pending: list[str] = []
    for token in tokens:
        if not pending and token.text in marks:
            found.append(token.text)
            pieces.append([])
            continue
        if token.text in _OPENINGS:
            pending.append(token.text)
        openings = _OPENING_OF.get(token.text)
        if openings and (not pending or pending.pop() not in openings):
            raise Unreadable
        pieces[-1].append(token)
    if pending:
        raise Unreadable
    return [tuple(piece) for piece in pieces], found
