"""Word n-gram overlap of two texts, or of one text with many; it knows no problem from another.

Words are casefolded and NFKC-normalised. Numbers and operators are words of their own, so "3-4"
and "34" differ, as do "10²" and "102". Brackets, backslashes, dollars, commas and full stops are
dropped. A hyphen, slash, colon, apostrophe, star, bar or the like counts only next to a number or a
single letter: "well-known" is two words, "x-y" is three.
"""

import re
import unicodedata
from array import array
from collections import Counter
from typing import NamedTuple, TypeAlias

MAX_RUN_WORDS = 20_000

_WORD = re.compile(
    r"\d+(?:,\d{3}(?!\d))*(?:\.\d+)?"  # 1,000.5
    r"|[^\W\d_]+(?:'[^\W\d_]{1,2}(?![^\W\d_]))?"  # don't
    r"|[^\w\s.,;?\"`(){}\[\]\\$#@&]|_"
)
_ONLY_NEAR_NUMBERS = frozenset("-/!:'*|~_>•§…—“”‘¿¡«»")
_HYPHENS = dict.fromkeys(map(ord, "‐‑‒–−"), "-") | dict.fromkeys(map(ord, "’′"), "'")
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴-⁹⁺⁻ⁿ]+")
_SEPARATOR = "\x1f"

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

    def sharing(self, text: str) -> list[str]:
        """Text → the keys of all added texts that share an n-gram with it, first added first."""
        positions: set[int] = set()
        for gram in ngrams(text, self.n):
            posting = self._postings.get(gram, ())
            positions.update((posting,) if isinstance(posting, int) else posting)
        return [self._keys[position] for position in sorted(positions)]

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


def words(text: str) -> list[str]:
    """Text → its normalised words, numbers and operators, in order."""
    text = _SUPERSCRIPTS.sub(lambda run: "^" + run[0], text).translate(_HYPHENS)
    raw = _WORD.findall(unicodedata.normalize("NFKC", text).casefold().translate(_HYPHENS))
    kept = []
    for index, word in enumerate(raw):
        if word in _ONLY_NEAR_NUMBERS:
            neighbours = (*raw[max(0, index - 1) : index], *raw[index + 1 : index + 2])
            if not any(map(_is_mathematical, neighbours)):
                continue
        kept.append(word.replace(",", ""))
    return kept


def ngrams(text: str, n: int) -> frozenset[int]:
    """Text → the hashes of its word n-grams; a text shorter than n words is one n-gram.

    A text without any word has none.
    """
    from xxhash import xxh3_64_intdigest

    tokens = words(text)
    last = max(len(tokens) - n, 0) if tokens else -1
    joined = (_SEPARATOR.join(tokens[start : start + n]) for start in range(last + 1))
    return frozenset(xxh3_64_intdigest(gram.encode("utf-8", "surrogatepass")) for gram in joined)


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """Two sets of n-grams → shared over all, from 0 to 1; 0 if both are empty."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def longest_run(a: str, b: str) -> int:
    """Two texts → how many words their longest common contiguous run has.

    Linear in both lengths (a suffix automaton). Texts over 20,000 words are cut there.
    """
    follow, link, length = _suffix_automaton(words(a)[:MAX_RUN_WORDS])
    state = run = longest = 0
    for word in words(b)[:MAX_RUN_WORDS]:
        while state and word not in follow[state]:
            state = link[state]
            run = length[state]
        if word in follow[state]:
            state = follow[state][word]
            run += 1
            longest = max(longest, run)
    return longest


def _suffix_automaton(tokens: list[str]) -> tuple[list[dict[str, int]], list[int], list[int]]:
    """Tokens → transitions, suffix link and longest length of each state (Blumer et al., 1985)."""
    follow: list[dict[str, int]] = [{}]
    link, length, last = [-1], [0], 0
    for token in tokens:
        new, state = len(follow), last
        follow.append({})
        link.append(0)
        length.append(length[last] + 1)
        while state >= 0 and token not in follow[state]:
            follow[state][token] = new
            state = link[state]
        if state >= 0:
            target = follow[state][token]
            if length[target] == length[state] + 1:
                link[new] = target
            else:
                clone = len(follow)
                follow.append(dict(follow[target]))
                link.append(link[target])
                length.append(length[state] + 1)
                while state >= 0 and follow[state].get(token) == target:
                    follow[state][token] = clone
                    state = link[state]
                link[target] = link[new] = clone
        last = new
    return follow, link, length


def _is_mathematical(word: str) -> bool:
    return word[0].isdigit() or (len(word) == 1 and word not in _ONLY_NEAR_NUMBERS)
