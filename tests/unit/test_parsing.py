"""Replies, hostile and malformed ones first → values or ParseError."""

import contextlib
import json
import time
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from chimera_ray.errors import ParseError
from chimera_ray.text.json_reply import fields, json_object


class Verdict(BaseModel):
    """What a verifier is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    is_valid: bool
    label: Literal["easy", "hard"]
    reason: str


@pytest.mark.parametrize(
    "text",
    [
        "{" * 1_000_000,
        '{"' * 500_000,
        '{"a":' * 200_000,
        '{"a":' + "[" * 900_000,
        '{"a": "' + "\\" * 1_000_001,
        '"' * 1_000_000,
        "{ " * 500_000,
        "{" + " " * 1_000_000,
        '{"a" ' * 200_000 + "}" * 200_000,
        '{"a"}' * 200_000,
        "<think>" * 100_000,
        "</think>" * 100_000,
        '{"a": "</think>',
        "x" * 2_000_001,
        "",
        "null",
        "[1, 2]",
        '{"a": NaN}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": ' + "9" * 5_000 + "}",
        '{"a": 1, "a": 1}',
        '{"a": {"b": 1, "b": 2}}',
        '{"a": 1} or {"a": 2}',
        '[{"a": 1}, {"a": 2}]',
        '{"a": 1,}',
        '{"a": 1',
        "{'a': 1}",
        '{"a": "\\ud800"}',
        '{"a": "\ud800"}',
        '{"a": ' * 51 + "1" + "}" * 51,
    ],
    ids=lambda text: repr(text[:16]) + str(len(text)),
)
def test_json_object_hostile_or_wrong_reply_raises_shortly(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ParseError) as caught:
        json_object(text)
    assert time.perf_counter() - start < 2
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '\ufeff \n{"a": 1}\n',
        '```json\n{"a": 1}\n```',
        '```\n{"a": 1}\n```',
        'Here it is: {"a": 1}. Hope that helps!',
        'The set {1, 2} and \\frac{1}{2}, "quoted {": {"a": 1}',
        'First {"a": 1}. Again: {"a": 1}',
        'An empty {} and \\boxed{}, then {"a": 1}',
        '<think>maybe {"a": 2}?</think>{"a": 1}',
        '{"a": 2}</think>\n\n{"a": 1}',
        'Do not write {"b" like this. {"a": 1}',
    ],
)
def test_json_object_any_wrapping_finds_it(text: str) -> None:
    assert json_object(text) == {"a": 1}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (r"\frac{1}{2}", r"\frac{1}{2}"),
        (r"\alpha+\beta", r"\alpha+\beta"),
        (r"\theta \times \text{m} \to \tan", r"\theta \times \text{m} \to \tan"),
        (r"\alpha \neq \nu", r"\alpha \neq \nu"),
        (r"\(x \ne \neg y\) \not\in", r"\(x \ne \neg y\) \not\in"),
        (r"\nabla \neq \nu", "\\nabla \\neq \nu"),
        (r"line\nu x", "line\nu x"),
        (r"one\ne two\not three\neg", "one\ne two\not three\neg"),
        (r"\\alpha, then\nu", "\\alpha, then\nu"),
        (r"\rho \right)", r"\rho \right)"),
        (r"\(x\) \{1\} \% \$", r"\(x\) \{1\} \% \$"),
        (r"\underline{x} \upsilon", r"\underline{x} \upsilon"),
        (r"one\ntwo\tthree", "one\ntwo\tthree"),
        (r"line\ni = 1\nelse", "line\ni = 1\nelse"),
        (r"\\frac{1}{2}\nnext", "\\frac{1}{2}\nnext"),
        (r"\\alpha\neq", "\\alpha\neq"),
        (r"\u00e9 \/ \" \\", 'é / " \\'),
        (r"a \\ b \frac12", r"a \ b \frac12"),
        ("raw\nline", "raw\nline"),
        (r"\nfoo", "\nfoo"),
    ],
)
def test_json_object_latex_is_repaired_only_where_it_was_not_escaped(
    written: str, expected: str
) -> None:
    assert json_object('{"a": "' + written + '"}') == {"a": expected}


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab{}[]\"'", max_size=3), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=25)
@given(
    st.dictionaries(st.text('abc"{}', min_size=1), _JSON, min_size=1), st.sampled_from([None, 2])
)
def test_json_object_ascii_escaped_value_survives(
    value: dict[str, Any], indent: int | None
) -> None:
    # A newline before letters that spell a command is the one documented ambiguity.
    text = json.dumps(value, indent=indent).replace("\\n", "\\u000a").replace("\\t", "\\u0009")
    text = text.replace("\\r", "\\u000d").replace("\\b", "\\u0008").replace("\\f", "\\u000c")
    assert json_object(f"Sure:\n{text}\nDone.") == json.loads(text)


@given(st.text(st.sampled_from('{}[]":,\\ abn1u'), max_size=60))
def test_json_object_any_text_gives_a_dict_or_parse_error(text: str) -> None:
    with contextlib.suppress(ParseError):
        assert isinstance(json_object(text), dict)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"is_valid": true, "label": "odd", "reason": "secret"}', "label"),
        ('{"is_valid": true, "label": "easy"}', "reason"),
        ('{"is_valid": true, "label": "easy", "reason": 5}', "reason"),
        ('{"is_valid": null, "label": "easy", "reason": "secret"}', "is_valid"),
        ('{"is_valid": true, "label": "easy", "reason": "", "more": "secret"}', "more"),
    ],
)
def test_fields_wrong_field_is_named_without_its_text(text: str, named: str) -> None:
    with pytest.raises(ParseError, match=f"^{named} is wrong") as caught:
        fields(text, Verdict)
    assert "secret" not in str(caught.value)


def test_fields_hostile_field_name_is_cut() -> None:
    with pytest.raises(ParseError) as caught:
        fields(
            '{"is_valid": true, "label": "easy", "reason": "", "' + "x" * 9_000 + '": 1}', Verdict
        )
    assert len(str(caught.value)) < 160


def test_fields_right_reply_is_read() -> None:
    text = '```json\n{"is_valid": false, "label": "hard", "reason": "$\\frac12$"}\n```'
    assert fields(text, Verdict) == Verdict(is_valid=False, label="hard", reason=r"$\frac12$")
