"""The forms of answers: what is spelled as true is true, by a count of the text's own numbers."""

import cmath
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from chimera_ray.backends.simulated_answers import (
    is_in_blind_spot,
    is_true_answer,
    same_answer,
    variant_of,
    wrong_answer,
)
from chimera_ray.backends.simulated_forms.entries import FORM_ENTRIES
from chimera_ray.backends.simulated_world import Item, make_item

NUM_SEEDS = 120


def _items() -> Mapping[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for task in FORM_ENTRIES:
        for seed in range(NUM_SEEDS):
            item = make_item(task, seed)
            found.setdefault(item.form, []).append(item)
    return found


ITEMS = _items()
each_form = pytest.mark.parametrize("form", sorted(ITEMS))


def test_forms_are_many_and_each_is_met_often() -> None:
    assert len(ITEMS) >= 45
    assert min(map(len, ITEMS.values())) >= 15


@each_form
def test_form_every_spelling_of_the_truth_is_true_and_no_other(form: str) -> None:
    for item in ITEMS[form]:
        true, *wrong = item.values
        assert len(true) >= 3, item
        assert len(wrong) >= 2, item
        for spelling in true:
            assert is_true_answer(item, spelling), (spelling, item)
            assert is_true_answer(item, f" ${spelling}$. "), (spelling, item)
        for spellings in wrong:
            for spelling in spellings:
                assert not is_true_answer(item, spelling), (spelling, item)
                assert same_answer(item, spelling, spellings[0]), (spelling, item)
        for one, two in pairwise(wrong):
            assert not same_answer(item, one[0], two[0]), item


@each_form
def test_form_draws_true_and_wrong_spellings_of_its_own(form: str) -> None:
    item = ITEMS[form][0]
    rng = Random(3)
    assert {variant_of(item, rng) for _ in range(300)} == set(item.values[0])
    wrong = {wrong_answer(item, seed) for seed in range(2_000)}
    assert wrong == {spelling for spellings in item.values[1:] for spelling in spellings}


@each_form
def test_form_problem_and_steps_do_not_name_the_answer(form: str) -> None:
    for item in ITEMS[form]:
        said = " ".join(item.steps)
        assert not any(len(answer) > 4 and answer in said for answer in item.values[0]), item


@each_form
def test_form_answer_of_nobodys_is_neither_true_nor_another(form: str) -> None:
    item = ITEMS[form][0]
    for text in ("", "I do not know", f"{item.answer} or so", f"not {item.answer}"):
        assert not is_true_answer(item, text)
        assert same_answer(item, text, f" {text}")


# ---- what plausible wrong answers look like -------------------------------------------------


@pytest.mark.parametrize(
    ("form", "true", "wrong"),
    [
        ("choice", r"\(C\) 17 m/s", r"\(C\) (?!17)\d+ m/s"),
        ("choice", r"\(C\) 17 m/s", r"\([ABD]\) 17 m/s"),
        ("selection", r"\(a\), \(c\)", r"\(a\), \(b\)"),
        ("parts", r"\(a\) \d+, \(b\) \d+", r"\(a\) \d+"),
        ("multiset", r"-?\d+ \(multiplicity 2\), -?\d+", r"-?\d+, -?\d+ \(multiplicity 2\)"),
        ("ordinal", r"\\omega\+\d+", r"1\+\\omega"),
        ("special_value", r"\d+J_7\(3\)", r"\d+J_3\(7\)"),
        ("inverse_value", r"f\^\{-1\}\((\d+)\)", r"\d+f\^\{-1\}\(1\)"),
        ("logarithm", r"log2\(\d+\)", r"\\ln \d+"),
        ("value_with_e", r"\d+e - 1", r"\d\.\d"),
        ("proposition", r"~p \\vee q", r"p \\lor q"),
        ("unit", r"\d+ Cal", r"\d+ cal"),
        ("unit", r"\d+ mW", r"\d+ MW"),
        ("unit", r"\d+ S", r"\d+ s"),
        ("time_signature", "3/4", "6/8"),
        ("year_span", r"\d+-\d+", r"-\d+"),
        ("excluded", "x != 2", "x! = 2"),
        ("spaces", r"S\^1 \\times S\^1", r"S\^2"),
        ("group_word", r"xyx\^\{-1\}y\^\{-1\}", r"yxy\^\{-1\}x\^\{-1\}"),
        ("group_word", r"xyx\^\{-1\}y\^\{-1\}", "1"),
        ("spin_product", r"\d*\\sigma_x\\sigma_y", r"\d*\\sigma_y\\sigma_x"),
        ("cross_product", r"\d+ r \\times p", r"-\d+ r \\times p"),
        ("operator_product", "[A-Z]{3}", "[A-Z]{2}"),
        ("large_root", r"\\sqrt\{2\^\{\d+\}\+1\}", r"2\^\{\d+\}"),
        ("tiny_term", r"x\^\{2\}\+2\^\{-\d+\}", r"x\^\{2\}"),
        ("name", r"J\. S\. Bach", r"J\. S\. Mill"),
        ("species", r"E\. coli", r"E\. faecalis"),
        ("alkene", r"\(E\)-but-2-ene", r"\(Z\)-but-2-ene"),
        ("formula", r"NO\d?", r"No\d?"),
        ("fraction", r"\d/\d+", r"0\.\d+"),
    ],
    ids=lambda text: text[:24],
)
def test_form_some_item_has_this_slip(form: str, true: str, wrong: str) -> None:
    tasks = [task for task in FORM_ENTRIES if form in {i.form for i in _first(task)}]
    items = (make_item(task, seed) for seed in range(2_500) for task in tasks)
    assert any(_spells(item.values[:1], true) and _spells(item.values[1:], wrong) for item in items)


def _first(task: str) -> Iterator[Item]:
    return (make_item(task, seed) for seed in range(40))


def _spells(values: tuple[tuple[str, ...], ...], pattern: str) -> bool:
    return any(re.fullmatch(pattern, text) for spellings in values for text in spellings)


# ---- truth, from the numbers in the text ----------------------------------------------------


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"-?\d+", text.partition("\n\n(")[0])]


def _value(text: str) -> complex:
    """An answer in plain LaTeX → its value."""
    text = re.sub(r"\\[d]?frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))", text)
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)", text)
    text = re.sub(r"\\log_\{(\d+)\}\((\d+)\)", r"(log(\2)/log(\1))", text)
    text = re.sub(r"(?<=\d)(?=[(a-z\\])", "*", text.replace("\\pi", "pi").replace("^", "**"))
    text = text.replace("{", "(").replace("}", ")").replace("\\times", "*")
    known = {"sqrt": cmath.sqrt, "log": math.log, "pi": math.pi, "e": math.e, "i": 1j}
    return complex(eval(text, {"__builtins__": {}}, known))


def _root(n: list[int]) -> float:
    return math.hypot(*n[:3])


def _cone(n: list[int]) -> float:
    return math.pi * n[0] ** 2 * n[1] / 3


def _hours(n: list[int]) -> float:
    return math.log(n[2] / n[0]) / math.log(n[1])


def _both(n: list[int]) -> float:
    return n[0] / n[1] * n[2] / n[3]


def _litres(item: Item) -> float:
    each = re.search(r"holds ([\d.]+) \\times 10\^\{(-?\d+)\}", item.problem)
    count = re.search(r"do (\d+) litres", item.problem)
    assert each
    assert count
    return float(each[1]) * 10.0 ** int(each[2]) * int(count[1])


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("root", _root),
        ("multiple_of_pi", _cone),
        ("logarithm", _hours),
        ("fraction", _both),
    ],
    ids=["root", "multiple_of_pi", "logarithm", "fraction"],
)
def test_form_number_is_what_its_text_asks_for(
    form: str, expected: Callable[[list[int]], float]
) -> None:
    for item in ITEMS[form]:
        assert _value(item.answer) == pytest.approx(expected(_numbers(item.problem))), item


def test_form_scientific_is_what_its_text_asks_for() -> None:
    for item in ITEMS["scientific"]:
        assert _value(item.answer) == pytest.approx(_litres(item)), item


def test_form_value_with_e_is_the_integral() -> None:
    x = np.linspace(0, 1, 20_001)
    for item in ITEMS["value_with_e"]:
        bracket = re.search(r"of \((.*?)\) e\^x", item.problem)
        assert bracket
        slope, constant = re.fullmatch(r"(\d*)x \+ (\d+)", bracket[1]).groups()  # type: ignore[union-attr]
        integral = np.trapezoid((int(slope or 1) * x + int(constant)) * np.exp(x), x)
        assert _value(item.answer) == pytest.approx(float(integral), rel=1e-6), item


def test_form_rounded_is_rounded_half_up_and_not_cut() -> None:
    for item in ITEMS["rounded"]:
        area, places = _numbers(item.problem)[:2]
        assert item.answer == f"{math.sqrt(area):.{places}f}", item


def test_form_percentage_and_ratio_are_exact() -> None:
    for item in ITEMS["percentage"]:
        total, part = _numbers(item.problem)[:2]
        assert Fraction(item.answer.rstrip("%")) == Fraction(100 * part, total), item
    for item in ITEMS["ratio"]:
        seen = _numbers(item.problem)
        shares = [int(share) for share in item.answer.split(":")]
        assert math.gcd(*shares) == 1
        assert {Fraction(a, b) for a, b in zip(seen, shares, strict=True)} == {
            Fraction(seen[0], shares[0])
        }


def test_form_date_is_so_many_days_later() -> None:
    for item in ITEMS["date"]:
        found = re.search(r"on (\d+) (\w+) (\d+) .*? (\d+) days", item.problem)
        assert found
        month = datetime.strptime(found[2], "%B").month
        day = date(int(found[3]), month, int(found[1])) + timedelta(int(found[4]))
        assert day.isoformat() in item.values[0], item


def test_form_sets_are_the_roots_of_the_text() -> None:
    for item in ITEMS["finite_set"]:
        body = re.search(r"with (.*) = 0", item.problem)
        assert body
        for root in _numbers(item.answer):
            signs = body[1].replace("^", "**")
            said = re.sub(r"(\d)x", r"\1*x", signs).replace("x", f"({root})")
            assert eval(said) == 0, item
        assert len(set(_numbers(item.answer))) == 3


def test_form_multisets_are_the_eigenvalues_of_the_text() -> None:
    for item in ITEMS["multiset"]:
        rows = re.search(r"\[\[.*?\]\]", item.problem)
        assert rows
        found = np.linalg.eigvals(np.array(eval(rows[0]), float)).real
        assert sorted(_numbers(item.answer)) == pytest.approx(sorted(found), abs=1e-3), item


def test_form_matrix_is_the_product_in_this_order() -> None:
    for item in ITEMS["matrix"]:
        n = _numbers(item.problem)
        one, two = np.reshape(n[:4], (2, 2)), np.reshape(n[4:8], (2, 2))
        assert _numbers(item.answer) == (one @ two).ravel().tolist(), item


def test_form_point_solves_the_system() -> None:
    for item in ITEMS["point"]:
        n = _numbers(item.problem)
        matrix = [[1, n[0], n[1]], [0, 1, n[3]], [0, 0, n[5]]]
        assert np.matmul(matrix, _numbers(item.answer)).tolist() == [n[2], n[4], n[6]], item


def test_form_complex_is_the_product() -> None:
    for item in ITEMS["complex"]:
        said = re.search(r"product of (.*?) and (.*?),", item.problem)
        assert said
        one, two = (_value(re.sub(r"(?<![\d])i", "1i", part)) for part in said.groups())
        assert _value(re.sub(r"(?<![\d])i", "1i", item.answer)) == one * two, item


def test_form_polynomial_is_the_product_at_a_point() -> None:
    for item in ITEMS["polynomial"]:
        said = re.search(r"product of (.*?) and (.*?) as", item.problem)
        assert said
        left, right, answer = (_at_a_point(text) for text in (*said.groups(), item.answer))
        assert left * right == answer, item


def _at_a_point(text: str) -> int:
    places = {letter: place + 11 for place, letter in enumerate("xyuvabst")}
    said = re.sub(r"(?<=[\da-z])(?=[a-z])", "*", text).replace("^", "**")
    return int(eval(said, {"__builtins__": {}}, places))


def test_form_permutation_applies_the_second_first() -> None:
    for item in ITEMS["permutation"]:
        said = re.search(r"s = (\S.*?) and t = (.*?) in the", item.problem)
        assert said
        one, two = (_images(text) for text in said.groups())
        images = _images(item.answer)
        assert [images[n] for n in range(1, 6)] == [one[two[n]] for n in range(1, 6)], item


def _images(cycles: str) -> dict[int, int]:
    images = {n: n for n in range(1, 6)}
    for cycle in re.findall(r"\(([\d ]+)\)", cycles):
        points = [int(point) for point in cycle.split()]
        images |= dict(zip(points, points[1:] + points[:1], strict=True))
    return images


def test_form_selection_and_reason_follow_from_division() -> None:
    for item in ITEMS["selection"]:
        number, *divisors = _numbers(item.problem)
        true = {x for x, d in zip("abcd", divisors, strict=True) if number % d == 0}
        assert set(re.findall("[a-d]", item.answer)) == true, item
    for item in ITEMS["yes_or_no"]:
        number, divisor = _numbers(item.problem)[:2]
        said = "No" if number % divisor else "Yes"
        assert item.answer == f"{said}, the remainder is {number % divisor}", item


def test_form_line_meets_both_points() -> None:
    for item in ITEMS["line"]:
        x1, y1, x2, y2 = _numbers(item.problem)[:4]
        right = re.sub(r"(\d)x", r"\1*x", item.answer.removeprefix("y = "))
        assert [eval(right, {"x": x}) for x in (x1, x2)] == [y1, y2], item


# ---- blind spots ----------------------------------------------------------------------------


def test_blind_spot_is_the_same_for_one_seed_and_holds_its_rate() -> None:
    items = [item for found in ITEMS.values() for item in found]
    small, large = ([is_in_blind_spot(item, rate, 1) for item in items] for rate in (0.1, 0.3))
    other = [is_in_blind_spot(item, 0.3, 2) for item in items]
    assert all(inner <= outer for inner, outer in zip(small, large, strict=True))
    assert 0.07 < np.mean(small) < 0.13 < 0.26 < np.mean(large) < 0.34
    assert 0.06 < np.mean([a and b for a, b in zip(large, other, strict=True)]) < 0.13
    assert not any(is_in_blind_spot(item, 0, 1) for item in items)
