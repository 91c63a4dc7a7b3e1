r"""Two LaTeX answers → equal, if math-verify and a second, exact comparison both say so.

It runs in a child process only (see `answer_pool`): sympy may take any time and memory. math-verify
alone takes any two tiny numbers for equal, and (1,1) for (2,2), both empty as intervals: hence the
second comparison, which trusts no rounding. Parsing is latex2sympy's, with neither its lower-casing
of symbols nor its reading of "3(4)" as a mixed number.
"""

import signal
from typing import Any, TypeAlias

_Sympy: TypeAlias = Any  # sympy has no types

_DIGITS = 40
_TOLERANCE = 1e-25
_MAX_ELEMENTS = 64


class _OutOfTime(BaseException):
    """Raised by the alarm; no `except Exception` inside sympy may keep it."""


def prepare() -> None:
    """Nothing → the heavy imports done, and the grammar warm."""
    import logging

    import math_verify  # noqa: F401 - imported before the clock runs

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    is_equal(r"\frac{1}{2}x", "x/2", 0)


def is_equal(reference: str, predicted: str, limit_s: float) -> bool | None:
    """Two LaTeX answers → equal or not, or None if time or memory ran out; main thread only.

    A limit of 0 means none.
    """
    signal.signal(signal.SIGALRM, _raise_out_of_time)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return _is_equal(reference, predicted)
    except (_OutOfTime, MemoryError):
        return None
    except Exception:  # noqa: BLE001 - sympy raises of every kind; all of them mean "left open"
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _raise_out_of_time(_signal: int, _frame: object) -> None:
    raise _OutOfTime


def _is_equal(reference: str, predicted: str) -> bool:
    from math_verify import verify

    gold, target = _parse(reference), _parse(predicted)
    if not _is_same(gold, target):
        return False
    return bool(verify(gold, target, timeout_seconds=None))


def _parse(text: str) -> _Sympy:
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy

    config = ConversionConfig(
        interpret_as_mixed_fractions=False, interpret_contains_as_eq=False, lowercase_symbols=False
    )
    return latex2sympy(text, is_real=True, normalization_config=None, conversion_config=config)


def _is_same(a: _Sympy, b: _Sympy) -> bool:
    """Two sympy objects → the same kind with the same parts, every number to 25 digits."""
    import sympy
    from sympy.core.relational import Relational

    if isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase):
        return a.shape == b.shape and _all_same(list(a), list(b))
    if isinstance(a, sympy.Tuple) and isinstance(b, sympy.Tuple):
        return _all_same(list(a.args), list(b.args))
    if isinstance(a, sympy.Interval) and isinstance(b, sympy.Interval):
        flags = (a.left_open, a.right_open) == (b.left_open, b.right_open)
        return bool(flags) and _all_same([a.start, a.end], [b.start, b.end])
    for kind in (sympy.FiniteSet, sympy.Union, sympy.And):
        if isinstance(a, kind) and isinstance(b, kind):
            return _same_in_any_order(list(a.args), list(b.args))
    if isinstance(a, Relational) and isinstance(b, Relational):
        return _is_same_relation(a, b)
    if isinstance(a, sympy.Eq) != isinstance(b, sympy.Eq):
        named, other = (a, b) if isinstance(a, sympy.Eq) else (b, a)
        # "x = 5" for "5", but not "2 + 2 = 5".
        return isinstance(named.lhs, sympy.Symbol) and _is_same(named.rhs, other)
    return isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr) and _is_same_value(a, b)


def _all_same(a: list[_Sympy], b: list[_Sympy]) -> bool:
    return len(a) == len(b) <= _MAX_ELEMENTS and all(map(_is_same, a, b))


def _same_in_any_order(a: list[_Sympy], b: list[_Sympy]) -> bool:
    if not 0 < len(a) == len(b) <= _MAX_ELEMENTS:
        return False
    left = list(b)
    for element in a:
        position = next((i for i, other in enumerate(left) if _is_same(element, other)), None)
        if position is None:
            return False
        del left[position]
    return True


def _is_same_relation(a: _Sympy, b: _Sympy) -> bool:
    """Two relations → one is the other, turned round or multiplied by a number."""
    import sympy

    if a.rel_op != b.rel_op:
        b = b.reversed
    if a.rel_op != b.rel_op:
        return False
    first, second = _exact(a.lhs - a.rhs), _exact(b.lhs - b.rhs)
    ratio = sympy.simplify(first / second)
    if not ratio.is_number or not ratio.is_finite or ratio.is_zero is not False:
        return False
    is_equation = isinstance(a, sympy.Eq)
    has_unknown = bool(first.free_symbols) and bool(second.free_symbols)
    return (
        has_unknown
        and (is_equation or bool(ratio.is_positive))
        and _is_same_value(first, second * ratio)
    )


def _is_same_value(a: _Sympy, b: _Sympy) -> bool:
    """Two expressions → equal to 25 digits at every point tried, or the same infinity."""
    import sympy
    from sympy.core.function import AppliedUndef

    if a == b:
        return not a.has(sympy.nan, sympy.zoo)
    if a.has(AppliedUndef) or b.has(AppliedUndef):
        return False
    a, b = _exact(a), _exact(b)
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    checks = [
        _is_same_at(a, b, dict(zip(symbols, point, strict=True))) for point in _points(len(symbols))
    ]
    known = [check for check in checks if check is not None]
    return len(known) >= min(2, len(checks)) and all(known)


def _is_same_at(a: _Sympy, b: _Sympy, point: dict[_Sympy, _Sympy]) -> bool | None:
    values = [expression.subs(point).evalf(_DIGITS) for expression in (a, b)]
    if not all(value.is_number and value.is_finite for value in values):
        return None
    left, right = values
    if left == 0 or right == 0:
        return bool(left == right)
    return bool(abs(left - right) <= _TOLERANCE * abs(right))


def _points(num_symbols: int) -> list[list[_Sympy]]:
    """Count of symbols → three points without pattern: small, large, and of mixed sign."""
    from sympy import Rational, prime

    if num_symbols == 0:
        return [[]]
    small = [Rational(prime(i + 3), prime(i + 9)) for i in range(num_symbols)]
    large = [Rational(prime(i + 12), prime(i + 2)) for i in range(num_symbols)]
    mixed = [value * (-1) ** (i + 1) for i, value in enumerate(large)]
    return [small, large, mixed]


def _exact(expression: _Sympy) -> _Sympy:
    """Expression → the same with decimals as the rationals that were written."""
    from sympy import Float, Rational

    floats = {number: Rational(str(number)) for number in expression.atoms(Float)}
    return expression.xreplace(floats)
