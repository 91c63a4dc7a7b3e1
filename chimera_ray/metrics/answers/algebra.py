"""Exact sums and products of generators over the rationals, within a bound on the work.

A generator is a letter, a constant, the root of a prime, an exponential, or a value that is not
looked into. What relations there are (i² = −1, √2·√2 = 2) are applied at once, each of them an
identity: so equal results mean equal values, whereas different results mean nothing.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

from chimera_ray.metrics.answers.tree import Unreadable

Exponent: TypeAlias = Fraction | int
Monomial: TypeAlias = tuple[tuple[int, Exponent], ...]
"""generators by their index, each with its exponent"""
Polynomial: TypeAlias = dict[Monomial, Fraction]

MAX_BITS = 8_000
"""of a numerator or a denominator"""
_MAX_WORK = 2_500
_MAX_GENERATORS = 60

_FREE = frozenset({"letter", "constant", "exp", "power", "ln", "opaque"})
"""kinds of generators without a relation"""

ONE: Polynomial = {(): Fraction(1)}


class Generator(NamedTuple):
    """What monomials are made of."""

    kind: str
    """letter, constant, i, prime, turn (exp of πi), exp, power, root, ln, or opaque"""
    key: Any
    """what tells it from others of its kind; for a root: its degree and its radicand"""


class Ring:
    """The generators of one comparison, shared by its two sides, and the work it may still do."""

    def __init__(self) -> None:
        self.generators: list[Generator] = []
        self._work = _MAX_WORK

    def index(self, kind: str, key: object) -> int:
        """A generator → its index; a new one is added."""
        generator = Generator(kind, key)
        if generator in self.generators:
            return self.generators.index(generator)
        if len(self.generators) == _MAX_GENERATORS:
            raise Unreadable
        self.generators.append(generator)
        return len(self.generators) - 1

    def power_of(self, kind: str, key: object, exponent: Exponent = 1) -> Polynomial:
        """A generator and an exponent → that power, with the generator's relation applied."""
        return self._reduced({self.index(kind, key): exponent})

    def add(self, left: Polynomial, right: Polynomial) -> Polynomial:
        """Two polynomials → their sum."""
        self.spend(len(right))
        total = dict(left)
        for monomial, coefficient in right.items():
            total[monomial] = _bounded(total.get(monomial, Fraction(0)) + coefficient)
            if not total[monomial]:
                del total[monomial]
        return total

    def scale(self, polynomial: Polynomial, factor: Exponent) -> Polynomial:
        """Polynomial and rational → their product."""
        self.spend(len(polynomial))
        return {key: _bounded(value * factor) for key, value in polynomial.items() if factor}

    def multiply(self, left: Polynomial, right: Polynomial) -> Polynomial:
        """Two polynomials → their product, with all relations applied."""
        self.spend(len(left) * len(right))
        total: Polynomial = {}
        for first, a in left.items():
            for second, b in right.items():
                exponents = dict(first)
                for place, exponent in second:
                    exponents[place] = exponents.get(place, 0) + exponent
                coefficient = _bounded(a * b)
                if not first or not second or self._are_free(exponents):
                    monomial = tuple(sorted(pair for pair in exponents.items() if pair[1]))
                    total[monomial] = total.get(monomial, 0) + coefficient
                    continue
                for monomial, factor in self._reduced(exponents).items():
                    total[monomial] = _bounded(total.get(monomial, 0) + coefficient * factor)
        return {monomial: value for monomial, value in total.items() if value}

    def power(self, base: Polynomial, exponent: int) -> Polynomial:
        """Polynomial and natural number → that power."""
        result, square = ONE, base
        while exponent:
            if exponent & 1:
                result = self.multiply(result, square)
            exponent >>= 1
            if exponent:
                square = self.multiply(square, square)
        return result

    def divides(self, divisor: Polynomial, dividend: Polynomial) -> bool:
        """Two polynomials → whether the first divides the second, shown by division."""
        if not divisor or any(exponent < 0 for key in divisor for _, exponent in key):
            return False
        width = len(self.generators)
        lead = max(divisor, key=lambda monomial: _row(monomial, width))
        rest = dict(dividend)
        while rest:
            top = max(rest, key=lambda monomial: _row(monomial, width))
            quotient = _quotient(top, lead)
            if quotient is None:
                return False
            factor = {quotient: -rest[top] / divisor[lead]}
            rest = self.add(rest, self.multiply(divisor, factor))
            if top in rest:
                return False
        return True

    def holds_letters(self, polynomial: Polynomial) -> bool:
        """Polynomial → whether its value depends on any letter."""
        return any(self.is_unknown(place) for monomial in polynomial for place, _ in monomial)

    def is_unknown(self, place: int) -> bool:
        """A generator's index → whether its value depends on any letter."""
        kind, key = self.generators[place]
        if kind in ("exp", "power"):
            monomial = key[2] if kind == "power" else key
            is_of_letter = kind == "power" and key[0] == "letter"
            return is_of_letter or any(self.is_unknown(inner) for inner, _ in monomial)
        if kind == "root":
            return any(self.is_unknown(inner) for monomial, _ in key[1] for inner, _ in monomial)
        return kind == "letter" or (kind == "opaque" and bool(key[1]))

    def spend(self, amount: int) -> None:
        """An amount of work → nothing; Unreadable once it is more than one comparison may cost."""
        self._work -= amount
        if self._work < 0:
            raise Unreadable

    def _are_free(self, places: Iterable[int]) -> bool:
        """Generators by their index → whether none of them has a relation."""
        return all(self.generators[place].kind in _FREE for place in places)

    def _reduced(self, exponents: dict[int, Exponent]) -> Polynomial:
        """Generators with any exponents → what that is once each relation is applied."""
        self.spend(1)
        factor = Fraction(1)
        plain: dict[int, Exponent] = {}
        extra: list[Polynomial] = []
        for place, exponent in exponents.items():
            kind, key = self.generators[place]
            kept = exponent
            if kind == "prime":
                kept = exponent % 1
                factor = _bounded(factor * power_of_rational(Fraction(key), int(exponent - kept)))
            elif kind == "i":
                kept = exponent % 2
                factor *= -1 if exponent % 4 >= 2 else 1
            elif kind == "turn":
                kept, sign, known = _turned(self, exponent)
                factor *= sign
                extra.extend(known)
            elif kind == "root" and exponent >= key[0]:
                kept = exponent % key[0]
                extra.append(self.power(dict(key[1]), int(exponent // key[0])))
            if kept:
                plain[place] = kept
        result: Polynomial = {tuple(sorted(plain.items())): factor}
        for polynomial in extra:
            result = self.multiply(result, polynomial)
        return result


def power_of_rational(base: Fraction, exponent: int) -> Fraction:
    """Rational and integer → that power; Unreadable if it is too long, or of zero."""
    size = max(base.numerator.bit_length(), base.denominator.bit_length())
    if (size - 1) * abs(exponent) > MAX_BITS or (exponent < 0 and not base):
        raise Unreadable
    return base**exponent


def _turned(ring: Ring, exponent: Exponent) -> tuple[Exponent, int, Iterable[Polynomial]]:
    """Half turns → those that stay a generator, a sign, and factors that are known exactly."""
    kept = Fraction(exponent) % 1
    sign = -1 if exponent % 2 >= 1 else 1
    if 12 % kept.denominator:
        return kept, sign, ()
    return Fraction(0), sign, _known_turns(ring, int(kept * 12))


def _known_turns(ring: Ring, twelfths: int) -> Iterable[Polynomial]:
    half = Fraction(1, 2)
    quarter_turn = ring.power_of("i", "")
    yield ring.power(quarter_turn, twelfths // 6)
    left = twelfths % 6
    root_3 = ring.power_of("prime", 3, half)
    sixth = ring.scale(ring.add(ONE, ring.multiply(root_3, quarter_turn)), half)
    eighth = ring.scale(
        ring.multiply(ring.power_of("prime", 2, half), ring.add(ONE, quarter_turn)), half
    )
    twelfth = ring.scale(ring.add(root_3, quarter_turn), half)
    if left == 5:
        left, first = 3, twelfth
    elif left == 1:
        # e^{iπ/12} = e^{iπ/3} / e^{iπ/4}, and 1 / e^{iπ/4} = −i·i·e^{−iπ/4}.
        left, first = 4, ring.multiply(eighth, ring.scale(quarter_turn, Fraction(-1)))
    else:
        first = ONE
    yield first
    yield {0: ONE, 2: twelfth, 3: eighth, 4: sixth}[left]


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * MAX_BITS:
        raise Unreadable
    return value


def _row(monomial: Monomial, width: int) -> list[Exponent]:
    row: list[Exponent] = [0] * width
    for place, exponent in monomial:
        row[place] = exponent
    return row


def _quotient(top: Monomial, bottom: Monomial) -> Monomial | None:
    exponents = dict(top)
    for place, exponent in bottom:
        exponents[place] = exponents.get(place, 0) - exponent
        if exponents[place] < 0:
            return None
    return tuple(sorted((place, value) for place, value in exponents.items() if value))
