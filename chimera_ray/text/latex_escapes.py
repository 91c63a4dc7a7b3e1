r"""JSON text of a model that forgets to escape LaTeX → JSON text that says what it meant.

- A backslash that starts no JSON escape (`\alpha`, `\(`) is doubled, always.
- `\b`, `\f`, `\n`, `\r` and `\t` are JSON escapes as well as the start of `\beta`, `\frac`,
  `\nabla`, `\rho` and `\theta`. They are doubled only if the whole run of letters is a LaTeX
  command listed here, and only if the object has no `\\` followed by a letter: such a reply
  escapes properly.
- `\ni` is not listed: a line break before a lone "i" is the likelier reading. `\nu`, `\ne`, `\not`
  and `\neg` count only in an object that has an escape which JSON does not know.
"""

import re

_COMMANDS = frozenset(
    """
    backslash bar barwedge because beta beth between bf bgroup big bigcap bigcup bigg biggl biggr
    bigl bigoplus bigotimes bigr bigsqcup bigstar bigvee bigwedge binom blacksquare bmod bmatrix
    bold boldsymbol bot bowtie boxed boxplus boxtimes breve bullet begin
    fbox flat footnotesize forall frac frown
    nabla natural ncong ne nearrow neg neq newline nexists ngeq nleftarrow nleq nless nmid nolimits
    nonumber normalsize not notag notin nparallel nrightarrow nsim nsubseteq nsupseteq nu nwarrow
    rangle rbrace rbrack rceil restriction rfloor rgroup rho right rightarrow rightharpoonup
    rightleftharpoons rightrightarrows rightsquigarrow rm rtimes rvert rVert
    tag tan tanh tau tbinom text textbf textit textnormal textrm textsf texttt textstyle tfrac
    therefore theta thicksim thickapprox tilde times to top triangle triangleleft triangleq
    triangleright twoheadrightarrow
    """.split()  # noqa: SIM905 - many words, read as words
)
# A line break before "u", "e", "ot" or "eg" is as likely, unless escapes are forgotten elsewhere.
_WORD_ENDS = frozenset(("nu", "ne", "not", "neg"))
_PROPERLY_ESCAPED = re.compile(r"\\\\[A-Za-z]")
_ESCAPE = re.compile(r'\\(?:["\\/]|u[0-9a-fA-F]{4}|(?P<name>[A-Za-z]+)|)')


def repaired(span: str) -> str:
    """JSON text → the same, with the backslashes doubled that LaTeX lacks."""
    escapes_properly = _PROPERLY_ESCAPED.search(span) is not None
    names = [escape["name"] or "" for escape in _ESCAPE.finditer(span)]
    forgets = any(name and name[0] not in "bfnrt" for name in names)
    commands = _COMMANDS if forgets else _COMMANDS - _WORD_ENDS

    def repair(escape: re.Match[str]) -> str:
        name = escape["name"]
        if name is None:
            return escape[0] if len(escape[0]) > 1 else "\\\\"
        is_json = name[0] in "bfnrt"
        return (
            escape[0]
            if is_json and (escapes_properly or name not in commands)
            else "\\" + escape[0]
        )

    return _ESCAPE.sub(repair, span)
