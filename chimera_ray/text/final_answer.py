"""The final part of a trajectory → the answer that it commits to; knows nothing of equality."""

import re
from collections import deque
from collections.abc import Iterator

MAX_ANSWER_CHARS = 4_000

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
