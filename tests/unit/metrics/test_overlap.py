"""N-gram overlap against slow oracles."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.metrics.overlap import (
    MAX_RUN_WORDS,
    Match,
    NgramIndex,
    jaccard,
    longest_run,
    ngrams,
    words,
)

_TEXTS = st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "1", "2", "+"]), max_size=14).map(
    " ".join
)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("3-4", "34"),
        ("3-4", "3+4"),
        ("10²", "102"),
        ("x^2", "x2"),
        ("1.5", "15"),
        ("x-y", "xy"),
        ("x - y", "x y"),
        ("n!", "n"),
        ("a<b", "a>b"),
        ("a≤b", "a≥b"),
        ("∫ f", "∑ f"),
        ("1:2", "1 2"),
        ("f'(x)", "f(x)"),
        ("5%", "5"),
        ("1/2", "1 2"),
    ],
)
def test_words_mathematical_difference_is_kept(a: str, b: str) -> None:
    assert words(a) != words(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("A well-known fact.", "a WELL known fact"),
        ("don't", "DON’T"),
        ("**Find** the $x$", "find the x"),
        ("1,000 items", "1000 items"),
        ("ﬁnd", "find"),
        ("5−3", "5-3"),
        (r"\frac{1}{2}", "frac 1 2"),
        ("and/or", "and or"),
        ("", " \n?"),
    ],
)
def test_words_typography_makes_no_difference(a: str, b: str) -> None:
    assert words(a) == words(b)


@pytest.mark.parametrize(
    "text", ["a" * 60_000, "-" * 60_000, "1," * 30_000, "'" * 60_000, "\ud800 a"]
)
def test_words_hostile_text_is_fast(text: str) -> None:
    start = time.perf_counter()
    ngrams(text, 3)
    assert time.perf_counter() - start < 1  # what is quadratic takes 4 s


def test_ngrams_short_text_is_one_ngram() -> None:
    assert len(ngrams("one two", 8)) == 1
    assert ngrams("one two", 8) == ngrams("One, two!", 8)
    assert ngrams("one two", 8) != ngrams("one three", 8)


def test_ngrams_no_words_is_empty() -> None:
    assert ngrams("...", 3) == frozenset()
    assert jaccard(frozenset(), frozenset()) == 0.0


def test_ngrams_known_text_has_stable_hashes() -> None:
    assert ngrams("alpha beta gamma", 3) == frozenset({_STABLE_HASH})


@settings(max_examples=60)
@given(_TEXTS, _TEXTS, st.integers(1, 5))
def test_jaccard_any_texts_equals_oracle(a: str, b: str, n: int) -> None:
    left, right = _slow_ngrams(a, n), _slow_ngrams(b, n)
    expected = len(left & right) / len(left | right) if left & right else 0.0
    assert jaccard(ngrams(a, n), ngrams(b, n)) == expected


@settings(max_examples=50)
@given(st.lists(_TEXTS, max_size=8), _TEXTS, st.integers(1, 4))
def test_index_any_texts_finds_what_all_pairs_find(texts: list[str], text: str, n: int) -> None:
    index = NgramIndex(n)
    for position, added in enumerate(texts):
        index.add(str(position), added)
    scores = [jaccard(ngrams(added, n), ngrams(text, n)) for added in texts]
    best = max(scores, default=0.0)
    assert index.best(text) == (Match(str(scores.index(best)), best) if best else None)


def test_index_shared_template_finds_what_all_pairs_find() -> None:
    texts = [
        f"find the value of the expression number {i} plus {i % 7} exactly" for i in range(1_500)
    ]
    index = NgramIndex(3)
    for position, text in enumerate(texts):
        index.add(str(position), text)
    asked = "find the value of the expression number 5000 plus 3 exactly"
    scores = [jaccard(ngrams(text, 3), ngrams(asked, 3)) for text in texts]
    assert index.best(asked) == Match(str(scores.index(max(scores))), max(scores))


def test_index_equal_texts_names_the_earliest() -> None:
    index = NgramIndex(2)
    for key in ("first", "second"):
        index.add(key, "the same text")
    assert index.best("the same text") == Match("first", 1.0)


@settings(max_examples=60)
@given(_TEXTS, _TEXTS)
def test_longest_run_any_texts_equals_oracle(a: str, b: str) -> None:
    assert longest_run(a, b) == _slow_longest_run(words(a), words(b))


@pytest.mark.parametrize("text", ["a " * 60_000, "a b " * 30_000], ids=["one_word", "two_words"])
def test_longest_run_hostile_repetition_is_cut_and_fast(text: str) -> None:
    start = time.perf_counter()
    assert longest_run(text, text) == MAX_RUN_WORDS
    assert time.perf_counter() - start < 3


def _slow_ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    tokens = words(text)
    if not tokens:
        return set()
    return {tuple(tokens[i : i + n]) for i in range(max(1, len(tokens) - n + 1))}


def _slow_longest_run(a: list[str], b: list[str]) -> int:
    lengths = [k for i in range(len(a)) for j in range(len(b)) for k in [_run(a[i:], b[j:])]]
    return max(lengths, default=0)


def _run(a: list[str], b: list[str]) -> int:
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


_STABLE_HASH = 7503165184713021557
