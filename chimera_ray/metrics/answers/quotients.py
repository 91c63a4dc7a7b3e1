"""Quotients of polynomials, and where what they stand for is not defined.

A root of a rational is one of primes; any other is a generator whose power is known. What no
identity fits is a generator that is not looked into.
"""

from fractions import Fraction
from math import gcd, lcm
from typing import NamedTuple

from chimera_ray.metrics.answers.algebra import (
    MAX_BITS,
    ONE,
    Polynomial,
    Ring,
    power_of_rational,
)
from chimera_ray.metrics.answers.primes import factors
from chimera_ray.metrics.answers.tree import Unreadable

_MAX_EXPONENT = 2_000
_UNITS = frozenset({"prime", "i", "turn", "exp", "power"})
"""kinds of generators whose negative powers are taken as they stand"""


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


def rational_quotient(value: Fraction) -> Quotient:
    """Rational → its quotient; Unreadable if it is too long."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > 2 * MAX_BITS:
        raise Unreadable
    return Quotient({(): value} if value else {})


def content(polynomial: Polynomial) -> Fraction:
    """Polynomial → the positive rational that leaves coprime integers when taken out."""
    values = polynomial.values()
    return Fraction(
        gcd(*(value.numerator for value in values)), lcm(*(value.denominator for value in values))
    )


def _monic(quotient: Quotient) -> tuple[Polynomial, Polynomial]:
    """Quotient → its two parts, scaled alike so that the lower one's content is one."""
    shared = content(quotient.bottom)
    return tuple(  # type: ignore[return-value]
        {key: value / shared for key, value in part.items()} for part in quotient
    )


class Field:
    """Arithmetic in one ring, which notes where there is no value."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.excluded: list[Polynomial] = []
        self.partial: set[int] = set()

    def add(self, left: Quotient, right: Quotient) -> Quotient:
        """Two quotients → their sum."""
        ring = self.ring
        if left.bottom == right.bottom:
            return Quotient(ring.add(left.top, right.top), left.bottom)
        top = ring.add(ring.multiply(left.top, right.bottom), ring.multiply(right.top, left.bottom))
        return Quotient(top, ring.multiply(left.bottom, right.bottom)) if top else Quotient({})

    def multiply(self, left: Quotient, right: Quotient) -> Quotient:
        """Two quotients → their product."""
        ring = self.ring
        if not left.top or not right.top:
            return Quotient({})
        return Quotient(
            ring.multiply(left.top, right.top), ring.multiply(left.bottom, right.bottom)
        )

    def invert(self, quotient: Quotient) -> Quotient:
        """Quotient → one divided by it; where it is zero is excluded."""
        top = quotient.top
        if not top:
            raise Unreadable
        if self.ring.holds_letters(top):
            self.exclude(top)
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

    def exclude(self, polynomial: Polynomial) -> None:
        """A denominator → noted by its factors, as far as they show: 2x²√y by x and by y."""
        places = {place for monomial in polynomial for place, _ in monomial}
        rows = {monomial: dict(monomial) for monomial in polynomial}
        shared = {place: min(row.get(place, 0) for row in rows.values()) for place in places}
        rest: Polynomial = {}
        for monomial, factor in polynomial.items():
            left = ((place, rows[monomial].get(place, 0) - shared[place]) for place in places)
            rest[tuple(sorted(pair for pair in left if pair[1]))] = factor
        for place, exponent in shared.items():
            kind, key = self.ring.generators[place]
            if exponent and kind == "root":
                self.exclude(dict(key[1]))
            elif exponent and kind == "power" and key[0] == "letter":
                self.exclude(self.ring.power_of("letter", key[1]))
            elif exponent and kind in ("letter", "opaque") and self.ring.is_unknown(place):
                self.excluded.append({((place, 1),): Fraction(1)})
        if self.ring.holds_letters(rest):
            self.excluded.append(rest)

    def whole_power(self, base: Quotient, exponent: int) -> Quotient:
        """Quotient and integer → that power."""
        if exponent < 0:
            return self.whole_power(self.invert(base), -exponent)
        if exponent == 0:
            if not base.top:
                raise Unreadable
            return rational_quotient(Fraction(1))
        rational = base.rational
        if rational is not None:
            return rational_quotient(power_of_rational(rational, exponent))
        if exponent > _MAX_EXPONENT:
            raise Unreadable
        return Quotient(self.ring.power(base.top, exponent), self.ring.power(base.bottom, exponent))

    def root(self, base: Quotient, degree: int, is_sign: bool) -> Quotient:
        """Quotient and degree → its principal root; under a sign, a negative's odd root is real."""
        polynomial = base.polynomial
        if polynomial is None:
            return self.opaque(f"root {degree}", base)
        if not polynomial:
            return Quotient({})
        positive = self._positive_root(polynomial, degree)
        if positive is not None:
            return positive
        if set(polynomial) == {()}:
            inner = self.root(rational_quotient(-polynomial[()]), degree, is_sign)
            if degree == 2:
                return self.multiply(inner, Quotient(self.ring.power_of("i", "")))
            if is_sign and degree % 2:
                return Quotient(self.ring.scale(inner.top, Fraction(-1)), inner.bottom)
            raise Unreadable
        shared = content(polynomial)
        primitive = self.ring.scale(polynomial, 1 / shared)
        outer = self._positive_root({(): shared}, degree)
        key = (degree, tuple(sorted(primitive.items())))
        root = self.ring.power_of("root", key)
        if self.ring.holds_letters(primitive):
            self.partial.add(self.ring.index("root", key))
        return self.multiply(outer or self.refused(), Quotient(root))

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
            result = self.ring.multiply(
                result, self.ring.power_of(kind, key, Fraction(exponent) / degree)
            )
        return Quotient(result)

    def opaque(self, name: str, argument: Quotient) -> Quotient:
        """A function and its argument → a generator that stands for the value."""
        top, bottom = _monic(argument)
        has_letters = self.ring.holds_letters(top) or self.ring.holds_letters(bottom)
        key = (name, has_letters, tuple(sorted(top.items())), tuple(sorted(bottom.items())))
        if has_letters:
            self.partial.add(self.ring.index("opaque", key))
        return Quotient(self.ring.power_of("opaque", key))

    def refused(self) -> Quotient:
        """Nothing → Unreadable is raised."""
        raise Unreadable
