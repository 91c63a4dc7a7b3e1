"""What an endpoint sent back, whole, whatever fetched it: the one shape that is judged and read."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class StreamResult(NamedTuple):
    """What a stream of events came to."""

    body: dict[str, Any]
    """a chat completion, as far as it came"""
    is_whole: bool
    """it came to its end: a finish reason, or the mark that ends a stream"""
    error: dict[str, Any] | None = None
    """what the server sent in place of the rest, as the body of an error"""
    trouble: str = ""
    """why the stream could not be read on"""
    first_token_s: float = 0.0
    """from the request to the first event that says anything; 0: not known"""
    decode_s: float = 0.0
    """from there to the last one"""
    num_told: int = 0
    """tokens that were counted as they came, about"""


class Answer(NamedTuple):
    """A response of HTTP, read to its end."""

    status: int
    headers: Mapping[str, str]
    """names in lower case; only those that somebody reads"""
    body: bytes
    stream: StreamResult | None = None
    """what came event by event, in place of the body"""
