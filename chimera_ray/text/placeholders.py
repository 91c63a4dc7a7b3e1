"""A text of a model → whether it says nothing, or only says the prompt again."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

MAX_COPIED_WORDS = 12
"""a run of the prompt's words from which on any text is a copy, whatever else it says"""
MIN_COPIED_WORDS = 3
"""words of the prompt below which nothing is a copy"""

_MAX_CHARS = 80
_MAX_BRACKETED_WORDS = 6
_ENCLOSED = re.compile(r"\s*(?:<[^<>]{1,80}>|\[[^\[\]]{1,80}\]|\{{1,2}[^{}]{1,80}\}{1,2})\s*")
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_NOTHING = re.compile(r"[\s.…·•*_?!\-–—,;:'\"`$\\\u200b-\u200f\u2060-\u2064\ufeff\u00ad]*")
_NOT_APPLICABLE = re.compile(r"n\s?[./]\s?a", re.IGNORECASE)
_NOT_IN_WORDS = re.compile(r"[\W_]+")
_LATER = re.compile(r"(?: ?\d{1,4}| [a-d])\Z")
_GOES_HERE = re.compile(
    r"(?:(?:insert|enter|write|put|add|provide|type|fill in|replace with|describe|explain)\b.*"
    r"|your\b.*|.*\b(?:goes|comes)) (?:here|below)\Z"
    r"|(?:lorem ipsum|to be (?:filled in|determined|added|done|decided))\b.*\Z"
    r"|placeholder (?:text|answer|name|reason|for)\b.*\Z"
)

_ANYWHERE = """
string|text|str|value|your text|your answer|the answer|answer|answer here|your answer here
final answer|the final answer|your final answer|correct answer|answer text|answer goes here|result
your result|n a|not applicable|not available|todo|to do|tbd|tba|fixme|fill in|placeholder|foo
foo bar|foobar|blah|sample|sample text|sample answer|example|example text|example answer|some text
some answer|undefined|unknown|insert here
"""
_NAMES = """
topic|topics|the topic|topic name|name of topic|name of the topic|topic here|your topic|sub topic
subtopic|area|areas|the area|area name|name of area|name of the area|area here|your area|name
a name|string|text|str|value|field|subfield|n a|todo|tbd|tba|fixme|placeholder|foo|foo bar|foobar
blah|none|null|nil|undefined|unknown|other|others|etc|example|example topic|example area|sample
some topic|new topic|new area|another topic|another area|subject|category|item|list item
topic title
"""
_PROSE = """
reason|reasons|the reason|a reason|your reason|reason here|one sentence reason|short reason|why
because|reasoning|the reasoning|your reasoning|one sentence|a sentence|sentence|in one sentence
one sentence why|one sentence that says why|explanation|the explanation|your explanation
an explanation|explain|short explanation|brief explanation|justification|your justification
rationale|comment|comments|note|problem|the problem|problem statement|the problem statement
problem text|your problem|statement|the statement|question|your question|solution|the solution
your solution|full solution|step by step|complete solution|comparison|the comparison
your comparison|analysis|your analysis|topic|area|name|null|none|nil|nothing|no reason|no comment
yes|no|true|false|ok|okay|pass|passed|fail|failed|correct|incorrect|wrong|right|valid|invalid
description|details|content|word|words|message|output|response|name of the area|name of the topic
the text|verdict|same|same as above|see above|as above
"""
_BRACKETED = re.compile(
    r"\b(?:answer|your|insert|value|result|final|here|string|text|placeholder|number|expression"
    r"|solution|reason|fill)\b"
)
_LEAD = re.compile(
    r"\s*(?:the|my|your)\s+(?:final\s+|correct\s+)?answer\s+is\b\s*:?", re.IGNORECASE
)
_OF_ANSWERS = frozenset(re.split(r"[|\n]", _ANYWHERE.strip()))
_OF_NAMES = frozenset(re.split(r"[|\n]", _NAMES.strip()))
_OF_PROSE = _OF_ANSWERS | frozenset(re.split(r"[|\n]", _PROSE.strip()))

_JINJA = re.compile(r"\{[#%{]|[#%}]\}|</?\w{1,40}>")
_CLOSING = {"{#": "#}", "{%": "%}", "{{": "}}"}


class Passages:
    """A prompt's own words, without what is filled in, and their runs by length."""

    def __init__(self, words: Sequence[str]) -> None:
        """Takes the words; empty ones stand where something is filled in."""
        self._words = words
        self._runs: dict[int, frozenset[tuple[str, ...]]] = {}

    def hold(self, words: Sequence[str], length: int) -> bool:
        """Words → whether so many of them in a row stand in the prompt in a row."""
        if length not in self._runs:
            self._runs[length] = frozenset(run for run in _runs(self._words, length) if all(run))
        return not self._runs[length].isdisjoint(_runs(words, length))


def _runs(words: Sequence[str], length: int) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(length)), strict=False)


def is_placeholder(text: str) -> bool:
    """A reason, or a part of a draft → whether it says nothing: "...", "string", "[why]", "yes"."""
    plain = _plain(text)
    if sum(map(str.isalpha, plain)) < 2:
        return True
    return _is_bracketed(text, plain) or _says_nothing(plain, _OF_PROSE)


def is_placeholder_name(text: str) -> bool:
    """The name of an area or a topic → whether it names none: "topic", "Topic 3", "<area>"."""
    plain = _plain(text)
    if not any(map(str.isalpha, plain)) or (len(plain) == 1 and plain.isascii()):
        return True
    return _is_bracketed(text, plain) or _is_numbered_phrase(plain, _OF_NAMES)


def is_placeholder_answer(text: str) -> bool:
    """An answer → whether it is none: "...", "<answer>", "The answer is [answer]".

    "0", "x", "no", "None", "∅", "()" and "-(n × a)" may be answers.
    """
    lead = _LEAD.match(text)
    text = text[lead.end() :] if lead else text
    plain = _plain(text)
    if not plain:
        return _NOTHING.fullmatch(text) is not None
    if plain == "n a":
        return _NOT_APPLICABLE.search(text) is not None
    if _is_bracketed(text, plain) and _BRACKETED.search(plain):
        return True
    is_repeated = len(plain) > 3 and set(plain) == {"x"}
    return is_repeated or _is_phrase(plain, _OF_ANSWERS)


def prompt_passages(*sources: str) -> Passages:
    """The sources of a prompt's template, and whatever else it says → what a copy is held against.

    Jinja's comments, statements and fields are left out, and so are tags. Keep the result: it
    depends on the prompt alone.
    """
    kept = [chunk for source in sources for chunk in _own_chunks(source)]
    return Passages([word for chunk in kept for word in ("", *_words(chunk))])


def _own_chunks(source: str) -> Iterator[str]:
    """A template's source → what it says itself, in the pieces between what is filled in."""
    start = 0
    awaited = ""
    for token in _JINJA.finditer(source):
        if not awaited:
            yield source[start : token.start()]
            awaited = _CLOSING.get(token[0], "")
        if token[0] == awaited or not awaited:
            awaited = ""
            start = token.end()
    if not awaited:
        yield source[start:]


def copies_prompt(text: str, passages: Passages) -> bool:
    """Text → whether it says the prompt again: case, spacing and punctuation do not count.

    It does if all of its words, or all but one in eight, follow one another in the prompt, three at
    the least, or if any twelve of them do.
    """
    words = _words(text)
    needed = max(MIN_COPIED_WORDS, len(words) - len(words) // 8)
    return passages.hold(words, min(needed, MAX_COPIED_WORDS))


def _is_bracketed(text: str, plain: str) -> bool:
    """Whether a few words stand in brackets, and nothing else: `<answer>`, `[one sentence]`."""
    words = plain.split()
    is_short = len(words) <= _MAX_BRACKETED_WORDS and all(map(str.isalpha, words))
    return is_short and _ENCLOSED.fullmatch(text) is not None


def _says_nothing(plain: str, phrases: frozenset[str]) -> bool:
    """Whether one letter or one word is said again and again, or one of the phrases."""
    letters = set(plain.replace(" ", ""))
    words = set(plain.split())
    is_repeated = len(letters) == 1 or (len(words) == 1 and " " in plain)
    return is_repeated or _is_numbered_phrase(plain, phrases)


def _is_numbered_phrase(plain: str, phrases: frozenset[str]) -> bool:
    """Whether it is one of the phrases, perhaps one of several: "topic 3", "reason b"."""
    if _is_phrase(plain, phrases):
        return True
    numbered = _LATER.search(plain)
    return numbered is not None and _is_phrase(plain[: numbered.start()], phrases)


def _is_phrase(plain: str, phrases: frozenset[str]) -> bool:
    words = plain.split()
    once = words[0] if len(set(words)) == 1 else plain
    if len(once) > _MAX_CHARS:
        return once.startswith("lorem ipsum")
    return once in phrases or _GOES_HERE.match(once) is not None


def _words(text: str) -> list[str]:
    return _plain(text).split()


def _plain(text: str) -> str:
    """Text → its letters and digits, in one case, one space between words."""
    if text.isascii():
        folded = text.lower()
    else:
        folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return _NOT_IN_WORDS.sub(" ", folded).strip()
