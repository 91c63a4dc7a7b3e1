"""N-grams of many texts, each weighed by how few hold it: what all say counts for nothing."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from chimera_ray.metrics.words import grams_in_order

Floats = npt.NDArray[np.float64]


class Weighed(NamedTuple):
    """A text's words, and how much each tells by itself, from 0 to 1."""

    words: list[str]
    telling: list[float]

    @property
    def sums(self) -> list[float]:
        """What the words before each place tell together."""
        return [0.0, *np.cumsum(self.telling).tolist()]


class WeightedGrams:
    """Many texts' n-grams of one size, asked for what another text shares with each of them.

    The weight of an n-gram is what its words tell on average, over how many different texts hold
    it; an n-gram of no text is held by one. Of one text alone, or of texts that share nothing, all
    weights are those of the words.
    """

    def __init__(self, n: int, texts: Sequence[Weighed]) -> None:
        """`n` words make an n-gram."""
        self.n = n
        holders: dict[int, list[int]] = {}
        weights: dict[int, float] = {}
        seen: dict[int, set[int]] = {}
        for place, text in enumerate(texts):
            told = self._telling(text)
            whole = hash(tuple(text.words))  # a text that is there twice is one text
            for gram, telling in told.items():
                holders.setdefault(gram, []).append(place)
                weights[gram] = min(weights.get(gram, 1.0), telling)
                seen.setdefault(gram, set()).add(whole)
        self.rarity = {gram: 1 / len(wholes) for gram, wholes in seen.items()}
        self._weights = {gram: weight * self.rarity[gram] for gram, weight in weights.items()}
        self._holders = {gram: np.array(places) for gram, places in holders.items()}
        self.totals: Floats = np.zeros(len(texts))
        """the weight of all n-grams of each text"""
        for gram, places in self._holders.items():
            self.totals[places] += self._weights[gram]

    def shared(self, text: Weighed) -> tuple[Floats, float]:
        """Text → the weight of the n-grams shared with each of the texts, and of all its own."""
        found: Floats = np.zeros(len(self.totals))
        total = 0.0
        for gram, telling in self._telling(text).items():
            weight = self._weights.get(gram)
            total += telling if weight is None else weight
            if weight:
                found[self._holders[gram]] += weight
        return found, total

    def word_weights(self, text: Weighed) -> list[float]:
        """One of the texts → for each word, what it tells, by the commonest n-gram it stands in."""
        rarities = [self.rarity.get(gram, 1.0) for gram in grams_in_order(text.words, self.n)]
        last = len(rarities) - 1
        return [
            telling * min(rarities[max(0, place - self.n + 1) : min(place, last) + 1])
            for place, telling in enumerate(text.telling)
        ]

    def _telling(self, text: Weighed) -> Mapping[int, float]:
        """Text → n-gram → what its words tell on average."""
        sums, size = text.sums, min(self.n, len(text.words))
        grams = grams_in_order(text.words, self.n)
        return {gram: (sums[start + size] - sums[start]) / size for start, gram in enumerate(grams)}
