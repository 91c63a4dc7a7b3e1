"""Text → the same text as it looks to a reader: what hides a copy from a comparison is undone.

Invisible characters, stacked marks, full-width and other compatibility forms, foreign digits and
letters of another script that look Latin. Greek that means something stays: α is not a. Linear: all
but the look-alikes is decided character by character.
"""

import re
import unicodedata
from functools import cache

# Default-ignorable characters, controls that are no white space, and fillers that show nothing.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Marks that sit on letters of many scripts; those that are part of one script's letters stay.
_MARK = re.compile(
    "[\u0300-\u0337\u0339-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
)
_SLASH = "\u0338"
_STRUCK_OUT = re.compile(f"([^\\w\\s]){_SLASH}")  # "=" and a slash over it are "≠"
_SUPERSCRIPTS = re.compile("[⁰¹²³⁴-⁹⁺⁻ⁿ]+")
_DOUBLE_STRUCK = dict(zip("ℂℍℕℙℚℝℤ", "CHNPQRZ", strict=True))
_AS_IT_LOOKS = {
    **{char: f"\\mathbb{{{letter}}}" for char, letter in _DOUBLE_STRUCK.items()},
    **dict.fromkeys("‐‑‒–−", "-"),
    **dict.fromkeys("’′", "'"),
    **dict.fromkeys("‘‛", "‘"),
    "…": "⋯",
    "⠀": " ",
    "ı": "i",
    "ȷ": "j",
    "ɑ": "a",
    "ɡ": "g",
    "ɩ": "i",
    "ո": "n",
    "ս": "u",
    "օ": "o",
    "հ": "h",
    "ց": "g",
    "զ": "q",
}
_SMALL_CAPITAL = re.compile("LATIN LETTER SMALL CAPITAL ([A-Z])")

_CYRILLIC = re.compile("[\u0400-\u052f]")
_LATIN = re.compile("[A-Za-z]")
_LIKE_LATIN = dict(
    zip(
        map(ord, "аеорсухіјѕһԁԛԝӏАВЕКМНОРСТУХІЈЅԌԚԜҮҺ"),
        "aeopcyxijshdqwlABEKMHOPCTYXIJSGQWYh",
        strict=True,
    )
)
_ALMOST_LATIN = dict(zip(map(ord, "вкмнт"), "bkmht", strict=True))
_GREEK_WORD = re.compile("[α-ω]{4,}")
# Never a sign of its own in a formula.
_GREEK_LIKE_LATIN = dict(zip(map(ord, "ΑΒΕΖΗΙΚΜΝΟΡΤΧοιυϳ"), "ABEZHIKMNOPTXoiuj", strict=True))
_GREEK_AMONG_LATIN = dict(zip(map(ord, "αβγεηκνρστχωμς"), "abyenkvpotxwuc", strict=True))
# Formulas are matched to be passed over: there "αx" is a product.
_FORMULA_OR_RUN = re.compile(r"\$[^$]{1,200}\$|[A-Za-zα-ως]+")
_SHORT_WORDS = frozenset(
    "am an as at be by do go he if in is it me my no of on or so to up us we".split()  # noqa: SIM905 - many words
)
_FUNCTION_OF_GREEK = re.compile("(?:a?r?c?(?:sin|cos|tan|cot|sec|csc)h?|log|ln|exp|det|d)[α-ω]")


def as_it_looks(text: str) -> str:
    r"""Text → the same letters, digits and signs in their plainest form.

    Superscripts become "^" and digits, double-struck letters "\mathbb{R}"; case is kept.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _SUPERSCRIPTS.sub(lambda run: "^" + run[0], text)
    text = _STRUCK_OUT.sub(lambda pair: unicodedata.normalize("NFC", pair[0]), text)
    return text.translate(_plainer())


def in_one_script(text: str) -> str:
    """Latin text → letters of other scripts that look Latin are; a text in those scripts stays.

    Formulas are known by "$" alone.
    """
    if text.isascii():
        return text
    num_latin = len(_LATIN.findall(text))
    cyrillic = _CYRILLIC.findall(text)
    num_foreign = sum(ord(letter) not in _LIKE_LATIN for letter in cyrillic)
    if cyrillic and num_foreign <= num_latin:
        text = text.translate(_LIKE_LATIN).translate(_ALMOST_LATIN)
    if sum(map(len, _GREEK_WORD.findall(text))) <= num_latin:
        text = text.translate(_GREEK_LIKE_LATIN)
        text = _FORMULA_OR_RUN.sub(_unmixed, text)
    return text


class _Plainer(dict[int, str]):
    """Code point → what it is replaced with, worked out where it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = plainer = _plain_char(chr(code))
        return plainer


@cache
def _plainer() -> _Plainer:
    return _Plainer()


def _plain_char(char: str) -> str:
    if _INVISIBLE.match(char) or char == _SLASH:
        return ""
    if char in _AS_IT_LOOKS:
        return _AS_IT_LOOKS[char]
    if char.isspace():
        return char if char == "\n" else " "
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if found := _SMALL_CAPITAL.fullmatch(unicodedata.name(char, "")):
        return found[1].lower()
    if "\ud800" <= char <= "\udfff":
        return char
    parts = _MARK.sub("", unicodedata.normalize("NFKD", char))
    if unicodedata.category(char) != "Sm":
        parts = parts.replace(_SLASH, "")
    joined = unicodedata.normalize("NFC", parts)
    return "".join(_AS_IT_LOOKS.get(part, part) for part in joined)


def _unmixed(found: re.Match[str]) -> str:
    """A run of letters → a Latin word, where Greek letters stand among more Latin ones."""
    run = found[0]
    if run[0] == "$" or run.isascii() or _FUNCTION_OF_GREEK.fullmatch(run):
        return run
    latin = run.translate(_GREEK_AMONG_LATIN)
    if len(run) < 3:
        return latin if latin.lower() in _SHORT_WORDS else run
    return latin if len(_LATIN.findall(run)) * 3 >= len(run) * 2 - 1 else run
