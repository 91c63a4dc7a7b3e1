"""Frames out and in again: whole ones are all read, whatever is torn, damaged or hostile around."""

import struct
from collections.abc import Callable

import pyarrow as pa
import pytest
from fakes import call_of

from chimera_ray.errors import LedgerError
from chimera_ray.ledger.frames import OPENING, encode, scan
from chimera_ray.ledger.parts import to_records, to_table
from chimera_ray.ledger.totals import totals_of
from chimera_ray.schemas import Output, Record, digest

HOSTILE = "\U0010ffffCRF\x00\u2028 \\frac{1}{2} </think> crayjl03"


def _record(name: str) -> Record:
    outputs = (Output(digest("row", name), "{}"),)
    return Record(
        digest("work", name), digest("input", name), "accepted", "", HOSTILE, outputs,
        (call_of(HOSTILE),), "run", 1.5,
    )  # fmt: skip


RECORDS = [_record("a"), _record("b"), _record("c")]
FRAMES = [encode(to_table([one]).to_batches()[0], totals_of([one])) for one in RECORDS]
WHOLE = OPENING + b"".join(FRAMES)
ENDS = [len(OPENING) + sum(map(len, FRAMES[: number + 1])) for number in range(3)]


def _records(content: bytes) -> list[Record]:
    frames = scan(pa.py_buffer(content)).frames
    return [one for f in frames for one in to_records(pa.Table.from_batches([f.rows]))]


def test_frames_written_are_read_back_with_their_totals() -> None:
    found = scan(pa.py_buffer(WHOLE))
    assert [frame.end for frame in found.frames] == ENDS
    assert [frame.totals for frame in found.frames] == [totals_of([one]) for one in RECORDS]
    assert _records(WHOLE) == RECORDS
    assert (found.end, found.num_damaged, found.is_torn) == (len(WHOLE), 0, True)


def test_frames_cut_off_at_any_byte_are_those_that_are_whole() -> None:
    for size in range(len(OPENING), len(WHOLE) + 1):
        found = scan(pa.py_buffer(WHOLE[:size]))
        assert [frame.end for frame in found.frames] == [end for end in ENDS if end <= size]
        assert (found.num_damaged, found.is_torn) == (0, True)


def test_frames_read_on_from_the_end_of_what_was_read_lack_nothing() -> None:
    for size in range(len(OPENING), len(WHOLE), 97):
        before = scan(pa.py_buffer(WHOLE[:size]))
        after = scan(pa.py_buffer(WHOLE[before.end :]), before.end)
        assert [frame.end for frame in (*before.frames, *after.frames)] == ENDS


def test_frame_with_any_byte_flipped_is_passed_over_and_the_others_are_read() -> None:
    for at in range(ENDS[0], ENDS[1], 7):
        content = WHOLE[:at] + bytes([WHOLE[at] ^ 0x81]) + WHOLE[at + 1 :]
        assert _records(content) == [RECORDS[0], RECORDS[2]]
        assert scan(pa.py_buffer(content)).num_damaged == len(FRAMES[1])


def _with_size(size: int) -> bytes:
    return FRAMES[1][:4] + struct.pack("<I", size) + FRAMES[1][8:]


DAMAGE = {
    "missing": b"",
    "zeros": b"\x00" * 4_096,
    "random": b"\x93\x1f" * 500,
    "marks": FRAMES[1][:4] * 500,
    "head_only": FRAMES[1][:16],
    "absurd_length": _with_size(0xFFFFFFFF),
    "length_zero": _with_size(0),
    "length_of_two_frames": _with_size(len(FRAMES[1]) + len(FRAMES[2]) - 16),
    "torn": FRAMES[1][: len(FRAMES[1]) // 2],
    "opening": OPENING,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_frames_around_damage_are_all_read_and_the_damage_is_counted(damage: bytes) -> None:
    content = OPENING + FRAMES[0] + damage + FRAMES[2]
    assert _records(content) == [RECORDS[0], RECORDS[2]]
    assert scan(pa.py_buffer(content)).num_damaged == len(damage)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_frames_before_damage_at_the_end_are_read(damage: bytes) -> None:
    found = scan(pa.py_buffer(OPENING + FRAMES[0] + damage))
    assert [frame.end for frame in found.frames] == ENDS[:1]


@pytest.mark.parametrize(
    "content",
    [b"", OPENING[:3], OPENING, b"\x00" * 500, b"\xf4", b"\xf4CRF", b"PAR1" * 99, b"\xff" * 16],
    ids=["empty", "half_opening", "opening", "zeros", "byte", "mark", "stranger", "ones"],
)
def test_bytes_without_a_frame_hold_none(content: bytes) -> None:
    assert scan(pa.py_buffer(content)).frames == []


def test_frames_without_their_opening_are_read() -> None:
    assert _records(WHOLE[len(OPENING) :]) == RECORDS
    assert _records(b"\x00" * len(OPENING) + WHOLE[len(OPENING) :]) == RECORDS


def test_journal_of_another_format_is_named_and_not_read() -> None:
    with pytest.raises(LedgerError, match="format '17'"):
        scan(pa.py_buffer(OPENING[:-2] + b"17" + FRAMES[0]))


def _body_cut(frame: bytes) -> tuple[bytes, bytes]:
    num_counted, num_rows = struct.unpack("<II", frame[4:12])
    return frame[16 : 16 + num_counted], frame[16 + num_counted : 16 + num_counted + num_rows]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda counted, body: (b"{" * len(counted), body),
        lambda counted, body: (b"\xff" * len(counted), body),
        lambda counted, body: (b"[" * 100_000, body),
        lambda counted, body: (counted, b"\xff" * 64),
        lambda counted, body: (counted, b""),
        lambda counted, body: (counted, body[: len(body) // 2]),
    ],
    ids=["no_json", "no_utf8", "deep_json", "no_batch", "no_bytes", "half_a_batch"],
)
def test_frame_whose_checksum_is_right_and_content_is_not_is_passed_over(
    spoil: Callable[[bytes, bytes], tuple[bytes, bytes]],
) -> None:
    import zlib

    counted, body = spoil(*_body_cut(FRAMES[1]))
    head = struct.pack("<4sIII", FRAMES[1][:4], len(counted), len(body), 0)
    checksum = zlib.crc32(body, zlib.crc32(counted, zlib.crc32(head)))
    spoiled = head[:-4] + struct.pack("<I", checksum) + counted + body
    assert _records(OPENING + FRAMES[0] + spoiled + FRAMES[2]) == [RECORDS[0], RECORDS[2]]
