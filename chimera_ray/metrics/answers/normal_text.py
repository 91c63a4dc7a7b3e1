r"""An answer's text → its normal text, which says the same in one notation; nothing here judges.

It undoes only what cannot change a meaning: dollars, `\left`, `\text`, spaces that no reader sees,
`\dfrac`, braces around one character, Unicode signs that have a LaTeX name. Case is kept, and so
is each space that may part two readings: "x != 2" is not "x! = 2", "1, 234" is not "1,234", and
"2e - 1" is not "2e-1". Every step is linear.
"""

import re

_WIDE = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_GREEK = dict(
    zip(
        "αβγδεζηθικλμνξρστυφχψωΓΔΘΛΞΠΣΦΨΩ",
        r"""
        \alpha \beta \gamma \delta \epsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu \xi \rho
        \sigma \tau \upsilon \phi \chi \psi \omega
        \Gamma \Delta \Theta \Lambda \Xi \Pi \Sigma \Phi \Psi \Omega
        """.split(),  # noqa: SIM905 - many words, read as words
        strict=True,
    )
)
_FRACTIONS = {
    sign: rf"\frac{{{top}}}{{{bottom}}}"
    for sign, top, bottom in zip(
        "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞", "112131234151357", "233445555668888", strict=True
    )
}
_CHARACTERS = str.maketrans(
    {
        **_WIDE,
        **{sign: name + " " for sign, name in _GREEK.items()},
        **_FRACTIONS,
        **dict.fromkeys("−‐‑", "-"),
        **dict.fromkeys("\0\u00a0\u2009\u202f\u2007\u3000\t\n\r", " "),
        **{"π": r"\pi ", "∞": r"\infty ", "µ": r"\mu ", "√": r"\sqrt ", "÷": r"\div "},
        **{"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "±": r"\pm ", "∪": r"\cup "},
        **{"≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx "},
        **{"°": r"^\circ ", "℃": r"^\circ C", "Å": "Å", "Ω": r"\Omega "},
    }
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-")
_RUNS = (
    (re.compile("[⁰¹²³⁴-⁹⁺⁻ⁿ]+"), lambda run: "^{" + run[0].translate(_SUPERSCRIPTS) + "}"),
    (re.compile("[₀-₋]+"), lambda run: "_{" + run[0].translate(_SUBSCRIPTS) + "}"),
    (re.compile(r"√(\d+)"), r"\\sqrt{\1}"),
    (re.compile(r"(?<=[\w)])\*\*(?=[\w(+-])"), "^"),
    (re.compile(r"(?:(?<=[-+*/=<>(\[{,^])|\A)–"), "-"),  # elsewhere it may part a range
)
_REWRITES = (
    (re.compile(r"(?<=\d)\\,(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\(?:left|right)\.|\\(?:left|right|displaystyle|limits)(?![A-Za-z])"), ""),
    (re.compile(r"\\[Bb]igg?[lr]?(?![A-Za-z])"), ""),
    (re.compile(r"(?<!\\)\\[,;:! ]|\\q?quad(?![A-Za-z])|(?<=\d)~(?=\\(?:text|mathrm)\b)"), " "),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(le|ge|ne)q(?![A-Za-z])"), r"\\\1"),
    (re.compile("<=(?!>)"), r"\\le "),
    (re.compile(">="), r"\\ge "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\degree(?![A-Za-z])"), r"^\\circ "),
    (re.compile(r"\^ ?\{ ?\\circ ?\}"), r"^\\circ "),
    (
        re.compile(
            r"\\(?:text|mathrm|ce|operatorname|textbf|textit|textrm|mbox) ?"
            r"\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"
        ),
        r" \1 ",
    ),
    (re.compile(r"\\([%$])"), r"\1"),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"(?<!\\)\{\}"), ""),
    (re.compile(r"(?<=\d)\{,\}(?=\d{3})"), ","),
    (re.compile(r"\s+"), " "),
)
_SPACES = (
    (re.compile(r"(?<=\d)([eE])(?: ([-+]) ?| ?([-+]) )(?=\d)"), r"\1" + "\0" + r"\2\3"),
    (re.compile(r"(?<=\d)(?: , ?|, )(?=\d)"), ",\0"),
    (re.compile(r" ?([,;]) ?(?! )"), r"\1"),
    (re.compile(r"(\\[A-Za-z]+) (?![A-Za-z!.:'])"), r"\1"),
    (re.compile(r"(?<=[\w)}\]|]) (?=[-+*/=<>^_&\\)\]}|])"), ""),
    (re.compile(r"(?<=[-+*/=<>^_&(\[{]) (?=[\w(\[{\\])"), ""),
    (re.compile(r"(?<=\d) (?=[^\W\d_eE])"), ""),
    (re.compile(r" ?(\\\\) ?"), r"\1"),
    (re.compile("\0"), " "),
)
_BRACES = (
    (re.compile(r"([_^])\{([^\W_])\}(?![\d.,])"), r"\1\2"),
    (re.compile(r"\\frac(?: |(?=\d))([^\W_]) ?([^\W_])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\sqrt ?(\d)(?!\d)"), r"\\sqrt{\1}"),
    (re.compile(r"\\sqrt ([A-Za-z])(?![A-Za-z])"), r"\\sqrt{\1}"),
)
_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_INNER_DOLLARS = re.compile(r"(?<!\\)\$(?! )((?:[^$ \\]|\\.)[^$]*)(?<![ \\])\$(?!\d)")


def normal_text(text: str) -> str:
    """Answer → its text without what carries no meaning."""
    text = text.strip()
    if text.isascii() and text.isalnum():
        return text
    text = _unwrapped(text)
    for pattern, replacement in _RUNS:
        text = pattern.sub(replacement, text)
    text = text.translate(_CHARACTERS)
    for pattern, replacement in (*_REWRITES, *_SPACES, *_BRACES):
        text = pattern.sub(replacement, text)
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1]
    return text.strip()


def _unwrapped(text: str) -> str:
    """Text → the same without dollars that enclose formulas; those of currencies stay."""
    for left, right in _WRAPPERS:
        inner = text[len(left) : -len(right)]
        if len(text) > len(left + right) and text.startswith(left) and text.endswith(right):
            text = text if left in inner or right in inner else inner.strip()
    if text.startswith(r"\boxed{") and _is_one_group(text[len(r"\boxed") :]):
        text = text[len(r"\boxed{") : -1].strip()
    return _INNER_DOLLARS.sub(r" \1 ", text) if text.count("$") > 1 else text


def _is_one_group(text: str) -> bool:
    """Text → whether its first brace is closed by its last character."""
    depth = 0
    for match in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end() == len(text)
    return False
