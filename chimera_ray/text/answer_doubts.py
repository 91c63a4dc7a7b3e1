r"""What stands around a stated answer → why it is not certain; knows no answer's form.

Whatever is not known to be harmless is a doubt: a grader reads the text then, at little cost.
Words are listed in English, German, French, Spanish, Italian and Portuguese; of other scripts no
word after an answer is taken for harmless.
"""

import re
from typing import Literal

Doubt = Literal[
    "no_answer",
    "too_long",
    "unclosed",
    "unclear_end",
    "hedged",
    "alternatives",
    "retracted",
    "several_parts",
]

MAX_SENTENCE_CHARS = 400


def _words(listed: str) -> re.Pattern[str]:
    """Words and phrases, one or more blanks between two → a pattern that finds any of them."""
    found = "|".join(part.strip().replace(" ", r"\s") for part in listed.strip().split("|"))
    return re.compile(rf"(?<![^\W_])(?:{found})(?![^\W_])", re.IGNORECASE)


_HEDGE = _words(r"""
    if|whether|unless|otherwise|assuming|assume|assumes|assumed|suppose|supposing|supposed
    |case|cases|might|may|maybe|perhaps|probably|possibly|presumably|could|would|should|seems?
    |estimates?|rough|roughly|ballpark|appears?|unclear|uncertain|unsure|unknown|doubtful|guess|guessing|guessed|think|thinks|thought
    |believe|believes|believed|suspect|suspects|feel|tempting|naive|naively|expect|expects
    |expected answer|initially|originally|at first|at first glance|according|reference|textbook
    |answer key|solution manual|claims?|claimed|says?|said|told|stated|wrote|writes|quoted|alleged
    |wrong|incorrect|incorrectly|mistakes?|mistaken|mistakenly|false|erroneous|erroneously|trap|however
    |candidates?|alternatively|alternative|for example|for instance|format|either|neither
    |wenn|falls|ob|vielleicht|wahrscheinlich|vermutlich|entweder|laut
    |peut-être|probablement|selon|quizás|quizá|tal vez|probablemente|según
    |forse|probabilmente|secondo|talvez|provavelmente|segundo
""")
_CLAUSE_HEDGE = _words(r"""
    not|no|nor|never|cannot|\w{2,8}n['’]t|or|but|than|likely|unlikely|oder|aber|nicht|kein|keine
    |sondern|ou|mais|pas|pero|ma|non|mas|não|sino
""")
_OPENS_A_DOUBT = re.compile(
    r"\W*(?:is|are|was|does|do|did|can|why|how|for|when|where|while|to)\s", re.IGNORECASE
)
_SENTENCE_BEGINS = re.compile(r"[.!?](?=[\s*_\"'”)]|$)|[。！？]|(?<=[^\s,:;A-Za-z])[ \t$*_]{0,8}\n")
_ALTERNATIVES = _words(r"or|oder|ou|или|either|and/or|vs\.?|respectively")
_CJK_ALTERNATIVES = re.compile("或|还是|還是|または|もしくは|あるいは|또는|혹은")
_JOINED = _words(r"""
    because|since|as|so|which|where|when|if|but|not|unless|although|though|while|whereas|except
    |therefore|thus|hence|i\.e\.|e\.g\.|however|instead|rather|assuming|provided|given|depending
    |depends|with|after|before|by|for|than|also|then|that|neither|nor|probably|perhaps|maybe
    |possibly|might|could|would|should|likely|unknown|unclear|according|nicht|weil|denn|aber|da
    |car|parce|mais|porque|pero|perché|ma|mas|pois
""")
_RETRACTS = _words(r"""
    wait|actually|corrections?|corrected|correcting|wrong|mistaken|mistakes?|mistakenly|errors?
    |erroneous|erroneously|incorrect|incorrectly|should be|should have|should read|should say
    |must be|ought to|oops|whoops|ooops|sorry|apolog\w+|my bad|scratch|second thoughts?|hold on
    |hang on|hmm+|hm|reconsider\w*|re-?check\w*|re-?calculat\w*|re-?comput\w*|re-?examin\w*
    |re-?evaluat\w*|re-?think\w*|re-?consult\w*|redo|redoing|redone|revis\w+|retract\w*|withdraw\w*
    |never ?mind|strike|disregard|ignore|discard|miscalculat\w*|miscount\w*|misread|misreading
    |misinterpret\w*|misunderstood|misstated|overlooked|missed|forgot|forgotten|instead|upon
    |on reflection|no longer|let me|let['’]s|let us|try again|once more|start over|contradict\w*
    |change my|changed my|better answer|correct answer|correct value|correct result|correct one
    |correct is|right answer|real answer|true answer|true value|actual|in fact|in reality|typo
    |fix|fixed|update|updated|edit|amend\w*|invalid|inconsistent|fails?|failed|nope|nah|doubt\w*
    |unsure|uncertain|not sure|not certain|not right|not correct|not true|not valid|not the answer
    |is off|was off|flawed|flaw|bogus|placeholder|careful|mind you|i meant|i mean|in truth
    |looking again|look again|looking back|thinking about it|thinking again|come to think
    |falsch|korrektur|fehler|moment|doch|nein|eigentlich|tatsächlich|vielmehr|verrechnet|stimmt
    |erreur|faux|fausse|attendez|en fait|plutôt|correction|trompé|incorrecto|incorrecta|espera
    |perdón|en realidad|equivoqué|equivocado|corrección|sbagliato|aspetta|errore|in realtà
    |correzione|invece|errado|errada|na verdade|espere|correção|erro
""")
_TURNS = _words(r"""
    but|not|\w{2,8}n['’]t|no|yet|however|though|although|or|nor|either|alternatively|alternative
    |also|another|other|others|rather|unless|if|depends|depending|would|could|might|may|perhaps
    |maybe|probably|possibly|likely|otherwise|except|still|only|note|remember|more|less|plus|minus
    |really|zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|half|twice
    |double|than|assuming|suppose|case|unlike|while|whereas|oder|aber|nicht|sondern|ou|mais|pas|pero|sino
    |ma|non|mas|não|o
""")
_EXPLAINS = re.compile(
    r"""(?:[\s*_\#>\-:(]|\d\.){0,12} (?: explanations?|reasons?|reasoning|justification|rationale
    | verification|proof|because|since|this\s(?:is|follows|comes|means|makes|can|was|represents)
    | here(?:['’]s|\sis)\s(?:why|how) | we\s(?:used|use|have\sused|know) | to\s(?:see|verify|check)
    | steps? | solution | details | working | derivation | why | check )(?![^\W_])""",
    re.IGNORECASE | re.VERBOSE,
)
_FAREWELL = re.compile(
    r"""(?:i\s)?hope\s(?:this|that|it)\s(?:helps|helped|is\s(?:clear|correct|right))[^.!?\n]{0,60}[.!?]*
    | (?:please\s)?(?:let\sme\sknow|feel\sfree)\b[^.!?\n]{0,120}[.!?]*
    | if\syou\s(?:have|need|want|would\slike)\b[^.!?\n]{0,160}[.!?]*
    | would\syou\slike\b[^.!?\n]{0,120}\?""",
    re.IGNORECASE | re.VERBOSE,
)
_CLOSERS = re.compile(
    r"""(?: [\s$*_`"'”»’.,;:!}\])~。．、，；！）】✓✔✅☑🎉∎■□&] | \\[)\],;!:\ \\] | \uFE0F | -{3,}
    | \\(?:quad|qquad|square|blacksquare|Box|checkmark|hfill|newline|medskip|bigskip|smallskip
        |par|displaystyle)(?![A-Za-z])
    | \\(?:end|tag|label|vspace|hspace)\{[^{}\n]{0,30}\}
    | </[A-Za-z_]{1,20}> | <\|[a-z_]{1,20}\|> | です | である | 입니다 | 이다 )*+""",
    re.VERBOSE,
)
_END_OF_SENTENCE = re.compile(r"[.!?](?=[\s*_\"'”)]|$)|[。！？\n]")
_REASON = re.compile(
    r"\(?(?:because|since|as\s(?:the|it|we|there|this|that|\d|\$|\\)|which\sis|which\smeans|by\s"
    r"(?:the|our)\s|weil|denn|car|parce\sque|porque|perché|pois)(?![^\W_])",
    re.IGNORECASE,
)
_IS_IT = re.compile(
    r"is (?:the|our|my) (?:(?:final|correct|required|desired|unique|only) )?"
    r"(?:answer|solution|result|value)(?: (?:to|of) (?:the|this) (?:problem|question|equation))?",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"([a-z]{3,20})((?: [a-z]{1,20}){0,11})")
_UNITS = _words(r"""
    percent|per|hundreds?|thousands?|millions?|billions?|trillions?|dozens?|degrees?|radians?
    |[kcm]?m|mm|km|inch|inches|feet|foot|ft|yards?|miles?|mph|kph|met(?:er|re)s?
    |(?:kilo|centi|milli|micro|nano)met(?:er|re)s?|(?:kilo|milli)?grams?|kg|lbs?|pounds?|ounces?
    |tons?|(?:milli)?lit(?:er|re)s?|gallons?|(?:milli|nano)?seconds?|sec|minutes?|mins?|hours?|hrs?
    |days?|weeks?|months?|years?|dollars?|cents?|euros?|yen|rupees?|newtons?|(?:kilo)?joules?
    |(?:kilo)?watts?|volts?|amps?|amperes?|ohms?|hertz|moles?|mol|kelvin|celsius|fahrenheit
    |(?:kilo)?pascals?|squared|cubed|times|factorial|mod|modulo|bits?|bytes?|base
""")
_GOES_ON = _words(r"""
    and|or|if|for|but|is|are|was|were|at|on|over|up|down|below|above|less|plus|minus|more|most
    |least|greater|fewer|about|both|each|divided|multiplied|choose|too|seems?|looks?|sounds?|does
    |did|has|have|had|we|you|they|it|this|that|there|then|to|of|in|with|from|one|two|three|four
    |five|six|seven|eight|nine|ten
""")
_NUMBER = re.compile(r"(?<![\d.])[-−]?\d+(?:[.,/]\d+)*")
_OTHER_SCRIPT = re.compile("[\u0370-\u1cff\u3040-\ud7ff]")
_CHOICE = re.compile(r"\(?([A-Ja-j])\)?(?:[.:)\s].*)?", re.DOTALL)
_LETTER = re.compile(r"(?<![^\W_])(?:\(([A-J])\)|([B-J]))(?![^\W_])")
_PARTS = re.compile(
    r"""(?<![^\s*_\#>]) \(?(?P<letter>[a-f]|i{1,3}|iv|v|vi)\)(?=[\s*_:.$\\]|$)
    | (?<![^\W_])(?:part|teil|partie|parte|question|sub-?question|problem)\s{1,2}
        \(?(?P<part>[a-f]|[1-9]|i{1,3}|iv|v)\)?(?![^\W_])
    | (?:^|(?<=\n))[\s*_\#]{0,4}(?P<line>[a-f])\.\s
    | (?<![^\W_])\(?(?P<mark>[a-f]|i{1,3})\)\s?[:=]""",
    re.IGNORECASE | re.VERBOSE,
)


def sentence_before(text: str, start: int) -> str:
    """The beginning of the sentence that goes on at `start`, or its last 400 characters.

    A line that ends in a letter, a comma or a colon goes on in the next one.
    """
    begin = max(0, start - MAX_SENTENCE_CHARS)
    for end in _SENTENCE_BEGINS.finditer(text, begin, start):
        begin = end.end()
    return text[begin:start]


def doubt_before(text: str, start: int) -> Doubt | None:
    """An answer stated at `start` → the doubt that the beginning of its sentence casts on it."""
    sentence = sentence_before(text, start)
    clause = re.split(r"[,;:]\s", sentence)[-1]
    is_hedged = _HEDGE.search(sentence) or _CLAUSE_HEDGE.search(clause)
    return "hedged" if is_hedged or _OPENS_A_DOUBT.match(sentence) else None


def doubt_after(text: str, end: int, answer: str, *, is_box: bool) -> Doubt | None:
    """An answer that ends at `end` → the doubt that the rest of the text casts on it."""
    rest = _FAREWELL.sub("", text[end:])
    rest = rest[_closers_end(rest, 0) :]
    if not rest:
        return None
    if _RETRACTS.search(rest):
        return "retracted"
    if _OTHER_SCRIPT.search(rest):
        return "unclear_end"
    if "\n" not in text[end : len(text) - len(rest)] and not _ended(text, end):
        return _doubt_in_sentence(rest, answer, is_box=is_box)
    return _doubt_in_rest(rest, answer)


def doubt_in_parts(text: str, answer: str) -> Doubt | None:
    """A text and the answer it states → a doubt, if it has several parts and the answer has not."""
    labels = _labels(text)
    is_whole = len(labels) < 2 or len(_labels(answer)) > 1 or _CHOICE.fullmatch(answer)
    return None if is_whole else "several_parts"


def goes_on(stated: str) -> bool:
    """Words that should be an answer → whether a sentence goes on behind it, or doubts it."""
    return bool(_JOINED.search(stated) or _HEDGE.search(stated) or _RETRACTS.search(stated))


def has_alternatives(answer: str) -> bool:
    """Answer → whether it leaves a choice: "5 or 6"."""
    return bool(_ALTERNATIVES.search(answer) or _CJK_ALTERNATIVES.search(answer))


def _labels(text: str) -> set[str]:
    labels: set[str] = set()
    for found in _PARTS.finditer(text):
        # Capitals in brackets are choices, not parts.
        if found["letter"] is None or found["letter"].islower():
            labels.add((found["letter"] or found["part"] or found["line"] or found["mark"]).lower())
        if len(labels) > 1:
            break
    return labels


def _closers_end(text: str, start: int) -> int:
    found = _CLOSERS.match(text, start)
    return found.end() if found else start


def _ended(text: str, end: int) -> bool:
    """Whether the sentence of what ends at `end` is over there."""
    closers = text[end : _closers_end(text, end)]
    return bool(re.search(r"[.!](?=[\s*_$)\"'”]|$)|[。！]|\n", closers))


def _doubt_in_sentence(rest: str, answer: str, *, is_box: bool) -> Doubt | None:
    """The rest of a sentence that states an answer, and all after it → a doubt."""
    if _REASON.match(rest):
        return _doubt_in_numbers(rest, answer)
    found = _END_OF_SENTENCE.search(rest)
    ending = rest[: found.start() if found else len(rest)].strip(" $*_`\\)]")
    if not (_IS_IT.fullmatch(ending) or (is_box and _is_counted(ending))):
        return "unclear_end"
    after = rest[found.start() if found else len(rest) :]
    after = after[_closers_end(after, 0) :]
    return _doubt_in_rest(after, answer) if after else None


def _is_counted(ending: str) -> bool:
    """Whether words after a box name what was counted: "ways to arrange the books", but no unit."""
    found = _COUNTED.fullmatch(ending)
    if found is None or _UNITS.search(ending) or _GOES_ON.fullmatch(found[1]):
        return False
    return not (_JOINED.search(ending) or _TURNS.search(ending) or " and " in ending)


def _doubt_in_rest(rest: str, answer: str) -> Doubt | None:
    """What follows the sentence that states an answer → a doubt."""
    if _EXPLAINS.match(rest):
        return _doubt_in_numbers(rest, answer)
    if _TURNS.search(rest) or "?" in rest:
        return "retracted"
    if not set(_numbers(rest)) <= set(_numbers(answer)) or re.search(r"[$=\\]", rest):
        return "alternatives"
    return _doubt_in_numbers(rest, answer)


def _doubt_in_numbers(rest: str, answer: str) -> Doubt | None:
    """A reason given after an answer → a doubt, if it arrives at something else."""
    if choice := _CHOICE.fullmatch(answer):
        others = {found[1] or found[2] for found in _LETTER.finditer(rest)}
        return "alternatives" if others - {choice[1].upper()} else None
    numbers = _numbers(rest)
    return "alternatives" if numbers and numbers[-1] not in _numbers(answer) else None


def _numbers(text: str) -> list[str]:
    return [found.replace("−", "-").replace(",", "") for found in _NUMBER.findall(text)]
