"""What a message's field came in, piece by piece → the field: one text, or content parts."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from chimera_ray.backends.openai_events import OversizeError

MAX_DEPTH = 8
"""of parts within parts"""
_LABELS = frozenset({"type", "id", "format"})
"""fields of a content part that name it, and are no text of it"""


def num_chars_of(part: object, depth: int = 0) -> int:
    """A content part → about how many characters it says."""
    if isinstance(part, str):
        return len(part)
    if not isinstance(part, list | dict):
        return 0
    if depth == MAX_DEPTH:
        raise OversizeError(f"content parts more than {MAX_DEPTH} deep")
    if isinstance(part, list):
        return sum(num_chars_of(value, depth + 1) for value in part)
    found = {name: num_chars_of(value, depth + 1) for name, value in part.items()}
    return sum(num_chars for name, num_chars in found.items() if name not in _LABELS)


def joined(pieces: list[Any]) -> str | list[Any]:
    """The pieces of a field, in order → its text; its parts, if any of them is one."""
    if all(isinstance(piece, str) for piece in pieces):
        return _mended("".join(pieces))
    parts = [{"type": "text", "text": p} if isinstance(p, str) else p for p in pieces]
    runs = groupby(parts, key=_label)
    return [_one_part(list(run)) for _, run in runs]


def _label(part: Mapping[str, Any]) -> tuple[str, str]:
    """A content part → what pieces of the same part have in common."""
    return str(part.get("type")), str(part.get("index"))


def _one_part(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    """The pieces of one part → the part: its texts and lists joined, of all else the last."""
    if len(pieces) == 1:
        return pieces[0]
    values: dict[str, list[Any]] = {}
    for piece in pieces:
        for name, value in piece.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: _one_value(name, found) for name, found in values.items()}


def _one_value(name: str, values: list[Any]) -> Any:  # noqa: ANN401 - of whatever kind
    if name not in _LABELS and all(isinstance(value, str) for value in values):
        return _mended("".join(values))
    if all(isinstance(value, list) for value in values):
        return joined([p for value in values for p in value if isinstance(p, str | dict)])
    return values[-1]


def _mended(text: str) -> str:
    """A joined text → the same; halves of a character that two events shared are one again."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
