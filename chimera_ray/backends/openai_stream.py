"""A streamed chat completion → one body, the same that an unstreamed call would have had.

Knows nothing of connections. Fields of a message are joined whatever they are called, since servers
differ in where they put the thinking; `openai_replies` reads them, as it reads unstreamed ones.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeGuard

from chimera_ray.backends.openai_answer import Answer, StreamResult
from chimera_ray.backends.openai_endings import ending_in
from chimera_ray.backends.openai_events import (
    BYTE_ORDER_MARK,
    MAX_EVENT_BYTES,
    Event,
    EventParser,
    OversizeError,
)
from chimera_ray.backends.openai_pieces import joined, num_chars_of

DONE = "[DONE]"
_LAST_EVENT, _BETWEEN = b"data: [DONE]\n\n", "\n\ndata: "
LAST = "is_last"
"""field of a chunk that stands for the end of a stream which has no mark of it"""
MAX_FIELDS = 32
"""of one message"""
_NO_END = (None, "", "null", "error")
"""finish reasons that end nothing: some servers send them with every event"""
_OF_CHUNKS = frozenset({"id", "object", "created", "model", "choices", "usage"})
"""fields of an event that say nothing of an error in it"""
_NOT_SAID = frozenset({"role", "tool_calls", "function_call"})
"""fields of a message that hold nothing that it says"""
_FIRST_LINE = re.compile(rb"\s*(data|event|id|retry|error)?:")

ChunkOf = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class ChatStream:
    """Collects one streamed reply."""

    def __init__(self, chunk_of: ChunkOf | None = None) -> None:
        """Nothing has come yet.

        Args:
            chunk_of: an event's object → the chunk of a chat completion; None: it is one.
        """
        self.num_chars = 0
        """of text and thinking, so far"""
        self.is_over = False
        """nothing that follows is of use"""
        self._chunk_of = chunk_of
        self._events = EventParser()
        self._fields: dict[str, list[Any]] = {}
        self._finish_reason: object = None
        self._usage: dict[str, Any] | None = None
        self._id = ""
        self._is_done = False
        self._error: dict[str, Any] | None = None
        self._trouble = ""

    def feed(self, chunk: bytes) -> None:
        """Takes in the next bytes."""
        try:
            if not self._take_regular(chunk):
                self._take_all(self._events.feed(chunk))
        except OversizeError as exc:
            self._give_up(str(exc))

    def result(self) -> StreamResult:
        """Nothing more comes → what there is."""
        trouble = self._trouble  # not of the last event: a stream that is cut has half of one
        with suppress(OversizeError):
            self._take_all(self._events.end())
        message = {name: joined(pieces) for name, pieces in self._fields.items()}
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": None, **message},
            "finish_reason": self._finish_reason,
        }
        choices = [choice] if self._fields or self.is_ended else []
        body: dict[str, Any] = {"object": "chat.completion", "id": self._id, "choices": choices}
        if self._usage is not None:
            body["usage"] = self._usage
        is_whole = self.is_ended or (self._is_done and self._error is None and not trouble)
        return StreamResult(body, is_whole, self._error, trouble)

    @property
    def is_ended(self) -> bool:
        """The reply is whole; its usage may follow."""
        return self._finish_reason not in _NO_END

    def _take_regular(self, chunk: bytes) -> bool:
        """Takes in whole events of the usual form, with one call of the JSON parser.

        Most of what a stream costs is spent here: event by event it is three times as much.
        """
        body = chunk.removesuffix(_LAST_EVENT)
        if not (body.startswith(b"data: {") and body.endswith(b"}\n\n")):
            return False
        text = body[len("data: ") : -2].decode("utf-8", "replace")
        try:
            found = json.loads(f"[{text.replace(_BETWEEN, ',')}]")
        except (ValueError, RecursionError):
            return False
        if len(body) > MAX_EVENT_BYTES or not self._events.skip_whole(chunk):
            return False
        for said in found:
            if isinstance(said, dict) and not self.is_over:
                self._merge("", said)
        if len(body) < len(chunk):
            self._is_done = self.is_over = True
        self._require_bounded()
        return True

    def _take_all(self, events: Iterable[Event]) -> None:
        for event in events:
            if self.is_over:
                return
            self._take(event)
        self._require_bounded()

    def _require_bounded(self) -> None:
        if self.num_chars > MAX_EVENT_BYTES:
            raise OversizeError(f"more than {MAX_EVENT_BYTES:,} characters")

    def _take(self, event: Event) -> None:
        try:
            said = json.loads(event.data)
        except (ValueError, RecursionError):
            self._take_garbled(event)
            return
        if isinstance(said, dict):
            self._merge(event.name, said)
        elif said == DONE:
            self._is_done = self.is_over = True
        elif event.name == "error":
            self._fail({"message": str(said)})

    def _take_garbled(self, event: Event) -> None:
        """An event that is no JSON: the mark of the end, several without blank lines, or noise.

        Words before any of the reply are a gateway's, and say what is wrong.
        """
        lines = [line for line in event.data.split("\n") if line.strip()]
        if len(lines) > 1:
            self._take_all(Event(event.name, line) for line in lines)
        elif not lines or event.name not in ("", "message", "error"):
            return  # a ping
        elif lines[0].strip().upper() == DONE:
            self._is_done = self.is_over = True
        elif event.name == "error" or not (
            self._fields or lines[0].lstrip().startswith(("{", "["))
        ):
            self._fail({"message": lines[0].strip()})
        else:
            self._give_up("an event is no JSON")

    def _merge(self, name: str, said: Mapping[str, Any]) -> None:
        if self._chunk_of is not None:
            said = self._chunk_of(said)
        choices = said.get("choices")
        choice = _first(choices)
        if usage := said.get("usage") or choice.get("usage"):
            self._count(usage)
        own = said["x_groq"] if isinstance(said.get("x_groq"), dict) else {}
        self._count(own.get("usage"))
        error = said.get("error") or choice.get("error") or own.get("error")
        if not error and (name == "error" or not isinstance(choices, list)):
            error = _error_beside(name, said)
        if error:
            self._fail(error, said)
            return
        if not self._id and isinstance(said.get("id"), str):
            self._id = said["id"]
        if choice:
            self._add(choice)
        if said.get(LAST) is True:
            self._is_done = self.is_over = True

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage = usage if self._usage is None else _most(self._usage, usage)

    def _add(self, choice: Mapping[str, Any]) -> None:
        """Takes in what a choice adds: a delta, or a whole message in place of all deltas."""
        delta, whole = choice.get("delta"), choice.get("message")
        if isinstance(choice.get("text"), str) and not delta and not whole:  # older servers
            delta = {"content": choice["text"]}
        is_whole = isinstance(whole, dict) and not delta
        said = whole if is_whole else delta
        num_said, num_thought = 0, 0  # some say what they think in two fields at once
        for name, value in _said_in(said):
            if not value or not isinstance(value, str | list):
                continue
            num_new = self._append(name, value, is_whole)
            if name == "content":
                num_said = num_new
            else:
                num_thought = max(num_thought, num_new)
        self.num_chars += num_said + num_thought
        finish_reason = ending_in(choice)
        if finish_reason not in _NO_END or self._finish_reason is None:
            self._finish_reason = finish_reason

    def _append(self, name: str, value: str | list[Any], is_whole: bool) -> int:
        """What a field goes on with, or is in the end → about how many characters that is."""
        pieces = self._fields.get(name)
        if pieces is None or is_whole:
            if pieces is None and len(self._fields) == MAX_FIELDS:
                return 0
            pieces = self._fields[name] = []
        if isinstance(value, str):
            pieces.append(value)
            return len(value)
        parts = [part for part in value if isinstance(part, str | dict)]
        num_chars = sum(map(num_chars_of, parts))
        pieces.extend(parts)  # only what is not too deep to be joined
        return num_chars

    def _fail(self, error: object, said: Mapping[str, Any] | None = None) -> None:
        """An error → the end; of one in words alone, what is said beside them is kept."""
        self.is_over = True
        if not self.is_ended:  # what goes wrong after the end takes nothing away
            told = said if said is not None and not isinstance(error, dict) else {}
            beside = {name: value for name, value in told.items() if name not in _OF_CHUNKS}
            self._error = {**beside, "error": error}

    def _give_up(self, trouble: str) -> None:
        self.is_over = True
        if not self.is_ended:
            self._trouble = trouble


def is_event_stream(answer: Answer) -> bool:
    """An answer, or its beginning → whether it is a stream of events, whatever it says to be."""
    start = answer.body[:256].removeprefix(BYTE_ORDER_MARK)
    if _FIRST_LINE.match(start):
        return True
    is_named = answer.headers.get("content-type", "").strip().lower().startswith("text/event-")
    return is_named and start.lstrip()[:1] not in (b"{", b"[", b"<")


def body_of_stream(content: bytes, chunk_of: ChunkOf | None = None) -> StreamResult:
    """The bytes of a stream of events, as far as they came → what they come to."""
    stream = ChatStream(chunk_of)
    stream.feed(content)
    return stream.result()


def _first(choices: object) -> Mapping[str, Any]:
    """A list of choices → the one that was asked for; empty if it is not there."""
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index") in (0, None):
            return choice
    return {}


def _said_in(message: object, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A message, or a piece of it → what its fields say; those of an object in it by both names."""
    for name, value in message.items() if isinstance(message, dict) else ():
        if name in _NOT_SAID:
            continue
        if isinstance(value, dict) and not prefix:
            yield from _said_in(value, f"{name}.")
        else:
            yield f"{prefix}{name}", value


def _error_beside(name: str, said: Mapping[str, Any]) -> object:
    """An event without a choice → the error that it is, in whatever form; None if it is none."""
    words = said.get("message") or said.get("detail") or said.get("msg")
    if name == "error" or said.get("object") == "error" or (words and "choices" not in said):
        return {**said, "message": words or "an error without a message"}
    return None


def _most(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two usages of one stream → of each count the larger: they only grow."""
    merged = dict(one)
    for name, value in other.items():
        before = merged.get(name)
        if value is not None and not (_is_count(before) and _is_count(value) and before > value):
            merged[name] = value
    return merged


def _is_count(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
