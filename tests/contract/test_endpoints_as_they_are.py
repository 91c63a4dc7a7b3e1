"""What endpoints really answer is what a user needs of it: row by row of `data/endpoints`."""

from collections import Counter
from typing import Any

import endpoint_answers
import endpoint_page
import pytest
from endpoint_answers import KEY, KEY_NAME, WAIT_S, Made, Told, made_of

from chimera_ray.llm import Usage

ROWS = [*endpoint_answers.told()]
DAY_S = 86_400
_ALSO = {"not_whole": {"retry", "aborted"}, "empty": {"retry", "empty"}}
"""what the data leaves open: an attempt that is made again, or a reply that says what it is"""
_COUNTS = {
    "input": "input_tokens",
    "cached": "cached_tokens",
    "output": "output_tokens",
    "reasoning_tokens": "reasoning_tokens",
}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}-{row.id}")
def test_answer_is_made_of_what_a_user_needs(row: Told) -> None:
    made, expect = made_of(row), row.expect
    assert made.outcome in _outcomes(expect["outcome"]), made
    for words in expect.get("says", ()):
        assert made.outcome == "weaker" or words.lower() in made.words.lower(), made
    for words in expect.get("says_not", ()):
        assert words.replace("$KEY", KEY) not in made.words, made
    assert KEY not in made.words
    _require_usage(made, expect)
    _require_reply(made, expect)
    _require_wait(made, expect)


def _outcomes(expected: str | list[str]) -> set[str]:
    names = [expected] if isinstance(expected, str) else expected
    return set().union(*(_ALSO.get(name, {name}) for name in names))


def _require_usage(made: Made, expect: dict[str, Any]) -> None:
    """A bill is the true one, or says that it is estimated."""
    paid = expect.get("paid", expect)
    if made.usage is None:
        assert "paid" not in expect, "it was paid for, and nobody counts it"
        return
    assert all(0 <= count < 10**12 for count in made.usage), made.usage
    assert made.usage.cached_tokens <= made.usage.input_tokens
    if made.outcome == "weaker":
        return
    assert _fits(made, made.usage, paid), (made.usage, made.is_estimated)
    if "any_of" in expect:
        assert any(_fits(made, made.usage, each) for each in expect["any_of"]), made.usage


def _fits(made: Made, usage: Usage, paid: dict[str, Any]) -> bool:
    exact = all(getattr(usage, name) == paid[key] for key, name in _COUNTS.items() if key in paid)
    enough = all(getattr(usage, name) >= paid.get(f"{key}_min", 0) for key, name in _COUNTS.items())
    is_sum = usage.input_tokens + usage.output_tokens == paid.get("sum", -1) or "sum" not in paid
    return (
        exact
        and enough
        and is_sum
        and made.is_estimated == paid.get("estimated", made.is_estimated)
    )


def _require_reply(made: Made, expect: dict[str, Any]) -> None:
    if made.reply is None:
        assert "paid_or_reply" not in expect or made.usage is not None
        return
    said = made.reply.text
    assert said == expect.get("text", said)
    assert expect.get("text_has", "") in said
    if "reasoning" in expect:
        assert (made.reply.reasoning or None) == expect["reasoning"]
    for kept in expect.get("keeps", ()):
        assert kept in f"{made.reply.reasoning}\n{said}"


def _require_wait(made: Made, expect: dict[str, Any]) -> None:
    assert made.is_limited or made.outcome != "retry" or not expect.get("limited")
    said = made.retry_after_s
    assert said is None or 0 <= said <= DAY_S, said
    assert said is None or said <= expect.get("wait_at_most_s", DAY_S), said
    wait = expect.get("retry_after_s")
    if wait == "$20":
        assert said is not None
        assert abs(said - WAIT_S) < 4
    elif wait is not None:
        assert said == pytest.approx(wait)


def test_page_says_what_is_done() -> None:
    text = endpoint_page.PAGE.read_text(encoding="utf-8")
    assert text == endpoint_page.page(), "PYTHONPATH=. python tests/endpoint_page.py writes it"


def test_table_holds_every_kind_and_no_name_twice() -> None:
    names = Counter(row.id for row in ROWS)
    assert not [name for name, num in names.items() if num > 1]
    assert {row.kind for row in ROWS} == {kind for kind, _, _ in endpoint_page.SECTIONS}
