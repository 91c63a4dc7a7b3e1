"""Rational → its prime factors, as far as small primes reach; the rest counts as one."""

from fractions import Fraction
from functools import cache
from math import isqrt

from chimera_ray.metrics.answers.tree import Unreadable

_LIMIT = 4_000
_MAX_BITS = 2_000


@cache
def _small_primes() -> tuple[int, ...]:
    sieve = bytearray([1]) * _LIMIT
    for number in range(2, isqrt(_LIMIT) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, _LIMIT, number)))
    return tuple(number for number in range(2, _LIMIT) if sieve[number])


def factors(value: Fraction) -> dict[int, int]:
    """Positive rational → factors, small primes and at most two others, each with its exponent."""
    found = _factors(value.numerator)
    for factor, times in _factors(value.denominator).items():
        found[factor] = found.get(factor, 0) - times
    return found


def _factors(number: int) -> dict[int, int]:
    if number.bit_length() > _MAX_BITS:
        raise Unreadable
    found: dict[int, int] = {}
    for prime in _small_primes():
        if prime * prime > number:
            break
        while number % prime == 0:
            found[prime] = found.get(prime, 0) + 1
            number //= prime
    root = isqrt(number)
    if number > 1 and root * root == number:
        found[root] = found.get(root, 0) + 2
    elif number > 1:
        found[number] = found.get(number, 0) + 1
    return found
