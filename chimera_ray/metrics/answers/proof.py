"""Closed forms of numbers → proven equal by sympy, exactly; runs in a child process only.

What is proven are trees that a reader understood; no text comes here. A difference of algebraic
numbers is zero if its minimal polynomial is x; of others, if simplification by identities says so.
A value in floating point only refutes.
"""

import signal
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

from chimera_ray.metrics.answers.tree import Tree

_Sympy: TypeAlias = Any  # sympy has no types

_DIGITS = 60
_REFUTED = 1e-40


class _OutOfTime(BaseException):
    """Raised by the alarm; no `except Exception` inside sympy may keep it."""


def prepare() -> None:
    """Nothing → the heavy imports done."""
    root = Tree("root", "2", (Tree("number", "8"),))
    are_equal([(root, root)], 0)


def are_equal(pairs: list[tuple[Tree, Tree]], limit_s: float) -> bool | None:
    """Pairs of closed forms → whether each is proven equal; None if time or memory ran out.

    A limit of 0 means none. In a main thread only.
    """
    signal.signal(signal.SIGALRM, _raise_out_of_time)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return all(_is_zero(_sympy_of(left) - _sympy_of(right)) for left, right in pairs)
    except (_OutOfTime, MemoryError):
        return None
    except Exception:  # noqa: BLE001 - sympy raises of every kind; all of them mean "left open"
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _raise_out_of_time(_signal: int, _frame: object) -> None:
    raise _OutOfTime


def _is_zero(difference: _Sympy) -> bool:
    import sympy

    if not difference.is_number or difference.has(sympy.nan, sympy.zoo, sympy.oo):
        return False
    value = difference.evalf(_DIGITS, maxn=400)
    if not value.is_finite or abs(value) > _REFUTED:
        return False
    if difference.is_algebraic:
        unknown = sympy.Symbol("x")
        return bool(sympy.minimal_polynomial(difference, unknown) == unknown)
    return bool(sympy.simplify(difference) == 0)


def _sympy_of(tree: Tree) -> _Sympy:
    import sympy

    if tree.head == "number":
        value = Fraction(tree.name)
        return sympy.Rational(value.numerator, value.denominator)
    if tree.head == "constant":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I}[tree.name]
    parts = [_sympy_of(part) for part in tree.parts]
    if tree.head == "root":
        degree = int(tree.name)
        if degree % 2 and parts[0].is_negative:
            return -sympy.root(-parts[0], degree)
        return sympy.root(parts[0], degree)
    return _operations()[tree.head](*parts)


def _operations() -> dict[str, Callable[..., _Sympy]]:
    import sympy

    return {
        **{"sum": sympy.Add, "product": sympy.Mul, "power": sympy.Pow, "abs": sympy.Abs},
        **{"sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot},
        **{"sec": sympy.sec, "csc": sympy.csc, "sinh": sympy.sinh, "cosh": sympy.cosh},
        **{"tanh": sympy.tanh, "exp": sympy.exp, "ln": sympy.log, "arcsin": sympy.asin},
        **{"arccos": sympy.acos, "arctan": sympy.atan, "factorial": sympy.factorial},
        **{"binomial": sympy.binomial, "floor": sympy.floor, "ceil": sympy.ceiling},
        "quotient": lambda top, bottom: top / bottom,
        "log": lambda argument, *base: (
            sympy.log(argument) / (sympy.log(*base) if base else sympy.Symbol("b"))
        ),
    }
