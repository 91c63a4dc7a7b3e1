"""Many problems, each under a key, asked whether another problem is one of them.

Near-linear: a problem is compared with those alone that share a rare feature with it. Problems of
one template share all their words; the numbers are part of most features, so they do not meet.
"""

from array import array
from collections import Counter
from collections.abc import Iterator
from heapq import nsmallest
from typing import NamedTuple, TypeAlias

from chimera_ray.metrics.same_problem import Reading, changed_words, read_problem

_GRAM = 3
_NUM_LEAST = 8
"""the n-grams with the smallest hashes, each joined with all numbers"""
_SAMPLE = 8
"""one in so many n-grams is a feature without the numbers: for a copy that lost one of them"""
_COMMON = 64
"""a feature that so many problems have says nothing"""
_MAX_COMPARED = 48

_Posting: TypeAlias = "int | array[int] | None"


class Same(NamedTuple):
    """A problem that was found again."""

    key: str
    changed: int
    """words that differ"""
    num_words: int
    """of so many"""


class ProblemIndex:
    """Problems as they were read; memory grows by about 2 KB with each of them."""

    def __init__(self, max_changed: float) -> None:
        """`max_changed`: share of a problem's words that may differ."""
        self._max_changed = max_changed
        self._keys: list[str] = []
        self._readings: list[Reading] = []
        self._postings: dict[int, _Posting] = {}

    def add(self, key: str, text: str) -> None:
        """Text → one more problem that `find` may name."""
        self._add(key, read_problem(text))

    def find(self, text: str) -> Same | None:
        """Text → the problem with the fewest changed words that it repeats, the first of equals."""
        return self._find(read_problem(text), set())

    def find_or_add(self, key: str, text: str) -> Same | None:
        """Text → the problem that it repeats; where there is none, it is added."""
        reading = read_problem(text)
        found = self._find(reading, features := set(_features(reading)))
        if found is None:
            self._add(key, reading, features)
        return found

    def _add(self, key: str, reading: Reading, features: set[int] | None = None) -> None:
        position = len(self._keys)
        self._keys.append(key)
        self._readings.append(reading)
        for feature in features or set(_features(reading)):
            if feature not in self._postings:
                self._postings[feature] = position
                continue
            known = self._postings[feature]
            if isinstance(known, int):
                self._postings[feature] = array("q", (known, position))
            elif known is not None and len(known) < _COMMON:
                known.append(position)
            else:
                self._postings[feature] = None

    def _find(self, reading: Reading, features: set[int]) -> Same | None:
        shared: Counter[int] = Counter()
        for feature in features or set(_features(reading)):
            posting = self._postings.get(feature)
            if posting is not None:
                shared.update((posting,) if isinstance(posting, int) else posting)
        nearest = sorted(shared, key=lambda position: (-shared[position], position))
        best: Same | None = None
        if not reading.codes:
            return None
        for position in nearest[:_MAX_COMPARED]:
            other = self._readings[position]
            num_words = max(reading.num_words, other.num_words)
            most = int(self._max_changed * num_words)
            changed = changed_words(other, reading, most)
            if changed is not None and (best is None or changed < best.changed):
                best = Same(self._keys[position], changed, num_words)
        return best


def _features(reading: Reading) -> Iterator[int]:
    from xxhash import xxh3_64_intdigest

    parts = [part for part in reading.codes.split("\n") if part]
    whole = f"{reading.numbers}\n" + "\n".join(sorted(parts))
    yield xxh3_64_intdigest(whole.encode())
    grams = set()
    for part in parts:
        for start in range(max(len(part) - _GRAM, 0) + 1):
            grams.add(xxh3_64_intdigest(part[start : start + _GRAM].encode()))
    numbers = xxh3_64_intdigest(reading.numbers.encode())
    yield from (hash((numbers, gram)) for gram in nsmallest(_NUM_LEAST, grams))
    yield from (gram for gram in grams if gram % _SAMPLE == 0)
