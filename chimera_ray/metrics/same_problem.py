"""Two problems → by how many words they differ, if they are the same problem in another guise.

The same: typeset otherwise, sentences in another order, variables renamed one to one, a few words
changed. Another: a number, operator, function or quotation differs, or a word by one that asks for
something else ("largest", "smallest"). Works on texts as strings of one character per token.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from chimera_ray.metrics.problem_tokens import END, GIVEN, VARIABLE, WORD, Token, problem_tokens

_FIRST_CODE, _NUM_CODES = 0x10000, 0x100000
_MASK = VARIABLE
"""the one character of all variables"""
_MAX_ORDERED_CLAUSES = 12
_PROBE, _MAX_PROBED_TOKENS = 3, 60
_TOKENS_OF_A_WORD = 6
"""a changed word may have taken a short formula with it"""
_MOST_FILLERS = 3
_FILLER = "f"
_FILLERS = frozenset(
    (
        "a",
        "an",
        "the",
        "now",
        "then",
        "please",
        "also",
        "so",
        "thus",
        "hence",
        "just",
        "simply",
        "here",
    )
)
_FIRST_CONTRAST = 0x100
_LAST_PLAIN = "z"
_NO_MATHS = str.maketrans("", "", GIVEN + VARIABLE)
_CONTRASTS = """
max maximum maximal maximize maximise min minimum minimal minimize minimise
largest smallest greatest least most fewest highest lowest
larger smaller greater less more fewer higher lower
even odd
sum product difference quotient
increasing decreasing ascending descending
positive negative nonnegative nonpositive
rational irrational
area perimeter volume circumference
mean median mode variance
before after
inside outside
above below
first last
always sometimes
clockwise counterclockwise anticlockwise
row column
rows columns
convex concave
lcm gcd
union intersection
numerator denominator
parallel perpendicular
all some any none
true false
odds even
with without
left right
north south east west
sine cosine tangent
radius diameter
prime composite
convergent divergent converges diverges
injective surjective bijective
""".strip().splitlines()
_CONTRAST_OF = {
    word: chr(_FIRST_CONTRAST + group)
    for group, line in enumerate(_CONTRASTS)
    for word in line.split()
}


class Reading(NamedTuple):
    """A problem's text, read. Sentences are separated by line feeds in both strings."""

    codes: str
    """one character for each token; of all variables the same"""
    kinds: str
    """what each is: word, filler, given or variable; beyond "z": a word that others contradict"""
    variables: str
    """the letters of the variables in order"""
    numbers: str
    """one character for each number, sorted"""
    num_words: int
    """words, and half the signs, numbers and variables: as many as one would count"""


class Sentence(NamedTuple):
    """One sentence of a reading."""

    codes: str
    kinds: str
    variables: str


def read_problem(text: str) -> Reading:
    """Text → what `changed_words` compares."""
    codes: list[str] = []
    kinds: list[str] = []
    variables: list[str] = []
    numbers: list[str] = []
    for token in problem_tokens(text):
        if token.kind == END:
            if codes and codes[-1] != "\n":
                codes.append("\n")
                kinds.append("\n")
            continue
        codes.append(_MASK if token.kind == VARIABLE else _code(token.text))
        kinds.append(_kind(token))
        if token.kind == VARIABLE:
            variables.append(token.text)
        if token.is_number:
            numbers.append(codes[-1])
    num_maths = sum(kind in (GIVEN, VARIABLE) for kind in kinds)
    return Reading(
        codes="".join(codes),
        kinds="".join(kinds),
        variables="".join(variables),
        numbers="".join(sorted(numbers)),
        num_words=len(kinds) - kinds.count("\n") - num_maths // 2,
    )


def sentences(reading: Reading) -> Iterator[Sentence]:
    """A reading → its sentences in order."""
    at = variable = 0
    for codes in reading.codes.split("\n"):
        if codes:
            count = codes.count(_MASK)
            kinds = reading.kinds[at : at + len(codes)]
            yield Sentence(codes, kinds, reading.variables[variable : variable + count])
            variable += count
        at += len(codes) + 1


def changed_words(a: Reading, b: Reading, most: int) -> int | None:
    """Two readings → how many words differ; None if more than `most`, or another problem."""
    if not _may_be_same(a.numbers, b.numbers):
        return None
    names = _Names()
    left, right = _unpaired(list(sentences(a)), list(sentences(b)), names)
    if not left and not right:
        return 0 if names.is_one_to_one else None
    most_tokens = _TOKENS_OF_A_WORD * most + _MOST_FILLERS
    if not _is_near(_joined(left).codes, _joined(right).codes, most_tokens):
        return None
    if len(left) > len(right):
        left = _in_order_of(_joined(right), left)
    elif len(right) > 1:
        right = _in_order_of(_joined(left), right)
    changed = _difference(_joined(left), _joined(right), most, names)
    return changed if names.is_one_to_one else None


def _may_be_same(a: str, b: str) -> bool:
    """Numbers of both → whether one has all of the other's: a changed word adds or takes some."""
    if len(a) == len(b):
        return a == b
    few, many = sorted((a, b), key=len)
    return not Counter(few) - Counter(many)


def _is_near(a: str, b: str, most: int) -> bool:
    """Whether no more than so many tokens of either are without an equal, in whatever order."""
    left, right = Counter(a), Counter(b)
    return max((left - right).total(), (right - left).total()) <= most


class _Names:
    """Which variable stands for which."""

    def __init__(self) -> None:
        self._to: dict[str, str] = {}
        self._from: dict[str, str] = {}
        self.is_one_to_one = True

    def pair(self, a: str, b: str) -> None:
        """Takes the variables of two equal stretches."""
        for one, other in zip(a, b, strict=True):
            if self._to.setdefault(one, other) != other or self._from.setdefault(other, one) != one:
                self.is_one_to_one = False

    def allows(self, a: str, b: str) -> bool:
        """Whether two stretches would agree with what is known."""
        return all(
            self._to.get(one, other) == other and self._from.get(other, one) == one
            for one, other in zip(a, b, strict=True)
        )


def _unpaired(
    a: Sequence[Sentence], b: Sequence[Sentence], names: _Names
) -> tuple[list[Sentence], list[Sentence]]:
    """Sentences of both → those that have no equal on the other side; equal ones give names.

    Those that occur once go first: of several, one is chosen that fits what they say.
    """
    waiting: defaultdict[str, list[Sentence]] = defaultdict(list)
    for sentence in b:
        waiting[sentence.codes].append(sentence)
    left, ambiguous = [], []
    for sentence in a:
        others = waiting[sentence.codes]
        if not others:
            left.append(sentence)
        elif len(others) == 1:
            names.pair(sentence.variables, others.pop().variables)
        else:
            ambiguous.append(sentence)
    for sentence in ambiguous:
        others = waiting[sentence.codes]
        if not others:
            left.append(sentence)
            continue
        fitting = (
            place
            for place, other in enumerate(others[:_MAX_ORDERED_CLAUSES])
            if names.allows(sentence.variables, other.variables)
        )
        names.pair(sentence.variables, others.pop(next(fitting, 0)).variables)
    rest = {id(sentence) for others in waiting.values() for sentence in others}
    return left, [sentence for sentence in b if id(sentence) in rest]


def _in_order_of(text: Sentence, parts: Sequence[Sentence]) -> list[Sentence]:
    """Sentences → the same in the order in which a text has what they say.

    A sentence that lost its full stop is one with the next, so they need not be the text's own.
    """
    if len(parts) > _MAX_ORDERED_CLAUSES:
        return list(parts)

    def place(part: Sentence) -> int:
        starts = range(0, min(len(part.codes), _MAX_PROBED_TOKENS), _PROBE)
        probes = (text.codes.find(part.codes[start : start + _PROBE]) for start in starts)
        return next((found for found in probes if found >= 0), len(text.codes))

    return sorted(parts, key=place)


def _joined(parts: Sequence[Sentence]) -> Sentence:
    return Sentence(*("".join(texts) for texts in zip(*parts, strict=True))) if parts else _NOTHING


_NOTHING = Sentence("", "", "")


def _difference(a: Sentence, b: Sentence, most: int, names: _Names) -> int | None:
    """Two stretches of text → how many words are changed; None: too many, or what is given is."""
    from rapidfuzz.distance import Levenshtein

    most_tokens = _TOKENS_OF_A_WORD * most + _MOST_FILLERS
    if Levenshtein.distance(a.codes, b.codes, score_cutoff=most_tokens) > most_tokens:
        return None
    changed = at = other_at = 0
    seen_a, seen_b = _Variables(a), _Variables(b)
    hunk: list[int] | None = None
    for step in [*Levenshtein.opcodes(a.codes, b.codes), None]:
        if step is not None and step.tag != "equal":
            hunk = [step.src_start, step.dest_start] if hunk is None else hunk
            at, other_at = step.src_end, step.dest_end
            continue
        if hunk is not None:
            count = _changed(a.kinds[hunk[0] : at], b.kinds[hunk[1] : other_at])
            if count is None:
                return None
            changed += count
            hunk = None
        if step is not None:
            names.pair(
                seen_a.within(step.src_start, step.src_end),
                seen_b.within(step.dest_start, step.dest_end),
            )
    return changed if changed <= most else None


class _Variables:
    """The variables of a stretch by place, asked for from left to right."""

    def __init__(self, sentence: Sentence) -> None:
        self._codes, self._variables = sentence.codes, sentence.variables
        self._at = self._seen = 0

    def within(self, start: int, end: int) -> str:
        first = self._seen + self._codes.count(_MASK, self._at, start)
        self._at, self._seen = end, first + self._codes.count(_MASK, start, end)
        return self._variables[first : self._seen]


def _changed(a: str, b: str) -> int | None:
    """The kinds of two stretches without a common token → how many words; None: another problem."""
    words = [kinds.translate(_NO_MATHS) for kinds in (a, b)]
    has_given = [len(words[0]) < len(a), len(words[1]) < len(b)]
    if all(has_given) or any(kind > _LAST_PLAIN and kind in b for kind in a):
        return None
    if (has_given[0] and not words[1]) or (has_given[1] and not words[0]):
        return None  # something given is there, or not, and no word stands in its place
    return max(len(kinds.replace(_FILLER, "")) for kinds in words)


def _kind(token: Token) -> str:
    if token.kind != WORD:
        return token.kind
    return _FILLER if token.text in _FILLERS else _CONTRAST_OF.get(token.text, WORD)


@lru_cache(maxsize=65_536)
def _code(text: str) -> str:
    from xxhash import xxh3_64_intdigest

    return chr(_FIRST_CODE + xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) % _NUM_CODES)
