"""What hides a copy is undone, and what means something stays."""

import pytest

from chimera_ray.metrics.look_alikes import as_it_looks, in_one_script


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("pr\u200bi\u00adm\u2060e", "prime"),
        ("\u202eprime\u2066", "prime"),
        ("p\u0301\u0323r\u0336ime\u034f", "prime"),
        ("ｐｒｉｍｅ　１７", "prime 17"),
        ("𝐩𝑟𝒊𝓂𝔢", "prime"),
        ("ᴘʀɪᴍᴇ", "prime"),
        ("ﬁnite\ufe0f", "finite"),
        ("рrіmе оf", "prime of"),
        ("Αrea οf τhe disc", "Area of the disc"),
        ("αn αrea", "an area"),
        ("the angle α and sinα, 2α", "the angle α and sinα, 2α"),
        ("a product $αxy$", "a product $αxy$"),
        ("ℝ and ≠", "\\mathbb{R} and ≠"),
        ("= \u0338a =\u0338 b", "= a ≠ b"),
        ("Найдите сумму корней x", "Наидите сумму корнеи x"),
        ("naïve Gödel", "naive Godel"),
        ("か が", "か が"),
        ("x²⁰", "x^20"),
        ("٤٢", "42"),
    ],
)
def test_in_one_script_is_what_a_reader_sees(text: str, plain: str) -> None:
    assert in_one_script(as_it_looks(text)) == plain


@pytest.mark.parametrize("unit", ["\u0301\u0323", "\u05b0\u05b1", "=\u0338", "αx", "й", "²"])
def test_as_it_looks_repetition_grows_no_more_than_the_text(unit: str) -> None:
    once, often = (in_one_script(as_it_looks("a " + unit * count)) for count in (100, 1_000))
    assert len(often) <= 10 * len(once)
