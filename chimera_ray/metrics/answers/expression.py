r"""Tokens → the expression they write, by a grammar that takes no two-fold reading.

Refused, among much else: "1/2x", "a/bc", "-2^2", "2^3^2", "f(2)", "x(2)", "(12)(23)", "2(3)",
"x2", "\sin x/2", "x'", "x^T", "n!!", subscripts but those of small letters, two capitals.
"""

from fractions import Fraction

from chimera_ray.metrics.answers.calls import Calls, is_whole
from chimera_ray.metrics.answers.cautions import (
    check_cross,
    check_letters,
    has_word_in_parentheses,
    may_be_a_call,
)
from chimera_ray.metrics.answers.cursor import CLOSINGS, number
from chimera_ray.metrics.answers.names import (
    FUNCTION_LETTERS,
    FUNCTIONS,
    GREEK_LETTERS,
    MULTIPLIERS,
)
from chimera_ray.metrics.answers.tokens import END, Token, Tokens
from chimera_ray.metrics.answers.tree import (
    Tree,
    Unreadable,
    letters,
    negative_tree,
    product_tree,
    quotient_tree,
)

_MAX_DEPTH = 24
_BITS = (Tree("number", "0"), Tree("number", "1"))
_OPERATORS = {"*": "*", r"\cdot": "*", r"\times": "x", "/": "/", r"\div": "/"}
_BRACKETS = {"|": "abs", r"\lfloor": "floor", r"\lceil": "ceil"}


def expression(tokens: Tokens) -> Tree:
    """Tokens → the tree of their expression; Unreadable if they may be anything else."""
    if not tokens or sum(token.text == "|" for token in tokens) not in (0, 2):
        raise Unreadable
    if has_word_in_parentheses(tokens):
        raise Unreadable
    reader = _Reader(tokens)
    tree = reader.sum()
    if reader.peek() is not END:
        raise Unreadable
    check_letters(tree)
    return tree


class _Reader(Calls):
    def sum(self) -> Tree:
        """Terms with signs between them, and one before the first."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unreadable
        terms = [self._signed()]
        while self.peek().text in ("+", "-"):
            sign = self.take().text
            term = self._product()
            terms.append(negative_tree(term) if sign == "-" else term)
        self._depth -= 1
        return terms[0] if len(terms) == 1 else Tree("sum", "", tuple(terms))

    def _signed(self) -> Tree:
        if self.peek().text == "+":
            self.take()
            return self._product()
        if self.peek().text != "-":
            return self._product()
        self.take()
        if self.peek().kind == "number" and self.peek(1).text == "^":
            raise Unreadable  # "-2^2"
        return negative_tree(self._product())

    def _product(self) -> Tree:
        first = self.peek()
        parts = [self._power()]
        while True:
            operator = _OPERATORS.get(self.peek().text)
            if operator == "/":
                self._check_exponent()
                self.take()
                bottom = self._power()
                if self._may_follow() or self.peek().text in _OPERATORS:
                    raise Unreadable  # "1/2x"
                return quotient_tree(product_tree(*parts), bottom)
            if operator:
                self.take()
                start = self.peek()
                parts.append(self._power())
                if operator == "x":
                    check_cross(parts[-2], parts[-1])
            elif self._may_follow():
                start = self.peek()
                self._check_juxtaposed(parts[-1], first)
                parts.append(self._power())
                if start.text == "(" and may_be_a_call(parts[-2], parts[-1]):
                    raise Unreadable  # "x(t+1)"
            else:
                return product_tree(*parts)
            first = start

    def _may_follow(self) -> bool:
        token = self.peek()
        is_end = token is END or token.text in CLOSINGS.values() or token.text in ("+", "-")
        return (
            not is_end and token.text not in _OPERATORS and token.text not in (",", ";", "&", "^")
        )

    def _check_juxtaposed(self, left: Tree, first: Token) -> None:
        """Raise Unreadable if what follows `left` directly may be something else than a factor."""
        token = self.peek()
        if token.kind == "number":
            raise Unreadable  # "x2"
        if token.text == r"\frac" and left.head == "number":
            texts = [self.peek(ahead).kind for ahead in (2, 5)]
            if texts == ["number", "number"]:
                raise Unreadable  # a mixed number, or a product?
        if token.text != "(":
            if first.text in ("0", "1") and token.kind == "word" and token.text != "i":
                raise Unreadable  # "0x1F"
            return
        inner, after = self.peek(1), self.peek(2)
        base = left.parts[0] if left.head == "power" else left
        if base.head == "letter" and base.name not in MULTIPLIERS:
            raise Unreadable  # "f(x+1)"
        if after.text == ")" and (inner.kind == "number" or left.head != "number"):
            raise Unreadable  # "x(2)", "2(3)", "a(n)"

    def _check_exponent(self) -> None:
        """Raise Unreadable if the fraction may be the exponent, as in "8^1/3"."""
        before = [token.text for token in self._tokens[max(0, self._at - 3) : self._at]]
        is_unbraced = before[-2:-1] == ["^"] and (before[-1] == "1" or before[-1].isalpha())
        if is_unbraced or before[:2] == ["^", "-"]:
            raise Unreadable

    def _power(self) -> Tree:
        start = self._at
        base = self.atom()
        token = self.peek()
        if token.text == "!" and not token.is_spaced:
            base = self._factorial(base, self._tokens[start : self._at])
        if self.peek().text != "^" or self.peek(1).text == r"\circ":
            return base
        self.take()
        first = self.peek()
        exponent = self.exponent(base.head == "number")
        if first.kind == "number" and len(first.text) > 1 and self._may_follow():
            raise Unreadable  # "2s^22p^3"
        if base in _BITS and exponent.head != "number":
            raise Unreadable  # "1^n" may be a word
        if self.peek().text in ("^", "!", "'"):
            raise Unreadable
        is_letter = base.head == "letter"
        if is_letter and (base.name[:1].isupper() and not is_whole(exponent, 2)):
            raise Unreadable  # "S^1", "A^t", "A^{-1}"
        if is_letter and exponent.head == "number":
            value = Fraction(exponent.name)
            if value in (0, 1) or (value < 0 and base.name in FUNCTION_LETTERS):
                raise Unreadable  # "f^{-1}"
        return Tree("power", "", (base, exponent))

    def exponent(self, is_of_number: bool = False) -> Tree:
        token = self.peek()
        if token.text in ("{", "("):
            is_enclosed = token.text == "(" and self.peek(2).text == ")"
            if self.peek(1).text == "(" or (is_enclosed and not is_of_number):
                raise Unreadable  # "y^{(4)}"
            exponent = self.bracketed(token.text)
        else:
            is_negative = token.text == "-"
            if is_negative:
                self.take()
            if self.peek().kind not in ("number", "word", "command"):
                raise Unreadable
            exponent = self.atom()
            exponent = negative_tree(exponent) if is_negative else exponent
        if any(name[:1].isupper() for name in letters(exponent)):
            raise Unreadable  # "x^T"
        return exponent

    def _factorial(self, base: Tree, written: Tokens) -> Tree:
        self.take("!")
        is_plain = base.head in ("number", "letter") or written[0].text == "("
        if not is_plain or self.peek().text in ("!", "=", "("):
            raise Unreadable
        return Tree("factorial", "", (base,))

    def atom(self) -> Tree:
        token = self.take()
        if token.kind == "number":
            return number(token)
        if token.text in ("(", "[", "{"):
            if token.text == "[" or (
                self.peek().kind in ("number", "word") and self.peek(1).text == ")"
            ):
                raise Unreadable  # "(12)" may be a cycle, "(b)" a label
            self._at -= 1
            return self.bracketed(token.text)
        if token.text in _BRACKETS:
            inner = self.sum()
            self.take(CLOSINGS[token.text])
            if any(name[:1].isupper() for name in letters(inner)):
                raise Unreadable  # a determinant, or the size of a set
            return Tree(_BRACKETS[token.text], "", (inner,))
        if token.kind == "command":
            return self._command(token.text)
        if token.kind == "word":
            return self._word(token)
        raise Unreadable

    def _command(self, text: str) -> Tree:
        if text == r"\frac":
            top = self.bracketed("{")
            return quotient_tree(top, self.bracketed("{"))
        if text == r"\binom":
            top = self.bracketed("{")
            return Tree("binomial", "", (top, self.bracketed("{")))
        if text == r"\sqrt":
            return self.root()
        if text == r"\pi":
            return self._not_subscripted(Tree("constant", "pi"))
        if text[1:] in FUNCTIONS:
            return self.function(text[1:])
        if text in GREEK_LETTERS:
            if self.peek().text == "(":
                raise Unreadable
            return self._not_subscripted(Tree("letter", text))
        raise Unreadable

    def _word(self, token: Token) -> Tree:
        following = self.peek()
        if token.text == "sqrt" and following.text == "(":
            return self.root()
        if token.text == "pi":
            return self._not_subscripted(Tree("constant", "pi"))
        if token.text in FUNCTIONS:
            if following.kind == "number" and not following.is_spaced:
                raise Unreadable  # "log2(3)"
            return self.function(FUNCTIONS[token.text])
        if len(token.text) > 1:
            raise Unreadable
        if following.text == "_":
            return self._subscripted(token.text)
        if token.text in ("e", "i"):
            return Tree("constant", token.text)
        if token.text == "d" and following.kind in ("word", "command"):
            raise Unreadable  # "dx"
        return Tree("letter", token.text)

    def _subscripted(self, name: str) -> Tree:
        self.take("_")
        index = self.take()
        is_plain = name.islower() and index.kind in ("number", "word") and "." not in index.text
        if not is_plain or self.peek().text in ("(", "_", "'") or len(index.text) > 1:
            raise Unreadable  # "J_0(2)"
        return Tree("letter", f"{name}_{index.text}")

    def _not_subscripted(self, tree: Tree) -> Tree:
        if self.peek().text in ("_", "'"):
            raise Unreadable
        return tree
