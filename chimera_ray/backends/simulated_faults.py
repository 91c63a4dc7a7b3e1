"""Replies that came out wrong: each way of damage leaves nothing that parses as what was asked."""

import json
import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from chimera_ray.backends.simulated_replies import Said
from chimera_ray.schemas import FinishReason

_ESCAPE = re.compile(r"\\(?:([bfnrt])(?=[a-z])|.)")
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_CIRCLES = (
    "\nWait, let me check that once more. The answer is not settled yet.",
    " and so on",
    ". ",
    "\nSo we have { { { (",
    "\n\n",
)
_PROSE = "Certainly! I looked into it with care, and everything seems to be in good order."


def written(said: Said) -> str:
    """What is said → the text of the reply."""
    if isinstance(said, str):
        return said
    text = _ESCAPE.sub(_unmistakable, json.dumps(said, ensure_ascii=False))
    # A reader that cuts the thinking off at its closing tag must not find one quoted in a string.
    return text.replace("</think>", "<\\/think>")


def damaged(said: Said, rng: Random) -> str:
    """What is said → a text that does not parse; of the solver, thinking that is never closed."""
    if isinstance(said, str):
        return said.partition("\n</think>")[0]
    return rng.choice(_DAMAGES)(said)


def looped(said: Said, rng: Random) -> tuple[str, FinishReason]:
    """What is said → a text that goes in circles, and how it ends: some solvers get out of it."""
    text = written(said)
    circle = rng.choice(_CIRCLES) * rng.randint(200, 1_000)
    if isinstance(said, str) and rng.random() < 0.5:
        begin = text.index("</think>") + rng.choice((0, len("</think>\n\n")))
        return f"{text[:begin]}{circle}{text[begin:]}", "stop"
    return f"{cut(text, rng)}{circle}", "length"


def cut(text: str, rng: Random) -> str:
    """Text → its beginning, as a token limit leaves it."""
    return text[: int(len(text) * rng.uniform(0.2, 0.8))]


def _unmistakable(escape: re.Match[str]) -> str:
    r"""An escape → one that no reader takes for LaTeX, as `\nu` can be a line break before "u"."""
    return f"\\u{ord(_CONTROLS[escape[1]]):04x}" if escape[1] else escape[0]


def _half(said: Mapping[str, Any]) -> str:
    text = written(said)
    return text[: len(text) // 2]


def _fenced_and_unclosed(said: Mapping[str, Any]) -> str:
    return f"Here it is:\n```json\n{written(said)[:-1]}"


def _with_null_bytes(said: Mapping[str, Any]) -> str:
    return written(said).replace('":', '"\x00:')


def _followed_by_another(said: Mapping[str, Any]) -> str:
    return f"{written(said)}\n\nOn second thought:\n{written({'note': 'see above'})}"


def _with_wrong_type(said: Mapping[str, Any]) -> str:
    return written({**said, next(iter(said)): 3.5})


def _with_missing_field(said: Mapping[str, Any]) -> str:
    return written(dict(list(said.items())[:-1]))


def _prose(said: Mapping[str, Any]) -> str:
    return f"{_PROSE} That covers all {len(said)} of the points."


def _empty(said: Mapping[str, Any]) -> str:
    return ""


_DAMAGES: tuple[Callable[[Mapping[str, Any]], str], ...] = (
    _half,
    _fenced_and_unclosed,
    _with_null_bytes,
    _followed_by_another,
    _with_wrong_type,
    _with_missing_field,
    _prose,
    _empty,
)
