"""What an endpoint sent back, whole, whatever fetched it: the one shape that is judged and read."""

from collections.abc import Mapping
from typing import NamedTuple


class Answer(NamedTuple):
    """A response of HTTP, read to its end."""

    status: int
    headers: Mapping[str, str]
    """names in lower case; only those that somebody reads"""
    body: bytes
