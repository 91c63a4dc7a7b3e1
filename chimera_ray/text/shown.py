r"""Text from outside → the same, safe where a person reads it: a terminal, Markdown, HTML.

What cannot be seen, or would act on its reader's display (control characters, escape sequences,
marks that change the direction of writing, zero-width characters, half a surrogate pair), is
written out as `\x1b` or `\u202e`. Nothing is lost, and what is printable stays as it is.
"""

import json
import re

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2028\u2029\u3164\uffa0\U000e0000-\U000e0fff]"
)
"""without a glyph of their own, though Unicode counts most of them as letters or marks"""
_HTML = str.maketrans({char: f"&#{ord(char)};" for char in "&<>\"'"})
_MARKDOWN = re.compile(
    r"""[\\`*{}\[\]()|~$^@!\#]       # acts anywhere: code, emphasis, links, tables, formulas
      | (?<![^\W_])_ | _(?![^\W_])    # emphasis, unless inside a word
      | (?<=:)//                     # a bare address becomes a link
      | (?<=www)\.
      | \A[-+=:>]                    # at the start of a line: a list, a heading, a quotation
      | (?<=\A\d)[.)]|(?<=\A\d\d)[.)]
    """,
    re.VERBOSE | re.IGNORECASE,
)


def line(text: str) -> str:
    """Text → one line for a terminal; line breaks and tabs are written out, too."""
    return "".join(char if _is_plain(char) else _written_out(char) for char in text)


def block(text: str) -> str:
    """Text → lines for a terminal."""
    return "\n".join(line(part) for part in text.replace("\t", "    ").split("\n"))


def shortened(text: str, max_chars: int) -> str:
    """A text → the same, or its start and its length, if it is longer than wanted."""
    is_short = len(text) <= max_chars
    return text if is_short else f"{text[:max_chars]} … ({len(text):,} characters)"


def html(text: str) -> str:
    """Text → one line of HTML, in an element or in a quoted attribute."""
    return line(text).translate(_HTML)


def markdown(text: str) -> str:
    """Text → one line of Markdown that says it: in a paragraph, a heading, a table's cell.

    By character references, which Markdown never takes for structure.
    """
    parts = re.split("(&#[0-9]+;)", html(text))
    parts[::2] = [_MARKDOWN.sub(_references, part) for part in parts[::2]]
    return "".join(parts)


def json_block(value: object) -> str:
    """A value → its JSON for a fenced block: nothing in it ends the fence, or looks like a link."""
    text = json.dumps(value, indent=2, ensure_ascii=False).replace("](", "]\\u0028")
    return "".join(
        char if char == "\n" or (_is_plain(char) and char not in "`<>&") else _json_escape(char)
        for char in text
    )


def _is_plain(char: str) -> bool:
    is_space = char != "\u2028" and char != "\u2029" and char.isspace() and char > "\x9f"
    return (char.isprintable() or is_space) and not _BLANK.match(char)


def _written_out(char: str) -> str:
    code = ord(char)
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    if named is not None:
        return named
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _references(found: re.Match[str]) -> str:
    return "".join(f"&#{ord(char)};" for char in found.group())
