"""How long rows are expected to be, by group: what ended rows of a stage say of those that wait.

Rows of one subject resemble one another in length. Pure numbers: it knows nothing of slots.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from chimera_ray.schemas import Call, Record

LONG = "\x00long"
"""the group of rows that are known to be long; no subject's name"""
PRIOR_ROWS = 1.0
"""a group counts as if it had so many rows of the overall mean besides"""
NUM_PROBES = 4
"""rows of an unknown group that go early; the others wait for what those say"""
UNKNOWN = 1e18
"""expected tokens of such an early row: more than any known group's, less than of long rows"""
_SUBJECT = re.compile(r'\{"subject":"((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class _Seen:
    """What is known of one group."""

    num_begun: int = 0
    num_ended: int = 0
    tokens: int = 0


class Expected:
    """Output tokens of a row, by group, learnt from rows that ended.

    A group that is not known goes early: if its rows are the long ones, beginning them last costs
    the most, and if they are short, a few of them tell so soon.
    """

    def __init__(self) -> None:
        """Nothing is known: all groups are alike."""
        self._seen: dict[str, _Seen] = {}
        self._num_ended, self._tokens = 0, 0

    def begin(self, group: str) -> None:
        """A row of the group is being worked on."""
        self._seen.setdefault(group, _Seen()).num_begun += 1

    def learn(self, group: str, tokens: int) -> None:
        """A row of the group took so many tokens; none at all tells nothing."""
        if tokens <= 0:
            return
        seen = self._seen.setdefault(group, _Seen())
        seen.num_ended += 1
        seen.tokens += tokens
        self._num_ended += 1
        self._tokens += tokens

    def of(self, group: str) -> float:
        """A group → tokens that its next row is expected to take; infinite: it goes first."""
        if group == LONG:
            return math.inf
        seen = self._seen.get(group, _Seen())
        if not seen.num_ended and seen.num_begun < NUM_PROBES:
            return UNKNOWN
        mean = self._tokens / max(self._num_ended, 1)
        return (seen.tokens + PRIOR_ROWS * mean) / (seen.num_ended + PRIOR_ROWS)


def group_of(payload: str) -> str:
    """A row's JSON → its subject as it stands there, which is its first field; "" of a row without.

    Rows can be long, so they are not parsed for it.
    """
    found = _SUBJECT.match(payload)
    return found[1] if found else ""


def is_long(earlier: Sequence[Call]) -> bool:
    """Whether a row's earlier calls show that it is long: cut at the limit, or taken up again."""
    return any(call.finish_reason == "length" or call.resumed_tokens for call in earlier)


def tokens_of(record: Record) -> int:
    """A record → output tokens of its calls, those aside that were paid for elsewhere."""
    return sum(call.output_tokens for call in record.calls if not call.is_replayed)
