"""Words and n-grams: what is typeset otherwise is equal, what means something else is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.metrics.words import jaccard, ngrams, words

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
        ("H₂O", "H2O"),
        (r"$x \le 5$", "x ≤ 5"),
        (r"\(x\)", "$$x$$"),
        (r"\alpha\cdot\beta", "α · β"),
        (r"90^\circ", "90°"),
        ("x ≠ y", "x =\u0338 y"),
        (r"\left( x \right)", "(x)"),
        (r"\dfrac12", r"\frac 12"),
        ("٣ + ٤", "3 + 4"),
    ],
)
def test_words_typography_makes_no_difference(a: str, b: str) -> None:
    assert words(a) == words(b)


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


def _slow_ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    tokens = words(text)
    if not tokens:
        return set()
    return {tuple(tokens[i : i + n]) for i in range(max(1, len(tokens) - n + 1))}


_STABLE_HASH = 7503165184713021557
