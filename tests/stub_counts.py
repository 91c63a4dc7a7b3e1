"""What the stub server counts: requests, finished replies, tokens, and the same by key."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from chimera_ray.llm import Usage

NOTHING = Usage()


@dataclass(slots=True)
class KeyCount:
    """What became of one idempotency key, or of one batch item's custom_id."""

    requests: int = 0
    finished: int = 0
    """usable replies that were written whole"""
    request_ids: list[str] = field(default_factory=list)
    """of the finished ones: x-request-id; the reply's id is the same with another prefix"""
    finished_at: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What happened since the last reset."""

    requests: int = 0
    finished: int = 0
    max_in_flight: int = 0
    first_at: float | None = None
    last_at: float | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """by error code"""
    usage: Usage = NOTHING
    """of finished replies"""
    wasted: Usage = NOTHING
    """of replies that were made, and not usable or not written whole"""
    batch_finished: int = 0
    batch_failed: int = 0
    batch_usage: Usage = NOTHING
    ports: set[int] = field(default_factory=set)
    keys: dict[str, KeyCount] = field(default_factory=dict)

    def arrive(self, key: str, port: int) -> int:
        """A request → how often its key was seen before."""
        now = time.time()
        self.first_at = self.first_at or now
        self.last_at = now
        self.requests += 1
        self.ports.add(port)
        seen = self.keys.setdefault(key, KeyCount())
        seen.requests += 1
        return seen.requests - 1

    def finish(self, key: str, reply_id: str) -> None:
        """A usable reply was handed over."""
        seen = self.keys.setdefault(key, KeyCount())
        seen.finished += 1
        seen.request_ids.append(f"req_{reply_id}")
        self.last_at = time.time()
        seen.finished_at.append(self.last_at)

    def said(self) -> dict[str, Any]:
        """The totals as JSON."""
        names = ("requests", "finished", "max_in_flight", "first_at", "last_at", "statuses")
        said = {name: getattr(self, name) for name in (*names, "faults", "errors")}
        return {
            **said,
            "usage": self.usage._asdict(),
            "wasted": self.wasted._asdict(),
            "tokens": self.usage.input_tokens + self.usage.output_tokens,
            "num_connections": len(self.ports),
            "limited_share": self.statuses["429"] / self.requests if self.requests else 0.0,
            "batch_finished": self.batch_finished,
            "batch_failed": self.batch_failed,
            "batch_usage": self.batch_usage._asdict(),
        }


def added(one: Usage, other: Usage) -> Usage:
    """Two usages → their sum."""
    return Usage(*(a + b for a, b in zip(one, other, strict=True)))
