"""Replies, hostile and malformed ones first → values or ParseError."""

import contextlib
import json
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, StrictBool

from chimera_ray.errors import ParseError
from chimera_ray.text.json_reply import fields, json_object
from chimera_ray.text.reply_types import Percent, Text

YES = '{"is_valid": true}'


class Reason(BaseModel):
    """One part of what a verifier is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    reason: str


class Verdict(BaseModel):
    """What a verifier is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    is_valid: bool
    label: Literal["easy", "hard"]
    reason: str


class Graded(BaseModel):
    """A reply with fields that are read leniently."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    answer: Text | None = None
    confidence: Percent = 0
    is_valid: StrictBool = False
    reasons: list[Reason] = []
    number: int = 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "{" * 1_000_000,
        '{"' * 500_000,
        "{'" * 500_000,
        '{\\"' * 500_000,
        "{“" * 500_000,
        "{ab:" * 400_000,
        "{}" * 900_000 + "{",
        '{"a":' * 200_000,
        '{"a":' + "[" * 900_000,
        '{"a": "' + "\\" * 1_000_001,
        '{"a": "' + "\\" * 1_000_000 + '"}',
        '{"a": "' + "\\alpha " * 250_000 + '"}',
        '{"a": "' + "\\\\begin{pmatrix}" * 100_001 + '"}',
        '"' * 1_000_000,
        "{ " * 500_000,
        "{" + " " * 1_000_000,
        '{"a" ' * 200_000 + "}" * 200_000,
        '{"a"}' * 200_000,
        '{"a": 1}' * 200_000,
        '{"a": [' + "1," * 100_000 + "]",
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
        '{"a": 1} or {"a": true}',
        '[{"a": 1}, {"a": 2}]',
        '[{"a": 1}, {"a": 1,}]',
        '{"a": 1',
        "{'a': 1}",
        '{"a": "\\ud800"}',
        '{"a": "\ud800"}',
        '{"a": ' * 51 + "1" + "}" * 51,
        '<think>{"a": 1}</think>',
        '<think>{"a": 1}',
    ],
    ids=lambda text: repr(text[:16]) + str(len(text)),
)
def test_json_object_hostile_or_wrong_reply_raises(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        json_object(text)
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    "flawed",
    [
        '{"is_valid": false,}',
        '{"is_valid": false, "reason": ["x",]}',
        '{"is_valid": false',
        '{"is_valid": false, "rea',
        "{'is_valid': false}",
        "{'is_valid': False, 'reason': 'it\\'s wrong'}",
        "{is_valid: false}",
        "{\n  is_valid: no\n  reason: because\n}",
        "{ok: false}",
        "{“is_valid”: false}",
        "{„is_valid“: false}",
        '{\\"is_valid\\": false}',
        '{"is_valid": false // no\n}',
        '{ // the verdict\n"is_valid": false}',
        '{/* */ "is_valid": false}',
        '{"is_valid": False}',
        '{"is_valid" false}',
        '{"is_valid"= false}',
        '{"is_valid": false; "reason": "x"}',
        '{"is_valid": false "reason": "x"}',
        '{"is_valid": false, "reason": "a "quoted" word"}',
        '{"is_valid": no}',
        '{"is_valid": false, ...}',
        '{"is_valid": false, "verdict": {"is_valid": true}, broken}',
        '[{"is_valid": false}, {"is_valid": }]',
        '{"is_valid": false, "is_valid": false}',
        '{"is_valid": NaN}',
        '{"is_valid": false, "reason": "\x0c"}',
    ],
    ids=ascii,
)
@pytest.mark.parametrize(
    "joined",
    [
        "{flawed} {good}",
        "{good} {flawed}",
        "```json\n{flawed}\n```\nI mean: {good}",
        "{good}{flawed}",
    ],
)
def test_json_object_unreadable_one_beside_a_good_one_raises(flawed: str, joined: str) -> None:
    text = joined.replace("{flawed}", flawed).replace("{good}", YES)
    with pytest.raises(ParseError):
        json_object(text)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"a": 1}',
        '\ufeff \n{"a": 1}\n',
        '```json\n{"a": 1}\n```',
        '```\n{"a": 1}\n```',
        'Here it is: {"a": 1}. Hope that helps!',
        'The set {1, 2} and \\frac{1}{2}, "quoted {": {"a": 1}',
        'First {"a": 1}. Again: {"a": 1}',
        'First {"a": 1}, then ```json\n{\n  "a": 1\n}\n```',
        'An empty {} and \\boxed{}, then {"a": 1}',
        '<think>maybe {"a": 2}?</think>{"a": 1}',
        '<think>maybe {\'a\': 2 or {"a": 3</think>{"a": 1}',
        '{"a": 2}</think>\n\n{"a": 1}',
        'Do not write {"b" like this. {"a": 1}',
        '{"a": 1,}',
        '{"a": 1\n,\n}',
        '{{"a": 1}}',
        '[{"a": 1}]',
        '{"a": 1}}',
        'Sets {x : x > 0}, \\{1,2\\}, {"p", "q"}, \\{n: n even\\}, $x_{max: 1}$: {"a": 1}',
        '\\text{where: } \\mathbf{Note: } $f^{\'}$ $\\{x_n : n\\}$ {"a": 1}',
        'See {https://example.org}. {"a": 1}',
    ],
    ids=ascii,
)
def test_json_object_any_wrapping_finds_it(text: str) -> None:
    assert json_object(text) == ({} if text == "{}" else {"a": 1})


@pytest.mark.parametrize(
    "cut", ["{", '{"', '{"is_v', '{"is_valid"', '{"is_valid":', '{"is_valid": fal']
)
def test_json_object_cut_one_behind_a_good_one_raises(cut: str) -> None:
    with pytest.raises(ParseError):
        json_object(f"{YES}\n\n{cut}")


@pytest.mark.parametrize(
    "text", ['{"a": [1,],}', '{"a": [,]}', '{"a": 1,,}', '{,"a": 1}', '{"a":,}']
)
def test_json_object_more_than_one_comma_too_many_raises(text: str) -> None:
    with pytest.raises(ParseError):
        json_object(text)


def test_json_object_comma_inside_a_string_stays() -> None:
    assert json_object('{"a": ",}", "b": [1, 2,]}') == {"a": ",}", "b": [1, 2]}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("raw\nline", "raw\nline"),
        ("raw\r\nline", "raw\r\nline"),
        ("a\tb", "a\tb"),
        ("é\u2028", "é\u2028"),
    ],
    ids=ascii,
)
def test_json_object_raw_line_break_is_read(written: str, value: str) -> None:
    assert json_object('{"a": "' + written + '"}') == {"a": value}


@pytest.mark.parametrize(
    "written",
    [
        *(chr(code) for code in range(32) if chr(code) not in "\t\n\r"),
        *(f"\\u{code:04x}" for code in (*range(9), 11, 12, *range(14, 32), *range(127, 160))),
        *("\x7f", "\x85", "\r", "\\b", "\\f", "\\b1", "\\foo", "\\u0009heta", "\\u000aabla f"),
    ],
    ids=ascii,
)
def test_json_object_control_character_in_a_string_raises(written: str) -> None:
    for text in ('{"a": "x' + written + ' y"}', '{"a' + written + '": 1}'):
        with pytest.raises(ParseError):
            json_object(text)


# Two backslashes in a row may be one too many of a command, and are mended then.
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])).filter(
    lambda text: r"\\" not in text
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab{}[]\"'", max_size=3), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text('abc"{}', min_size=1), _JSON, min_size=1), st.sampled_from([None, 2])
)
def test_json_object_value_without_controls_survives(
    value: dict[str, Any], indent: int | None
) -> None:
    text = f"Sure:\n{json.dumps(value, indent=indent)}\nDone."
    with contextlib.suppress(ParseError):
        assert json_object(text) == value


@given(st.text(st.sampled_from('{}[]":,\\ abn1u'), max_size=60))
def test_json_object_any_text_gives_a_dict_or_parse_error(text: str) -> None:
    with contextlib.suppress(ParseError):
        assert isinstance(json_object(text), dict)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"is_valid": true, "label": "odd", "reason": "secret"}', "label"),
        ('{"is_valid": true, "label": "easy"}', "reason"),
        ('{"is_valid": true, "label": "easy", "Reason": "secret"}', "reason"),
        ('{"is_valid": true, "label": "easy", "reason": 5}', "reason"),
        ('{"is_valid": true, "label": "easy", "reason": ["secret"]}', "reason"),
        *(
            (f'{{"is_valid": {said}, "label": "easy", "reason": "secret"}}', "is_valid")
            for said in ('"true"', '"yes"', '"True"', '""', "1", "0", "1.0", "null", "[true]", "{}")
        ),
    ],
)
def test_fields_wrong_field_is_named_without_its_text(text: str, named: str) -> None:
    with pytest.raises(ParseError, match=f"^{named} is wrong") as caught:
        fields(text, Verdict)
    assert "secret" not in str(caught.value)


def test_fields_hostile_field_name_raises_nothing_long() -> None:
    with pytest.raises(ParseError) as caught:
        fields('{"' + "x" * 9_000 + '": 1}', Verdict)
    assert len(str(caught.value)) < 160


def test_fields_right_reply_is_read() -> None:
    text = '```json\n{"is_valid": false, "label": "hard", "reason": "$\\frac12$"}\n```'
    assert fields(text, Verdict) == Verdict(is_valid=False, label="hard", reason=r"$\frac12$")


def test_fields_key_too_many_is_left_out_at_every_level() -> None:
    text = '{"note": 1, "reasons": [{"reason": "r", "why": {"reason": 2}}], "number": 3}'
    assert fields(text, Graded) == Graded(reasons=[Reason(reason="r")], number=3)
    assert Graded.model_json_schema()["additionalProperties"] is False


@pytest.mark.parametrize(
    "other",
    [
        "IS_VALID",
        "is valid",
        "isValid",
        "is-valid ",
        "iѕ_valid",
        "is_vаlid",
        "ıs_valid",
        "is_valid\u200b",
    ],
)
def test_fields_look_alike_beside_the_asked_key_raises(other: str) -> None:
    text = json.dumps({"is_valid": True, other: False}, ensure_ascii=False)
    with pytest.raises(ParseError, match="two keys of one name"):
        fields(text, Graded)
    nested = json.dumps({"reasons": [{"reason": "r", "Reason": "s"}]})
    with pytest.raises(ParseError, match="two keys of one name"):
        fields(nested, Graded)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("42", "42"),
        ("1.50", "1.50"),
        ("-0", "-0"),
        ("1e3", "1e3"),
        ("0.1000000000000000055", "0.1000000000000000055"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ('"x"', "x"),
        ("null", None),
    ],
)
def test_text_number_is_what_was_written(said: str, text: str | None) -> None:
    assert fields(f'{{"answer": {said}}}', Graded).answer == text


@pytest.mark.parametrize("said", ["true", "false", "[1]", "{}", '["x"]'])
def test_text_of_what_is_none_raises(said: str) -> None:
    with pytest.raises(ParseError, match=r"^answer"):
        fields(f'{{"answer": {said}}}', Graded)


@pytest.mark.parametrize(
    ("said", "percent"),
    [
        *(("0", 0), ("1", 1), ("95", 95), ("100", 100), ("95.0", 95), ("0.0", 0), ("100.0", 100)),
        *(("0.95", 95), ("0.005", 1), ("0.285", 29), ("0.999", 100), ("94.5", 95), ("1.5", 2)),
        *(('"95"', 95), ('"95%"', 95), ('" 95 % "', 95), ('"0.95"', 95), ('"95.4%"', 95)),
        *(('"1%"', 1), ('"0.95%"', 1), ('"1.0%"', 1), ('"100%"', 100)),
    ],
)
def test_percent_any_clear_form_is_read(said: str, percent: int) -> None:
    assert fields(f'{{"confidence": {said}}}', Graded).confidence == percent


@pytest.mark.parametrize(
    "said",
    [
        *("1.0", "1.00", '"1.0"', "-1", "-0.5", "101", "100.5", '"120%"', "1e1", "true", "null"),
        *('"high"', '""', '"%"', '"95/100"', '"95 percent"', '"٩٥"', "[95]", '"' + "9" * 99 + '"'),
    ],
)
def test_percent_unclear_or_out_of_range_raises(said: str) -> None:
    with pytest.raises(ParseError, match=r"^confidence"):
        fields(f'{{"confidence": {said}}}', Graded)


@pytest.mark.parametrize("said", ['"3"', "3.0", "true", "null"])
def test_fields_plain_whole_number_is_read_strictly(said: str) -> None:
    with pytest.raises(ParseError, match=r"^number"):
        fields(f'{{"number": {said}}}', Graded)
