"""Server-sent events, from bytes that are cut anywhere; knows nothing of what the events say.

More lenient than the standard where servers are: an object or an `error:` on a line of its own is
an event, and what stands after the last blank line counts.
"""

from collections.abc import Iterator
from typing import NamedTuple

MAX_EVENT_BYTES = 1 << 24
"""of one line, and of one event; a reply of a million tokens as one event has fewer"""
MAX_STREAM_BYTES = 1 << 29
"""of one stream; a million tokens as one event each have fewer"""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """What the server sent at once."""

    name: str
    """its `event:` line; "" if it has none"""
    data: str
    """its `data:` lines"""


class OversizeError(ValueError):
    """A line, an event or the stream is longer than any honest one."""


class EventParser:
    """One stream's bytes → its events."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._pieces: list[bytes] = []
        """of the line that has not ended"""
        self._data: list[bytes] = []
        """of the event that has not ended"""
        self._name = b""
        self._num_pending = self._num_bytes = 0
        self._is_after_cr = self._is_begun = False

    def skip_whole(self, chunk: bytes) -> bool:
        """Bytes that begin and end with whole events → whether they can be read without it."""
        is_between = not (self._pieces or self._data or self._name or self._is_after_cr)
        if is_between and self._num_bytes + len(chunk) <= MAX_STREAM_BYTES:
            self._num_bytes += len(chunk)
            self._is_begun = True
            return True
        return False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The next bytes → the events that they complete.

        Raises:
            OversizeError: there is too much of it.
        """
        self._num_bytes += len(chunk)
        if self._num_bytes > MAX_STREAM_BYTES:
            raise OversizeError(f"more than {MAX_STREAM_BYTES >> 20} MiB")
        if self._is_after_cr and chunk:  # the second half of a CRLF
            chunk = chunk.removeprefix(b"\n")
            self._is_after_cr = False
        if not chunk:
            return
        self._is_after_cr = chunk.endswith(b"\r")
        lines = chunk.splitlines()  # at CR, LF and CRLF, as the standard wants
        is_last_whole = chunk.endswith((b"\n", b"\r"))
        if self._pieces and (len(lines) > 1 or is_last_whole):
            lines[0] = self._ended_line(lines[0])
        rest = b"" if is_last_whole else lines.pop()
        yield from self._events(lines)
        if rest:
            self._pieces.append(rest)
            self._add(len(rest))

    def end(self) -> Iterator[Event]:
        """Nothing more comes → the last event, if no blank line came after it."""
        return self._events([self._ended_line(), b""])

    def _ended_line(self, end: bytes = b"") -> bytes:
        line = b"".join((*self._pieces, end))
        self._num_pending -= sum(map(len, self._pieces))
        self._pieces.clear()
        return line

    def _events(self, lines: list[bytes]) -> Iterator[Event]:
        for line in lines:
            if not self._is_begun:
                self._is_begun, line = True, line.removeprefix(BYTE_ORDER_MARK)
            if not line:
                if self._data:
                    yield self._event()
                self._name = b""
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._add(len(line))
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif line.startswith(b"error:"):  # llama.cpp's, in place of an event of that name
                yield Event("error", line[6:].strip().decode("utf-8", "replace"))
            elif line.startswith(b"{"):  # an error, printed into the stream by what broke
                yield Event("", line.decode("utf-8", "replace"))

    def _event(self) -> Event:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._num_pending = 0
        return Event(self._name.decode("utf-8", "replace"), data.decode("utf-8", "replace"))

    def _add(self, num_bytes: int) -> None:
        self._num_pending += num_bytes
        if self._num_pending > MAX_EVENT_BYTES:
            raise OversizeError(f"an event of more than {MAX_EVENT_BYTES >> 20} MiB")
