"""Text → words, numbers and operators, and n-grams of them, however the text is typeset.

Letters are casefolded and without accents, look-alikes and invisible characters undone, LaTeX and
Unicode signs one. Numbers and operators are words of their own, so "3-4" and "34" differ, as do
"10²" and "102". Brackets, dollars, underscores, commas and full stops are dropped. A hyphen, slash,
colon, apostrophe, star, bar or the like counts only next to a number or a single letter:
"well-known" is two words, "x-y" is three.
"""

import re

from chimera_ray.metrics.latex import one_delimiter, plain_commands
from chimera_ray.metrics.look_alikes import as_it_looks, in_one_script

_WORD = re.compile(
    r"\d+(?:,\d{3}(?!\d))*(?:\.\d+)?"  # 1,000.5
    r"|[^\W\d_]+(?:'[^\W\d_]{1,2}(?![^\W\d_]))?"  # don't
    r"|[^\w\s.,;?\"`(){}\[\]\\$#@&]"
)
_ONLY_NEAR_NUMBERS = frozenset("-/!:'*|~>•§⋯—“”‘¿¡«»")
_SEPARATOR = "\x1f"


def plain_text(text: str) -> str:
    """Text → the same as it looks, with one spelling for each sign and delimiter; case is kept."""
    return plain_commands(in_one_script(one_delimiter(as_it_looks(text))))


def words(text: str) -> list[str]:
    """Text → its normalised words, numbers and operators, in order."""
    raw = _WORD.findall(plain_text(text).casefold())
    kept = []
    for index, word in enumerate(raw):
        if word in _ONLY_NEAR_NUMBERS:
            neighbours = (*raw[max(0, index - 1) : index], *raw[index + 1 : index + 2])
            if not any(map(_is_mathematical, neighbours)):
                continue
        kept.append(word.replace(",", ""))
    return kept


def grams_in_order(tokens: list[str], n: int) -> list[int]:
    """Words → the hashes of their n-grams from first to last; fewer than n words are one n-gram.

    No word has none.
    """
    from xxhash import xxh3_64_intdigest

    last = max(len(tokens) - n, 0) if tokens else -1
    joined = (_SEPARATOR.join(tokens[start : start + n]) for start in range(last + 1))
    return [xxh3_64_intdigest(gram.encode("utf-8", "surrogatepass")) for gram in joined]


def ngrams(text: str, n: int) -> frozenset[int]:
    """Text → the hashes of its word n-grams; a text shorter than n words is one n-gram.

    A text without any word has none.
    """
    return frozenset(grams_in_order(words(text), n))


def jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    """Two sets of n-grams → shared over all, from 0 to 1; 0 if both are empty."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def _is_mathematical(word: str) -> bool:
    return word[0].isdigit() or (len(word) == 1 and word not in _ONLY_NEAR_NUMBERS)
