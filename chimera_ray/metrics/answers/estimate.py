"""A tree → about what it comes to, in floating point: reason enough to refuse, never to accept."""

import cmath
import math
from collections.abc import Callable
from fractions import Fraction

from chimera_ray.metrics.answers.closed_forms import MAX_FACTORIAL
from chimera_ray.metrics.answers.tree import Tree, letters

_TOLERANCE = 1e-7
_ZERO = 1e-9
_POINTS = ((0.731, 1.137, 0.519), (1.913, 0.627, 2.311))
_CONSTANTS: dict[str, complex] = {"pi": math.pi, "e": math.e, "i": 1j}
_FUNCTIONS: dict[str, Callable[[complex], complex]] = {
    **{"sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "sinh": cmath.sinh},
    **{"cosh": cmath.cosh, "tanh": cmath.tanh, "exp": cmath.exp, "ln": cmath.log},
    **{"arcsin": cmath.asin, "arccos": cmath.acos, "arctan": cmath.atan, "abs": abs},
    **{name: lambda z, f=f: 1 / f(z) for name, f in (("sec", cmath.cos), ("csc", cmath.sin))},  # type: ignore[misc]
    "cot": lambda z: 1 / cmath.tan(z),
    "log": lambda z: cmath.log(z) / 1.2345,
    "factorial": lambda z: math.gamma(z.real + 1),
    "floor": lambda z: math.floor(z.real + 1e-9),
    "ceil": lambda z: math.ceil(z.real - 1e-9),
}


def are_close(left: Tree, right: Tree) -> bool | None:
    """Two trees → whether both have about the same values; None if those are too large to say."""
    names = sorted(letters(left) | letters(right))
    for start, step, bend in _POINTS if names else _POINTS[:1]:
        at = {name: start + step * i + bend * i * i / 7 for i, name in enumerate(names)}
        try:
            a, b = _value(left, at), _value(right, at)
        except OverflowError:
            return None
        except (ArithmeticError, ValueError):
            return False
        if not (cmath.isfinite(a) and cmath.isfinite(b)):
            return False
        if abs(a - b) > _TOLERANCE * max(abs(a), abs(b)):
            return False
    return True


def _value(tree: Tree, at: dict[str, float]) -> complex:
    if tree.head == "number":
        return float(Fraction(tree.name))
    if tree.head == "letter":
        return at[tree.name]
    if tree.head == "constant":
        return _CONSTANTS[tree.name]
    parts = [complex(_value(part, at)) for part in tree.parts]
    if tree.head == "sum":
        return sum(parts, 0j)
    if tree.head == "product":
        return complex(math.prod(parts))
    if tree.head == "quotient":
        if abs(parts[0]) < _ZERO and abs(parts[1]) < _ZERO:
            raise ZeroDivisionError
        return parts[0] / parts[1]
    if tree.head == "power":
        return complex(parts[0] ** (parts[1] if parts[1].imag else parts[1].real))
    if tree.head == "root":
        degree = int(tree.name)
        if degree % 2 and not parts[0].imag and parts[0].real < 0:
            return complex(-((-parts[0].real) ** (1 / degree)))
        return cmath.sqrt(parts[0]) if degree == 2 else complex(parts[0] ** (1 / degree))
    if tree.head == "binomial":
        if max(abs(part) for part in parts) > MAX_FACTORIAL:
            raise OverflowError
        return math.comb(int(parts[0].real), int(parts[1].real))
    if tree.head == "log" and len(parts) == 2:
        return cmath.log(parts[0]) / cmath.log(parts[1])
    return complex(_FUNCTIONS[tree.head](parts[0]))
