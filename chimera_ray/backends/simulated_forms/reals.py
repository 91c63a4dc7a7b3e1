"""Answers that are sets of real numbers: intervals, unions, inequalities, excluded points."""

from collections.abc import Iterator
from random import Random

from chimera_ray.backends.simulated_forms.notation import latex, summed
from chimera_ray.backends.simulated_forms.question import Question, posed

_LE = (r"\le", r"\leq", "<=", "≤")
_LT = ("<", r"\lt", "<", "<")


def interval(rng: Random) -> Question:
    """Where a root and a logarithm are both defined: a bounded, half-open interval."""
    low, high = sorted(rng.sample(range(-30, 31), 2))
    is_low_open = rng.random() < 0.5
    truth = (low, high, is_low_open, not is_low_open)
    slips = [(low, high, not is_low_open, is_low_open), (low, high, True, True)]
    slips += [(low, high, False, False), (low - 1, high, *truth[2:]), (low, high + 1, *truth[2:])]
    slips += [(-high, -low, *truth[2:])]
    inner, outer = summed([(1, "x"), (-low, "")]), summed([(-1, "x"), (high, "")])
    names = ("logarithm", "square root") if is_low_open else ("square root", "logarithm")
    return posed(
        "interval",
        f"For which real numbers x are the {names[0]} of {inner} and the {names[1]} of {outer} "
        "both real? Give an interval.",
        ["A logarithm needs a positive number, a square root one that is not negative."],
        _spelled_interval,
        truth,
        slips,
    )


def _spelled_interval(value: tuple[int, int, bool, bool]) -> Iterator[str]:
    low, high, is_low_open, is_high_open = value
    left, right = "(" if is_low_open else "[", ")" if is_high_open else "]"
    yield from (f"{left}{low}, {high}{right}", f"{left}{low},{high}{right}")
    yield rf"\left{left}{low}, {high}\right{right}"
    yield rf"x \in {left}{low}, {high}{right}"
    for le, lt in zip(_LE, _LT, strict=True):
        yield f"{low} {lt if is_low_open else le} x {lt if is_high_open else le} {high}"


def union(rng: Random) -> Question:
    """Where a quadratic is not negative, or positive: two rays."""
    low, high = sorted(rng.sample(range(-25, 26), 2))
    is_open = rng.random() < 0.5
    truth = (low, high, is_open, True)
    slips = [(low, high, not is_open, True), (low, high, is_open, False)]
    slips += [(low - 1, high, is_open, True), (low, high + 1, is_open, True)]
    slips += [(-high, -low, is_open, True)]
    said = summed([(1, "x^2"), (-low - high, "x"), (low * high, "")])
    return posed(
        "union",
        f"For which real x is {said} {'positive' if is_open else 'positive or zero'}?",
        ["The parabola opens upward.", f"Its roots add up to {low + high}."],
        _spelled_union,
        truth,
        slips,
    )


def _spelled_union(value: tuple[int, int, bool, bool]) -> Iterator[str]:
    low, high, is_open, is_outside = value
    left, right = ("(", ")") if is_open else ("[", "]")
    less, more = ("<", ">") if is_open else (r"\le", r"\ge")
    if not is_outside:
        yield from (f"{left}{low}, {high}{right}", f"{low} {less} x {less} {high}")
        return
    rays = rf"(-\infty, {low}{right}", rf"{left}{high}, \infty)"
    yield from (rf"{rays[0]} \cup {rays[1]}", rf"{rays[1]} \cup {rays[0]}")
    yield f"(-∞, {low}{right} ∪ {left}{high}, ∞)"
    yield rf"x {less} {low} \text{{ or }} x {more} {high}"
    yield rf"x \in (-\infty,{low}{right}\cup{left}{high},\infty)"


def inequality(rng: Random) -> Question:
    """A linear inequality with one unknown."""
    factor, bound = rng.choice((-1, 1)) * rng.randint(2, 9), rng.randint(-20, 20)
    shift, is_strict = rng.randint(1, 30), rng.random() < 0.5
    bound = bound or 5
    is_less = factor < 0
    truth = (bound, is_less, is_strict)
    slips = [(bound, not is_less, is_strict), (bound, is_less, not is_strict)]
    slips += [(-bound, is_less, is_strict), (bound + 1, is_less, is_strict)]
    sign = ">" if is_strict else ">="
    said = summed([(factor, "x"), (shift, "")])
    return posed(
        "inequality",
        f"Solve {said} {sign} {factor * bound + shift} for real x.",
        [f"Subtract {shift} on both sides.", f"Divide by {factor}, and mind its sign."],
        _spelled_inequality,
        truth,
        slips,
    )


def _spelled_inequality(value: tuple[int, bool, bool]) -> Iterator[str]:
    bound, is_less, is_strict = value
    signs = ("<", ">") if is_strict else (r"\le", r"\ge")
    here, there = signs if is_less else signs[::-1]
    yield from (f"x {here} {bound}", f"{bound} {there} x")
    plain = {"<": "<", ">": ">", r"\le": "<=", r"\ge": ">="}[here]
    yield f"x {plain} {bound}"
    left, right = ("(", ")") if is_strict else ("[", "]")
    ray = rf"(-\infty, {bound}{right}" if is_less else rf"{left}{bound}, \infty)"
    yield from (ray, rf"x \in {ray}")


def excluded(rng: Random) -> Question:
    """The one point at which a fraction is not defined."""
    factor, point = rng.randint(1, 9), rng.choice((-1, 1)) * rng.randint(2, 40)
    truth = ("ne", point)
    slips = [("eq", point), ("ne", -point), ("gt", point), ("ne", point + 1), ("factorial", point)]
    said = summed([(factor, "x"), (-factor * point, "")])
    return posed(
        "excluded",
        f"For which real x is {latex(rng.randint(2, 50))}/({said}) defined? Give the condition.",
        ["A denominator must not vanish."],
        _spelled_condition,
        truth,
        slips,
    )


def _spelled_condition(value: tuple[str, int]) -> Iterator[str]:
    relation, point = value
    signs = {
        "ne": (r"\neq", r"\ne", "≠", "!="),
        "eq": ("=",),
        "gt": (">", r"\gt"),
        "factorial": ("! =",),
    }[relation]
    yield from (f"x{'' if sign == '! =' else ' '}{sign} {point}" for sign in signs)
    if relation == "ne":
        yield rf"x \in \mathbb{{R}} \setminus \{{{point}\}}"
        yield f"all real x except {point}"
