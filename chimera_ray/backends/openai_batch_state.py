"""A batch as its endpoint tells it → how it stands; of what is told, nothing is trusted."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class BatchError(NamedTuple):
    """Why a batch was not begun."""

    code: object = None
    line: int | None = None
    """of the input file, from 1; None: it is about all of them"""


class BatchState(NamedTuple):
    """How a batch stands."""

    batch_id: str
    status: str = ""
    created_at: int | None = None
    """seconds since 1970"""
    input_file_id: str = ""
    file_ids: tuple[str, ...] = ()
    """of the errors, then of the answers, as far as there are any"""
    errors: Sequence[BatchError] | None = None


def batch_state(said: object) -> BatchState | None:
    """A batch's JSON → how it stands; None if it is none: a proxy's page."""
    if not isinstance(said, dict) or not _text(said, "id"):
        return None
    created_at = said.get("created_at")
    files = (_text(said, name) for name in ("error_file_id", "output_file_id"))
    return BatchState(
        _text(said, "id"),
        _text(said, "status"),
        created_at if isinstance(created_at, int) else None,
        _text(said, "input_file_id"),
        tuple(file_id for file_id in files if file_id),
        _errors(said.get("errors")),
    )


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _errors(said: object) -> Sequence[BatchError] | None:
    found = said.get("data") if isinstance(said, dict) else None
    if not isinstance(found, list):
        return None
    return [_error(each if isinstance(each, dict) else {}) for each in found]


def _error(said: Mapping[str, Any]) -> BatchError:
    line = said.get("line")
    return BatchError(said.get("code"), line if isinstance(line, int) else None)
