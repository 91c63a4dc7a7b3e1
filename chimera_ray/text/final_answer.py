r"""The final part of a trajectory → the answer that it commits to; knows nothing of equality.

An answer is read only where it is certain. A wrong one would make a wrong label, while a text that
is left open is read by a grader, at a fraction of a cent. So a text is left open wherever it takes
an answer back, states several, hedges, quotes, or does not show where its answer ends.
"""

import re
from typing import NamedTuple

from chimera_ray.text.answer_doubts import (
    Doubt,
    doubt_after,
    doubt_in_parts,
    has_alternatives,
    sentence_before,
)
from chimera_ray.text.answer_statements import (
    MAX_ANSWER_CHARS,
    MAX_STATEMENTS,
    Statement,
    statements,
)

MAX_TEXT_CHARS = 2_000_000

_MAX_WRAPPINGS = 10
"""more of them are no answer's; each costs a look over the whole answer"""

_WRAPPERS = (("**", "**"), ("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("`", "`"))
_COMMAND = re.compile(
    r"\\{1,2}(?:boxed|fbox|text|textbf|textit|textrm|mathrm|mathbf|mbox)\s{0,5}\{"
)
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_NO_ANSWER = re.compile(
    r"(?:q\.?\s?e\.?\s?d\.?|\\(?:square|blacksquare|ldots|cdots|dots)|[\W_]*|(?:your |the |final )*"
    r"(?:answer|result|value)(?: here)?|n/a|tbd|todo)",
    re.IGNORECASE,
)
_INTERMEDIATE = re.compile(
    r"(?<![^\W_])(?:steps?\s\d{1,2}|first|intermediate|sub-?total|so far|lemma)(?![^\W_])",
    re.IGNORECASE,
)
_FINAL = re.compile(r"(?<![^\W_])final\s(?:answer|result)", re.IGNORECASE)
_SPACING = re.compile(r"\\(?:left|right|displaystyle|,|;|!|:| |quad)|[\s$]|\{,\}|(?<=\d),(?=\d{3})")
_LEFT_SIDE = re.compile(r"[A-Za-z](?:_\w)?=(?=[^=]+$)")


class FinalAnswer(NamedTuple):
    """What a final part commits to."""

    answer: str | None
    left_open_by: Doubt | None
    """why there is no answer; None: there is one"""


def final_answer(text: str) -> str | None:
    """Final part of a trajectory → the answer it commits to, if there is one and it is certain."""
    return read_final_answer(text).answer


def read_final_answer(text: str) -> FinalAnswer:
    r"""Final part of a trajectory → the answer it commits to, or why it is left open.

    The last statement of an answer counts: a `\boxed{...}`, an "Answer:" line or heading, a tag, or
    a sentence like "the answer is". All others have to agree with it, except earlier sentences that
    hedge and boxes that are called a step towards the final answer.
    """
    if len(text) > MAX_TEXT_CHARS:
        return FinalAnswer(None, "too_long")
    stated = statements(text)
    if not stated:
        return FinalAnswer(None, "no_answer")
    last = stated[-1]
    answer = _bare(last.answer) if len(last.answer) <= MAX_ANSWER_CHARS else ""
    doubt = _doubt(text, stated, answer)
    return FinalAnswer(None, doubt) if doubt else FinalAnswer(answer, None)


def _doubt(text: str, stated: list[Statement], answer: str) -> Doubt | None:
    last = stated[-1]
    if len(stated) >= MAX_STATEMENTS or len(last.answer) > MAX_ANSWER_CHARS:
        return "too_long"
    if last.doubt:
        return last.doubt
    if _NO_ANSWER.fullmatch(answer):
        return "no_answer"
    if has_alternatives(answer) or answer.endswith("?"):
        return "alternatives"
    form = _form(answer)
    for other in stated[:-1]:
        is_counted = (other.is_box or not other.doubt) and not _is_step(text, other, last)
        if is_counted and _form(_bare(other.answer[:MAX_ANSWER_CHARS])) != form:
            return "alternatives"
    return doubt_after(text, last.end, answer, is_box=last.is_box) or doubt_in_parts(text, answer)


def _is_step(text: str, box: Statement, last: Statement) -> bool:
    """Whether a box is called a step, and the last one the final answer."""
    is_final = _FINAL.search(sentence_before(text, last.start))
    is_step = _INTERMEDIATE.search(sentence_before(text, box.start))
    return bool(box.is_box and last.is_box and is_final and is_step)


def _form(answer: str) -> str:
    """Answer → what is the same in two statements of it."""
    return _LEFT_SIDE.sub("", _SPACING.sub("", answer).replace("dfrac", "frac"), count=1)


def _bare(text: str) -> str:
    r"""Answer as written → the same without its wrapping: `$`, `**`, `\text{}`, a full stop."""
    for _ in range(_MAX_WRAPPINGS):
        before = text
        text = text.strip()
        for left, right in _WRAPPERS:
            inner = text[len(left) : -len(right)]
            if (
                inner
                and text.startswith(left)
                and text.endswith(right)
                and left not in inner.replace(r"\$", "")
            ):
                text = inner.strip()
        command = _COMMAND.match(text)
        if command and _closing(text, command.end()) == len(text) - 1:
            text = text[command.end() : -1].strip()
        if text.count("**") == 1:
            text = text.removeprefix("** ").removesuffix("**")
        if len(text) > 1 and text[-1] in ".。" and not text.endswith(".."):
            text = text[:-1].rstrip()
        if text == before:
            break
    return text


def _closing(text: str, start: int) -> int | None:
    """Where the brace that was opened just before `start` is closed."""
    depth = 1
    for token in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.start()
    return None
