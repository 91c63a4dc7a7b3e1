"""A tree → the quotient of polynomials that it is, exactly, and where it is not defined.

Trigonometric functions become exponentials, roots of rationals roots of primes, logarithms of
rationals logarithms of primes; what no identity here fits becomes a value not looked into.
"""

from collections.abc import Callable
from fractions import Fraction
from math import comb, factorial
from typing import NamedTuple

from chimera_ray.metrics.answers.algebra import ONE, Polynomial, Ring
from chimera_ray.metrics.answers.functions import TRIGONOMETRIC, Functions
from chimera_ray.metrics.answers.primes import factors
from chimera_ray.metrics.answers.quotients import Quotient, rational_quotient
from chimera_ray.metrics.answers.tree import Tree, Unreadable

MAX_FACTORIAL = 800


class Value(NamedTuple):
    """What an expression comes to in a ring."""

    quotient: Quotient
    excluded: tuple[Polynomial, ...]
    """in letters; where one of them is zero there is no value"""
    partial: frozenset[int]
    """generators that are not defined, or not real, for every value of their letters"""


def value_of(tree: Tree, ring: Ring) -> Value:
    """Tree and ring → its value there; Unreadable if it is too much, or has none."""
    evaluation = _Evaluation(ring)
    quotient = evaluation.of(tree)
    return Value(quotient, tuple(evaluation.excluded), frozenset(evaluation.partial))


def is_same_value(left: Value, right: Value, ring: Ring) -> bool:
    """Two values of one ring → whether they are certainly equal, and defined in the same places."""
    (a, b), (c, d) = left.quotient, right.quotient
    if left.partial != right.partial or ring.multiply(a, d) != ring.multiply(b, c):
        return False
    return _covers(left.excluded, right.excluded, ring) and _covers(
        right.excluded, left.excluded, ring
    )


def _covers(some: tuple[Polynomial, ...], others: tuple[Polynomial, ...], ring: Ring) -> bool:
    """Whether each of some polynomials is zero only where one of the others is."""
    product = ONE
    for other in others:
        product = ring.multiply(product, other)
    return all(
        one in others or ring.divides(one, product) or ring.divides(one, ring.power(product, 2))
        for one in some
    )


class _Evaluation(Functions):
    def __init__(self, ring: Ring) -> None:
        super().__init__(ring)
        self._heads: dict[str, Callable[[Tree], Quotient]] = {
            "number": lambda tree: rational_quotient(Fraction(tree.name)),
            "letter": lambda tree: Quotient(ring.power_of("letter", tree.name)),
            "constant": self._constant,
            "sum": self._sum,
            "product": self._product,
            "quotient": self._quotient,
            "power": self._power,
            "root": lambda tree: self.root(self.of(tree.parts[0]), int(tree.name), True),
            "exp": lambda tree: self.exp(self.of(tree.parts[0])),
            "ln": lambda tree: self.ln(self.of(tree.parts[0])),
            "log": self._log,
            "factorial": self._factorial,
            "binomial": self._binomial,
            "abs": self._absolute,
            "floor": lambda tree: self._rounded(tree, -1),
            "ceil": lambda tree: self._rounded(tree, 1),
        }

    def of(self, tree: Tree) -> Quotient:
        """Tree → its quotient; what is excluded on the way is noted."""
        self.ring.spend(1)
        if tree.head in self._heads:
            return self._heads[tree.head](tree)
        argument = self.of(tree.parts[0])
        if tree.head in TRIGONOMETRIC:
            return self.trigonometric(tree.head, argument)
        return self.opaque(tree.head, argument)

    def _constant(self, tree: Tree) -> Quotient:
        if tree.name == "e":
            return Quotient(self.ring.power_of("exp", ()))
        kind, key = ("i", "") if tree.name == "i" else ("constant", tree.name)
        return Quotient(self.ring.power_of(kind, key))

    def _sum(self, tree: Tree) -> Quotient:
        total = self.of(tree.parts[0])
        for part in tree.parts[1:]:
            total = self.add(total, self.of(part))
        return total

    def _product(self, tree: Tree) -> Quotient:
        total = rational_quotient(Fraction(1))
        for part in tree.parts:
            total = self.multiply(total, self.of(part))
        return total

    def _quotient(self, tree: Tree) -> Quotient:
        top, bottom = map(self.of, tree.parts)
        return self.multiply(top, self.invert(bottom))

    def _power(self, tree: Tree) -> Quotient:
        base, exponent = self.of(tree.parts[0]), self.of(tree.parts[1])
        number = exponent.rational
        if number is not None and number.denominator == 1:
            return self.whole_power(base, int(number))
        if number is not None:
            root = self.root(base, number.denominator, False)
            return self.whole_power(root, number.numerator)
        return self._general_power(base, exponent)

    def _general_power(self, base: Quotient, exponent: Quotient) -> Quotient:
        """Base and an exponent that is no rational → their power, term by term of the exponent."""
        terms = exponent.polynomial
        if terms is None or base.bottom != ONE or len(base.top) != 1:
            raise Unreadable
        ((monomial, factor),) = base.top.items()
        if not monomial and factor > 0:
            result = rational_quotient(Fraction(1))
            for prime, times in factors(factor).items():
                parts = {part: value * times for part, value in terms.items()}
                result = self.multiply(result, self._powers("prime", prime, parts))
            return result
        if factor != 1 or len(monomial) != 1 or monomial[0][1] != 1:
            raise Unreadable
        kind, name = self.ring.generators[monomial[0][0]]
        if (kind, name) == ("exp", ()):
            return self.exp(exponent)
        return self._powers("letter", name, terms) if kind == "letter" else self.refused()

    def _powers(self, kind: str, name: object, terms: Polynomial) -> Quotient:
        """A prime or a letter and an exponent's terms → the product of its powers."""
        result = rational_quotient(Fraction(1))
        for monomial, factor in terms.items():
            if not monomial:
                generator = Quotient(self.ring.power_of(kind, name))
                if factor.denominator != 1:
                    generator = self.root(generator, factor.denominator, False)
                power = self.whole_power(generator, factor.numerator)
            else:
                power = Quotient(self.ring.power_of("power", (kind, name, monomial), factor))
                if kind == "letter" and factor < 0:
                    self.exclude(self.ring.power_of(kind, name))
            result = self.multiply(result, power)
        return result

    def _log(self, tree: Tree) -> Quotient:
        top = self.ln(self.of(tree.parts[0]))
        if len(tree.parts) == 1:  # of an unknown base, the same throughout
            return self.multiply(top, Quotient(self.ring.power_of("constant", "1/ln(base)")))
        base = self.of(tree.parts[1])
        if base.rational is None or base.rational <= 0 or base.rational == 1:
            raise Unreadable
        return self.multiply(top, self.invert(self.ln(base)))

    def _factorial(self, tree: Tree) -> Quotient:
        argument = self.of(tree.parts[0])
        number = argument.rational
        if number is None:
            return self.opaque("factorial", argument)
        if number.denominator != 1 or not 0 <= number <= MAX_FACTORIAL:
            raise Unreadable
        return rational_quotient(Fraction(factorial(int(number))))

    def _binomial(self, tree: Tree) -> Quotient:
        top, bottom = (self.of(part).rational for part in tree.parts)
        if top is None or bottom is None or not 0 <= bottom <= top <= MAX_FACTORIAL:
            raise Unreadable
        if top.denominator != 1 or bottom.denominator != 1:
            raise Unreadable
        return rational_quotient(Fraction(comb(int(top), int(bottom))))

    def _absolute(self, tree: Tree) -> Quotient:
        argument = self.of(tree.parts[0])
        if argument.rational is not None:
            return rational_quotient(abs(argument.rational))
        if argument.top[min(argument.top)] < 0:
            argument = self.multiply(argument, rational_quotient(Fraction(-1)))
        return self.opaque("abs", argument)

    def _rounded(self, tree: Tree, sign: int) -> Quotient:
        number = self.of(tree.parts[0]).rational
        if number is None:
            raise Unreadable
        return rational_quotient(Fraction(-sign * ((-sign * number) // 1)))
