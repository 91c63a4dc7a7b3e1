"""A prompt → what it asks for, read from its tagged fields as any model would read it.

Every prompt of a role has instructions first, then its tagged fields, and last the shape of the
JSON that it wants. The kind is told by the fields that come first: they stand before any text that
cannot be trusted, so a problem that quotes tags changes nothing. A prompt without that structure is
a bare problem. Knows nothing about answers; linear in the length of the text.
"""

import re
from typing import NamedTuple

from chimera_ray.metrics.topic_key import topic_key


class Expand(NamedTuple):
    """Topics of a subject are asked for."""

    subject: str
    wanted: int
    known: frozenset[str]
    """normal forms of the topics that are listed as known"""


class Confirm(NamedTuple):
    """Is a topic one of the candidates?"""

    topic: str
    candidates: tuple[tuple[int, str], ...]
    """(number, name)"""


class Draft(NamedTuple):
    """A problem is to be written."""

    subject: str
    topic: str
    facet: str


class Validate(NamedTuple):
    """A problem and its answer are to be checked."""

    problem: str
    answer: str


class Label(NamedTuple):
    """A response is to be compared with the reference answer."""

    problem: str
    reference_answer: str
    response: str


class Solve(NamedTuple):
    """A bare problem."""

    problem: str


Ask = Expand | Confirm | Draft | Validate | Label | Solve

_WANTED = re.compile(r"<wanted>([0-9]{1,6})</wanted>\n")
_NUMBERED = re.compile(r"^([0-9]{1,4})\. (.+)$", re.MULTILINE)


def read_prompt(text: str) -> Ask:
    """Prompt → what it asks for; the bare problem, if it has not the structure of a role's."""
    fields = text.partition("\n<")[2]
    if not (fields and text.rstrip().endswith("}")):
        return Solve(text)
    ask: Ask | None = None
    if fields.startswith("problem>\n"):
        ask = _label(fields)
    elif fields.startswith("topic>"):
        ask = _validate(fields)
    elif fields.startswith("subject>"):
        subject, rest = _split(fields.removeprefix("subject>"), "</subject>\n")
        ask = _expand(subject, rest) or _confirm(rest) or _draft(subject, rest)
    return Solve(text) if ask is None else ask


def _expand(subject: str, fields: str) -> Expand | None:
    wanted = _WANTED.match(fields)
    if wanted is None:
        return None
    known = _split_last(fields.partition("\n<known>\n")[2], "</known>")[0]
    lists = (line.partition(": ")[2] for line in known.splitlines())
    names = [name for listed in lists for name in listed.split("; ") if name]
    return Expand(subject, int(wanted[1]), frozenset(map(topic_key, names)))


def _confirm(fields: str) -> Confirm | None:
    topic, rest = _split(fields, "</topic>\n<candidates>\n")
    listed, end = _split_last(rest, "</candidates>")
    if not (topic.startswith("<topic>") and end):
        return None
    candidates = tuple((int(number), name) for number, name in _NUMBERED.findall(listed))
    return Confirm(topic.removeprefix("<topic>"), candidates)


def _draft(subject: str, fields: str) -> Draft | None:
    area, rest = _split(fields, "</area>\n<topic>")
    topic, rest = _split(rest, "</topic>\n<facet>")
    facet, end = _split(rest, "</facet>\n")
    return Draft(subject, topic, facet) if area.startswith("<area>") and end else None


def _validate(fields: str) -> Validate | None:
    rest = fields.partition("</topic>\n<problem>\n")[2]
    problem, rest = _split_last(rest, "\n</problem>\n<answer>\n")
    answer, end = _split_last(rest, "\n</answer>\n")
    return Validate(problem, answer) if end else None


def _label(fields: str) -> Label | None:
    # Neither the problem nor the response can be trusted. The reference ends where the first
    # response begins, and begins at the last border before that: so a problem that imitates one
    # border moves nothing, and a response may imitate any.
    before, rest = _split(fields, "\n</reference_answer>\n<response>\n")
    problem, reference = _split_last(before, "\n</problem>\n<reference_answer>\n")
    response, end = _split_last(rest, "\n</response>\n")
    return Label(problem, reference, response.strip()) if reference and end else None


def _split(text: str, border: str) -> tuple[str, str]:
    """Text → what stands before the first `border`, and after it; both empty without one."""
    before, found, after = text.partition(border)
    return (before, after) if found else ("", "")


def _split_last(text: str, border: str) -> tuple[str, str]:
    """Text → what stands before the last `border`, and after it; both empty without one."""
    before, found, after = text.rpartition(border)
    return (before, after) if found else ("", "")
