"""Two texts of one problem, and two problems of one text."""

import pytest

from chimera_ray.metrics.problem_index import ProblemIndex
from chimera_ray.metrics.same_problem import changed_words, read_problem


def _changed(a: str, b: str, most: int = 0) -> int | None:
    there, back = (
        changed_words(read_problem(one), read_problem(other), most)
        for one, other in ((a, b), (b, a))
    )
    assert there == back
    return there


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Find $x$ if $x^2 = 9$.", r"Find \(x\) if \[x^{2}=9\]."),
        ("Find $x$ if $2x + 3y = 9$.", "Find $a$ if $2a + 3b = 9$."),
        ("Let $x > 0$. Let $y > x$. Find $y - x$.", "Let $b > a$. Let $a > 0$. Find $b - a$."),
        ("Let $n$ be odd. Find $n$", "Find $n$ Let $n$ be odd."),
        (r"Compute $\frac{1}{2} \cdot \alpha$.", "Compute $\\frac12⋅α$."),
        ("Find three primes.", "Find 3 primes."),
        ("Now find the primes below 50.", "Please find primes below 50."),
        ("It costs $5 and sells for $7. Why?", "It costs \\$5 and sells for \\$7. Why?"),
        ("Triangle ABC has AB = 5. Find BC.", "Triangle PQR has PQ = 5. Find QR."),
        (r"A rod of length $x$ is $5\,\text{m}$ long.", r"A rod of length $q$ is $5$ m long."),
        ("find the sum of 12 and 30", "FIND THE SUM OF 12 AND 30"),
        ("Find the sum of 12 and 30.", "Fіnd the\u200b su\u00adm оf １２ and 30."),
    ],
)
def test_changed_words_another_guise_is_the_same(a: str, b: str) -> None:
    assert _changed(a, b) == 0


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Find the sum of 12 and 30.", "Find the sum of 12 and 31."),
        ("Divide 12 by 30.", "Divide 30 by 12."),
        ("Roll two dice.", "Roll three dice."),
        ("Find $x$ if $x + 3 = 5$.", "Find $x$ if $x - 3 = 5$."),
        ("Find $x$ if $x + 3y = 5$.", "Find $y$ if $x + 3y = 5$."),
        ("Find $x^2 + x$ at 3.", "Find $x^2 + y$ at 3."),
        ("Find $x^2 + x + 1$.", "Find $x^2 + 3x + 1$."),
        ("Find $x^{2n}$ at 3.", "Find $x^2 n$ at 3."),
        (r"Find $\sin 3$.", r"Find $\cos 3$."),
        ("Is $n$ in $\\mathbb{Z}$?", "Is $n$ in $\\mathbb{Q}$?"),
        ("Which $n$ are prime?", "Which $n$ are not prime?"),
        ("Find the largest such $n$.", "Find the smallest such $n$."),
        ("Find the lcm of 12 and 30.", "Find the gcd of 12 and 30."),
        ("Reverse the word 'apple' now.", "Reverse the word 'melon' now."),
        ("What is the oxidation state of C in CO2?", "What is the oxidation state of S in SO2?"),
        ("A stone falls 5 m.", "A stone falls 5 s."),
        ("A $5$ m rod.", "A $5$ s rod."),
        ("Find $\\alpha + a$.", "Find $a + a$."),
    ],
)
def test_changed_words_what_is_given_differs_is_another(a: str, b: str) -> None:
    assert _changed(a, b, most=3) is None


@pytest.mark.parametrize(
    ("a", "b", "changed"),
    [
        ("Find all the primes below 50.", "Find all the velvet below 50.", 1),
        ("Find primes $p$ with $p < 50$.", "Find primes $p$ with velvet.", 1),
        ("Find all primes below 50.", "Find all prime numbers below 50.", 2),
        ("Find all primes below 50.", "Find velvet lantern copper garden primes below 50.", None),
    ],
)
def test_changed_words_changes_are_counted(a: str, b: str, changed: int | None) -> None:
    assert _changed(a, b, most=3) == changed
    if changed:
        assert _changed(a, b, most=changed - 1) is None


@pytest.mark.parametrize(
    "unit", ["$", "{", "\\text{", "'a", "a. ", "Aa", "5 m ", "\u0301\u0323", "\\(", "α", "x^{"]
)
def test_read_problem_any_repetition_says_no_more_than_there_is(unit: str) -> None:
    reading = read_problem(unit * 2_000)
    assert len(reading.codes) == len(reading.kinds) <= 2_000 * len(unit)
    assert changed_words(reading, reading, 0) == 0


def test_find_many_of_one_feature_names_the_first_equal() -> None:
    index = ProblemIndex(0.06)
    for number in range(300):
        assert index.find_or_add(f"n{number}", f"Find the remainder of {number} by 7.") is None
    for number in (0, 5, 299):
        found = index.find(f"Find  the remainder of ${number}$ by $7$")
        assert found is not None
        assert (found.key, found.changed) == (f"n{number}", 0)


def test_find_without_words_is_the_same_text_alone() -> None:
    index = ProblemIndex(0.06)
    assert index.find_or_add("empty", "...") is None
    assert index.find("Find 7.") is None
