"""Frames of a journal: records and their totals ↔ bytes that show whether they are whole.

A frame is its head (a mark, two lengths, a checksum), its totals as JSON, and its records as one
Arrow record batch. Its length is a multiple of eight, so that the batch is read where it lies.
"""

import json
import re
import struct
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.parts import FORMAT, SCHEMA, UNREADABLE

_KIND = b"crayjl"
OPENING = _KIND + FORMAT.rjust(2, b"0")
"""a journal's first bytes: what it is, and the ledger's format"""
_MARK = b"\xf4CRF"
"""a frame's first bytes; no UTF-8 text has them"""
_HEAD = struct.Struct("<4sIII")
_ALIGN = 8


class Frame(NamedTuple):
    """One frame that is whole."""

    start: int
    """its first byte in the journal"""
    end: int
    totals: dict[str, Any]
    """as of a part, of what this frame adds to the ones before it"""
    rows: pa.RecordBatch


class Scanned(NamedTuple):
    """What the bytes of a journal hold, from some place on."""

    frames: Sequence[Frame]
    end: int
    """of the last whole frame: where reading goes on"""
    num_damaged: int
    """bytes before that end which are no frame"""
    is_torn: bool
    """whether what follows is the beginning of a frame, or nothing"""


def encode(rows: pa.RecordBatch, totals: dict[str, Any]) -> bytes:
    """Records and their totals → a frame."""
    counted = json.dumps(totals).encode()
    counted += b" " * (-(_HEAD.size + len(counted)) % _ALIGN)
    body = rows.serialize()
    sizes = len(counted), body.size
    return b"".join((_HEAD.pack(_MARK, *sizes, _checksum(sizes, counted, body)), counted, body))


def scan(content: pa.Buffer, offset: int = 0) -> Scanned:
    """A journal's bytes from an offset on → what they hold.

    What is no frame is passed over up to the next one: every frame that is whole counts.

    Raises:
        LedgerError: the journal is of another format.
    """
    frames: list[Frame] = []
    num_damaged = 0
    at = 0 if offset else _after_opening(content)
    while at < content.size:
        frame = _frame_at(content, at, offset) or _next_frame(content, at + 1, offset)
        if frame is None:
            break
        num_damaged += frame.start - offset - at
        frames.append(frame)
        at = frame.end - offset
    return Scanned(frames, offset + at, num_damaged, _is_beginning(content, at))


def _after_opening(content: pa.Buffer) -> int:
    first = bytes(content[: len(OPENING)])
    if first == OPENING:
        return len(OPENING)
    if len(first) == len(OPENING) and first.startswith(_KIND) and first[len(_KIND) :].isdigit():
        found = first[len(_KIND) :].lstrip(b"0").decode()
        raise LedgerError(
            f"a journal of this ledger has format {found!r}, and this version reads "
            f"{FORMAT.decode()!r}: use the version that wrote it, or another output_dir"
        )
    return 0


def _frame_at(content: pa.Buffer, at: int, offset: int) -> Frame | None:
    """A place in a journal's bytes → the whole frame that begins there, if one does."""
    if content.size - at < _HEAD.size:
        return None
    mark, num_counted, num_rows, checksum = _HEAD.unpack(content[at : at + _HEAD.size])
    begin, end = at + _HEAD.size, at + _HEAD.size + num_counted + num_rows
    if mark != _MARK or end > content.size:
        return None
    counted = content.slice(begin, num_counted)
    body = content.slice(begin + num_counted, num_rows)
    if _checksum((num_counted, num_rows), counted, body) != checksum:
        return None
    try:
        rows = pa.ipc.read_record_batch(body, SCHEMA)
        return Frame(offset + at, offset + end, json.loads(bytes(counted)), rows)
    except UNREADABLE:
        return None


def _next_frame(content: pa.Buffer, at: int, offset: int) -> Frame | None:
    for found in re.compile(re.escape(_MARK)).finditer(memoryview(content), at):
        if frame := _frame_at(content, found.start(), offset):
            return frame
    return None


def _is_beginning(content: pa.Buffer, at: int) -> bool:
    """Whether the bytes from there on are what a write that was cut off leaves."""
    head = bytes(content[at : at + _HEAD.size])
    if len(head) < _HEAD.size:
        return _MARK.startswith(head[: len(_MARK)])
    mark, num_counted, num_rows, _ = _HEAD.unpack(head)
    return bool(mark == _MARK and at + _HEAD.size + num_counted + num_rows > content.size)


def _checksum(sizes: tuple[int, int], counted: pa.Buffer | bytes, body: pa.Buffer) -> int:
    return zlib.crc32(body, zlib.crc32(counted, zlib.crc32(_HEAD.pack(_MARK, *sizes, 0))))
