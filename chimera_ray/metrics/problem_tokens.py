"""A problem's text → tokens that say what each is: a word, something given, or a variable.

Given is what makes another problem of the same words: numbers (in words, too), operators and
functions, what stands in quotes or upright in a formula, negations. A variable is a letter that
another could stand for. Formulas are told by their delimiters where there are any, else by sight.
Every pass is linear.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from chimera_ray.metrics.words import plain_text

MAX_CHARS = 100_000
"""a problem is read so far"""

WORD, GIVEN, VARIABLE, END = "w", "g", "v", "."
"""kinds of token; END ends a sentence"""


class Token(NamedTuple):
    """One token."""

    kind: str
    text: str
    is_number: bool = False


_TOKEN = re.compile(
    r"(?P<command>\\[A-Za-z]+)"
    r"|(?P<number>\d+(?:,\d{3}(?!\d))*(?:\.\d+)?)"
    r"|(?P<compound>(?<![A-Za-z])(?:[A-Z][a-z]?\d{0,3}){2,40}(?![A-Za-z]))"
    r"|(?P<letters>[^\W\d_]+(?:'[^\W\d_]{1,2}(?![^\W\d_]))?)"
    r"|(?P<sign>[^\w\s]|_)"
)
_UPRIGHT = frozenset(
    "text mathrm operatorname textbf textit textrm textsf texttt mbox hbox ce emph mathbb".split()  # noqa: SIM905 - many words
)
_UPRIGHT_GROUP = re.compile(
    r"\\(?:text|mathrm|operatorname|textbf|textit|textrm|mbox|ce) {0,4}\{[^{}]{0,200}\}"
)
_FUNCTIONS = frozenset(
    """
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp max min sup inf lim
    gcd lcm det dim ker deg mod bmod pmod arg sgn tr rank var cov frac binom sqrt
    """.split()  # noqa: SIM905 - many words, read as words
)
_CARDINALS = {
    name: str(value)
    for value, name in enumerate(
        """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen
    fifteen sixteen seventeen eighteen nineteen twenty
    """.split()  # noqa: SIM905 - many words, read as words
    )
} | {"thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "hundred": "100"}
_GIVEN_WORDS = frozenset(
    """
    second third fourth fifth sixth seventh eighth ninth tenth once twice thrice double triple half
    quarter dozen thousand million billion not no never nor without non nth
    """.split()  # noqa: SIM905 - many words, read as words
)
_AFTER_A_VARIABLE = frozenset(
    ("and", "or", "is", "be", "are", "equals", "divides", "has", "to", "such", "with", "if")
)
_POINTS_FOLLOW = frozenset(
    """
    triangle quadrilateral rectangle square parallelogram trapezoid trapezium rhombus pentagon
    hexagon polygon tetrahedron cube pyramid segment line side sides angle angles ray chord diameter
    arc edge plane points point circle diagonal vertices
    """.split()  # noqa: SIM905 - many words, read as words
)
_UNIT_LETTERS = frozenset("mgsJNKVAWCFLTHhlMPdtu")
_UNIT_LETTERS_SHOUTED = frozenset("".join(_UNIT_LETTERS).upper())
_UNITS = frozenset(
    """
    mm cm dm km nm pm kg mg mol mmol rad ms ns hz khz mhz ghz thz pa kpa mpa bar atm ev kev mev gev
    ml dl kj mj kw mw nc mc ma kv mv kn ohm wb
    """.split()  # noqa: SIM905 - many words, read as words
)
_MEETS_A_FORMULA = re.compile(r"\s*(?:[+=<>*≤≥]|-\s)")
_PLAIN_WORD = re.compile(r"(?<![\\A-Za-z])(?:[A-Za-z][a-z]{3,}|and|the|for|are|with|has|was|its)\b")
_QUOTED = re.compile(
    r"\"[^\"\n]{1,60}\"|“[^”\n]{1,60}”|(?<!\w)['‘][^'’‘\n]{1,60}'(?!\w)|`[^`\n]{1,60}`"
)
_MAX_QUOTED_WORDS = 3
_MAX_FORMULA_CHARS = 2_000
_OPERATORS = frozenset("+-*/=<>^|!%°~×÷±∓≤≥≠≈≡∈∉∪∩⊂⊆→∞∑∏∫√∂∇⋅∘∠△⊥∥⌊⌋⌈⌉")
_NEAR_MATHS = frozenset("-/!*|~:()[]'")
_LAYOUT = frozenset(',.;:$&#"`“”‘’_')


def problem_tokens(text: str) -> list[Token]:
    """Text → its tokens in order; the same for every way to typeset the same problem."""
    text = plain_text(text[:MAX_CHARS])
    quoted = [
        found.span()
        for found in _QUOTED.finditer(text)
        if len(found[0].split()) <= _MAX_QUOTED_WORDS
    ]
    tokens = _without_idle_braces(_Reader(text, _formulas(text), quoted).tokens())
    return list(_only_near_maths(tokens))


def _formulas(text: str) -> list[tuple[int, int]]:
    """Text with "$" as the delimiter → spans of its formulas; a lone "$" is money or a slip."""
    places = [found.start() for found in re.finditer(r"\$", text)]
    spans, at = [], 0
    while at < len(places) - 1:
        start, end = places[at], places[at + 1]
        if _is_formula(text[start + 1 : min(end, start + _MAX_FORMULA_CHARS + 2)]):
            spans.append((start, end))
            at += 1
        at += 1
    return spans


def _is_formula(inside: str) -> bool:
    if not inside.strip() or len(inside) > _MAX_FORMULA_CHARS:
        return False
    if not re.search(r"\s", inside.strip()):
        return True
    plain = (found[0] for found in _PLAIN_WORD.finditer(_UPRIGHT_GROUP.sub(" ", inside)))
    return all(word in _FUNCTIONS for word in plain)


class _Reader:
    """One pass over a text whose formulas and quotations are known."""

    def __init__(
        self, text: str, formulas: list[tuple[int, int]], quoted: list[tuple[int, int]]
    ) -> None:
        self._text = text
        self._formulas, self._quoted = _Cursor(formulas), _Cursor(quoted)
        self._points = _points(text)
        self._depth = 0
        """braces that are open inside upright text; 0: it is not upright"""
        self._is_upright_next = False
        self._last = ""
        self._is_unit_next = False
        """whether a number, or part of its unit, has just gone by"""
        self._is_shouted = sum(map(str.isupper, text)) > sum(map(str.islower, text))

    def tokens(self) -> Iterator[Token]:
        for found in _TOKEN.finditer(self._text):
            kind, text, start = found.lastgroup, found[0], found.start()
            is_formula = self._formulas.holds(start)
            is_quoted = self._quoted.holds(start)
            if kind == "sign":
                yield from self._sign(text, found.end(), is_formula)
            elif kind == "number":
                yield Token(GIVEN, text.replace(",", ""), is_number=True)
            elif kind == "command":
                yield from self._command(text[1:])
            elif self._depth or self._is_upright_next or is_quoted:
                self._is_upright_next = False
                yield Token(GIVEN, text.casefold())
            elif is_formula:
                yield from _of_formula(text)
            else:
                yield from self._of_prose(text, found.end())
            self._last = text.casefold()
            self._is_unit_next = (
                kind == "number"
                or (self._is_unit_next and (len(text) == 1 and text != ","))
                or self._last in _UNITS
            )

    def _command(self, name: str) -> Iterator[Token]:
        if name in _UPRIGHT:
            self._is_upright_next = True
        else:
            yield Token(GIVEN, name)

    def _sign(self, sign: str, end: int, is_formula: bool) -> Iterator[Token]:
        if sign == "{":
            if self._depth or self._is_upright_next:
                self._depth += 1
                self._is_upright_next = False
                return
        elif sign == "}" and self._depth:
            self._depth -= 1
            return
        if sign in ".?!;" and not is_formula and not self._depth:
            is_factorial = sign == "!" and self._last[-1:].isalnum() and len(self._last) == 1
            if not is_factorial:
                yield Token(END, sign)
                return
        if is_formula or self._depth:
            if sign not in _LAYOUT:
                yield Token(GIVEN, sign)
        elif sign in _OPERATORS or sign in _NEAR_MATHS or sign in "{}":
            yield Token(GIVEN, sign)

    def _of_prose(self, text: str, end: int) -> Iterator[Token]:
        word = text.casefold()
        if len(text) == 1:
            if text in "aAI" and self._is_article(end):
                yield Token(WORD, word)
            else:
                is_unit = self._is_unit(text, end)
                yield Token(GIVEN, word) if is_unit else Token(VARIABLE, text)
        elif (
            self._is_shouted
            and text.isalpha()
            and word not in _GIVEN_WORDS
            and word not in _CARDINALS
        ):
            yield Token(WORD, word)
        elif word in _CARDINALS:
            yield Token(GIVEN, _CARDINALS[word], is_number=True)
        elif word in _GIVEN_WORDS:
            yield Token(GIVEN, word)
        elif not text.isupper() or not text.isascii():
            is_compound = not text.isalpha() or any(letter.isupper() for letter in text[1:])
            is_compound = is_compound and "'" not in text
            yield Token(GIVEN, word) if is_compound else Token(WORD, word)
        elif text.isalpha() and (text in self._points or self._last in _POINTS_FOLLOW):
            yield from (Token(VARIABLE, letter) for letter in text)
        else:
            yield Token(WORD if text.isalpha() else GIVEN, word)

    def _is_unit(self, letter: str, end: int) -> bool:
        known = _UNIT_LETTERS_SHOUTED if self._is_shouted else _UNIT_LETTERS
        if not self._is_unit_next or letter not in known:
            return False
        return _MEETS_A_FORMULA.match(self._text, end) is None

    def _is_article(self, end: int) -> bool:
        following = re.compile(r"\s+([^\W\d_]{2,})").match(self._text, end)
        return following is not None and following[1].casefold() not in _AFTER_A_VARIABLE


class _Cursor:
    """Spans in order, asked for places in order."""

    def __init__(self, spans: list[tuple[int, int]]) -> None:
        self._spans, self._at = spans, 0

    def holds(self, place: int) -> bool:
        """Whether a place, not before the one asked last, is inside a span."""
        while self._at < len(self._spans) and self._spans[self._at][1] < place:
            self._at += 1
        return self._at < len(self._spans) and self._spans[self._at][0] <= place


def _of_formula(text: str) -> Iterator[Token]:
    if text.casefold() in _FUNCTIONS:
        yield Token(GIVEN, text.casefold())
        return
    for char in text:
        if char.isalpha():
            yield Token(GIVEN if char in "πℵħ" else VARIABLE, char)
        elif char.isdigit():
            yield Token(GIVEN, char, is_number=True)


def _points(text: str) -> frozenset[str]:
    """Text → its runs of two to four capitals whose letters all occur in others, too: AB in ABC."""
    runs = set(re.findall(r"(?<![A-Za-z])[A-Z]{1,4}(?![A-Za-z0-9])", text))
    holders: dict[str, int] = {}
    for run in runs:
        for letter in set(run):
            holders[letter] = holders.get(letter, 0) + 1
    return frozenset(
        run for run in runs if len(run) > 1 and all(holders[letter] > 1 for letter in run)
    )


def _without_idle_braces(tokens: Iterator[Token]) -> list[Token]:
    """Tokens → the same without braces round a single one: x^{2} is x^2."""
    kept: list[Token] = []
    for token in tokens:
        if token.text == "}" and len(kept) > 1 and kept[-2].text == "{":
            del kept[-2]
        elif token.text == "}" and kept and kept[-1].text == "{":
            del kept[-1]
        else:
            kept.append(token)
    return kept


def _only_near_maths(tokens: list[Token]) -> Iterator[Token]:
    """Tokens → the same; hyphens, brackets and the like only next to maths: not in "and/or"."""
    for place, token in enumerate(tokens):
        if token.kind == GIVEN and token.text in _NEAR_MATHS:
            near = tokens[max(0, place - 1) : place] + tokens[place + 1 : place + 2]
            if not any(other.kind in (GIVEN, VARIABLE) for other in near):
                continue
        yield token
