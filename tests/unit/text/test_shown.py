"""Text from outside is text for a terminal, for Markdown, for HTML, whatever it holds."""

import html as standard_html
import json
import re
import unicodedata

import pytest
from hostile import HOSTILE, require_harmless
from hypothesis import given
from hypothesis import strategies as st

from chimera_ray.text.shown import block, html, json_block, line, markdown

ANY = st.text(st.characters())
STRUCTURE = re.compile(r"[\\`*{}\[\]()|~$<>\"'!@]")
"""what Markdown or HTML reads as structure anywhere"""
KEPT = "Qwen/Qwen3-235B_A22B, 数学 ∑ ½, \U0001f600 e\u0301 déjà\u00a0vu 50% (ok) #1; a=b+c?"
each_text = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)


@each_text
def test_line_of_hostile_text_is_one_harmless_line(text: str) -> None:
    shown = line(text)
    require_harmless(shown)
    assert "\n" not in shown
    shown.encode()


@each_text
def test_block_of_hostile_text_has_its_own_lines_and_no_other(text: str) -> None:
    require_harmless(block(text))
    assert block(text).count("\n") == text.count("\n")


@each_text
def test_markdown_of_hostile_text_has_no_structure(text: str) -> None:
    shown = markdown(text)
    require_harmless(shown)
    assert not STRUCTURE.search(shown)
    assert "\n" not in shown
    assert standard_html.unescape(shown) == line(text)


@each_text
def test_html_of_hostile_text_reads_as_the_line(text: str) -> None:
    shown = html(text)
    assert not set(shown) & set("<>\"'")
    assert standard_html.unescape(shown) == line(text)


@each_text
def test_json_block_of_hostile_text_is_json_and_ends_no_fence(text: str) -> None:
    shown = json_block({text: [text]})
    require_harmless(shown)
    assert "`" not in shown
    assert "<" not in shown
    assert json.loads(shown) == {text: [text]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("x\u200by\ufeffz", r"x\u200by\ufeffz"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("\x85\u2028", r"\x85\u2028"),
    ],
    ids=ascii,
)
def test_line_writes_out_what_cannot_be_seen(text: str, shown: str) -> None:
    assert line(text) == shown


def test_line_leaves_what_is_printed_as_it_is() -> None:
    assert line(KEPT) == block(KEPT) == KEPT


@pytest.mark.parametrize("text", ["Qwen/Qwen3-235B-A22B", "verifier_a", "C# 7, e.g. 1.5", "数学"])
def test_markdown_leaves_names_that_mean_nothing_else(text: str) -> None:
    assert markdown(text).replace("&#35;", "#") == text


@pytest.mark.parametrize(
    "text", ["- a", "+ a", "1. a", "12) a", "=== ", "> a", ": a", "# a", "_a_"]
)
def test_markdown_begins_no_list_heading_or_quotation(text: str) -> None:
    assert markdown(text) != text
    assert standard_html.unescape(markdown(text)) == text


@pytest.mark.parametrize("text", ["http://a.b/c", "https://a.b", "www.a.b", "me@a.b", "FTP://a.b"])
def test_markdown_makes_no_link_of_an_address(text: str) -> None:
    assert not re.search(r"://|www\.|@", markdown(text), re.IGNORECASE)


@given(ANY)
def test_every_text_is_harmless_and_said(text: str) -> None:
    for shown in (line(text), markdown(text), html(text), json_block(text)):
        assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in shown)
    assert standard_html.unescape(markdown(text)) == line(text)
    assert json.loads(json_block(text)) == text
