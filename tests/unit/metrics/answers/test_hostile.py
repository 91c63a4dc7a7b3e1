"""Texts made to hang or to crash the rules: each is left open, and soon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera_ray.metrics.answers.match import MAX_TEXT_CHARS, equal_by_rule

_TOO_MUCH = [
    "9^{9^{9^{9^{9}}}}",
    "9^{9^9}",
    "2^{10^{10}}",
    "10^{1000000}",
    "1000000!",
    "(10^{10})!",
    "((9!)!)!",
    r"\frac{1}{" * 200 + "x" + "}" * 200,
    "(" * 900 + "x" + ")" * 900,
    "(x+y+z)^{400}",
    r"\binom{10^{9}}{10^{8}}",
    r"\sin(10^{10^{8}})",
    r"\sqrt{" * 150 + "2" + "}" * 150,
    "1" * 1_900 + "!",
    r"\sum_{n=1}^{10^{9}} \sin(n)",
    "+".join(rf"\sqrt{{{n}}}" for n in range(2, 100)),
    "*".join(rf"(1+\sqrt{{{n}}})" for n in range(2, 60)),
    r"\{" + ",".join(str(n) for n in range(100)) + r"\}",
]
_UNITS = (
    *("(", "9", "9,", r"\frac", r"\text{", r"\text{{}", "^", "{a}", " ", " 1", "$", "$1", "Aa"),
    *("1/", "0.", "\\", r"\boxed{", "x^{2}", "½", "√1", "1{,}000", "H2", "km/", "1~", r"\\ ", "|"),
)


@pytest.mark.parametrize("text", _TOO_MUCH, ids=lambda text: f"{text[:20]}_{len(text)}")
def test_rule_too_much_to_compute_is_left_open(text: str) -> None:
    match = equal_by_rule(text, f"1+{text}")
    assert match is not None
    assert not match.is_equal


@pytest.mark.parametrize("unit", _UNITS)
def test_rule_long_repetitions_are_left_open(unit: str) -> None:
    text = unit * (MAX_TEXT_CHARS // len(unit) - 1)
    for other in ("x" + text, "5"):
        match = equal_by_rule(text, other)
        assert match is not None
        assert not match.is_equal


_PIECES = st.sampled_from(
    r"""
    1 2 0 x y n i e \pi + - * / ^ _ ( ) [ ] { } \{ \} , = < \le ! | \frac{1}{2} \frac \sqrt{2}
    \sqrt \sin \ln \log log \cdot \times m kg % $ \infty \cup \overline{3} ^\circ & \\ H O A
    \approx ' ~ ½ ² \binom{5}{2} e^{ ^{2} ^{-1} \tan( x^{n} 10^{300} –
    """.split()  # noqa: SIM905 - many pieces, read as pieces
)
_TEXTS = st.lists(_PIECES, min_size=1, max_size=8).map("".join)


@given(_TEXTS, _TEXTS)
def test_rule_any_texts_are_matched_alike_in_both_orders(left: str, right: str) -> None:
    forward, backward = equal_by_rule(left, right), equal_by_rule(right, left)
    if forward is None or backward is None:
        assert forward is backward
    elif "rounding" not in (forward.rule, backward.rule):
        assert forward.is_equal == backward.is_equal


@given(_TEXTS)
def test_rule_any_text_and_itself_plus_one_are_never_the_same(text: str) -> None:
    match = equal_by_rule(text, f"({text})+1")
    assert match is None or not match.is_equal
