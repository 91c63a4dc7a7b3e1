"""A model's raw output → its reasoning and its final part."""

import json
import re

_TAG = re.compile(
    r"<(\|?)((?:\w+[:_])?(?:think(?:ing)?|thought|reasoning))(?:\s+[\w-]+=[^<>]{0,80})?\1>", re.I
)
"""with the name of a family before it, with attributes, or between bars"""
_OTHER_TAGS = (
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
)
"""each counts only where the output begins with it, since it may be a word of the answer"""
_HEADER = re.compile(
    r"(?:<\|start\|>)?(?:assistant)?\s{0,9}<\|channel\|>\s*(\w{1,40})[^<]{0,100}"
    r"(?:<\|constrain\|>[^<]{0,100})?<\|message\|>"
)
"""of a channel of the Harmony format"""
_ENDS = re.compile(r"<\|(?:end|return|call)\|>\s*$")
_BARE = (
    ("analysis", "assistantfinal"),
    ("Here is my thought process:", "Here is my response:"),
    ("Here's my thought process:", "Here's my response:"),
)
"""Harmony's, from a server that drops the special tokens, and Granite's; words, so that both count
only together"""
_FOLDED = re.compile(
    r"<details\b[^>]*>\s*<summary>\s*(?:Thought|Thinking)\b[^<]*</summary>(.*?)</details>", re.S
)
"""what a gateway that writes for a browser makes of it"""
_QUOTE = re.compile(r"^> ?", re.MULTILINE)
_QUOTED = re.compile(r"\*Thinking(?:\.{3}|…)\*\s+((?:>[^\n]*(?:\n|$))+)")
_WRAPS = (
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|begin_of_box|>", "<|end_of_box|>"),
    ("<response>", "</response>"),
    ("<answer>", "</answer>"),
    ("<output>", "</output>"),
)
"""around a final part"""


def split_reasoning(text: str) -> tuple[str | None, str]:
    """Raw output → its reasoning and its final part, cut at the last `</think>`.

    The last one, because reasoning may quote the tag, and a final part that lost its beginning
    still ends with its answer, while a final part that holds reasoning may show another answer.
    The opening tag may be missing: some chat templates open the reasoning themselves. Without a
    closing tag all is final part, or, after an opening tag, all is reasoning that was cut. In JSON
    a tag is a word.
    """
    start = text.lstrip()
    if start.startswith(("{", "[")) and "</think>" in text and _is_json(start):
        return None, text
    for opening, closing in _OTHER_TAGS:
        if start.startswith(opening):
            return _cut(start.removeprefix(opening), closing)
    if (tag := _TAG.match(start)) is not None:
        return _cut(start[tag.end() :], _closing(tag, start))
    if (shown := _FOLDED.match(start) or _QUOTED.match(start)) is not None:
        return _QUOTE.sub("", shown[1].strip()), start[shown.end() :].strip()
    if "<|channel|>" in text and (found := _split_channels(start)) is not None:
        return found
    for opening, closing in _BARE:
        if start.startswith(opening) and closing in start:
            return _cut(start.removeprefix(opening), closing)
    return _cut(start, "</think>") if "</think>" in text else (None, text)


def is_blank(text: str) -> bool:
    """Text → whether nobody would see anything of it: white space, controls, zero-width marks."""
    return not any(char.isprintable() and not char.isspace() for char in text)


def _split_channels(start: str) -> tuple[str | None, str] | None:
    """Harmony's channels → what is not final and the last final one; None if there are none.

    They count where the output begins with one, or ends with the final one: a template may have
    opened the first. A final part whose channel never came is reasoning that was cut.
    """
    headers = [*_HEADER.finditer(start)]
    finals = [header for header in headers if header[1] == "final"]
    if not headers or (headers[0].start() and not finals):
        return None
    passages = [start[: headers[0].start()]]
    ends = [header.start() for header in headers[1:]] + [len(start)]
    final = ""
    for header, end in zip(headers, ends, strict=True):
        passage = _ENDS.sub("", start[header.end() : end])
        if finals and header is finals[-1]:
            final = passage.strip()
        else:
            passages.append(passage)
    thoughts = [_ENDS.sub("", passage).strip() for passage in passages]
    return "\n\n".join(filter(None, thoughts)) or None, final


def _closing(tag: re.Match[str], text: str) -> str:
    """An opening tag → the one that closes it, as the text spells it."""
    bar, name = re.escape(tag[1]), re.escape(tag[2])
    found = re.search(rf"<(?:{bar}/|/{bar}){name}{bar}>", text, re.I)
    return f"</{tag[2]}>" if found is None else found[0]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _cut(text: str, closing: str) -> tuple[str, str]:
    """Text after an opening tag → reasoning and final part; unclosed, it is all reasoning."""
    reasoning, tag, final = text.rpartition(closing)
    for before, after in _WRAPS:
        final = final.strip()
        if final.startswith(before):
            final = final.removeprefix(before).removesuffix(after)
    return (reasoning.strip(), final.strip()) if tag else (text.strip(), "")
