"""Exponentials, logarithms, trigonometric functions of quotients, by identities that always hold.

Trigonometric functions become exponentials, so that what holds between them is arithmetic.
"""

from fractions import Fraction

from chimera_ray.metrics.answers.algebra import ONE, Generator, Monomial, Polynomial
from chimera_ray.metrics.answers.primes import factors
from chimera_ray.metrics.answers.quotients import Field, Quotient, content, rational_quotient
from chimera_ray.metrics.answers.tree import Unreadable

TRIGONOMETRIC = frozenset(("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"))

_TURN = {(Generator("constant", "pi"), Fraction(1)), (Generator("i", ""), Fraction(1))}


class Functions(Field):
    """A field with the functions that it may be asked for."""

    def exp(self, exponent: Quotient) -> Quotient:
        """Exponent → e to that power, term by term."""
        terms = exponent.polynomial
        if terms is None:
            return self.opaque("exp", exponent)
        result = ONE
        for monomial, factor in terms.items():
            result = self.ring.multiply(result, self._exp_of(monomial, factor))
        return Quotient(result)

    def _exp_of(self, monomial: Monomial, factor: Fraction) -> Polynomial:
        generators = [(self.ring.generators[place], exponent) for place, exponent in monomial]
        if {*generators} == _TURN:
            return self.ring.power_of("turn", "", factor)
        if len(generators) == 1 and generators[0][0].kind == "ln" and generators[0][1] == 1:
            return self.ring.power_of("prime", generators[0][0].key, factor)
        return self.ring.power_of("exp", monomial, factor)

    def trigonometric(self, name: str, argument: Quotient) -> Quotient:
        """A function's name and its argument → its value, in exponentials."""
        is_hyperbolic = name.endswith("h")
        half = Fraction(1, 2)
        unit = self.ring.power_of("i", "")
        turned = argument if is_hyperbolic else self.multiply(argument, Quotient(unit))
        forward = self.exp(turned)
        backward = self.exp(self.multiply(turned, rational_quotient(Fraction(-1))))
        minus = self.multiply(backward, rational_quotient(Fraction(-1)))
        cosine = self.multiply(self.add(forward, backward), rational_quotient(half))
        sine = self.multiply(self.add(forward, minus), rational_quotient(half))
        if not is_hyperbolic:
            sine = self.multiply(sine, Quotient(self.ring.scale(unit, Fraction(-1))))
        for short, top, bottom in (
            *(("sin", sine, None), ("cos", cosine, None), ("tan", sine, cosine)),
            *(("cot", cosine, sine), ("sec", None, cosine), ("csc", None, sine)),
        ):
            if name in (short, short + "h"):
                result = top or rational_quotient(Fraction(1))
                return result if bottom is None else self.multiply(result, self.invert(bottom))
        raise Unreadable

    def ln(self, argument: Quotient) -> Quotient:
        """Argument → its natural logarithm: of positive factors, the sum of theirs."""
        polynomial = argument.polynomial
        if not polynomial:
            return self.opaque("ln", argument) if polynomial is None else self.refused()
        shared = content(polynomial)
        if len(polynomial) == 1:
            ((monomial, factor),) = polynomial.items()
            kinds = [self.ring.generators[place] for place, _ in monomial]
            if factor > 0 and all(
                kind == "prime" or (kind, key) == ("exp", ()) for kind, key in kinds
            ):
                total = self.ln_of_rational(factor)
                for (kind, key), (_, exponent) in zip(kinds, monomial, strict=True):
                    part = ONE if kind == "exp" else self.ring.power_of("ln", key)
                    total = self.ring.add(total, self.ring.scale(part, exponent))
                return Quotient(total)
        primitive = self.ring.scale(polynomial, 1 / shared)
        if set(primitive) == {()}:
            raise Unreadable  # of a negative number
        rest = self.opaque("ln", Quotient(primitive))
        return self.add(Quotient(self.ln_of_rational(shared)), rest)

    def ln_of_rational(self, value: Fraction) -> Polynomial:
        """Positive rational → its natural logarithm, in logarithms of primes."""
        total: Polynomial = {}
        for prime, times in factors(value).items():
            part = self.ring.scale(self.ring.power_of("ln", prime), Fraction(times))
            total = self.ring.add(total, part)
        return total
