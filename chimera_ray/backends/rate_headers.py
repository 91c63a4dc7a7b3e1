"""What an answer's headers say about when to come again; whatever they say wrongly is ignored."""

import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from chimera_ray.backends.limiter import Learnt

MAX_HEADER_CHARS = 64
EPOCH_S = 1e9
"""so many seconds are a time of the clock, and no wait"""
_MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms")
WINDOWS = ("x-ratelimit-reset", "ratelimit-reset")
"""headers that say when a window of calls ends"""
WAITS = ("retry-after", *_MILLISECONDS, *WINDOWS)
"""headers that say when it is worth another attempt"""
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Headers → the seconds to wait, given as such, as milliseconds or as a date; else None."""
    for name in _MILLISECONDS:
        exact = _number(headers.get(name))
        if exact is not None:
            return exact / 1000
    said = headers.get("retry-after", "")[:MAX_HEADER_CHARS].strip()
    seconds = _number(said)
    if seconds is not None or not said:
        return seconds
    try:
        return max(parsedate_to_datetime(said).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError, OSError):
        return None


def window_s(said: str | None) -> float | None:
    """When a window of calls ends, by the clock or in seconds from now → the seconds until then.

    None, if it says no such thing, is over, or is longer than a day: then it is no wait.
    """
    seconds = duration_s(said)
    if seconds is None:
        return None
    if seconds >= EPOCH_S * 1000:
        seconds /= 1000
    seconds -= time.time() if seconds >= EPOCH_S else 0.0
    return seconds if 0 < seconds <= _SECONDS["d"] else None


def learnt_from(headers: Mapping[str, str]) -> Learnt | None:
    """Headers → the limits per minute that they tell, and what is left of them; None if none."""
    if "x-ratelimit-limit-requests" not in headers and "x-ratelimit-limit-tokens" not in headers:
        return None
    return Learnt(
        limit_requests=_number(headers.get("x-ratelimit-limit-requests")) or None,
        limit_tokens=_number(headers.get("x-ratelimit-limit-tokens")) or None,
        remaining_requests=_number(headers.get("x-ratelimit-remaining-requests")),
        remaining_tokens=_number(headers.get("x-ratelimit-remaining-tokens")),
        reset_requests_s=duration_s(headers.get("x-ratelimit-reset-requests")),
        reset_tokens_s=duration_s(headers.get("x-ratelimit-reset-tokens")),
    )


def duration_s(said: str | None) -> float | None:
    """`6m0s`, `20ms` or `1.5` → seconds; None for anything else."""
    said = (said or "")[:MAX_HEADER_CHARS].strip()
    number = _number(said)
    if number is not None:
        return number
    parts = _PART.findall(said)
    if not parts or "".join(map("".join, parts)) != said:
        return None
    return sum(float(count) * _SECONDS[unit] for count, unit in parts)


def _number(said: str | None) -> float | None:
    """A header → the finite number, not below 0, that it is."""
    said = (said or "").strip()
    if len(said) > MAX_HEADER_CHARS or not re.fullmatch(r"\d{1,15}(\.\d{1,9})?", said):
        return None
    return float(said)
