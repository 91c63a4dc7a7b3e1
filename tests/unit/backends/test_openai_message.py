"""Where servers put the thinking: whatever is said is in one place, once."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.backends.openai_message import Said, said_by

ANSWER, THOUGHT = "The answer is 4.", "Two and two are four."


def _said(is_json: bool = False, **message: Any) -> Said:
    return said_by({"role": "assistant", **message}, is_json)


def _part(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, **fields}


MAGISTRAL = [
    _part("thinking", thinking=[_part("text", text=THOUGHT)], closed=True),
    _part("text", text=ANSWER),
]
FORMS: dict[str, dict[str, Any]] = {
    "reasoning_content": {"content": ANSWER, "reasoning_content": THOUGHT},
    "reasoning": {"content": ANSWER, "reasoning": THOUGHT},
    "thinking": {"content": ANSWER, "thinking": THOUGHT},
    "reasoning_is_an_object": {"content": ANSWER, "reasoning": {"content": THOUGHT}},
    "reasoning_is_a_list": {"content": ANSWER, "reasoning": [{"summary": THOUGHT}]},
    "reasoning_twice": {"content": ANSWER, "reasoning": THOUGHT, "reasoning_content": THOUGHT},
    "openrouter": {
        "content": ANSWER,
        "reasoning": THOUGHT,
        "reasoning_details": [
            _part("reasoning.text", text=THOUGHT, signature="s"),
            _part("reasoning.encrypted", data="gAAAA"),
        ],
    },
    "details_alone": {
        "content": ANSWER,
        "reasoning_details": [_part("reasoning.summary", summary=THOUGHT)],
    },
    "details_in_pieces": {
        "content": ANSWER,
        "reasoning": THOUGHT,
        "reasoning_details": [
            _part("reasoning.text", text=THOUGHT[:9]),
            _part("reasoning.text", text=THOUGHT[9:]),
        ],
    },
    "litellm": {
        "content": ANSWER,
        "reasoning_content": THOUGHT,
        "thinking_blocks": [_part("thinking", thinking=THOUGHT, signature="s")],
    },
    "magistral": {"content": MAGISTRAL},
    "anthropic": {
        "content": [_part("thinking", thinking=THOUGHT), _part("text", text=ANSWER)],
    },
    "redacted_thinking": {
        "content": [
            _part("redacted_thinking", data="gAAAA"),
            _part("reasoning", text=THOUGHT),
            _part("output_text", text=ANSWER),
        ],
    },
    "inline": {"content": f"<think>{THOUGHT}</think>\n{ANSWER}"},
    "inline_without_opening": {"content": f"{THOUGHT}\n</think>\n\n{ANSWER}"},
    "inline_beside_the_same": {
        "content": f"<think>\n{THOUGHT}\n</think>{ANSWER}",
        "reasoning": THOUGHT,
    },
    "closing_tag_beside_the_field": {
        "content": f"</think>\n{ANSWER}",
        "reasoning_content": THOUGHT,
    },
    "empty_inline_beside_the_field": {
        "content": f"<think>\n\n</think>\n\n{ANSWER}",
        "reasoning_content": THOUGHT,
    },
    "thought": {"content": f"<thought>{THOUGHT}</thought>{ANSWER}"},
    "thought_part": {"content": [_part("text", text=f"<thought>{THOUGHT}</thought>{ANSWER}")]},
    "mistral": {"content": f"[THINK]{THOUGHT}[/THINK]{ANSWER}"},
    "kimi": {"content": f"◁think▷{THOUGHT}◁/think▷{ANSWER}"},
    "gemma": {"content": f"<|channel>thought\n{THOUGHT}<channel|>{ANSWER}"},
    "cohere": {"content": f"<|START_THINKING|>{THOUGHT}<|END_THINKING|>{ANSWER}"},
    "harmony": {
        "content": f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
        f"<|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>"
    },
    "harmony_with_a_format": {
        "content": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant"
        f"<|channel|>final <|constrain|>json<|message|>{ANSWER}"
    },
    "harmony_opened_by_the_template": {
        "content": f"{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}"
    },
    "harmony_beside_the_field": {
        "content": f"<|channel|>final<|message|>{ANSWER}<|return|>",
        "reasoning": THOUGHT,
    },
    "harmony_without_its_tokens": {"content": f"analysis{THOUGHT}assistantfinal{ANSWER}"},
}


@pytest.mark.parametrize("message", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("is_json", [True, False])
def test_reasoning_in_any_place_is_kept_once_and_apart(
    message: dict[str, Any], is_json: bool
) -> None:
    said = _said(is_json, **message)
    assert (said.text.strip(), said.reasoning.strip()) == (ANSWER, THOUGHT)


def test_reasoning_in_two_places_is_kept_from_both() -> None:
    said = _said(content=f"<think>Inline.</think>{ANSWER}", reasoning="Apart.")
    assert said == Said(ANSWER, "Apart.\n\nInline.")


def test_reasoning_in_passages_one_after_the_other_leaves_none_in_the_text() -> None:
    said = _said(content=f"<thought>a</thought><think>b</think>{ANSWER}", reasoning="c")
    assert said.text == ANSWER
    assert {"a", "b", "c"} == set(said.reasoning.split())


def test_reasoning_of_several_channels_is_kept_in_their_order() -> None:
    channels = "".join(
        f"<|start|>assistant<|channel|>{name}<|message|>{text}<|end|>"
        for name, text in (("analysis", "a"), ("commentary", "b"), ("analysis", "c"))
    )
    said = _said(content=f"{channels}<|start|>assistant<|channel|>final<|message|>{ANSWER}")
    assert said == Said(ANSWER, "a\n\nb\n\nc")


CUT = {
    "think": "<think>" + THOUGHT,
    "thought": "<thought>" + THOUGHT,
    "harmony": f"<|channel|>analysis<|message|>{THOUGHT}",
    "harmony_ended": f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant",
}


@pytest.mark.parametrize("content", [CUT[name] for name in CUT], ids=CUT)
def test_reasoning_that_was_cut_is_no_text(content: str) -> None:
    said = _said(content=content)
    assert said.text == ""
    assert said.reasoning.startswith(THOUGHT)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("content", [None, "", " \n", []], ids=repr)
def test_json_in_the_place_of_the_reasoning_is_the_text_where_json_was_asked_for(
    name: str, content: object
) -> None:
    for text in ('{"a": 1}', '\n[{"a": 1}]\n', '```json\n{"a": 1}\n```'):
        assert _said(True, content=content, **{name: text}) == Said(text, "")
        assert _said(False, content=content, **{name: text}).text.strip() == ""


@pytest.mark.parametrize(
    "text", [THOUGHT, '{"a": ', "7", '"a"', '{"a": 1} or {"a": 2}', "[" * 9_999]
)
def test_reasoning_that_is_no_json_is_never_read_as_the_text(text: str) -> None:
    assert _said(True, content=None, reasoning=text) == Said("", text)


def test_json_beside_a_text_stays_reasoning() -> None:
    assert _said(True, content="x", reasoning='{"a": 1}') == Said("x", '{"a": 1}')


def test_content_that_is_an_object_is_its_json_where_json_was_asked_for() -> None:
    assert json.loads(_said(True, content={"answer": "é", "n": 1}).text) == {"answer": "é", "n": 1}


CONTENTS: dict[str, tuple[Any, str]] = {
    "null": (None, ""),
    "number": (3, ""),
    "parts": ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
    "texts": (["a", "b"], "ab"),
    "value": ([{"type": "text", "text": {"value": "a"}}], "a"),
    "odd_parts": ([None, 7, {"text": None}, {"type": 3}, {"text": "a"}], "a"),
    "object": ({"type": "text", "text": "a"}, "a"),
}


@pytest.mark.parametrize(("content", "text"), CONTENTS.values(), ids=CONTENTS)
def test_content_is_text_whatever_it_is_made_of(content: Any, text: str) -> None:
    assert _said(content=content) == Said(text, "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "thinking", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(message=st.dictionaries(st.sampled_from(["content", "reasoning", "thinking"]), JSON))
@pytest.mark.parametrize("is_json", [True, False])
def test_message_of_any_json_has_texts(is_json: bool, message: dict[str, Any]) -> None:
    said = said_by(message, is_json)
    assert isinstance(said.text, str)
    assert isinstance(said.reasoning, str)
