"""Text → what a reader takes it for: look-alikes as plain letters and signs, invisible ones gone.

For finding what is disguised, never for keeping: a real Greek alpha is taken for an "a" as well.
Where a text is compared for what it means, `metrics/look_alikes` keeps it.
"""

import unicodedata
from functools import lru_cache

_LOOK_ALIKES = {
    **{"a": "аɑαᴀ", "b": "ƅвʙ", "c": "сϲᴄ", "d": "ԁɗᴅ", "e": "еєεᴇ", "f": "ſϝꜰ", "g": "ɡցɢ"},
    **{"h": "һհʜ", "i": "іιıɪ", "j": "јϳᴊ", "k": "кκᴋ", "l": "ӏʟ", "m": "мᴍ", "n": "ոηпɴ"},
    **{"o": "оοօσᴏ", "p": "рρᴘ", "q": "ԛզ", "r": "гʀ", "s": "ѕꜱ", "t": "тτᴛ", "u": "սυᴜ"},
    **{"v": "νѵᴠ", "w": "ԝωᴡ", "x": "хχ", "y": "уγүʏ", "z": "ᴢ", "_": "‿⁔ˍ"},
    **{"<": "‹〈⟨˂❮❰≺", ">": "›〉⟩˃❯❱≻", "/": "⁄∕⧸╱⟋", "\\": "∖⧵╲⟍"},
}
_PLAIN = {other: plain for plain, others in _LOOK_ALIKES.items() for other in others}
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""letters and signs by their category; to the eye, white space"""


def skeleton(text: str) -> tuple[str, list[int]]:
    """Text → what it looks like, in small letters, and where in the text each character stands.

    Shapes:
        as many positions as characters of the skeleton, never falling.
    """
    plain: list[str] = []
    positions: list[int] = []
    for position, char in enumerate(text):
        seen = _seen(char)
        plain.append(seen)
        positions += [position] * len(seen)
    return "".join(plain), positions


@lru_cache(maxsize=4096)
def _seen(char: str) -> str:
    """A character → the plain ones that it looks like; none, if it cannot be seen."""
    if char.isspace() or char in _BLANKS:
        return " "
    parts = unicodedata.normalize("NFKD", _PLAIN.get(char, char)).casefold()
    kept = (part for part in parts if unicodedata.category(part) not in ("Mn", "Me", "Cf", "Cc"))
    return "".join(_PLAIN.get(part, part) for part in kept)
