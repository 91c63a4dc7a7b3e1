"""Topic keys: true duplicates meet, look-alikes stay apart."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.metrics.topic_key import similar_pairs, topic_key


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Group Theory", "Graph Theory"),
        ("Linear Programming", "Nonlinear Programming"),
        ("World War I", "World War II"),
        ("World War I", "World War"),
        ("Vitamin A", "Vitamin B"),
        ("Vitamin A", "Vitamin"),
        ("Hepatitis A", "Hepatitis"),
        ("C", "C++"),
        ("C++", "C#"),
        ("A* Search", "A Search"),
        ("History of Philosophy", "Philosophy of History"),
        ("Philosophy of Science", "Science of Philosophy"),
        ("News Media", "New Media"),
        ("Securities Law", "Security Law"),
        ("Arithmetic Series", "Arithmetic Sequence"),
        ("Organic Chemistry", "Inorganic Chemistry"),
        ("Real Analysis", "Complex Analysis"),
        ("Type I Errors", "Type II Errors"),
        ("Microeconomics", "Macroeconomics"),
        ("Learning with Labels", "Learning without Labels"),
        ("Energy to Mass", "Mass to Energy"),
        ("Interpolation", "Extrapolation"),
        ("SU(2)", "SU(3)"),
        ("Supervised Learning", "Unsupervised Learning"),
        ("Hypothesis", "Hypothermia"),
        ("Analysis of Algorithms", "Algorithms for Analysis"),
        ("Algorithm Analysis", "Algorithms for Analysis"),
        ("Machine Learning for Chemistry", "Chemistry for Machine Learning"),
        ("Statistics in Medicine", "Medicine in Statistics"),
        ("Theory of Games in Economics", "Economics in Game Theory"),
        ("Drugs in Pregnancy", "Drugs for Pregnancy"),
        ("Proof by Induction", "Induction by Proof"),
        ("Philosophy in Literature", "Philosophy of Literature"),
        ("Bounds on Primes", "Primes on Bounds"),
        ("???", "!!!"),
        ("の歴史", "か歴史"),
    ],
)
def test_topic_key_look_alikes_differ(a: str, b: str) -> None:
    assert topic_key(a) != topic_key(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Graph theory", "Theory of graphs"),
        ("Graph Theory", "  graph-theory. "),
        ("Gödel's Incompleteness Theorems", "Godel incompleteness theorem"),
        ("Data Structures and Algorithms", "Algorithms & Data Structures"),
        ("Groups, Rings, and Fields", "Rings, Fields and Groups"),
        ("Matrices", "Matrix"),
        ("Non-linear Optics", "Nonlinear Optics"),
        ("The History of Mathematics", "History of Mathematics"),
        ("Noether’s Theorem", "Noether's theorem"),
        ("Eigenvalues and Eigenvectors", "Eigenvectors and eigenvalues"),
        ("p-adic numbers", "P-adic Number"),
        ("Properties of Gases", "Gas property"),
        ("Boundary Value Problems", "Boundary-Value Problem"),
        ("Analysis of Algorithms", "Algorithm Analysis"),
        ("Theory of Games in Economics", "Game Theory in Economics"),
        ("Applications of Graph Theory to Chemistry", "Graph theory applications to chemistry"),
        ("Design and Analysis of Algorithms", "Analysis and design of algorithms"),
        ("Functions of a Complex Variable", "Complex-variable functions"),
        ("Graph\u200b Theory", "Grаph Thеory"),
    ],
)
def test_topic_key_true_duplicates_equal(a: str, b: str) -> None:
    assert topic_key(a) == topic_key(b)


@settings(max_examples=60)
@given(st.text(max_size=60))
def test_topic_key_any_text_is_stable_and_not_empty_for_words(name: str) -> None:
    assert topic_key(name) == topic_key(f"  {name.strip()} ")
    assert bool(topic_key(name)) == bool(name.split())


@pytest.mark.parametrize(
    "name",
    [
        "of " * 15_000,
        "in of " * 10_000,
        "\u0301\u0323" * 30_000,
        "a," * 25_000,
        "é" * 60_000,
        "- " * 30_000,
        " " * 60_000,
    ],
)
def test_topic_key_hostile_name_says_no_more_than_the_name(name: str) -> None:
    assert len(topic_key(name)) <= len(name)


def test_similar_pairs_look_alikes_are_candidates() -> None:
    names = ["Group Theory", "Optics", "Graph Theory", "Theory of Groups"]
    pairs = {(earlier, later): score for earlier, later, score in similar_pairs(names, 75)}
    assert pairs[0, 3] == 100
    assert 75 <= pairs[0, 2] < 100
    assert not any(1 in pair for pair in pairs)


@pytest.mark.parametrize(
    ("acronym", "name"),
    [
        ("ODEs", "Ordinary Differential Equations"),
        ("SVM", "support vector machine"),
        ("TOC", "Theory of Computation"),
        ("TC", "Theory of Computation"),
    ],
)
def test_similar_pairs_acronym_is_a_candidate(acronym: str, name: str) -> None:
    assert similar_pairs([acronym, name], 90) == [(0, 1, 100.0)]
    assert similar_pairs([name, acronym], 90) == [(0, 1, 100.0)]


def test_similar_pairs_lowercase_word_is_no_acronym() -> None:
    assert similar_pairs(["art", "Algebraic Ring Theory"], 90) == []


def test_similar_pairs_empty_input_is_empty() -> None:
    assert similar_pairs([], 75) == []
    assert similar_pairs(["one"], 0) == []


def test_similar_pairs_across_blocks_equals_all_pairs() -> None:
    from rapidfuzz import fuzz

    generator = random.Random(3)
    names = ["".join(generator.choices("abcd", k=5)) for _ in range(600)]
    keys = [topic_key(name) for name in names]
    expected = {
        (i, j) for i in range(600) for j in range(i + 1, 600) if fuzz.ratio(keys[i], keys[j]) >= 79
    }
    pairs = similar_pairs(names, 79)
    assert {(earlier, later) for earlier, later, _ in pairs} == expected
    assert pairs == sorted(pairs)
