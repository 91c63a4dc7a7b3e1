"""The nearest of many texts, against all pairs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.metrics.ngram_index import Match, NgramIndex
from chimera_ray.metrics.words import jaccard, ngrams

_TEXTS = st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "1", "2", "+"]), max_size=14).map(
    " ".join
)


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
