"""A JSON string's source → its backslashes, each with what stands around it; judges nothing."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from chimera_ray.text.latex_commands import COMMANDS, FUNCTIONS, ROWS

Place = Literal["text", "inline", "display", "bare", "unclear"]
r"""prose; `$…$`, `\(…\)`; `$$…$$`, `\[…\]`, rows; all formula, undelimited; a `$` is odd"""

_TOKEN = re.compile(r"(\\++)(u[0-9a-fA-F]{4}|[A-Za-z]++|.)?|\$\$?", re.DOTALL)
_CODE = re.compile(r"u[0-9a-fA-F]{4}")
_NAME = re.compile(r"[A-Za-z]+")
_ENVIRONMENT = re.compile(r"\s{0,3}\{([A-Za-z]{1,20}\*?)\}")
_DELIMITED = re.compile(r"\$|\\[()\[\]]|\\(?:begin|end)\b")
_ARGUMENT = re.compile(r"\\(?:text[a-z]*+|mathrm|operatorname|begin|end)\s*+\{[^{}]*+\}")
_COMMAND = re.compile(r"(?<!\\)(\\++)([A-Za-z]++)")
_WORD = re.compile(r"[^\W\d_]{3,}")
_WORD_BEFORE = re.compile(r"(\\*)([^\W\d_]+)[.;:!?]?\Z")
_FORMULA_BEFORE = re.compile(r"(?:\$|\\\))[.;:!?]?\Z")
_SHORT_WORDS = re.compile(r"a[nst]|b[ey]|do|i[fnst]|no|o[fnr]|so|to|we", re.IGNORECASE)
_WINDOW = 40


class Mark(NamedTuple):
    """A run of backslashes and what it stands before: two for one is a pair, an odd one single."""

    start: int
    end: int
    """behind `rest`"""
    num_pairs: int
    is_single: bool
    rest: str
    """letters, one other character, or a Unicode escape's five; empty at the end of the string"""
    name: str
    """the letters of `rest`"""
    follower: str
    """the character behind `rest`; empty at the end of the string"""
    before: str
    """the character before; empty at the beginning"""
    place: Place
    in_rows: bool
    is_glued: bool
    """a word of prose, a formula that has ended or a return stands right before"""
    is_first: bool
    """it begins the formula"""

    @property
    def is_command(self) -> bool:
        """Whether a command that LaTeX knows is named; one letter says too little."""
        return len(self.name) > 1 and self.name in COMMANDS

    @property
    def is_code(self) -> bool:
        """Whether it is a Unicode escape."""
        return self.is_single and _CODE.fullmatch(self.rest) is not None


def marks_of(body: str) -> Iterator[Mark]:
    """The source of a JSON string, without its quotes → its backslashes, in order."""
    ground = _ground(body)
    opened: str = ""
    num_rows = 0
    opening_end = 0
    for token in _TOKEN.finditer(body):
        if not token[1]:
            opened = "" if opened == token[0] else opened or token[0]
            opening_end = token.end()
            continue
        rest = token[2] or ""
        letters = _NAME.match(rest)
        name = letters[0] if letters else ""
        place = _place(ground, opened, num_rows)
        yield _mark(body, token, name, place, num_rows > 0, opening_end)
        if rest in ("(", "["):
            if not (rest == "[" and num_rows):
                opened = opened or rest
                opening_end = token.end()
        elif (rest, opened) in ((")", "("), ("]", "[")):
            opened = ""
        elif name in ("begin", "end") and (named := _ENVIRONMENT.match(body, token.end())):
            num_rows += (1 if name == "begin" else -1) * (named[1] in ROWS)
            num_rows = max(num_rows, 0)
            opening_end = named.end()


def _mark(
    body: str, token: re.Match[str], name: str, place: Place, in_rows: bool, opening_end: int
) -> Mark:
    start, end = token.span()
    length = len(token[1])
    is_clash = length % 2 == 1 and name[:1] in ("n", "r", "t") and name in COMMANDS
    return Mark(
        start=start,
        end=end,
        num_pairs=length // 2,
        is_single=length % 2 == 1,
        rest=token[2] or "",
        name=name,
        follower=body[end : end + 1],
        before=body[start - 1 : start] if start else "",
        place=place,
        in_rows=in_rows,
        is_glued=is_clash and _is_glued(body[max(0, start - _WINDOW) : start], place),
        is_first=not body[opening_end:start].strip() if start - opening_end < _WINDOW else False,
    )


def _ground(body: str) -> Place:
    r"""A string → what it is where no delimiter is open."""
    num_double = body.count("$$")
    num_dollars = body.count("$") - body.count("\\$") - 2 * num_double
    if num_double % 2 or num_dollars % 2:
        return "unclear"
    if _DELIMITED.search(body):
        return "text"
    plain = _COMMAND.sub(_without_command, _ARGUMENT.sub(" ", body))
    is_prose = any(word[0] not in FUNCTIONS for word in _WORD.finditer(plain))
    return "text" if is_prose else "bare"


def _without_command(command: re.Match[str]) -> str:
    is_break = len(command[1]) % 2 == 1 and command[2][0] in "nrt" and command[2] not in COMMANDS
    return " " + command[2][1:] if is_break else " "


def _place(ground: Place, opened: str, num_rows: int) -> Place:
    if ground == "unclear" and opened in ("", "$", "$$"):
        return "unclear"
    if opened in ("$", "("):
        return "inline"
    return "display" if opened or num_rows else ground


def _is_glued(window: str, place: Place) -> bool:
    if window.endswith("\\r") or (place == "text" and _FORMULA_BEFORE.search(window)):
        return True
    found = _WORD_BEFORE.search(window)
    if not found:
        return False
    word = found[2]
    if found[1]:
        is_break = len(found[1]) % 2 == 1 and word[0] in "nrt" and word not in COMMANDS
        if not is_break:
            return False
        word = word[1:]
    return (len(word) > 2 and word not in FUNCTIONS) or _SHORT_WORDS.fullmatch(word) is not None
