"""A tree → the quotient of polynomials that it is, exactly, and where it is not defined.

Trigonometric functions become exponentials, roots of rationals roots of primes, logarithms of
rationals logarithms of primes; what no identity here fits becomes a value not looked into.
"""

from collections.abc import Callable
from fractions import Fraction
from math import comb, factorial, gcd, lcm
from typing import NamedTuple

from chimera_ray.metrics.answers.algebra import (
    MAX_BITS,
    ONE,
    Monomial,
    Polynomial,
    Ring,
    power_of_rational,
)
from chimera_ray.metrics.answers.primes import factors
from chimera_ray.metrics.answers.tree import Tree, Unreadable

_MAX_FACTORIAL = 800
_MAX_EXPONENT = 2_000


class Quotient(NamedTuple):
    """Two polynomials, the second of them not zero as far as the relations tell."""

    top: Polynomial
    bottom: Polynomial = ONE

    @property
    def rational(self) -> Fraction | None:
        """Its value, if that is a rational number."""
        if set(self.top) <= {()} and set(self.bottom) == {()}:
            return self.top.get((), Fraction(0)) / self.bottom[()]
        return None

    @property
    def polynomial(self) -> Polynomial | None:
        """The same without a denominator, if that is a rational number."""
        if set(self.bottom) != {()}:
            return None
        return {key: value / self.bottom[()] for key, value in self.top.items()}


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
    """Two values of one ring → whether they are equal and defined in the same places, for certain."""
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


class _Evaluation:
    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.excluded: list[Polynomial] = []
        self.partial: set[int] = set()
        self._heads: dict[str, Callable[[Tree], Quotient]] = {
            "number": lambda tree: _rational(Fraction(tree.name)),
            "letter": lambda tree: Quotient(ring.power_of("letter", tree.name)),
            "constant": self._constant,
            "sum": self._sum,
            "product": self._product,
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
        if tree.head in _TRIGONOMETRIC:
            return self._trigonometric(tree.head, argument)
        return self._opaque(tree.head, argument)

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
        total = _rational(Fraction(1))
        for part in tree.parts:
            total = self.multiply(total, self.of(part))
        return total

    def add(self, left: Quotient, right: Quotient) -> Quotient:
        """Two quotients → their sum."""
        ring = self.ring
        if left.bottom == right.bottom:
            return Quotient(ring.add(left.top, right.top), left.bottom)
        top = ring.add(ring.multiply(left.top, right.bottom), ring.multiply(right.top, left.bottom))
        return Quotient(top, ring.multiply(left.bottom, right.bottom))

    def multiply(self, left: Quotient, right: Quotient) -> Quotient:
        """Two quotients → their product."""
        ring = self.ring
        return Quotient(
            ring.multiply(left.top, right.top), ring.multiply(left.bottom, right.bottom)
        )

    def invert(self, quotient: Quotient) -> Quotient:
        """Quotient → one divided by it; where it is zero is excluded."""
        top = quotient.top
        if not top:
            raise Unreadable
        if self.ring.holds_letters(top):
            self._exclude(top)
        if len(top) == 1:
            ((monomial, factor),) = top.items()
            if all(self.ring.generators[place].kind in _UNITS for place, _ in monomial):
                inverse = {tuple((place, -exponent) for place, exponent in monomial): 1 / factor}
                return Quotient(self.ring.multiply(quotient.bottom, self._applied(inverse)))
        return Quotient(quotient.bottom, top)

    def _applied(self, polynomial: Polynomial) -> Polynomial:
        """Polynomial with any exponents → the same with all relations applied."""
        total: Polynomial = {}
        for monomial, factor in polynomial.items():
            term: Polynomial = {(): factor}
            for place, exponent in monomial:
                kind, key = self.ring.generators[place]
                term = self.ring.multiply(term, self.ring.power_of(kind, key, exponent))
            total = self.ring.add(total, term)
        return total

    def _exclude(self, polynomial: Polynomial) -> None:
        """A denominator → noted by its factors, as far as they show: 2x²s by x and by what s roots."""
        places = {place for monomial in polynomial for place, _ in monomial}
        rows = {monomial: dict(monomial) for monomial in polynomial}
        shared = {
            place: min(row.get(place, Fraction(0)) for row in rows.values()) for place in places
        }
        rest: Polynomial = {}
        for monomial, factor in polynomial.items():
            left = (
                (place, rows[monomial].get(place, Fraction(0)) - shared[place]) for place in places
            )
            rest[tuple(sorted(pair for pair in left if pair[1]))] = factor
        for place, exponent in shared.items():
            kind, key = self.ring.generators[place]
            if exponent and kind == "root":
                self._exclude(dict(key[1]))
            elif exponent and kind == "power" and key[0] == "letter":
                self._exclude(self.ring.power_of("letter", key[1]))
            elif exponent and kind in ("letter", "opaque") and self.ring.is_unknown(place):
                self.excluded.append({((place, Fraction(1)),): Fraction(1)})
        if self.ring.holds_letters(rest):
            self.excluded.append(rest)

    def _power(self, tree: Tree) -> Quotient:
        base, exponent = self.of(tree.parts[0]), self.of(tree.parts[1])
        number = exponent.rational
        if number is not None and number.denominator == 1:
            return self.whole_power(base, int(number))
        if number is not None:
            root = self.root(base, number.denominator, False)
            return self.whole_power(root, number.numerator)
        return self._general_power(base, exponent)

    def whole_power(self, base: Quotient, exponent: int) -> Quotient:
        """Quotient and integer → that power."""
        if exponent < 0:
            return self.whole_power(self.invert(base), -exponent)
        if exponent == 0:
            if not base.top:
                raise Unreadable
            return _rational(Fraction(1))
        rational = base.rational
        if rational is not None:
            return _rational(power_of_rational(rational, exponent))
        if exponent > _MAX_EXPONENT:
            raise Unreadable
        return Quotient(self.ring.power(base.top, exponent), self.ring.power(base.bottom, exponent))

    def _general_power(self, base: Quotient, exponent: Quotient) -> Quotient:
        """Base and an exponent that is no rational → their power, term by term of the exponent."""
        terms = exponent.polynomial
        monomial = base.top if base.bottom == ONE and len(base.top) == 1 else {}
        ((key, factor),) = monomial.items() if monomial else (((), Fraction(0)),)
        if terms is None or factor <= 0:
            raise Unreadable
        if not key:
            result = _rational(Fraction(1))
            for prime, times in factors(factor).items():
                parts = {part: value * times for part, value in terms.items()}
                result = self.multiply(result, self._powers("prime", prime, parts))
            return result
        ((place, times),) = key if len(key) == 1 else ((-1, Fraction(0)),)
        kind, name = self.ring.generators[place] if place >= 0 else ("", "")
        if factor != 1 or times != 1 or kind not in ("letter", "exp"):
            raise Unreadable
        if kind == "exp":
            return self.exp(exponent) if name == () else self._refused()
        return self._powers("letter", name, terms)

    def _powers(self, kind: str, name: object, terms: Polynomial) -> Quotient:
        """A prime or a letter and an exponent's terms → the product of its powers."""
        result = _rational(Fraction(1))
        for monomial, factor in terms.items():
            if not monomial:
                generator = Quotient(self.ring.power_of(kind, name))
                if factor.denominator != 1:
                    generator = self.root(generator, factor.denominator, False)
                power = self.whole_power(generator, factor.numerator)
            else:
                power = Quotient(self.ring.power_of("power", (kind, name, monomial), factor))
                if kind == "letter" and factor < 0:
                    self._exclude(self.ring.power_of(kind, name))
            result = self.multiply(result, power)
        return result

    def root(self, base: Quotient, degree: int, is_sign: bool) -> Quotient:
        """Quotient and degree → its principal root; under a root sign, odd ones of negatives too."""
        polynomial = base.polynomial
        if polynomial is None:
            return self._opaque(f"root {degree}", base)
        if not polynomial:
            return Quotient({})
        positive = self._positive_root(polynomial, degree)
        if positive is not None:
            return positive
        if set(polynomial) == {()}:
            inner = self.root(_rational(-polynomial[()]), degree, is_sign)
            if degree == 2:
                return self.multiply(inner, Quotient(self.ring.power_of("i", "")))
            if is_sign and degree % 2:
                return Quotient(self.ring.scale(inner.top, Fraction(-1)), inner.bottom)
            raise Unreadable
        content = _content(polynomial)
        primitive = self.ring.scale(polynomial, 1 / content)
        outer = self._positive_root({(): content}, degree)
        key = (degree, tuple(sorted(primitive.items())))
        root = self.ring.power_of("root", key)
        if self.ring.holds_letters(primitive):
            self.partial.add(self.ring.index("root", key))
        return self.multiply(outer or self._refused(), Quotient(root))

    def _positive_root(self, polynomial: Polynomial, degree: int) -> Quotient | None:
        """One term of positive factors → its root, exactly; None for anything else."""
        if len(polynomial) != 1:
            return None
        ((monomial, factor),) = polynomial.items()
        kinds = [self.ring.generators[place] for place, _ in monomial]
        if factor <= 0 or any(
            kind != "prime" and (kind, key) != ("exp", ()) for kind, key in kinds
        ):
            return None
        result = ONE
        for prime, times in factors(factor).items():
            power = self.ring.power_of("prime", prime, Fraction(times, degree))
            result = self.ring.multiply(result, power)
        for (kind, key), (_, exponent) in zip(kinds, monomial, strict=True):
            result = self.ring.multiply(result, self.ring.power_of(kind, key, exponent / degree))
        return Quotient(result)

    def exp(self, exponent: Quotient) -> Quotient:
        """Exponent → e to that power, term by term."""
        terms = exponent.polynomial
        if terms is None:
            return self._opaque("exp", exponent)
        result = ONE
        for monomial, factor in terms.items():
            result = self.ring.multiply(result, self._exp_of(monomial, factor))
        return Quotient(result)

    def _exp_of(self, monomial: Monomial, factor: Fraction) -> Polynomial:
        generators = [(self.ring.generators[place], exponent) for place, exponent in monomial]
        kinds = {generator.kind for generator, _ in generators}
        if len(generators) == 2 and kinds == {"i", "constant"}:
            if all(exponent == 1 for _, exponent in generators):
                return self.ring.power_of("turn", "", factor)
        if len(generators) == 1 and kinds == {"ln"} and generators[0][1] == 1:
            if isinstance(generators[0][0].key, int) and factor.denominator < 100:
                return self.ring.power_of("prime", generators[0][0].key, factor)
        return self.ring.power_of("exp", monomial, factor)

    def _trigonometric(self, name: str, argument: Quotient) -> Quotient:
        is_hyperbolic = name.endswith("h")
        half = Fraction(1, 2)
        unit = self.ring.power_of("i", "")
        turned = argument if is_hyperbolic else self.multiply(argument, Quotient(unit))
        forward = self.exp(turned)
        backward = self.exp(self.multiply(turned, _rational(Fraction(-1))))
        minus = self.multiply(backward, _rational(Fraction(-1)))
        cosine = self.multiply(self.add(forward, backward), _rational(half))
        sine = self.multiply(self.add(forward, minus), _rational(half))
        if not is_hyperbolic:
            sine = self.multiply(sine, Quotient(self.ring.scale(unit, Fraction(-1))))
        for short, top, bottom in (
            *(("sin", sine, None), ("cos", cosine, None), ("tan", sine, cosine)),
            *(("cot", cosine, sine), ("sec", None, cosine), ("csc", None, sine)),
        ):
            if name in (short, short + "h"):
                result = top or _rational(Fraction(1))
                return result if bottom is None else self.multiply(result, self.invert(bottom))
        raise Unreadable

    def ln(self, argument: Quotient) -> Quotient:
        """Argument → its natural logarithm: of positive factors, the sum of theirs."""
        polynomial = argument.polynomial
        if not polynomial:
            return self._opaque("ln", argument) if polynomial is None else self._refused()
        content = _content(polynomial)
        if len(polynomial) == 1:
            ((monomial, factor),) = polynomial.items()
            kinds = [self.ring.generators[place] for place, _ in monomial]
            if factor > 0 and all(
                kind == "prime" or (kind, key) == ("exp", ()) for kind, key in kinds
            ):
                total = self._ln_of_rational(factor)
                for (kind, key), (_, exponent) in zip(kinds, monomial, strict=True):
                    part = ONE if kind == "exp" else self.ring.power_of("ln", key)
                    total = self.ring.add(total, self.ring.scale(part, exponent))
                return Quotient(total)
        primitive = self.ring.scale(polynomial, 1 / content)
        if set(primitive) == {()}:
            raise Unreadable  # of a negative number
        rest = self._opaque("ln", Quotient(primitive))
        return self.add(Quotient(self._ln_of_rational(content)), rest)

    def _ln_of_rational(self, value: Fraction) -> Polynomial:
        total: Polynomial = {}
        for prime, times in factors(value).items():
            part = self.ring.scale(self.ring.power_of("ln", prime), Fraction(times))
            total = self.ring.add(total, part)
        return total

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
            return self._opaque("factorial", argument)
        if number.denominator != 1 or not 0 <= number <= _MAX_FACTORIAL:
            raise Unreadable
        return _rational(Fraction(factorial(int(number))))

    def _binomial(self, tree: Tree) -> Quotient:
        top, bottom = (self.of(part).rational for part in tree.parts)
        if top is None or bottom is None or not 0 <= bottom <= top <= _MAX_FACTORIAL:
            raise Unreadable
        if top.denominator != 1 or bottom.denominator != 1:
            raise Unreadable
        return _rational(Fraction(comb(int(top), int(bottom))))

    def _absolute(self, tree: Tree) -> Quotient:
        argument = self.of(tree.parts[0])
        number = argument.rational
        return self._opaque("abs", argument) if number is None else _rational(abs(number))

    def _rounded(self, tree: Tree, sign: int) -> Quotient:
        number = self.of(tree.parts[0]).rational
        if number is None:
            raise Unreadable
        return _rational(Fraction(-sign * ((-sign * number) // 1)))

    def _opaque(self, name: str, argument: Quotient) -> Quotient:
        """A function and its argument → a generator that stands for the value."""
        top, bottom = _monic(argument)
        has_letters = self.ring.holds_letters(top) or self.ring.holds_letters(bottom)
        key = (name, has_letters, tuple(sorted(top.items())), tuple(sorted(bottom.items())))
        if has_letters:
            self.partial.add(self.ring.index("opaque", key))
        return Quotient(self.ring.power_of("opaque", key))

    def _refused(self) -> Quotient:
        raise Unreadable


_TRIGONOMETRIC = frozenset("sin cos tan cot sec csc sinh cosh tanh".split())  # noqa: SIM905
_UNITS = frozenset({"prime", "i", "turn", "exp", "power"})
"""kinds of generators whose negative powers are taken as they stand"""


def _rational(value: Fraction) -> Quotient:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * MAX_BITS:
        raise Unreadable
    return Quotient({(): value} if value else {})


def _content(polynomial: Polynomial) -> Fraction:
    """Polynomial → the positive rational that leaves coprime integers when taken out."""
    values = polynomial.values()
    return Fraction(
        gcd(*(value.numerator for value in values)), lcm(*(value.denominator for value in values))
    )


def _monic(quotient: Quotient) -> tuple[Polynomial, Polynomial]:
    """Quotient → its two parts, scaled alike so that the lower one's content is one."""
    content = _content(quotient.bottom)
    return tuple(  # type: ignore[return-value]
        {key: value / content for key, value in part.items()} for part in quotient
    )
