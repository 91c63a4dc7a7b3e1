"""Texts that say nothing, or the prompt again, and texts that only look like it."""

import pytest

from chimera_ray.prompts import sources
from chimera_ray.text.placeholders import (
    Passages,
    copies_prompt,
    is_placeholder,
    is_placeholder_answer,
    is_placeholder_name,
    prompt_passages,
)

FACET = "a count over a family; the answer is a short, uniquely determined list or name"

NOTHING = (
    *("", " ", "...", "…", ". . .", "---", "!?", "\u200b", "**", '""', "___", "...…"),
    *("string", "String", '"string"', "<string>", "text", "str", "N/A", "n/a", "TODO", "tbd."),
    *("lorem ipsum", "Lorem ipsum dolor sit amet, " * 9, "placeholder", "foo bar", "foo"),
    *("<your answer>", "[insert text here]", "{value}", "{{ answer }}", "undefined"),
)


def _passages(stage: str, *more: str) -> Passages:
    return prompt_passages(*sources(stage).values(), *more)


@pytest.mark.parametrize("text", NOTHING, ids=ascii)
def test_placeholder_that_says_nothing_anywhere_is_one(text: str) -> None:
    assert is_placeholder(text)
    assert is_placeholder_name(text)
    assert is_placeholder_answer(text)


@pytest.mark.parametrize(
    "text",
    [
        *("reason", "Reason:", "your reason here", "one sentence", "[One sentence.]", "why"),
        *("the statement", "Problem", "step by step", "xxx", "XXX", "blah blah blah", "aaaa"),
        *("0", "x", "7.", "no", "None", "yes", "Correct.", "true", "OK", "topic", "reason 2"),
        *("name of the area", "Insert reason here", "Explain your reasoning here.", "ｓｔｒｉｎｇ"),
        *("<one sentence that says why>", "[why it is clear]", "same as above", "TO\u200bDO"),
    ],
    ids=ascii,
)
def test_placeholder_for_a_reason_is_one(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize(
    "text",
    [
        *("The sum is 5.", "It is wrong: 2 + 2 = 4.", "Correct, since p is prime.", "p is prime"),
        *("No: the integral diverges.", "The reason is that $p$ is prime.", "(n is odd)"),
        *(
            "The bound holds from below",
            "Yes, by Lemma 3.",
            "n odd",
            "不正确，答案是五",
            "$x>0$ forces it",
        ),
        *("[It follows from the lemma, as n is odd, that all is well here]", "x " * 40 + "y"),
        *("The answer is 42 and not 41 as stated.", "A string of length n has 2^n substrings."),
    ],
    ids=ascii,
)
def test_placeholder_real_reason_is_none(text: str) -> None:
    assert not is_placeholder(text)


@pytest.mark.parametrize(
    "text",
    [
        "topic",
        "Topic 3",
        "topic b",
        "topic, topic",
        "name of the area",
        "Area",
        "<area>",
        "None",
        "x",
    ],
)
def test_placeholder_for_a_name_is_one(text: str) -> None:
    assert is_placeholder_name(text)


@pytest.mark.parametrize(
    "text",
    [
        *("Group theory", "K-theory", "p-adic Hodge theory", "日本史", "Topics in topology", "π"),
        *("$C^*$-algebras", "Name binding", "Area-preserving maps", "The string landscape"),
        *("Reasoning under uncertainty", "2-SAT", "Placeholder-free logics of names", "AI"),
    ],
)
def test_placeholder_real_name_is_none(text: str) -> None:
    assert not is_placeholder_name(text)


@pytest.mark.parametrize(
    "text",
    [
        *("answer", "Your answer", "<answer>", "[your answer]", "your answer here", "final answer"),
        *("<final_answer>", "{answer}", "Insert your answer here", "xxxx", "answer goes here"),
    ],
)
def test_placeholder_for_an_answer_is_one(text: str) -> None:
    assert is_placeholder_answer(text)


@pytest.mark.parametrize(
    "text",
    [
        *("0", "x", "no", "No", "None", "true", "False", "∅", "∞", "=", "<", "+", "-1", "XXX"),
        *("{1, 2}", "[0, 1]", "<2, 3>", "{a}", "[red]", "(A)", "answer 5", "Answer: 5", "AAAA"),
        *("$\\frac{1}{2}$", "The answer is 5.", "Topic modelling", "reason", "unknowns: 3"),
        *("()", "[]", "-(n × a)", "N × A"),
    ],
)
def test_placeholder_real_answer_is_none(text: str) -> None:
    assert not is_placeholder_answer(text)


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("draft_problem", "The statement alone."),
        ("draft_problem", "the  STATEMENT alone"),
        ("draft_problem", "problem: the statement alone;"),
        ("draft_problem", "How the answer is found, step by step."),
        ("draft_problem", "The final answer alone, concise and easy to check."),
        ("draft_problem", "**The complete, rigorous solution** that follows from that reasoning"),
        ("draft_problem", "The answer is a short, uniquely determined list or name."),
        ("draft_problem", "Is at PhD level or above: an expert of the topic can solve it"),
        ("validate_problem", "The problem belongs to the topic and is at PhD level or above."),
        (
            "validate_problem",
            "It has exactly one answer, and that answer can be verified objectively.",
        ),
        ("validate_problem", "The proposed answer is correct."),
        ("validate_problem", "ｉｔ\u00a0is self-contained and un\u00adambiguous"),
        (
            "label_trajectory",
            "Well. Whether the extracted answer differs meaningfully from the reference answer,"
            " and in what. I think so.",
        ),
    ],
)
def test_copies_prompt_passage_of_a_real_prompt_is_a_copy(stage: str, text: str) -> None:
    assert copies_prompt(text, _passages(stage, FACET))


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        ("draft_problem", ""),
        ("draft_problem", "exactly one"),
        ("draft_problem", "Find the number of steps."),
        (
            "draft_problem",
            "Count the closed forms on a torus; give the answer as an exact integer.",
        ),
        (
            "validate_problem",
            "It is self-contained and unambiguous, since every symbol is defined.",
        ),
        ("validate_problem", "The proposed answer is correct: integrating by parts gives 42."),
        ("validate_problem", "The proposed answer is 5, but the sum is 6."),
        ("validate_problem", "The problem belongs to knot theory, a topic of topology."),
        ("label_trajectory", "The extracted answer is 4, the reference answer 5."),
        ("label_trajectory", "The extracted answer differs from the reference answer in its sign."),
        ("expand_topics", "Graph theory"),
        ("expand_topics", "optimal stopping"),
        ("confirm_topic", "Graph theory is a special case of combinatorics."),
    ],
)
def test_copies_prompt_own_words_are_no_copy(stage: str, text: str) -> None:
    assert not copies_prompt(text, _passages(stage, FACET))


def test_prompt_passages_leave_out_what_is_filled_in_and_said_of_the_template() -> None:
    passages = prompt_passages(
        "{# one two three #}Say a b c {{ problem }} d e f.\n"
        "{% if x %}g h i{% endif %}<tag>j k l</tag>"
    )
    for text in ("one two three", "problem d e", "c d e", "if x", "f g h", "tag j k", "i j k"):
        assert not copies_prompt(text, passages)
    for text in ("a b c", "d e f", "g h i", "j k l"):
        assert copies_prompt(text, passages)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text", ["the " * 400_000, "the problem " * 150_000, "[" * 1_000_000, "x" * 2_000_000]
)
def test_text_functions_long_text_is_judged(text: str) -> None:
    assert not copies_prompt(text, _passages("validate_problem"))
    assert is_placeholder_name(text[:0])
    assert is_placeholder(text) == (not text.startswith("the p"))
    assert not is_placeholder_name(text) or text.startswith("[")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "source", ["{{" * 200_000, "{#" * 200_000, '{"' * 200_000, "<a>" * 100_000]
)
def test_prompt_passages_hostile_source_is_read(source: str) -> None:
    assert not copies_prompt("one two three", prompt_passages(source))
