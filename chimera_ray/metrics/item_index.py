"""Benchmark items, asked which a problem gives away: by n-grams, whole, or in a long run."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from chimera_ray.metrics.boilerplate import is_boilerplate
from chimera_ray.metrics.runs import RunFinder
from chimera_ray.metrics.weighted_grams import Floats, Weighed, WeightedGrams
from chimera_ray.metrics.words import words

MIN_WHOLE_WORDS = 4
"""an item of fewer words, none of them a number, is found only where it is the whole problem"""


class Limits(NamedTuple):
    """The highest overlap that is allowed; all of n-grams and words by their weights."""

    jaccard: float
    containment: float
    run_words: int


class ItemIndex:
    """Items by id, weighed once, against which any number of problems is held."""

    def __init__(
        self, items: Mapping[str, str], ngram_words: Sequence[int], containment_words: int
    ) -> None:
        """`ngram_words`: sizes for Jaccard; `containment_words`: the size for containment."""
        self._keys = list(items)
        self._items = [_weighed(text) for text in items.values()]
        self._jaccard = [WeightedGrams(n, self._items) for n in sorted(ngram_words)]
        self._contained = WeightedGrams(containment_words, self._items)
        self._runs = [self._jaccard[0].word_weights(item) for item in self._items]
        self._numbers = [_numbers(item.words) for item in self._items]
        self._short: dict[int, dict[tuple[str, ...], int]] = {}
        self._whole: dict[tuple[str, ...], int] = {}
        for place, item in enumerate(self._items):
            whole = tuple(item.words)
            self._whole.setdefault(whole, place)
            if len(whole) < self._jaccard[0].n and _is_telling(whole):
                self._short.setdefault(len(whole), {}).setdefault(whole, place)

    def overlap(self, problem: str, limits: Limits) -> str | None:
        """Problem → the item that it overlaps with too much, by which measure, and its value."""
        text = _weighed(problem)
        if not text.words:
            return None
        smallest: Floats = np.zeros(0)
        for grams in self._jaccard:
            shared, total = grams.shared(text)
            smallest = smallest if smallest.size else shared
            if found := self._too_near(grams, shared, total, limits.jaccard):
                return found
        return (
            self._too_contained(text, limits.containment)
            or self._too_whole(text.words)
            or self._too_long(text.words, smallest, limits.run_words)
        )

    def _too_near(
        self, grams: WeightedGrams, shared: Floats, total: float, limit: float
    ) -> str | None:
        union = np.maximum(grams.totals + total - shared, 1e-9)
        place = int(np.argmax(shared / union))
        value = shared[place] / union[place]
        return f"{self._keys[place]}: {grams.n}-gram Jaccard {value:.3f}" if value > limit else None

    def _too_contained(self, text: Weighed, limit: float) -> str | None:
        grams = self._contained
        shared, _ = grams.shared(text)
        shares = shared / np.maximum(grams.totals, 1e-9)
        has = _numbers(text.words)
        for place in np.flatnonzero(shares > limit):
            is_long = len(self._items[place].words) >= self._jaccard[0].n
            if is_long and self._numbers[place] <= has:
                percent = 100 * min(shares[place], 1.0)
                return f"{self._keys[place]}: {percent:.0f}% of its {grams.n}-grams"
        return None

    def _too_whole(self, tokens: list[str]) -> str | None:
        place = self._whole.get(tuple(tokens))
        for whole in () if place is not None else self._short_runs(tokens):
            place = whole
            break
        return None if place is None else f"{self._keys[place]}: the whole item"

    def _short_runs(self, tokens: list[str]) -> Iterator[int]:
        for size, items in self._short.items():
            for start in range(len(tokens) - size + 1):
                place = items.get(tuple(tokens[start : start + size]))
                if place is not None:
                    yield place

    def _too_long(self, tokens: list[str], shared: Floats, limit: int) -> str | None:
        # A run weighs no more than its n-grams, and n - 1 words at its ends.
        candidates = np.flatnonzero(shared + self._jaccard[0].n - 1 > limit)
        if not candidates.size:
            return None
        finder = RunFinder(tokens)
        for place in candidates:
            run = finder.longest(self._items[place].words, self._runs[place])
            if run > limit:
                return f"{self._keys[place]}: a run of {run:.0f} words"
        return None


def _weighed(text: str) -> Weighed:
    tokens = words(text)
    return Weighed(tokens, [0.0 if known else 1.0 for known in is_boilerplate(tokens)])


def _numbers(tokens: Sequence[str]) -> Counter[str]:
    return Counter(token for token in tokens if token[0].isdigit())


def _is_telling(whole: Sequence[str]) -> bool:
    return len(whole) >= MIN_WHOLE_WORDS or (len(whole) > 1 and bool(_numbers(whole)))
