r"""A model's reply → the value it was asked for, or ParseError; it knows no prompts and no stages.

Everything here is linear in the length of the text, because the text is not to be trusted.

LaTeX inside JSON strings is repaired, since models forget to escape the backslash:

- A backslash that starts no JSON escape (`\alpha`, `\(`) is doubled, always.
- `\b`, `\f`, `\n`, `\r` and `\t` are JSON escapes as well as the start of `\beta`, `\frac`,
  `\nabla`, `\rho` and `\theta`. They are doubled only if the whole run of letters is a LaTeX
  command listed here, and only if the object has no `\\` followed by a letter: such a reply
  escapes properly.
- `\ni` is not listed: a line break before a lone "i" is the likelier reading. `\nu`, `\ne`, `\not`
  and `\neg` count only in an object that has an escape which JSON does not know.
"""

import json
import math
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from chimera_ray.errors import ParseError

MAX_REPLY_CHARS = 2_000_000
MAX_DEPTH = 50
MAX_ANSWER_CHARS = 4_000

# An unclosed brace is read to the end of the reply, so only so many of them are followed.
_MAX_UNCLOSED = 16
_MAX_SPANS = 1_000

_COMMANDS = frozenset(
    """
    backslash bar barwedge because beta beth between bf bgroup big bigcap bigcup bigg biggl biggr
    bigl bigoplus bigotimes bigr bigsqcup bigstar bigvee bigwedge binom blacksquare bmod bmatrix
    bold boldsymbol bot bowtie boxed boxplus boxtimes breve bullet begin
    fbox flat footnotesize forall frac frown
    nabla natural ncong ne nearrow neg neq newline nexists ngeq nleftarrow nleq nless nmid nolimits
    nonumber normalsize not notag notin nparallel nrightarrow nsim nsubseteq nsupseteq nu nwarrow
    rangle rbrace rbrack rceil restriction rfloor rgroup rho right rightarrow rightharpoonup
    rightleftharpoons rightrightarrows rightsquigarrow rm rtimes rvert rVert
    tag tan tanh tau tbinom text textbf textit textnormal textrm textsf texttt textstyle tfrac
    therefore theta thicksim thickapprox tilde times to top triangle triangleleft triangleq
    triangleright twoheadrightarrow
    """.split()  # noqa: SIM905 - many words, read as words
)
# A line break before "u", "e", "ot" or "eg" is as likely, unless escapes are forgotten elsewhere.
_WORD_ENDS = frozenset(("nu", "ne", "not", "neg"))
_PROPERLY_ESCAPED = re.compile(r"\\\\[A-Za-z]")
_ESCAPE = re.compile(r'\\(?:["\\/]|u[0-9a-fA-F]{4}|(?P<name>[A-Za-z]+)|)')
_OBJECT_START = re.compile(r'\{\s*+["}]')
_TOKEN = re.compile(r'[{}\[\]]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s{0,5}\{|\\.|[{}]", re.DOTALL)
_CUE = re.compile(
    r"""
    ^[\s>#*_\-]{0,12} (?:(?:the|my|our)\s)? (?:(?:final|correct)\s)? answer \s?[*_]{0,3}\s?
        (?: [:=] | \bis\b:? )
    | \b(?:the|my|our)\s(?:(?:final|correct)\s)? answer \s is \b:?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_WRAPPERS = (("**", "**"), ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("`", "`"))

T = TypeVar("T", bound=BaseModel)


def split_reasoning(text: str) -> tuple[str | None, str]:
    """Raw output → its reasoning and its final part, cut at the last `</think>`.

    The last one, because reasoning may quote the tag, and a final part that lost its beginning
    still ends with its answer, while a final part that holds reasoning may show another answer.
    The opening tag may be missing: some chat templates open the reasoning themselves. Without a
    closing tag all is final part, or, after an opening tag, all is reasoning that was cut.
    """
    reasoning, tag, final = text.rpartition("</think>")
    if tag:
        return reasoning.strip().removeprefix("<think>").strip(), final.strip()
    start = text.lstrip()
    if start.startswith("<think>"):
        return start.removeprefix("<think>").strip(), ""
    return None, text


def final_answer(text: str) -> str | None:
    r"""Final part of a trajectory → the answer it commits to, if there is one.

    The last balanced `\boxed{...}` or `\fbox{...}` counts, else the last line that says "Answer:",
    "Final answer:" or "the answer is". Without one, or with one over 4,000 characters: None.
    """
    boxes = deque(_boxes(text), maxlen=1)
    if boxes:
        boxed = boxes[0]
        inner = None if len(boxed) > MAX_ANSWER_CHARS else _unwrapped(boxed)
        # A box may hold a box: "\boxed{\boxed{5}}".
        return final_answer(inner) if inner and re.match(r"\\(boxed|fbox)\b", inner) else inner
    lines = [line for line in text.splitlines() if line.strip()]
    for index in range(len(lines) - 1, -1, -1):
        cue = _CUE.search(lines[index])
        if cue is None:
            continue
        answer = _unwrapped(lines[index][cue.end() :])
        if not answer and index == len(lines) - 2:
            answer = _unwrapped(lines[-1])  # the heading form: "**Final answer:**", then the answer
        return answer if answer and len(answer) <= MAX_ANSWER_CHARS else None
    return None


def json_object(text: str) -> dict[str, Any]:
    """Reply → its one JSON object: bare, fenced or inside prose, after the reasoning.

    Two equal objects count as one. An empty object counts only where there is no other.

    Raises:
        ParseError: no object or several, over 2,000,000 characters, deeper than 50, a repeated key,
            NaN or an infinity, or half of a surrogate pair.
    """
    if len(text) > MAX_REPLY_CHARS:
        raise ParseError(f"the reply is longer than {MAX_REPLY_CHARS} characters")
    if (whole := _whole_object(text)) is not None:
        return whole
    found: dict[str, Any] | None = None
    problem = "there is no JSON object in the reply"
    for index, span in enumerate(_object_spans(split_reasoning(text)[1])):
        if index == _MAX_SPANS:
            raise ParseError(f"the reply has over {_MAX_SPANS} passages in braces")
        try:
            value = _load(_repaired(span))
        except ValueError as error:
            problem = f"the JSON object cannot be read: {str(error)[:80]}"
            continue
        if found and value and value != found:
            raise ParseError("the reply has different JSON objects, where one was asked for")
        found = found or value
    if found is None:
        raise ParseError(problem)
    return found


def _whole_object(text: str) -> dict[str, Any] | None:
    """A reply that is one plain JSON object → that object: most are, and need no search."""
    is_plain = text.startswith("{") and "\\" not in text and "</think>" not in text
    if not is_plain or text.count("{") + text.count("[") > MAX_DEPTH:
        return None
    try:
        return _load(text)
    except ValueError:
        return None


def fields(text: str, shape: type[T]) -> T:
    """Reply → its JSON object as `shape`, if every field is as asked.

    Raises:
        ParseError: no such object (see `json_object`), or a field is wrong: the first one is named.
    """
    value = json_object(text)
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = ".".join(str(part) for part in first["loc"])[:80] or "the object"
        raise ParseError(f"{name} is wrong in the reply: {first['type']}") from None


def _object_spans(text: str) -> Iterator[str]:
    start, num_unclosed = 0, 0
    while num_unclosed < _MAX_UNCLOSED and (opening := _OBJECT_START.search(text, start)):
        end = _closing(text, opening.start())
        if end is None:
            num_unclosed += 1
            start = opening.start() + 1
        else:
            yield text[opening.start() : end]
            start = end


def _closing(text: str, start: int) -> int | None:
    depth = 0
    for token in _TOKEN.finditer(text, start):
        if token[0] in "{[":
            depth += 1
        elif token[0] in "}]":
            depth -= 1
        if depth > MAX_DEPTH:
            raise ParseError(f"the JSON object is nested deeper than {MAX_DEPTH}")
        if depth == 0:
            return token.end()
    return None


def _repaired(span: str) -> str:
    escapes_properly = _PROPERLY_ESCAPED.search(span) is not None
    names = [escape["name"] or "" for escape in _ESCAPE.finditer(span)]
    forgets = any(name and name[0] not in "bfnrt" for name in names)
    commands = _COMMANDS if forgets else _COMMANDS - _WORD_ENDS

    def repair(escape: re.Match[str]) -> str:
        name = escape["name"]
        if name is None:
            return escape[0] if len(escape[0]) > 1 else "\\\\"
        is_json = name[0] in "bfnrt"
        return (
            escape[0]
            if is_json and (escapes_properly or name not in commands)
            else "\\" + escape[0]
        )

    return _ESCAPE.sub(repair, span)


def _load(span: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(
        span,
        strict=False,
        object_pairs_hook=_unique,
        parse_constant=_refuse_constant,
        parse_float=_finite,
    )
    if _SURROGATE.search(span):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ParseError("the JSON object has half of a surrogate pair") from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ParseError("the JSON object repeats a key")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ParseError("the JSON object has a number that is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"the JSON object has {name}, which is no JSON number")


def _boxes(text: str) -> Iterator[str]:
    openings: list[int | None] = []
    for token in _BOX_TOKEN.finditer(text):
        if token[0].endswith("{") and token[0] != r"\{":
            openings.append(token.end() if token[0] != "{" else None)
        elif token[0] == "}" and openings:
            start = openings.pop()
            if (
                start is not None
                and not text[start : token.start()].isspace()
                and start < token.start()
            ):
                yield text[start : token.start()]


def _unwrapped(text: str) -> str:
    text = text.strip()
    while True:
        before = text
        for left, right in _WRAPPERS:
            is_wrapped = text.startswith(left) and text.endswith(right)
            if (
                is_wrapped
                and len(text) > len(left + right)
                and left not in text[len(left) : -len(right)]
            ):
                text = text[len(left) : -len(right)].strip()
        text = text.removeprefix("** ").removesuffix("**" if text.count("**") == 1 else "\0")
        if len(text) > 1 and text[-1] == "." and not text.endswith(".."):
            text = text[:-1].rstrip()
        if text == before:
            return text
