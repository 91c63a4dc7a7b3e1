"""Final answers and reasoning → values, hostile texts first."""

import time

import pytest

from chimera_ray.text.final_answer import final_answer
from chimera_ray.text.reasoning import split_reasoning


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no answer here",
        r"\boxed{" * 20_000,
        r"\boxed{5",
        r"\boxed{}",
        r"\boxed{{5}",
        "}" * 100_000,
        "*" * 100_000,
        "answer " * 20_000,
        "the " * 25_000 + "answer",
        "Answer:",
        "Answer: " + "9" * 4_001,
        r"\boxed{" + "9" * 4_001 + "}",
        r"\boxed{" * 3_000 + "5" + "}" * 2_000,
    ],
    ids=lambda text: repr(text[:16]) + str(len(text)),
)
def test_final_answer_none_or_hostile_is_none_and_fast(text: str) -> None:
    start = time.perf_counter()
    answer = final_answer(text)
    assert time.perf_counter() - start < 1
    assert answer is None or r"\boxed{" * 3_000 in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"So \boxed{5}.", "5"),
        (r"\boxed{1} but no, \boxed{2}", "2"),
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed{\frac{1}{2}} and \boxed{", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{ $x$ }", "x"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{5} or \boxed{}", "5"),
        ("\\boxed{3}\nAnswer: 4", "3"),
        ("Answer: 4", "4"),
        ("Answer: 3\nAnswer: 4.", "4"),
        ("**Answer:** $x+1$", "x+1"),
        ("**Final Answer**: 42", "42"),
        ("### Final answer: **42**", "42"),
        ("**Final answer: 42**", "42"),
        ("The final answer is $\\frac{1}{2}$.", r"\frac{1}{2}"),
        ("Thus, the answer is: \\(7\\)", "7"),
        ("**Final Answer:**\n\n$$x^2$$\n", "x^2"),
        ("Answer: $a$ or $b$", "$a$ or $b$"),
        ("Answer: 0.333...", "0.333..."),
        ("answer = B", "B"),
    ],
)
def test_final_answer_commitment_is_found(text: str, expected: str) -> None:
    assert final_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", (None, "plain")),
        ("", (None, "")),
        ("reasoning</think>\n\nfinal", ("reasoning", "final")),
        ("<think>\nreasoning\n</think>final", ("reasoning", "final")),
        ("\n<think>cut", ("cut", "")),
        ("<think>", ("", "")),
        ("</think>5", ("", "5")),
        ("a </think> b </think> c", ("a </think> b", "c")),
        ("I mention <think> here", (None, "I mention <think> here")),
    ],
)
def test_split_reasoning_any_form_is_split_at_the_last_tag(
    text: str, expected: tuple[str | None, str]
) -> None:
    assert split_reasoning(text) == expected
