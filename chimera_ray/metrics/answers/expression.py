r"""Tokens → the expression they write, by a grammar that takes no two-fold reading.

Refused, among much else: "1/2x", "a/bc", "-2^2", "2^3^2", "f(2)", "x(2)", "(12)(23)", "2(3)",
"x2", "\sin x/2", "x'", "x^T", "n!!", subscripts but those of small letters, two capitals.
"""

from fractions import Fraction

from chimera_ray.metrics.answers.names import (
    ANGLE_FUNCTIONS,
    FUNCTION_LETTERS,
    FUNCTIONS,
    GREEK_LETTERS,
    MULTIPLIERS,
    NUMBER_SETS,
    POWERED_FUNCTIONS,
    is_product_of_letters,
)
from chimera_ray.metrics.answers.tokens import END, Token
from chimera_ray.metrics.answers.tree import (
    Tree,
    Unreadable,
    letter_orders,
    letters,
    negative_tree,
    number_tree,
    product_tree,
    quotient_tree,
)

_MAX_DEPTH = 24
_MAX_NUMBER_CHARS = 300
_CLOSINGS = {"(": ")", "[": "]", "{": "}", "|": "|", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_OPERATORS = {"*": "*", r"\cdot": "*", r"\times": "x", "/": "/", r"\div": "/"}
_BRACKETS = {"|": "abs", r"\lfloor": "floor", r"\lceil": "ceil"}


def expression(tokens: tuple[Token, ...]) -> Tree:
    """Tokens → the tree of their expression; Unreadable if they may be anything else."""
    if not tokens or sum(token.text == "|" for token in tokens) not in (0, 2):
        raise Unreadable
    if any(map(_is_word_in_parentheses, tokens, tokens[1:], tokens[2:])):
        raise Unreadable  # "(iv)"
    reader = _Reader(tokens)
    tree = reader.sum()
    if reader.peek() is not END:
        raise Unreadable
    check_letters(tree)
    return tree


def check_letters(*trees: Tree) -> None:
    """Trees of one answer, or of two → nothing; Unreadable if their letters may not commute."""
    names = frozenset[str]().union(*(letters(tree) for tree in trees))
    orders = frozenset[tuple[str, str]]().union(*(letter_orders(tree) for tree in trees))
    if sum(name[:1].isupper() for name in names) > 1 or names & NUMBER_SETS:
        raise Unreadable
    if any((second, first) in orders for first, second in orders):
        raise Unreadable


class _Reader:
    """A position in tokens; each method reads one thing there and moves on."""

    def __init__(self, tokens: tuple[Token, ...]) -> None:
        self._tokens = _letter_by_letter(tokens)
        self._at = 0
        self._depth = 0

    def peek(self, ahead: int = 0) -> Token:
        """The token that comes next."""
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else END

    def take(self, text: str = "") -> Token:
        """The next token, which has to be `text` if that is given."""
        token = self.peek()
        if token is END or (text and token.text != text):
            raise Unreadable
        self._at += 1
        return token

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
                    _check_cross(parts[-2], parts[-1])
            elif self._may_follow():
                start = self.peek()
                self._check_juxtaposed(parts[-1], first)
                parts.append(self._power())
                if start.text == "(" and _may_be_a_call(parts[-2], parts[-1]):
                    raise Unreadable  # "x(t+1)"
            else:
                return product_tree(*parts)
            first = start

    def _may_follow(self) -> bool:
        token = self.peek()
        is_end = token is END or token.text in _CLOSINGS.values() or token.text in ("+", "-")
        return not is_end and token.text not in _OPERATORS and token.text not in (",", ";", "&")

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
        base = self._atom()
        token = self.peek()
        if token.text == "!" and not token.is_spaced:
            base = self._factorial(base, self._tokens[start : self._at])
        if self.peek().text != "^":
            return base
        self.take()
        exponent = self._exponent(base.head == "number")
        if self.peek().text in ("^", "!", "'"):
            raise Unreadable
        is_letter = base.head == "letter"
        if is_letter and (base.name[:1].isupper() and not _is_whole(exponent, 2)):
            raise Unreadable  # "S^1", "A^t", "A^{-1}"
        if is_letter and exponent.head == "number":
            value = Fraction(exponent.name)
            if value in (0, 1) or (value < 0 and base.name in FUNCTION_LETTERS):
                raise Unreadable  # "f^{-1}"
        return Tree("power", "", (base, exponent))

    def _exponent(self, is_of_number: bool = False) -> Tree:
        token = self.peek()
        if token.text in ("{", "("):
            is_enclosed = token.text == "(" and self.peek(2).text == ")"
            if self.peek(1).text == "(" or (is_enclosed and not is_of_number):
                raise Unreadable  # "y^{(4)}"
            exponent = self._bracketed(token.text)
        else:
            is_negative = token.text == "-"
            if is_negative:
                self.take()
            if self.peek().kind not in ("number", "word", "command"):
                raise Unreadable
            exponent = self._atom()
            exponent = negative_tree(exponent) if is_negative else exponent
        if any(name[:1].isupper() for name in letters(exponent)):
            raise Unreadable  # "x^T"
        return exponent

    def _factorial(self, base: Tree, written: tuple[Token, ...]) -> Tree:
        self.take("!")
        is_plain = base.head in ("number", "letter") or written[0].text == "("
        if not is_plain or self.peek().text in ("!", "=", "("):
            raise Unreadable
        return Tree("factorial", "", (base,))

    def _atom(self) -> Tree:
        token = self.take()
        if token.kind == "number":
            return _number(token)
        if token.text in ("(", "[", "{"):
            if token.text == "[" or (self.peek().kind == "number" and self.peek(1).text == ")"):
                raise Unreadable  # "(12)" may be a cycle
            self._at -= 1
            return self._bracketed(token.text)
        if token.text in _BRACKETS:
            inner = self.sum()
            self.take(_CLOSINGS[token.text])
            if any(name[:1].isupper() for name in letters(inner)):
                raise Unreadable  # a determinant, or the size of a set
            return Tree(_BRACKETS[token.text], "", (inner,))
        if token.kind == "command":
            return self._command(token.text)
        if token.kind == "word":
            return self._word(token)
        raise Unreadable

    def _bracketed(self, opening: str) -> Tree:
        self.take(opening)
        inner = self.sum()
        self.take(_CLOSINGS[opening])
        return inner

    def _command(self, text: str) -> Tree:
        if text == r"\frac":
            top = self._bracketed("{")
            return quotient_tree(top, self._bracketed("{"))
        if text == r"\binom":
            top = self._bracketed("{")
            return Tree("binomial", "", (top, self._bracketed("{")))
        if text == r"\sqrt":
            return self._root()
        if text == r"\pi":
            return self._not_subscripted(Tree("constant", "pi"))
        if text[1:] in FUNCTIONS:
            return self._function(text[1:])
        if text in GREEK_LETTERS:
            if self.peek().text == "(":
                raise Unreadable
            return self._not_subscripted(Tree("letter", text))
        raise Unreadable

    def _root(self) -> Tree:
        degree = 2
        if self.peek().text == "[":
            self.take()
            token = self.take()
            if not token.text.isdigit() or len(token.text) > 2 or int(token.text) < 2:
                raise Unreadable
            degree = int(token.text)
            self.take("]")
        if self.peek().text not in ("{", "("):
            raise Unreadable
        return Tree("root", str(degree), (self._bracketed(self.peek().text),))

    def _word(self, token: Token) -> Tree:
        following = self.peek()
        if token.text == "sqrt" and following.text == "(":
            return self._root()
        if token.text == "pi":
            return self._not_subscripted(Tree("constant", "pi"))
        if token.text in FUNCTIONS:
            if following.kind == "number" and not following.is_spaced:
                raise Unreadable  # "log2(3)"
            return self._function(FUNCTIONS[token.text])
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

    def _function(self, name: str) -> Tree:
        base, power = None, None
        if name == "log" and self.peek().text == "_":
            self.take()
            if self.peek().text == "e":
                self.take()
                name = "ln"
            else:
                base = self._bracketed("{") if self.peek().text == "{" else _number(self.take())
        if self.peek().text == "^":
            self.take()
            power = self._exponent()
            if name not in POWERED_FUNCTIONS or not _is_whole(power, 2):
                raise Unreadable  # \sin^{-1}
        argument, is_bare = self._argument(name)
        tree = Tree(name, "", (argument,) if base is None else (argument, base))
        if power is not None:
            tree = Tree("power", "", (tree, power))
        follower = self.peek().text
        if (is_bare or power or name in ("ln", "log")) and follower == "^":
            raise Unreadable
        if is_bare and follower in ("(", "/", "!", "|", "{", r"\frac", r"\sqrt"):
            raise Unreadable  # \sin x/2
        return tree

    def _argument(self, name: str) -> tuple[Tree, bool]:
        """What the function is taken of, and whether it stands without parentheses."""
        token = self.peek()
        if token.text in ("(", "{"):
            self.take()
            argument = self.sum()
            if self._is_degree(name):
                argument = _in_degrees(argument)
            self.take(_CLOSINGS[token.text])
            return argument, False
        if token.text in (r"\frac", r"\sqrt"):
            return self._atom(), False
        parts: list[Tree] = []
        while self.peek().kind in ("number", "word", "command"):
            if parts and (self.peek().kind == "number" or parts[-1].head == "letter"):
                raise Unreadable
            part = self._atom()
            if part.head not in ("number", "letter", "constant"):
                raise Unreadable
            parts.append(part)
            if self._is_degree(name):
                return _in_degrees(product_tree(*parts)), True
            if self.peek().text in (r"\cdot", r"\times") or self.peek().text[1:] in FUNCTIONS:
                break
        if not parts or (len(parts) > 1 and name not in ANGLE_FUNCTIONS):
            raise Unreadable  # \ln 2x
        return product_tree(*parts), True

    def _is_degree(self, name: str) -> bool:
        is_degree = self.peek().text == "^" and self.peek(1).text == r"\circ"
        if is_degree:
            if name not in ANGLE_FUNCTIONS:
                raise Unreadable
            self._at += 2
        return is_degree


def _letter_by_letter(tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """Tokens → the same, with letters in a row as letters, unless they are a name."""
    found: list[Token] = []
    for token in tokens:
        is_name = token.text in FUNCTIONS or token.text in ("pi", "sqrt")
        is_index = bool(found) and found[-1].text == "_"
        if token.kind != "word" or is_name or is_index or len(token.text) == 1:
            found.append(token)
            continue
        if not is_product_of_letters(token.text):
            raise Unreadable
        spaces = [token.is_spaced] + [False] * (len(token.text) - 1)
        found.extend(map(Token, ["word"] * len(spaces), token.text, spaces))
    return tuple(found)


def _number(token: Token) -> Tree:
    is_code = token.text[0] == "0" and token.text[1:2].isdigit()
    if token.kind != "number" or is_code or len(token.text) > _MAX_NUMBER_CHARS:
        raise Unreadable
    return number_tree(Fraction(token.text))


def _is_whole(tree: Tree, least: int) -> bool:
    value = Fraction(tree.name) if tree.head == "number" else None
    return value is not None and value.denominator == 1 and value >= least


def _in_degrees(tree: Tree) -> Tree:
    return product_tree(tree, number_tree(Fraction(1, 180)), Tree("constant", "pi"))


def _check_cross(left: Tree, right: Tree) -> None:
    """Raise Unreadable if × may be no product of numbers: of vectors, spaces, or in "3 × 4"."""
    if letters(left) or letters(right):
        raise Unreadable
    if all(part.head == "number" and "/" not in part.name for part in (left, right)):
        raise Unreadable


def _may_be_a_call(left: Tree, inner: Tree) -> bool:
    r"""A factor and what stands in parentheses after it → whether it may be a function of that.

    "n(n+1)" and "a(b+c)" are products; "x(t+1)", "y(2x)" and "\pi(2x)" may be none.
    """
    if left.head == "constant":
        return inner.head != "sum" and left.name == "pi"
    if left.head != "letter":
        return False
    names = letters(inner)
    return inner.head != "sum" or (left.name not in names and len(names) < 2)


def _is_word_in_parentheses(opening: Token, inner: Token, closing: Token) -> bool:
    is_word = inner.kind == "word" and len(inner.text) > 1 and inner.text != "pi"
    return is_word and opening.text == "(" and closing.text == ")"
