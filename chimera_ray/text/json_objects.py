"""A text → the passages that set out to be JSON objects, well written or not.

Braces of sets, formulas and code are none: an attempt has a key and a colon behind its brace. It is
read to its last brace; where there is none, to the end of the text.
"""

import re
from collections.abc import Iterator

from chimera_ray.errors import ParseError

MAX_DEPTH = 50
MAX_OBJECTS = 1_000

_ATTEMPT = re.compile(
    r"""
    \{ \s*+ (?:
        \}                                                  # an empty object, or a formula's {}
      | " (?:[^"\\]|\\.)*+ (?: \Z | "\s*+ (?: : | \Z | [\[{=\d"] | (?:true|false|null)\b ) )
      | \\" (?:[^"\\]|\\[^"])*+ (?: \Z | \\"\s*+: )         # escaped as a whole
      | ' [^'\n]{0,200}+ '\s*+:                             # Python's way
      | [“”„«] [^“”„«»"\n]{0,200}+ [“”»"] \s*+:             # a word processor's
      | //|/\*                                              # a comment comes first
      | (?P<bare> \Z | \w{1,50}+\s*+: (?:(?<=\w{3}:)|(?<=\w{3}\ :)
            | \s*+(?:true|false|null)\b | \s*+["']) (?!//) )  # YAML's; {x: x > 0} is a set
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_TOKEN = re.compile(r'[{}\[\]]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def object_texts(text: str) -> Iterator[str]:
    """Text → each passage that sets out to be an object, in order, none inside another.

    Of empty ones only the first is given: formulas are full of them.

    Raises:
        ParseError: there are over 1,000, or one is nested deeper than 50.
    """
    start = last_end = num_found = num_empty = 0
    while opening := _ATTEMPT.search(text, start):
        start = opening.start() + 1
        is_next = opening.start() == last_end
        if opening["bare"] is not None and not is_next and _is_argument(text, opening.start()):
            continue
        is_empty = opening[0].endswith("}")
        start = last_end = opening.end() if is_empty else _closing(text, opening.start())
        if is_empty:
            num_empty += 1
            if num_empty > 1:
                continue
        num_found += 1
        if num_found > MAX_OBJECTS:
            raise ParseError(f"the reply has over {MAX_OBJECTS} passages in braces")
        yield text[opening.start() : start]


def _is_argument(text: str, start: int) -> bool:
    r"""Whether a brace belongs to a formula: `\text{where: …}`, `x_{max: 1}`, `\{abc: …\}`."""
    before = text[start - 1 : start]
    return before.isalnum() or (before != "" and before in "\\_^}*")


def _closing(text: str, start: int) -> int:
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
        if depth > MAX_DEPTH:
            raise ParseError(f"the JSON object is nested deeper than {MAX_DEPTH}")
        if depth == 0:
            return token.end()
    return len(text)
