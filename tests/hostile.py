"""Texts that act on whoever shows them, unless they are shown as text."""

import re
import unicodedata

ESCAPE = "\x1b[31mred\x1b]0;title\x07"
HOSTILE = {
    "markup": "solver[/b] [red]x[/red] [link=javascript:alert(1)]y[/link] :smile:",
    "markdown": "a|b](javascript:alert(1)) ![i](http://x.y/z) `c` *d* _e_ # f ~~g~~ $h$",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)> &amp; \"q\" 'r'",
    "lines": "first\n\n---\n# second\r\n| third |\u2028fourth\x85fifth\x0bsixth",
    "fence": "```\nafter\n~~~\n",
    "terminal": ESCAPE,
    "direction": "abc\u202edcba\u202c \u2066x\u2069 \u200f\u05d0\u05d1",
    "unseen": "a\u200bb\u200cc\u200dd\ufeffe\u00adf\u3164g\U000e0041h\u2060",
    "halves": "a\ud800b",
    "template": "{{ 7*7 }} {% raw %} ${x} %s {0}",
    "yaml": "a: b\n---\n- c: &x *x !!python/object:os.system",
}
ALL = " ".join(HOSTILE.values())
ACTS = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u3164\U000e0000-\U000e0fff]"
)


def require_harmless(page: str) -> None:
    """Holds a page to have no character that acts on a terminal, or cannot be seen."""
    assert not ACTS.search(page), ascii(ACTS.findall(page))
    assert not [char for char in page if unicodedata.category(char) == "Cf"]


def require_whole(page: str, *texts: str) -> None:
    """Holds a page to show every word of some texts, however it wraps them."""
    shown = letters(page)
    for text in texts:
        assert letters(text) in shown, text


def letters(text: str) -> str:
    """A text → its letters and digits."""
    return "".join(filter(str.isalnum, text))
