"""A position in tokens, and what may be read there by whoever reads the rest."""

from abc import ABC, abstractmethod
from fractions import Fraction

from chimera_ray.metrics.answers.names import FUNCTIONS, is_product_of_letters
from chimera_ray.metrics.answers.tokens import END, Token, Tokens
from chimera_ray.metrics.answers.tree import Tree, Unreadable, number_tree

CLOSINGS = {"(": ")", "[": "]", "{": "}", "|": "|", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_MAX_NUMBER_CHARS = 300


class Cursor(ABC):
    """A position in tokens; each method reads one thing there and moves on."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = letter_by_letter(tokens)
        self._at = 0
        self._depth = 0

    def peek(self, ahead: int = 0) -> Token:
        """The token that comes next."""
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else END

    def take(self, text: str = "") -> Token:
        """The next token, which has to be `text` if that is given."""
        token = self.peek()
        if token is END or (text and token.text != text):
            raise Unreadable
        self._at += 1
        return token

    def bracketed(self, opening: str) -> Tree:
        """An expression and the brackets around it."""
        self.take(opening)
        inner = self.sum()
        self.take(CLOSINGS[opening])
        return inner

    @abstractmethod
    def sum(self) -> Tree:
        """Terms with signs between them, and one before the first."""

    @abstractmethod
    def atom(self) -> Tree:
        """What no operator parts."""

    @abstractmethod
    def exponent(self, is_of_number: bool = False) -> Tree:
        """What stands behind "^"."""


def number(token: Token) -> Tree:
    """Token → the number that it is; "007" is none."""
    is_code = token.text[0] == "0" and token.text[1:2].isdigit()
    if token.kind != "number" or is_code or len(token.text) > _MAX_NUMBER_CHARS:
        raise Unreadable
    return number_tree(Fraction(token.text))


def letter_by_letter(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Tokens → the same, with letters in a row as letters, unless they are a name."""
    found: list[Token] = []
    for token in tokens:
        is_name = token.text in FUNCTIONS or token.text in ("pi", "sqrt")
        is_index = bool(found) and found[-1].text == "_"
        if token.kind != "word" or is_name or is_index or len(token.text) == 1:
            found.append(token)
            continue
        if not is_product_of_letters(token.text):
            raise Unreadable
        spaces = [token.is_spaced] + [False] * (len(token.text) - 1)
        found.extend(map(Token, ["word"] * len(spaces), token.text, spaces))
    return tuple(found)
