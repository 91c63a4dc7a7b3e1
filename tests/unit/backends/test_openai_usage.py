"""Tokens as servers count them: contradictions and nonsense first, then every known dialect."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.backends.openai_usage import MAX_COUNT, estimated_usage, usage_of
from chimera_ray.llm import Message, Request, Usage

REQUEST = Request((Message("user", "p" * 40),), None, 1)
TEXT, THINKING = "t" * 200, "r" * 100
GUESS = Usage(10, 0, 50 + 25, 25)


def _read(said: object, text: str = TEXT, reasoning: str = THINKING) -> tuple[Usage, bool]:
    return usage_of(said, REQUEST, text, reasoning)


def _of(
    given: object = 32, taken: object = 90, total: object = None, **more: Any
) -> dict[str, Any]:
    return {"prompt_tokens": given, "completion_tokens": taken, "total_tokens": total, **more}


def _thought(count: object) -> dict[str, Any]:
    return {"completion_tokens_details": {"reasoning_tokens": count}}


NONSENSE: dict[str, object] = {
    "null": None,
    "list": [1, 2],
    "list_of_two": [_of(), _of()],
    "text": "32 tokens",
    "empty": {},
    "zeros": _of(0, 0, 0),
    "negative": _of(-1, -2, -3),
    "bools": _of(True, True, True),
    "fractions": _of(1.5, 2.5, 4.5),
    "not_numbers": _of(float("nan"), float("inf"), None),
    "words": _of("many", "3e2", "-1"),
    "other_digits": _of("٣٢", "²", None),
    "beyond_any_context": _of(10**30, MAX_COUNT, "9" * 5_000),
}


@pytest.mark.parametrize("said", NONSENSE.values(), ids=NONSENSE)
def test_usage_that_says_nothing_is_estimated_from_the_texts(said: object) -> None:
    assert _read(said) == (GUESS, True)


PARTS: dict[str, tuple[object, Usage]] = {
    "only_input": (_of(32, None), Usage(32, 0, 75, 25)),
    "only_output": (_of(None, 90), Usage(10, 0, 90, 25)),
    "zero_input": (_of(0, 90, 90), Usage(10, 0, 90, 25)),
    "zero_output_beside_text": (_of(32, 0, 32), Usage(32, 0, 75, 25)),
    "only_total": (_of(None, None, 500), Usage(10, 0, 490, 25)),
    "total_below_the_texts": (_of(None, None, 20), Usage(10, 0, 75, 25)),
    "no_total_for_the_rest": (_of(32, None, 7), Usage(32, 0, 75, 25)),
}


@pytest.mark.parametrize(("said", "usage"), PARTS.values(), ids=PARTS)
def test_usage_that_lacks_a_count_is_estimated_and_says_so(said: object, usage: Usage) -> None:
    assert _read(said) == (usage, True)


CONTRADICTIONS: dict[str, tuple[object, Usage]] = {
    "total_below_its_parts": (_of(32, 90, 100), Usage(32, 0, 90)),
    # Counted beside the output, whatever the total says: at least what is seen and thought.
    "thought_beyond_output": (_of(32, 90, 122, **_thought(2_809)), Usage(32, 0, 2_899, 2_809)),
    "thought_beyond_output_without_total": (_of(32, 9, **_thought(99)), Usage(32, 0, 108, 99)),
    "cached_beyond_input": (
        _of(32, 90, prompt_tokens_details={"cached_tokens": 99}),
        Usage(131, 99, 90),
    ),
    "one_token_for_it_all": (_of(32, 1, 33), Usage(32, 0, 75)),
}


@pytest.mark.parametrize(("said", "usage"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_usage_that_contradicts_itself_is_never_guessed_low_and_says_so(
    said: object, usage: Usage
) -> None:
    long = THINKING * 3 if said == CONTRADICTIONS["one_token_for_it_all"][0] else THINKING
    read, is_estimated = _read(said, reasoning=long)
    assert is_estimated
    assert read.output_tokens >= usage.output_tokens
    assert read[:2] == usage[:2]


EXACT: dict[str, tuple[object, Usage]] = {
    "openai": (
        _of(32, 90, 122, prompt_tokens_details={"cached_tokens": 8}, **_thought(60)),
        Usage(32, 8, 90, 60),
    ),
    "without_total": (_of(32, 90), Usage(32, 0, 90)),
    "xai": (_of(32, 9, 2_850, **_thought(2_809)), Usage(32, 0, 2_818, 2_809)),
    "gemini": (_of(32, 90, 1_122), Usage(32, 0, 1_090, 1_000)),
    "completion_only_in_the_total": (_of(32, None, 122), Usage(32, 0, 90)),
    "completion_zero_and_in_the_total": (_of(32, 0, 122), Usage(32, 0, 90)),
    "prompt_only_in_the_total": (_of(None, 90, 122), Usage(32, 0, 90)),
    "whole_floats": (_of(32.0, 90.0, 122.0), Usage(32, 0, 90)),
    "digits": (_of("32", "90", "122"), Usage(32, 0, 90)),
    "list_of_one": ([_of(32, 90, 122)], Usage(32, 0, 90)),
    "details_null": (
        _of(32, 90, prompt_tokens_details=None, completion_tokens_details=None),
        Usage(32, 0, 90),
    ),
    "deepseek": (
        _of(32, 90, 122, prompt_cache_hit_tokens=20, prompt_cache_miss_tokens=12),
        Usage(32, 20, 90),
    ),
    "moonshot": (_of(32, 90, 122, cached_tokens=20), Usage(32, 20, 90)),
    "sglang": (_of(32, 90, 122, reasoning_tokens=60), Usage(32, 0, 90, 60)),
    "xai_sources": (_of(32, 90, 122, num_sources_used=3), Usage(32, 0, 90)),
    "openrouter_cost": (_of(32, 90, 122, cost=0.5, cost_details={}), Usage(32, 0, 90)),
    "responses": (
        {
            "input_tokens": 32,
            "output_tokens": 90,
            "total_tokens": 122,
            "input_tokens_details": {"cached_tokens": 8},
            "output_tokens_details": {"reasoning_tokens": 60},
        },
        Usage(32, 8, 90, 60),
    ),
    "anthropic": (
        {
            "input_tokens": 2,
            "output_tokens": 90,
            "cache_read_input_tokens": 20,
            "cache_creation_input_tokens": 10,
        },
        Usage(32, 20, 90),
    ),
    "anthropic_through_a_proxy": (
        _of(32, 90, 122, cache_read_input_tokens=20, cache_creation_input_tokens=10),
        Usage(32, 20, 90),
    ),
    "cache_in_the_total_alone": (
        _of(2, 90, 122, cache_read_input_tokens=20, cache_creation_input_tokens=10),
        Usage(32, 20, 90),
    ),
    "bedrock": (
        {"inputTokens": 32, "outputTokens": 90, "totalTokens": 122},
        Usage(32, 0, 90),
    ),
    "cached_beyond_input_in_the_total": (
        _of(32, 90, 221, prompt_tokens_details={"cached_tokens": 99}),
        Usage(131, 99, 90),
    ),
}


@pytest.mark.parametrize(("said", "usage"), EXACT.values(), ids=EXACT)
def test_usage_of_every_dialect_is_exact(said: object, usage: Usage) -> None:
    assert _read(said) == (usage, False)


def test_usage_of_a_reply_without_text_may_be_no_output() -> None:
    assert _read(_of(32, 0, 32), "", "") == (Usage(32, 0, 0), False)


@pytest.mark.parametrize(("num_chars", "is_estimated"), [(399, False), (2_000, True)])
def test_usage_of_one_token_for_a_long_text_is_estimated(
    num_chars: int, is_estimated: bool
) -> None:
    usage, is_guessed = _read(_of(32, 1, 33), "x" * num_chars, "")
    assert is_guessed == is_estimated
    assert usage.output_tokens == (-(-num_chars // 4) if is_estimated else 1)


def test_usage_of_dense_text_is_believed() -> None:
    assert _read(_of(32, 400, 432), "-" * 6_000, "") == (Usage(32, 0, 400), False)


COUNTS = st.none() | st.integers(-5, 10**9) | st.floats() | st.text(max_size=5) | st.booleans()
NAMES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
NAMES += ("cached_tokens", "reasoning_tokens", "cache_read_input_tokens", "totalTokens")


@settings(max_examples=200, deadline=None)
@given(
    said=st.dictionaries(st.sampled_from(NAMES), COUNTS),
    text=st.text(max_size=50),
    reasoning=st.text(max_size=50),
)
def test_usage_of_anything_holds_together_and_is_not_below_what_a_server_counts(
    said: dict[str, Any], text: str, reasoning: str
) -> None:
    usage, is_estimated = usage_of(said, REQUEST, text, reasoning)
    assert min(usage) >= 0
    assert usage.cached_tokens <= usage.input_tokens
    assert usage.reasoning_tokens <= usage.output_tokens
    assert is_estimated or usage.output_tokens or not (text or reasoning)
    total = said.get("total_tokens")
    if isinstance(total, int) and 0 < total < MAX_COUNT and not isinstance(total, bool):
        assert is_estimated or usage.input_tokens + usage.output_tokens >= total


def test_estimate_is_by_the_lengths_of_all_messages() -> None:
    request = Request((Message("system", "a" * 9), Message("user", "b" * 4)), None, 1)
    assert estimated_usage(request, "c" * 5, "d") == Usage(4, 0, 3, 1)
