"""Headers that tell when to come again: hostile ones first, then each form that is used."""

import time
from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.backends.limiter import Learnt
from chimera_ray.backends.rate_headers import duration_s, learnt_from, retry_after_s, window_s

HOSTILE = [
    *(
        "",
        " ",
        "-1",
        "-0.5",
        "+3",
        "1e9",
        "1e999",
        "inf",
        "nan",
        "0x10",
        "1_000",
        "１２x",
        "½",
        "²",
    ),
    *("3 s", "1.5.2", "1,5", ".", "5s 5", "s", "1y", "9" * 16, "9" * 70, "1.0000000001"),
    *("Wed", "Wed, 99 Foo 2026 00:00:00 GMT", "Wed, 31 Feb 2026 07:28:00 GMT", "None", "null"),
    *("Fri, 01 Jan 99999 00:00:00 GMT", "00:00:00", "0 Jan 0000 00:00:00 +9999", "\x00", "\udcff"),
]
TEXTS = st.text(max_size=80) | st.text("0123456789.smhd ,:GMTJan+-", max_size=80)
NAMES = (
    *("retry-after", "retry-after-ms"),
    *(
        f"x-ratelimit-{what}-{which}"
        for what in ("limit", "remaining", "reset")
        for which in ("requests", "tokens")
    ),
)


@pytest.mark.parametrize("said", HOSTILE, ids=ascii)
def test_retry_after_hostile_is_none(said: str) -> None:
    assert retry_after_s({"retry-after": said}) is None
    assert retry_after_s({"retry-after-ms": said, "retry-after": "2"}) == 2


@pytest.mark.parametrize("said", [*HOSTILE, "5 s", "1s1", "s1", "1ss", "1 h"], ids=ascii)
def test_duration_hostile_is_none(said: str) -> None:
    assert duration_s(said) is None
    assert duration_s(None) is None


@settings(max_examples=150, deadline=None)
@given(headers=st.dictionaries(st.sampled_from(NAMES), TEXTS))
def test_headers_whatever_they_say_give_nothing_below_zero_or_without_end(
    headers: dict[str, str],
) -> None:
    learnt = learnt_from(headers) or Learnt()
    for seconds in (retry_after_s(headers), learnt.reset_requests_s, learnt.reset_tokens_s):
        assert seconds is None or 0 <= seconds <= 1e20
    for limit in (learnt.limit_requests, learnt.limit_tokens):
        assert limit is None or 0 < limit < 1e15
    for left in (learnt.remaining_requests, learnt.remaining_tokens):
        assert left is None or 0 <= left < 1e15


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
    ],
    ids=str,
)
def test_retry_after_is_seconds(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


@pytest.mark.parametrize("is_usual", [True, False], ids=["GMT", "-0000"])
def test_retry_after_as_a_date_is_the_seconds_until_then(is_usual: bool) -> None:
    said = formatdate(time.time() + 30, usegmt=is_usual)
    assert retry_after_s({"retry-after": said}) == pytest.approx(30, abs=2)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("0s", 0),
        ("20ms", 0.02),
        ("1s", 1),
        ("8.64s", 8.64),
        ("6m0s", 360),
        ("1h2m3s", 3_723),
        ("1d", 86_400),
        ("1.5", 1.5),
    ],
    ids=str,
)
def test_duration_is_seconds(said: str, seconds: float) -> None:
    assert duration_s(said) == pytest.approx(seconds)


def test_learnt_is_none_where_no_limit_is_told() -> None:
    assert learnt_from({}) is None
    assert learnt_from({"x-ratelimit-remaining-requests": "3"}) is None
    assert learnt_from({"x-ratelimit-limit": "3"}) is None


def test_learnt_is_what_the_headers_tell_and_a_limit_of_none_is_no_limit() -> None:
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "120ms",
        "x-ratelimit-limit-tokens": "0",
        "x-ratelimit-remaining-tokens": "-1",
        "x-ratelimit-reset-tokens": "soon",
    }
    assert learnt_from(headers) == Learnt(500, None, 0, None, 0.12, None)


@pytest.mark.parametrize("said", [None, "", "soon", "-5", "nan", "0", "86401", "9" * 40, "1e9"])
def test_window_that_says_no_end_or_one_too_far_is_no_wait(said: str | None) -> None:
    assert window_s(said) is None


@pytest.mark.parametrize("factor", [1, 1000])
def test_window_ends_at_a_time_of_the_clock_in_either_unit(factor: int) -> None:
    end_s = window_s(str(int((time.time() + 60) * factor)))
    assert end_s is not None
    assert 50 < end_s <= 60
    assert window_s(str(int((time.time() - 60) * factor))) is None


def test_window_ends_in_seconds_or_in_a_span() -> None:
    assert window_s("20") == 20
    assert window_s("1m20s") == 80
