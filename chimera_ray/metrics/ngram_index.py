"""Many texts, asked for the one that shares most word n-grams with another; it weighs none."""

from array import array
from collections import Counter
from typing import NamedTuple, TypeAlias

from chimera_ray.metrics.words import ngrams

# Most n-grams occur in one text: a bare int for those saves two thirds of the memory.
_Posting: TypeAlias = "int | array[int]"


class Match(NamedTuple):
    """The nearest of many texts."""

    key: str
    """The name under which it was added."""
    jaccard: float
    """Shared n-grams over all n-grams of both, above 0 and at most 1."""


class NgramIndex:
    """Many texts, each under a key, asked for the one nearest to another text.

    The answer is exact. A question costs the sum of the posting lists of the text's n-grams, plus
    one pass over the lengths of the texts if those lists are long: an n-gram that all texts share
    costs one vectorised pass over all texts, no more.
    """

    def __init__(self, n: int) -> None:
        """`n` words make an n-gram."""
        self.n = n
        self._keys: list[str] = []
        self._sizes = array("q")
        self._postings: dict[int, _Posting] = {}

    def add(self, key: str, text: str) -> None:
        """Text → one more text that `best` may name; keys need not be unique."""
        grams = ngrams(text, self.n)
        position = len(self._keys)
        self._keys.append(key)
        self._sizes.append(len(grams))
        for gram in grams:
            known = self._postings.get(gram)
            if known is None:
                self._postings[gram] = position
            elif isinstance(known, int):
                self._postings[gram] = array("q", (known, position))
            else:
                known.append(position)

    def best(self, text: str) -> Match | None:
        """Text → the added text with the highest Jaccard, if any n-gram is shared.

        Between equals the one added first is named.
        """
        grams = ngrams(text, self.n)
        postings = [self._postings[gram] for gram in grams if gram in self._postings]
        if not postings:
            return None
        num_hits = sum(1 if isinstance(posting, int) else len(posting) for posting in postings)
        few = num_hits < 1_000
        position, shared = (
            self._most(len(grams), postings) if few else self._most_of_many(len(grams), postings)
        )
        union = len(grams) + self._sizes[position] - shared
        return Match(self._keys[position], shared / union)

    def _most(self, size: int, postings: list[_Posting]) -> tuple[int, int]:
        counts: Counter[int] = Counter()
        for posting in postings:
            counts.update((posting,) if isinstance(posting, int) else posting)
        sizes = self._sizes
        position = max(counts, key=lambda p: (counts[p] / (size + sizes[p] - counts[p]), -p))
        return position, counts[position]

    def _most_of_many(self, size: int, postings: list[_Posting]) -> tuple[int, int]:
        import numpy as np

        counts = np.zeros(len(self._keys), dtype=np.int64)
        for posting in postings:
            # No position occurs twice in one list, so plain indexing adds once to each.
            counts[posting if isinstance(posting, int) else np.frombuffer(posting, np.int64)] += 1
        sizes = np.array(self._sizes, dtype=np.int64)
        position = int(np.argmax(counts / (size + sizes - counts)))
        return position, int(counts[position])
