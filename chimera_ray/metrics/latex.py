r"""Text with LaTeX → the same with one spelling for each thing: "$", "≤", "α", " frac ".

All delimiters of formulas become "$", layout goes, and a command that is a sign or a Greek letter
becomes that character. No parser: what it does not know it leaves as it is. Linear.
"""

import re

_LINE_BREAK = re.compile(r"\\\\(?:\[[^\]\n]{0,12}\])?")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s{0,4}\{([A-Za-z]{1,20})\*?\}")
_DISPLAYS = frozenset(
    ("equation", "align", "gather", "multline", "displaymath", "eqnarray", "math", "flalign")
)
_DELIMITER = re.compile(r"\$\$|\\[()\[\]$]")
_DEGREE = re.compile(r"\^\s{0,4}\{?\s{0,4}∘\s{0,4}\}?")
_SPACING = re.compile(r"\\(?:[,;:!> \n]|quad(?![A-Za-z])|qquad(?![A-Za-z]))|(?<!\\)~")
_SHORT_FRACTION = re.compile(r"(\\[dtc]?frac\s{0,4}\d)(?=\d)")  # \\frac12
_THOUSANDS = re.compile(r"(?<=\d)\{,\}(?=\d)")
_ELLIPSIS = re.compile(r"\.{3,}")
_COMMAND = re.compile(r"\\([A-Za-z]+)")

_LAYOUT = frozenset(
    """
    left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle
    textstyle scriptstyle limits nolimits mathbf boldsymbol bm mathit mathcal mathscr mathfrak
    mathsf mathtt bf it rm cal hline nonumber notag label
    """.split()  # noqa: SIM905 - many words, read as words
)
_SIGNS = {
    **dict.fromkeys(("le", "leq", "leqslant"), "≤"),
    **dict.fromkeys(("ge", "geq", "geqslant"), "≥"),
    **dict.fromkeys(("ne", "neq"), "≠"),
    **dict.fromkeys(("to", "rightarrow", "longrightarrow"), "→"),
    **dict.fromkeys(("dots", "ldots", "cdots", "dotsc", "dotsb", "vdots", "ddots"), "⋯"),
    **dict.fromkeys(("mid", "vert", "lvert", "rvert"), "|"),
    **dict.fromkeys(("emptyset", "varnothing"), "∅"),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), " frac "),
    **dict.fromkeys(("dbinom", "tbinom"), " binom "),
    **dict.fromkeys(("iff", "Leftrightarrow"), "⇔"),
    **dict.fromkeys(("implies", "Rightarrow"), "⇒"),
    **dict.fromkeys(("neg", "lnot"), "¬"),
    **dict.fromkeys(("land", "wedge"), "∧"),
    **dict.fromkeys(("lor", "vee"), "∨"),
    "lt": "<", "gt": ">", "times": "×", "cdot": "⋅", "div": "÷", "pm": "±", "mp": "∓",
    "in": "∈", "notin": "∉", "ni": "∋", "subset": "⊂", "subseteq": "⊆", "supset": "⊃",
    "supseteq": "⊇", "cup": "∪", "cap": "∩", "setminus": "∖", "infty": "∞", "sum": "∑",
    "prod": "∏", "int": "∫", "oint": "∮", "partial": "∂", "nabla": "∇", "sqrt": "√",
    "forall": "∀", "exists": "∃", "equiv": "≡", "approx": "≈", "sim": "∼", "cong": "≅",
    "propto": "∝", "circ": "∘", "degree": "°", "angle": "∠", "triangle": "△", "perp": "⊥",
    "parallel": "∥", "otimes": "⊗", "oplus": "⊕", "lfloor": "⌊", "rfloor": "⌋", "lceil": "⌈",
    "rceil": "⌉", "langle": "⟨", "rangle": "⟩", "mapsto": "↦", "leftarrow": "←", "ell": "ℓ",
    "hbar": "ħ", "prime": "'", "ast": "*", "star": "⋆", "colon": ":", "Vert": "∥", "aleph": "ℵ",
    "lbrace": "{", "rbrace": "}", "backslash": "\\", "infin": "∞",
}  # fmt: skip
_GREEK_NAMES = """
    alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho -
    sigma tau upsilon phi chi psi omega
    """.split()  # noqa: SIM905 - many words, read as words
_GREEK = {
    **{name: chr(ord("α") + place) for place, name in enumerate(_GREEK_NAMES) if name != "-"},
    **{
        name.capitalize(): chr(ord("Α") + place)
        for place, name in enumerate(_GREEK_NAMES)
        if name != "-"
    },
    "varepsilon": "ε", "vartheta": "θ", "varphi": "φ", "varrho": "ρ", "varsigma": "σ",
    "varpi": "π",
}  # fmt: skip
_PLAIN = {**_SIGNS, **_GREEK, **dict.fromkeys(_LAYOUT, " ")}
_ALONE = str.maketrans({"∞": " ∞ ", "ℓ": "l", "·": "⋅", "∙": "⋅"})


def one_delimiter(text: str) -> str:
    """Text → the same with "$" for every delimiter of a formula."""
    if "\\" in text:
        text = _LINE_BREAK.sub(" ", text)
        text = _ENVIRONMENT.sub(lambda found: " $ " if found[1] in _DISPLAYS else " ", text)
    return _DELIMITER.sub(lambda found: " " if found[0] == "\\$" else "$", text)


def plain_commands(text: str) -> str:
    r"""Text → the same with signs and Greek letters for their commands, and without layout.

    Other commands stay: "\frac", "\sin", "\text".
    """
    text = _ELLIPSIS.sub("⋯", text)
    if "\\" in text or "~" in text:
        text = _THOUSANDS.sub(",", _SPACING.sub(" ", text))
        text = _SHORT_FRACTION.sub(r"\1 ", text)
        text = _COMMAND.sub(lambda found: _PLAIN.get(found[1], f"{found[0]} "), text)
    return _DEGREE.sub("°", text).translate(_ALONE)
