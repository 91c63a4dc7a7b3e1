"""Raw outputs, cut and hostile ones first → reasoning and final part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera_ray.text.reasoning import split_reasoning

HARMONY = "<|channel|>analysis<|message|>"
FINAL = "<|channel|>final<|message|>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, "")),
        ("\n<think>cut", ("cut", "")),
        ("<think>", ("", "")),
        ("</think>5", ("", "5")),
        ("reasoning</think>", ("reasoning", "")),
        ("reasoning</think> \n ", ("reasoning", "")),
        ("a </think> b </think> c", ("a </think> b", "c")),
        ("<think>a</think><think>b</think>c", ("a</think><think>b", "c")),
        ("<think>a</think>b<think>c", ("a", "b<think>c")),
        ("<thinking>cut", ("cut", "")),
        ("[THINK]cut", ("cut", "")),
        (f"{HARMONY}cut", ("cut", "")),
        ("plain", (None, "plain")),
        ('{"a": "</think> is a tag"}', (None, '{"a": "</think> is a tag"}')),
        ('{"a": 1}? No.</think>{"a": 2}', ('{"a": 1}? No.', '{"a": 2}')),
        ("<thought>a</thought>b", ("a", "b")),
        ("<thought>cut", ("cut", "")),
        ("Use <thought> for it.</thought>", (None, "Use <thought> for it.</thought>")),
        ("<|channel>thought\na<channel|>b", ("a", "b")),
        (
            "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>",
            ("a", "b"),
        ),
        (f"{FINAL}b<|return|>", (None, "b")),
        (f"a<|end|><|start|>assistant{FINAL}b", ("a", "b")),
        (f"{HARMONY}a<|end|><|start|>assistant<|channel|>commentary<|message|>b", ("a\n\nb", "")),
        ("analysisa, bassistantfinalc", ("a, b", "c")),
        ("analysis is what I do", (None, "analysis is what I do")),
        ("reasoning</think>\n\nfinal", ("reasoning", "final")),
        ("<think>\nreasoning\n</think>final", ("reasoning", "final")),
        ("I mention <think> here", (None, "I mention <think> here")),
        ("I mention </thinking> here", (None, "I mention </thinking> here")),
        ("x [THINK] y [/THINK] z", (None, "x [THINK] y [/THINK] z")),
        ("<thinking>a</thinking>\nb", ("a", "b")),
        ("<thinking>so </think> is a tag</thinking>b", ("so </think> is a tag", "b")),
        ("[THINK]a[/THINK]b", ("a", "b")),
        ("<longcat_think>a</longcat_think>b", ("a", "b")),
        ('<think time="3">a</think>b', ("a", "b")),
        ("<|think|>a<|/think|>b", ("a", "b")),
        ("<THINK>a</think>b", ("a", "b")),
        ("<think about it>b", (None, "<think about it>b")),
        ("<think>a</think><answer>b</answer>", ("a", "b")),
        ("<answer>b</answer>", (None, "<answer>b</answer>")),
        ("<details open><summary>Thinking…</summary>\n> a\n</details>\nb", ("a", "b")),
        ("<details>a</details>b", (None, "<details>a</details>b")),
        ("*Thinking...*\n\n> a\n> c\n\nb", ("a\nc", "b")),
        ("*Thinking...*\n\n> cut", ("cut", "")),
        ("Here is my thought process: a Here is my response: b", ("a", "b")),
        ("Here is my thought process: a", (None, "Here is my thought process: a")),
        ("◁think▷a◁/think▷b", ("a", "b")),
        ("<seed:think>a</seed:think>b", ("a", "b")),
        (f"{HARMONY}a<|end|><|start|>assistant{FINAL}b<|return|>", ("a", "b")),
        (f"<|start|>assistant{HARMONY}a<|end|><|start|>assistant{FINAL}b", ("a", "b")),
    ],
)
def test_split_reasoning_any_form_is_split_at_the_last_tag(
    text: str, expected: tuple[str | None, str]
) -> None:
    assert split_reasoning(text) == expected


@given(st.lists(st.sampled_from(["<think>", "</think>", "<thinking>", "[THINK]", "a ", "\n"])))
def test_split_reasoning_any_tags_lose_no_word(parts: list[str]) -> None:
    text = "".join(parts)
    reasoning, final = split_reasoning(text)
    assert f"{reasoning or ''}{final}".count("a") == text.count("a")
    assert final in text
