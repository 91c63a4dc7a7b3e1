"""Topic names → equal keys for true duplicates, and candidate pairs for a second look.

Topic names defeat string distance: "Group Theory" is nearer to "Graph Theory" than to "Theory of
Groups". So keys are equal only where the words are, and likeness only proposes.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

from chimera_ray.metrics.look_alikes import as_it_looks, in_one_script

_ACRONYM_SCORE = 100.0
_BLOCK = 512

_ARTICLES = frozenset({"the", "an"})
# They say how what is before them belongs to what is after: "X for Y" is neither "X in Y" nor
# "Y for X". "Of" binds closer: "theory of games in economics" is "game theory in economics".
_PREPOSITIONS = frozenset(
    """
    about across after against among as at before behind below beneath beside between beyond
    by during for from in inside into near on onto outside over per since through to toward towards
    under until upon using versus via vs with within without
    """.split()  # noqa: SIM905 - many words, read as words
)
_INITIALLESS = _ARTICLES | {"in", "for", "on", "by", "of", "and", "a"}
# Plurals that mean something else than their singular, or are none.
_KEPT_WORDS = frozenset(
    """
    series species news lens means mars times arms goods works customs humanities securities
    utilities commodities antiquities glasses paris texas wales athens james communications
    sometimes always perhaps versus alias atlas canvas bias christmas hermes hodges stokes
    """.split()  # noqa: SIM905 - many words, read as words
)
_IRREGULAR = {
    "matrices": "matrix",
    "vertices": "vertex",
    "indices": "index",
    "analyses": "analysis",
    "hypotheses": "hypothesis",
    "theses": "thesis",
    "syntheses": "synthesis",
    "crises": "crisis",
    "phenomena": "phenomenon",
    "criteria": "criterion",
    "bacteria": "bacterium",
    "automata": "automaton",
    "polyhedra": "polyhedron",
    "spectra": "spectrum",
    "formulae": "formula",
    "mice": "mouse",
    "gases": "gas",
}
_APOSTROPHE_S = re.compile(r"['’](?:s\b)?")
_NOT_A_WORD = re.compile(r"[^\w+#*,/&]+|_")
_CONJUNCTION = re.compile(r"\s*[,/&]\s*(?:and\s)?|\sand\s")
_ARTICLE_A = re.compile(r"\ba(?=\s+\w)")
_PREPOSITION = re.compile(rf"(?<!\S)({'|'.join(sorted(_PREPOSITIONS))})(?!\S)")
_OF = re.compile(r"\bof\b")
_ACRONYM = re.compile(r"[A-Z][A-Z0-9]{1,7}s?")


def topic_key(name: str) -> str:
    """Topic name → its normal form: equal for the same words in another guise, and only then.

    Case, accents, punctuation, possessives, plurals and "the" make no difference; nor does "theory
    of graphs" for "graph theory", "non-linear" for "nonlinear", or the order of what "and" and
    commas join. The order of all other words does, as do prepositions and numerals: "Algorithms for
    analysis" is not "Analysis of algorithms", which is "algorithm analysis", nor is "Philosophy of
    History" "History of Philosophy". "Of" reaches as far as the next preposition.
    """
    text = _ARTICLE_A.sub(" ", name)  # before casefolding: "Vitamin A" keeps its letter
    text = in_one_script(as_it_looks(text)).casefold()
    text = " ".join(_NOT_A_WORD.sub(" ", _APOSTROPHE_S.sub("", text)).split())
    text = re.sub(r"\bnon (?=\w)", "non", text)
    key = " ".join(_phrases(text))
    return key or " ".join(name.casefold().split())


def similar_pairs(names: Sequence[str], min_similarity: float) -> list[tuple[int, int, float]]:
    """Topic names → (earlier index, later index, score) of each pair worth a second look.

    The score is the likeness of the keys from 0 to 100 (indel ratio), and 100 where one name is the
    acronym of the other. Sorted by indices. All pairs are compared: 10,000 names take seconds.
    """
    import numpy as np
    from rapidfuzz import fuzz, process

    keys = [topic_key(name) for name in names]
    scores: dict[tuple[int, int], float] = {}
    for start in range(0, len(keys), _BLOCK):
        block = process.cdist(
            keys[start : start + _BLOCK],
            keys[start:],
            scorer=fuzz.ratio,
            score_cutoff=min_similarity,
            dtype=np.float32,
        )
        # A score under the cutoff comes back as 0.
        rows, columns = np.nonzero((block > 0) & (block >= min_similarity))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if row < column:
                scores[start + row, start + column] = round(float(block[row, column]), 4)
    scores.update(dict.fromkeys(_acronym_pairs(names), _ACRONYM_SCORE))
    return [(earlier, later, score) for (earlier, later), score in sorted(scores.items())]


def _phrases(text: str) -> Iterator[str]:
    """Text → its prepositions, and what stands between them with "X of Y" as "Y X"."""
    for part in _PREPOSITION.split(text):
        if part in _PREPOSITIONS:
            yield part
            continue
        parts = (_conjuncts(phrase) for phrase in reversed(_OF.split(part)))
        yield from (phrase for phrase in parts if phrase)


def _conjuncts(text: str) -> str:
    parts = (" ".join(_words(part)) for part in _CONJUNCTION.split(text.strip()))
    return " & ".join(sorted({part for part in parts if part}))


def _words(text: str) -> Iterator[str]:
    for word in text.split():
        if word not in _ARTICLES:
            yield _singular(word)


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _KEPT_WORDS or len(word) <= 3 or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is", "ics")):
        return word[:-1]
    return word


def _acronym_pairs(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    acronyms: defaultdict[str, list[int]] = defaultdict(list)
    for index, name in enumerate(names):
        if _ACRONYM.fullmatch(name.strip()):
            acronyms[name.strip().removesuffix("s")].append(index)
    for index, name in enumerate(names):
        every = re.findall(r"[^\W_]+", name)
        main = [word for word in every if word.casefold() not in _INITIALLESS]
        initials = {"".join(word[0] for word in group).upper() for group in (every, main)}
        for acronym in initials if len(every) > 1 else ():
            for other in acronyms.get(acronym, ()):
                yield min(index, other), max(index, other)
