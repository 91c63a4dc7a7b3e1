r"""A reference answer and a predicted one → equal beyond doubt, or left open for a judge.

Only acceptance means something here: "not equal" never means "wrong". The rules come in this order:
choices by letter, text in normal form, numbers, quantities; then guards, which leave open what a
computer algebra system reads wrongly; then math-verify in a child process, which may only accept.
"""

import re
from collections import Counter
from typing import NamedTuple

from chimera_ray.metrics.answer_form import Number, normal_form, number, number_and_rest
from chimera_ray.metrics.answer_pool import MAX_CHARS, shared_pool

MAX_TEXT_CHARS = 20_000

_MIN_ROUNDED_DIGITS = 12
_MAX_NESTING = 30

_CHOICE = re.compile(
    r"(?:(?:option|choice|answer):? ?)?"
    r"(?:\((?P<round>[A-Ja-d])\)|\[(?P<square>[A-J])\]|(?P<plain>[A-J])(?=[.):]|\Z))[.):]?(?P<tail>.*)",
    re.DOTALL,
)
_OTHER_CHOICE = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])|\b(?:or|and|not)\b")

_FUNCTIONS = (
    *("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
    *("sin", "cos", "tan", "cot", "sec", "csc", "exp", "ln", "log"),
)
_COMMANDS = frozenset(
    r"""
    frac sqrt cdot times pi infty le ge lt gt cup cap binom begin end
    alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma
    tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega
    """.split()  # noqa: SIM905 - many words, read as words
) | frozenset(_FUNCTIONS)
_BARE_FUNCTION = re.compile(rf"(?<![A-Za-z\\])({'|'.join(_FUNCTIONS)}|pi)(?![A-Za-z])")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_MATRIX = re.compile(r"\\(begin|end)\{[pb]matrix\}")
_EXPONENT = re.compile(r"\^(-?\d+)(?![\d.])")
_PRODUCT = re.compile(r"(?<=[\d)}])\(")
_SIMPLE_ROOT = re.compile(r"(?<![A-Za-z\\])sqrt\(([^()]*)\)")
_GROUP = re.compile(r"\\[{}]|[()\[\]{},]")
_DENOMINATOR = re.compile(
    r"""/ (?: \d++(?:\.\d++)? | [A-Za-z](?![A-Za-z]) | \\pi(?![A-Za-z])
            | \\sqrt\{[^{}()]*+\} | \([^()]*+\) )
        !? (?: \^(?:\{[^{}]*+\}|\w) )? (?= [-+)=,\]}<>] | \Z )""",
    re.VERBOSE,
)
_GUARDS = (
    ("symbols", re.compile(r"[^A-Za-z0-9+\-*/^_(){}\[\]|,.=<>!\\& ]|\.\.|!!|'|\\[^A-Za-z{}\\]")),
    ("words", re.compile(r"(?<![\\A-Za-z])(?![xyz]+(?![A-Za-z]))[A-Za-z](?: ?[A-Za-z])+")),
    ("date", re.compile(r"\d+[-/]\d+[-/]\d")),
    (
        "digits",
        re.compile(
            r"\d \d|\d,\s?\d{3}(?!\d)|(?<![\d.])0\d|\d[eE][-+]?\d|[\d}] ?\\frac|\d_|[)}]_|[)}]\d"
        ),
    ),
    ("digit_after_letter", re.compile(r"(?<![\\A-Za-z])[A-Za-z] ?\d")),
    ("dimensions", re.compile(r"\d\\times ?(?!10\^)\d")),
    ("power_tower", re.compile(r"\^(?:\{[^{}]*\}|[^{}])\^")),
    ("application", re.compile(r"(?<![A-Za-z\\])(?:[fghpqFGHPQTE])(?:_\w)?\(")),
    ("transpose", re.compile(r"\^\{?(?:T|\(|\*|\\circ)")),
)


class Match(NamedTuple):
    """How two answers compare."""

    is_equal: bool
    """True: the same answer. False: left open, never "different"."""
    rule: str
    """The rule that accepted, or the guard that left it open."""


async def match_answer(reference: str, predicted: str) -> Match:
    """Reference and predicted answer → equal, if a rule or the guarded math-verify says so."""
    match = equal_by_rule(reference, predicted)
    if match is not None:
        return match
    left, right = algebra_form(normal_form(reference)), algebra_form(normal_form(predicted))
    accepted = await shared_pool().accepts(left, right)
    return Match(True, "math_verify") if accepted else Match(False, "open")


def equal_by_rule(reference: str, predicted: str) -> Match | None:
    """Reference and predicted answer → their match, or None where only algebra can tell.

    Linear in both texts; no child process is asked.
    """
    if max(len(reference), len(predicted)) > MAX_TEXT_CHARS:
        return Match(False, "too_long")
    left, right = normal_form(reference), normal_form(predicted)
    if not left or not right:
        return Match(False, "empty")
    choices = _choice(left), _choice(right)
    if any(choices):
        is_equal = left == right or (choices[0] == choices[1] and "?" not in choices)
        return Match(is_equal, "choice")
    if left == right:
        return Match(True, "text")
    if (value := number(left)) and (other := number(right)):
        return Match(_is_same_number(value, other), "number")
    if _is_same_quantity(left, right):
        return Match(True, "quantity")
    guard = _guard(algebra_form(left), algebra_form(right))
    return Match(False, guard) if guard else None


def algebra_form(form: str) -> str:
    """Normal form → LaTeX for the algebra: functions are commands, exponents have braces.

    A product of brackets gets its dot, since latex2sympy reads "3(4)" as three and four.
    """
    form = _SIMPLE_ROOT.sub(r"\\sqrt{\1}", form)
    form = _BARE_FUNCTION.sub(r"\\\1 ", form)
    return _PRODUCT.sub(r"\\cdot (", _EXPONENT.sub(r"^{\1}", form))


def _choice(form: str) -> str | None:
    """Normal form → the letter of the choice it names, "?" if it names several, or None."""
    match = _CHOICE.match(form)
    if match is None:
        return None
    letter = (match["round"] or match["square"] or match["plain"]).upper()
    tail = match["tail"].strip()
    if not tail:
        return letter
    if form[match.start("tail") - 1] not in ".):":
        return None
    return "?" if _OTHER_CHOICE.search(tail) else letter


def _is_same_number(left: Number, right: Number) -> bool:
    if left.value == right.value:
        return True
    if left.num_digits is None or right.num_digits is None:
        return False  # an integer or a fraction is exact: 0.333333 is not 1/3
    coarse, fine = sorted((left, right), key=lambda written: written.num_digits or 0)
    is_rounded = (
        coarse.num_digits or 0
    ) >= _MIN_ROUNDED_DIGITS and coarse.last_place > fine.last_place
    return is_rounded and abs(left.value - right.value) * 2 <= coarse.last_place


def _is_same_quantity(left: str, right: str) -> bool:
    quantities = number_and_rest(left), number_and_rest(right)
    if quantities[0] is None or quantities[1] is None or "/" in left[:20] + right[:20]:
        return False  # "1/2x" has two readings
    (value, unit), (other_value, other_unit) = quantities[0], quantities[1]
    has_unit = unit[:1].isalpha() or unit.startswith(("^\\circ", "\\"))
    return has_unit and unit == other_unit and _is_same_number(value, other_value)


def _guard(left: str, right: str) -> str | None:
    """Two algebra forms → the name of the guard that leaves them open, if one does."""
    if max(len(left), len(right)) > MAX_CHARS:
        return "too_long"
    for form in (left, right):
        name = _guard_one(form)
        if name:
            return name
    if _groups(left) != _groups(right):
        return "brackets"
    if any((rf"\log{sign}" in left) != (rf"\log{sign}" in right) for sign in ("", "_")):
        return "log_base"
    has_decimals = [bool(re.search(r"\.\d{5}", form)) for form in (left, right)]
    return "long_decimal" if has_decimals[0] != has_decimals[1] else None


def _guard_one(form: str) -> str | None:
    plain = _MATRIX.sub(" ", form)
    if plain != form:
        plain = plain.replace(r"\\", " , ")  # the rows of a matrix
    for command in _COMMAND.findall(plain):
        if command not in _COMMANDS or command in ("begin", "end"):
            return "command"
    bare = _COMMAND.sub(" \\\\ ", plain).replace("\\ ", "+")
    for name, pattern in _GUARDS:
        if pattern.search(bare if name in ("words", "digit_after_letter") else plain):
            return name
    if plain.count("/") != len(_DENOMINATOR.findall(plain)):
        return "denominator"
    if len({letter for letter in bare if letter.isupper()}) > 1:
        return "capitals"  # matrices and operators need not commute
    groups = _groups(form)
    return "brackets" if groups is None or groups["bare", ","] or form.count("|") % 2 else None


def _groups(form: str) -> Counter[tuple[str, str]] | None:
    """Form → how many commas stand in which kind of bracket, None if a bracket is left open."""
    commas: Counter[tuple[str, str]] = Counter()
    pending: list[tuple[str, int]] = []
    num_bare = 0
    for mark in _GROUP.findall(form):
        if mark in ("(", "[", "{", r"\{"):
            pending.append((mark, 0))
            if len(pending) > _MAX_NESTING:
                return None
        elif mark == ",":
            if pending:
                pending[-1] = (pending[-1][0], pending[-1][1] + 1)
            else:
                num_bare += 1
        elif not pending:
            return None
        else:
            opening, num_commas = pending.pop()
            if (opening in "([") != (mark in ")]") or (opening == "{") != (mark == "}"):
                return None
            if num_commas:
                commas[opening + mark, "," * num_commas] += 1
    if num_bare:
        commas["bare", ","] = num_bare
    return None if pending else commas
