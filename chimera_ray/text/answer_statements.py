r"""Text → the places where it states an answer: boxes, tags, "Answer:" lines and headings, phrases.

Finds them and says how far each answer goes, or that this is not certain; which of them counts is
not decided here. Every look ahead or back is bounded, so the whole is linear.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from chimera_ray.text.answer_doubts import (
    Doubt,
    doubt_before,
    goes_on,
    has_alternatives,
    sentence_before,
)

MAX_ANSWER_CHARS = 4_000
MAX_STATEMENTS = 1_000

_MAX_LINE_CHARS = 300
_BOX = r"\\{1,2}(?:boxed|fbox|framebox)(?![A-Za-z])"
_BOX_TOKEN = re.compile(
    rf"(?P<box>{_BOX}\s{{0,5}}(?:\[[^\]\n]{{0,20}}\]\s{{0,5}})?\{{)|(?P<bare>{_BOX})"
    r"|(?P<group>(?:\\[A-Za-z]{1,20}\s?|[\^_])?\{)|\\.|\}",
    re.DOTALL,
)
_BARE = re.compile(r"\s{0,5}([+-]?\d{1,40}+(?:[.,]\d{1,40}+)?+|[A-Za-z])(?![A-Za-z\d])")
_HARMLESS_GROUP = re.compile(
    r"\\(?:text\w{0,6}|math(?:bf|rm|bb|it)|underline|color|displaystyle|large|Large|bf|left|"
    r"boldsymbol|begin|end|mbox)?\s?\{|\{"
)
_TAG = re.compile(r"<(/?)((?:final[_ ]?)?answer)>", re.IGNORECASE)

_ASKED = (
    r"(?:\sto\s(?:the|this|your|our)\s(?:(?:original|given|above|whole)\s)?"
    r"(?:question|problem|exercise|puzzle|riddle|equation|task|challenge))?"
)
_LABELS = rf"""
    (?:(?:the|my|our)\s)?(?:(?:final|correct|right|exact|overall)\s)?(?:answer|ans(?!\w)){_ASKED}
    | (?:(?:the|our)\s)?(?:final\s)?result | (?:correct|right)\s(?:option|choice)
    | (?:(?:end)?gültige\s|finale\s|richtige\s)?(?:end)?antwort | (?:end)?ergebnis
    | r[ée]ponse(?:\s(?:finale|correcte))? | r[ée]sultat(?:\sfinal)?
    | respuesta(?:\s(?:final|correcta))? | resultado(?:\sfinal)? | resposta(?:\s(?:final|correta))?
    | risposta(?:\s(?:finale|corretta))? | risultato(?:\sfinale)?
    | (?:eind)?antwoord | odpowiedź | cevap | svar | sonuç
    | (?:(?:окончательный|итоговый|правильный)\s)?ответ
    | (?:最终|最終|最后|最後|正确|正確)?的?答案 | 答 | (?:最終的?な?)?(?:答え|解答|回答)
    | (?:최종\s?|최종적인\s?)?(?:정답|답변|답) | (?:الإجابة|الجواب)(?:\sالنهائية|\sالنهائي)? | उत्तर
"""
_PHRASES = rf"""
    (?:the|my|our)\s(?:(?:final|correct|right|overall)\s)?answer{_ASKED}\s
        is(?:\s(?:therefore|thus|then|hence|simply))?
    | the\s(?:correct|right)\s(?:option|choice)\sis
    | (?:die|unsere)\s(?:(?:richtige|korrekte|endgültige|finale)\s)?antwort\s(?:ist|lautet)
    | das\s(?:end)?ergebnis\s(?:ist|lautet|beträgt)
    | la\sr[ée]ponse\s(?:(?:finale|correcte)\s)?est | le\sr[ée]sultat\s(?:final\s)?est
    | la\srespuesta\s(?:(?:final|correcta)\s)?es | el\sresultado\s(?:final\s)?es
    | la\srisposta\s(?:(?:finale|corretta)\s)?è | il\srisultato\s(?:finale\s)?è
    | a\sresposta\s(?:(?:final|correta)\s)?é | o\sresultado\s(?:final\s)?é
    | het\s(?:(?:juiste|uiteindelijke)\s)?antwoord\sis
    | (?:最终|最終|最后|最後|正确|正確)?的?答案[是为為] | (?:最終的?な?)?答えは | (?:정답|답)은
"""
_INITIALS = "tmofcraegdulihsпои最正的答최정답اउ"  # of every label and phrase: most places end here
_CUE = re.compile(
    rf"""(?=[{_INITIALS}])(?<![^\W_一-鿿ぁ-ヿ])(?:
        (?P<phrase>{_PHRASES})(?:\s?[:：]|(?=[\s*_$\\]|(?<=[是为為は은]))(?![,.;!?]))
      | (?P<label>{_LABELS})(?:\s{{0,2}}\((?!(?:[a-h\d]|i{{1,3}})\)|part)[^()\n]{{1,60}}\))?
          [*_]{{0,3}}
          (?:\s{{0,2}}(?:[:：=]|is:)[*_]{{0,3}} | \s[-–—](?=\s) | (?P<alone>[ \t\#*_]{{0,8}}(?=\n)))
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_CONNECTIVE = re.compile(
    r"""(?:^|(?<![^\W_])(?:so|thus|hence|therefore|then|and|finally|consequently|accordingly|now|in\s
    (?:conclusion|summary|total)|to\s(?:conclude|summarize)|overall|which\s(?:means|gives)
    |(?:means|conclude|find|see|get|obtain|follows|shows|show|have|know|deduce|determine)\sthat
    |also|somit|daher|also|donc|ainsi|por\s(?:lo\s)?tanto|entonces|quindi|perciò|portanto|logo
    |因此|所以|故|따라서|そのため|したがって|よって|итак|следовательно))[\s,:*_\#>\-]{0,12}$
    | [,;:、，：—–>$*)\]][\s*_]{0,12}$""",
    re.IGNORECASE | re.VERBOSE,
)
_LABEL_OPENS = re.compile(
    r"(?:_|[^\w\"'“«>]){0,20}(?:(?:so|thus|hence|therefore|then|finally|and|now|also|daher|donc)[,:]?\s"
    r"|\d{1,2}\.\s)?[^\w\"'“«>]{0,8}",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"[\"“«‘]\W{0,3}$|(?:^|\n)\s{0,3}>[^\n]*$")

_SPANS = (("$$", "$$"), (r"\[", r"\]"), (r"\(", r"\)"), ("**", "**"), ("$", "$"), ("`", "`"))
_FENCE = re.compile(r"```[a-z]{0,10}\n([^`]{1,4000})\n\s{0,3}```")
_NUMBER = r"[-+−±]?(?:\d{1,3}(?:,\d{3}){1,20}+|\d{1,400}+)?(?:\.?\d{1,400}+)?"
_AMOUNT = rf"""
    (?:(?:approximately|about|roughly)\s|[≈~]\s?)?
    (?:[A-Za-z]\s?=\s?)? (?:[-−]?\\?[$€£¥]\s?)? (?=[-+−±]?\.?\d){_NUMBER}(?:/\d{{1,400}})?
    (?:\s?(?:\\?%|°[CF]?|º|e[+-]?\d{{1,4}}))?
"""
_NAMED = r"""yes|no|true|false|none|zero|one|two|three|four|five|six|seven|eight|nine|ten|infinity
    |infinite|undefined|even|odd|positive|negative|impossible|both|neither"""
_CLOSED = re.compile(
    rf"(?:{_AMOUNT}|\([A-J]\)|[A-Z]|[\d\w]{{1,3}}\^\{{?\d{{1,4}}\}}?|(?:{_NAMED}))(?![^\Wぁ-ヿ가-힣_])",
    re.IGNORECASE | re.VERBOSE,
)
_WITH_UNIT = re.compile(
    rf"{_AMOUNT}\s?[^\W\d_]{{1,20}}(?:[\s/·][^\W\d_]{{1,20}}){{0,3}}(?:\^?[-²³⁻¹\d]{{1,3}})?",
    re.VERBOSE,
)
_MATH = re.compile(
    r"""(?:[^\W\d_](?![^\W\d_]) | \\[A-Za-z]{1,20}+ | (?:sin|cos|tan|log|ln|exp|sqrt|pi)(?![a-z])
      | [\d_] | [^\w\\] | \\[^A-Za-z])++""",
    re.VERBOSE | re.DOTALL,
)
_NAME = re.compile(
    r"(?:the |an? )?[A-Z][\w'-]{1,30}(?: (?:of |the |de |von )?[A-Z][\w'-]{1,30}){0,4}"
)
_STOPS = re.compile(
    r"""[ \t*_$`"'”»)]{0,8}(?:です|である|になります|となります|だ|입니다|이다|이에요|예요|입니다)?
    (?: (?:\n|$) | \.(?:[\s*_$`"'”)]|$) | [。！；] | ;\s
      | </ | ,?\s\(?(?:because|since|which\s(?:is|means)|weil|denn|car|porque|perché|pois)\s )""",
    re.IGNORECASE | re.VERBOSE,
)
_OPENS_SENTENCE = re.compile(
    r"(?:there|we|i|you|this|these|those|that|thus|so|hence|therefore|it|to|let|since|by|first|in"
    r"|from|using|if|after|adding|given|for|now|see|because|as|when|where|how|what|all|with)\s",
    re.IGNORECASE,
)
_BLANK = re.compile(r"[ \t]{0,20}(?:\n\s{0,50})?")
_FORMULA = re.compile(r"\$[^$]{1,300}\$|\\\([^$]{1,300}?\\\)|\*\*[^*]{1,300}\*\*")
_GLUED_BEFORE = re.compile(
    r"""(?: [+/^<·×÷±∓≠≤≥] | (?<!answer)> | (?<!\n)(?<!\n\ )[-−–]
      | \\(?:cdot|times|div|pm|mp|ne|neq|le|leq|ge|geq|lt|gt|sqrt|log|ln|sin|cos|tan|d?frac|not|\$)
      | (?<![^\W_'’\\])[B-HJ-Zb-z] )[\s{]*$ | [\d)]$ | \}\$?\s?[:,;]\s?\$?$
      | (?<!\\)(?<!\\text)(?<!\\end)(?<!\\begin)\{[^{}]+\}\s?$""",
    re.VERBOSE,
)
_GLUED_AFTER = re.compile(
    r"""[A-Za-z!] | \s{0,3}(?: <(?!/) | [\^+\-/>÷×·(%°\d=] | _[\d{]
      | \\(?:cdot|times|div|pm|mp|%|sqrt|d?frac|ne|neq|le|leq|ge|geq|lt|gt|circ|degree|in|text
        |mathrm|pi|mod|pmod|bmod|choose)(?![A-Za-z]) )""",
    re.VERBOSE,
)
_LEADS = re.compile(
    r"""(?:=|\\approx|≈|:|\\(?:implies|Rightarrow|to|rightarrow)|→|⇒|(?<![^\W_])(?:is|are|of|equals
    |option|choice|be|number|value)|^)[\s$*_\\(\[{:&]*$""",
    re.VERBOSE,
)
_NO_VALUE = re.compile(
    r"\d\s?(?:->|=>|→|⇒)\s?[-\d]|~~|</?[A-Za-z]{2}|!$|(?<![^\W_])"
    r"(?:(?<!of\sthe\s)above|below|know|here|it|this|i\s(?:am|got|get)|we)(?![^\W_])",
    re.IGNORECASE,
)
_CHOSEN = re.compile(r"^[A-Ja-j]\)")
_FULL_STOP = re.compile(r"[.!?](?=\s)|[。！？]")
_INITIAL = re.compile(r"(?:[^\W\d_]\.[ \t]{0,3})+[^\W\d_]")
"""of a name ("J. S. Bach", "E. coli"), or a choice and what is said of it: who can tell"""
_LINE_END = re.compile(r"\n|$")


class Statement(NamedTuple):
    """A place where an answer is stated."""

    start: int
    """where the statement begins: a cue's first letter, a box's backslash"""
    end: int
    """just after the answer"""
    answer: str
    """as it is written; empty where its extent is not certain"""
    is_box: bool
    doubt: Doubt | None
    """why it is not certain by itself"""


def statements(text: str) -> list[Statement]:
    """Text → every statement of an answer in it, in order; at most 3,000, then it looks no further.

    A cue that leads to a box is no statement of its own.
    """
    boxes = sorted(islice(_boxes(text), MAX_STATEMENTS))
    starts = [box.start for box in boxes]
    cues = [
        cue
        for found in islice(_CUE.finditer(text), MAX_STATEMENTS)
        if not _is_inside(found.start(), boxes, starts)
        and (cue := _cue(text, found, starts)) is not None
    ]
    inner = sorted((*starts, *(cue.start for cue in cues)))
    tags = (tag for tag in _tags(text) if _first(inner, tag.start) >= tag.end)
    return sorted((*boxes, *cues, *islice(tags, MAX_STATEMENTS)))


def _first(starts: list[int], place: int) -> float:
    index = bisect_left(starts, place)
    return starts[index] if index < len(starts) else float("inf")


def _is_inside(place: int, boxes: list[Statement], starts: list[int]) -> bool:
    index = bisect_left(starts, place)
    return index > 0 and place < boxes[index - 1].end


# ---- boxes ----------------------------------------------------------------------------------


class _Group(NamedTuple):
    """An opening brace."""

    start: int
    inner: int
    is_box: bool
    is_harmless: bool
    """what it holds stands for itself, as in `\\text{`"""


def _boxes(text: str) -> Iterator[Statement]:
    """Text → its outermost boxes, in the order in which they end; unclosed ones last."""
    groups: list[_Group] = []
    held: list[tuple[_Group, int, bool]] = []  # boxes in an open group: it may be a box, or harm
    for token in _BOX_TOKEN.finditer(text):
        if token["bare"]:
            yield _bare_box(text, token)
        elif token["box"] or token["group"]:
            is_harmless = bool(_HARMLESS_GROUP.fullmatch(token[0]))
            groups.append(_Group(token.start(), token.end(), bool(token["box"]), is_harmless))
        elif token[0] == "}" and groups:
            group = groups.pop()
            if group.is_box:
                while held and held[-1][0].start > group.start:
                    held.pop()
                held.append((group, token.start(), False))
            elif not group.is_harmless and held and held[-1][0].start > group.start:
                held[-1] = (*held[-1][:2], True)
        if len(held) > MAX_STATEMENTS:
            break
    for group, end, is_embedded in held:
        yield _box(text, group.start, text[group.inner : end], end + 1, is_embedded=is_embedded)
    for group in filter(lambda group: group.is_box, groups):
        yield Statement(group.start, len(text), "", True, "unclosed")
        break


def _bare_box(text: str, token: re.Match[str]) -> Statement:
    r"""`\boxed 5`; whatever else stands without braces is not certain."""
    found = _BARE.match(text, token.end())
    if found is None:
        return Statement(token.start(), token.end(), "", True, "unclear_end")
    return _box(text, token.start(), found[1], found.end(), is_embedded=False)


def _box(text: str, start: int, inner: str, end: int, *, is_embedded: bool) -> Statement:
    doubt: Doubt | None = None
    if not inner.strip():
        doubt = "no_answer"
    elif is_embedded or _is_in_formula(text, start, end) or not _is_led_to(text, start):
        doubt = "unclear_end"
    return Statement(start, end, inner, True, doubt or doubt_before(text, start))


def _is_in_formula(text: str, start: int, end: int) -> bool:
    """Whether what stands beside a box makes it a part of something larger."""
    before = text[max(0, start - 60) : start]
    return bool(_GLUED_BEFORE.search(before) or _GLUED_AFTER.match(text[end : end + 40]))


def _is_led_to(text: str, start: int) -> bool:
    """Whether nothing stands between a cue and the box that it leads to."""
    sentence = sentence_before(text, start)
    cues = list(_CUE.finditer(sentence))
    return not cues or bool(_LEADS.search(sentence[cues[-1].end() :]))


# ---- tags -----------------------------------------------------------------------------------


def _tags(text: str) -> Iterator[Statement]:
    opening: re.Match[str] | None = None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opening = tag
        elif opening is not None:
            inner = text[opening.end() : tag.start()]
            doubt = doubt_before(text, opening.start()) if inner.strip() else "no_answer"
            yield Statement(opening.start(), tag.end(), inner, False, doubt)
            opening = None
    if opening is not None:
        yield Statement(opening.start(), len(text), "", False, "unclosed")


# ---- cues -----------------------------------------------------------------------------------


def _cue(text: str, found: re.Match[str], boxes: list[int]) -> Statement | None:
    """A cue → what it states; None where it is none, or leads to a box."""
    before = sentence_before(text, found.start())
    is_phrase = found["phrase"] is not None
    line = before[before.rfind("\n") + 1 :]
    if not is_phrase and not _LABEL_OPENS.fullmatch(line):
        return None
    start = _value_start(text, found.end())
    span = _span(text, start)
    line_end = _line_end(text, start)
    if _first(boxes, found.end()) < max(line_end, span[1] if span else 0):
        return None
    doubt = doubt_before(text, found.start())
    if _QUOTED.search(line) or (is_phrase and line.strip() and not _CONNECTIVE.search(line)):
        doubt = "hedged"
    value = _value(text, start, span, is_phrase=is_phrase)
    if value is None:
        return Statement(found.start(), max(start, line_end), "", False, doubt or "unclear_end")
    return Statement(found.start(), value[1], value[0], False, doubt)


def _value_start(text: str, place: int) -> int:
    """Where the text goes on after `place`: on the same line, or on the next that is not empty."""
    skipped = _BLANK.match(text, place)
    return skipped.end() if skipped else place


def _line_end(text: str, place: int) -> int:
    found = _LINE_END.search(text, place, place + MAX_ANSWER_CHARS)
    return found.start() if found else min(len(text), place + MAX_ANSWER_CHARS)


def _span(text: str, start: int) -> tuple[str, int] | None:
    """What is delimited at `start`, and where that ends: a formula, a display, bold, code."""
    if fence := _FENCE.match(text, start):
        return fence[1], fence.end()
    for left, right in _SPANS:
        if text.startswith(left, start):
            inner = start + len(left)
            end = text.find(right, inner, inner + MAX_ANSWER_CHARS + len(right))
            is_display = left in ("$$", r"\[")
            if end < 0 or (not is_display and "\n" in text[inner:end]):
                return None
            return text[inner:end], end + len(right)
    return None


def _value(
    text: str, start: int, span: tuple[str, int] | None, *, is_phrase: bool
) -> tuple[str, int] | None:
    """What a cue states at `start`, and where that ends, if this is certain."""
    if span and _STOPS.match(text, span[1]):
        return span
    closed = _CLOSED.match(text, start)
    if _INITIAL.match(text, start):
        return None
    if closed and _STOPS.match(text, closed.end()):
        return closed[0], closed.end()
    end = _line_end(text, start)
    if end - start > _MAX_LINE_CHARS:
        return None
    stop = _FULL_STOP.search(text, start, end)
    if stop is not None:
        end = stop.end()
        if not is_phrase and text[end : _line_end(text, start)].strip(" *_"):
            return None
    stated = text[start:end].strip().rstrip("*_ ")
    # "5!" may be a factorial; a delimiter without its other half belongs to something cut off.
    if _NO_VALUE.search(stated) or not _is_balanced(stated):
        return None
    is_certain = _is_phrase_value if is_phrase else _is_line_value
    return (stated, end) if stated and is_certain(stated.rstrip(".。")) else None


def _is_balanced(stated: str) -> bool:
    is_even = stated.count("**") % 2 == 0 and stated.count("`") % 2 == 0
    inner = _CHOSEN.sub("", stated)
    opened, closed = (sum(map(inner.count, marks)) for marks in ("([{", ")]}"))
    return is_even and opened == closed


def _is_line_value(stated: str) -> bool:
    """Whether a line is an answer and nothing besides."""
    is_sentence = _OPENS_SENTENCE.match(stated) or stated[-1:] in ("?", ":", ",", "？")
    return not (is_sentence or goes_on(stated) or has_alternatives(stated))


def _is_phrase_value(stated: str) -> bool:
    """Whether the rest of a sentence is an answer and nothing besides."""
    if stated[-1:] in ("?", ":", ",", "？") or goes_on(stated) or has_alternatives(stated):
        return False
    formula = re.sub(r"(?<![^\W_])and(?![^\W_])", ",", _FORMULA.sub("1", stated))
    return bool(
        _MATH.fullmatch(formula) or _WITH_UNIT.fullmatch(formula) or _NAME.fullmatch(stated)
    )
