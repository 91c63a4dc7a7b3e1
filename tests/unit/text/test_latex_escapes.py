r"""LaTeX in JSON, escaped, not escaped, or twice → what was meant, or ParseError; never another."""

import json
import re
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latex_strings import TRUE_STRINGS

from chimera_ray.errors import ParseError
from chimera_ray.text.json_reply import json_object
from chimera_ray.text.latex_commands import COMMANDS
from chimera_ray.text.latex_escapes import MAX_BACKSLASHES, repaired

_PIECE = re.compile(r'\\+|\n|"|[^\\\n"]+')


def _value(written: str) -> str | None:
    """What stands between the quotes → the string that is read; None for a ParseError."""
    try:
        value = json_object('{"a": "' + written + '"}')["a"]
    except ParseError:
        return None
    assert isinstance(value, str)
    return value


def _forgotten(true: str, forgets: Callable[[], bool] = lambda: True) -> str:
    """A string → as a model writes it that escapes line breaks, and backslashes not always."""
    written = ""
    for piece in _PIECE.finditer(true):
        if piece[0] == "\n":
            written += "\\n"
        elif piece[0] == '"':
            written += '"' if written.endswith("\\") else '\\"'
        elif piece[0][0] == "\\":
            written += piece[0] if forgets() or true[piece.end() :][:1] == '"' else piece[0] * 2
        else:
            written += piece[0]
    return written


@pytest.mark.parametrize(
    ("written", "true"),
    [
        # No sign of forgotten escapes: left as it is.
        (r"Suppose there\nexists a group.", "Suppose there\nexists a group."),
        (r"one\ntwo\tthree", "one\ntwo\tthree"),
        (r"is\nless than\nparallel lines", "is\nless than\nparallel lines"),
        (r"one\ne two\not three\neg", "one\ne two\not three\neg"),
        (r"name\tan", "name\tan"),
        (r"velocity:\r\nu is 5\r\nb", "velocity:\r\nu is 5\r\nb"),
        (r"We take $x$.\nu is next.", "We take $x$.\nu is next."),
        (r"\\frac{1}{2}\nnext", "\\frac{1}{2}\nnext"),
        (r"\\alpha, then\nu", "\\alpha, then\nu"),
        (r"$$\nu = \\frac{1}{2}$$", "$$\nu = \\frac{1}{2}$$"),
        (r"\u00e9 \/ \" \\ \ueada", 'é / " \\ \ueada'),
        (r"print(\"a\\n\")", 'print("a\\n")'),
        (r"\\begin{pmatrix}1 \\\\ 2\\end{pmatrix}", r"\begin{pmatrix}1 \\ 2\end{pmatrix}"),
        (r"\\begin{cases}1 \\\\ 2\\ x\\end{cases}", r"\begin{cases}1 \\ 2\ x\end{cases}"),
        (r"Schr\\\"odinger", 'Schr\\"odinger'),
        (r"line\nThe and\nfoo", "line\nThe and\nfoo"),
        # A certain sign, alone.
        (r"\frac{1}{2}", r"\frac{1}{2}"),
        (r"\beta", r"\beta"),
        (r"\theta", r"\theta"),
        (r"\nabla f", r"\nabla f"),
        (r"3 \times 4", r"3 \times 4"),
        (r"\text{cm} \tag{1}", r"\text{cm} \tag{1}"),
        (r"\rho \right)", r"\rho \right)"),
        (r"$x \neq y$", r"$x \neq y$"),
        (r"\(x\) \{1\} \% \$", r"\(x\) \{1\} \% \$"),
        (r"\underline{x} \upsilon", r"\underline{x} \upsilon"),
        # A sign elsewhere decides what has two readings, in formulas.
        (r"\alpha \neq \nu", r"\alpha \neq \nu"),
        (r"\(x \ne \neg y\) \not\in", r"\(x \ne \neg y\) \not\in"),
        (r"$\mu$ and $\nu$", r"$\mu$ and $\nu$"),
        (r"$x \to \infty$", r"$x \to \infty$"),
        (r"\[ E = h \nu + \pi \]", r"\[ E = h \nu + \pi \]"),
        (r"$\norm{x} = \|x\|$", r"$\norm{x} = \|x\|$"),
        # Line breaks stay where prose breaks.
        (r"Let $\alpha$.\nThen there\nexists $\nu$.", "Let $\\alpha$.\nThen there\nexists $\\nu$."),
        (r"Let $\alpha = 1$.\nu is free.", "Let $\\alpha = 1$.\nu is free."),
        (r"\(\alpha\):\n- a\n- b", "\\(\\alpha\\):\n- a\n- b"),
        # Some escaped, some not.
        (r"\\alpha + \frac{1}{2}", r"\alpha + \frac{1}{2}"),
        (r"\\alpha \neq \\pi + \theta", r"\alpha \neq \pi + \theta"),
        (r"\\(\alpha\\) and \\{1\\}", r"\(\alpha\) and \{1\}"),
        # Rows.
        (r"\begin{pmatrix}1 \\ 2\end{pmatrix}", r"\begin{pmatrix}1 \\ 2\end{pmatrix}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        (r"\begin{pmatrix}a\\b\end{pmatrix}", r"\begin{pmatrix}a\\b\end{pmatrix}"),
        (r"\begin{pmatrix}1 \\\\ 2\end{pmatrix}", r"\begin{pmatrix}1 \\ 2\end{pmatrix}"),
        (r"\begin{array}{c}1\\\hline 2\end{array}", r"\begin{array}{c}1\\\hline 2\end{array}"),
        (r"\begin{cases}1\\\n2\end{cases}", "\\begin{cases}1\\\\\n2\\end{cases}"),
        # Escaped twice, all of it.
        (r"\\\\frac{1}{2}", r"\frac{1}{2}"),
        (r"\\\\(\\\\alpha\\\\)\n\\\\{1\\\\}", "\\(\\alpha\\)\n\\{1\\}"),
        (
            r"\\\\begin{pmatrix} 1 \\\\\\\\ 2 \\\\end{pmatrix}",
            r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
        ),
        # Apostrophes and umlauts.
        (r"Euler\'s f\'(x) isn\'t", "Euler's f'(x) isn't"),
        (r"Schr\"odinger's \psi", "Schr\\\"odinger's \\psi"),
    ],
    ids=ascii,
)
def test_json_object_clear_latex_is_read_as_meant(written: str, true: str) -> None:
    assert _value(written) == true


@pytest.mark.parametrize(
    "written",
    [
        # One of two readings, without a sign.
        r"$\nu$",
        r"\nu",
        r"E = h\nu",
        r"x \ne 0",
        r"x \to 0",
        r"the frequency \nu is",
        r"$a \nmid b$",
        r"$\\alpha = \nu$",
        r"for $5\nless than $6",
        # With a sign, but where a line break is as likely.
        r"\alpha = 2,\nu = 3",
        r"\[\nu = \frac{1}{2}\]",
        r"$$\alpha = 1,\nu = 2$$",
        r"Let \alpha be so that \nexists x",
        r"an odd $ and \alpha and \nu",
        r"\alpha\tan x and words",
        # Unknown commands.
        r"$\nfoo{x} = \alpha$",
        r"\bfoo",
        r"\fFor",
        r"\alpha \rfoo",
        r"\1 \x41 \0",
        r"\alpha \u12",
        # A return alone is no line break.
        r"line\rangle",
        r"one\rtwo",
        # Rows that may have lost a backslash, and pairs with two readings.
        r"\\begin{pmatrix} 1 \\ 2 \\end{pmatrix}",
        r"\\begin{pmatrix}a\\b\\end{pmatrix}",
        r"\begin{pmatrix} a \\to b \end{pmatrix}",
        r"\begin{pmatrix} a \\{ b \end{pmatrix}",
        r"\alpha \\ \beta",
        r"\alpha \\mymacro",
        r"\alpha\\",
        r"$\alpha \nonumber\\$",
        # Escaped twice, but not all of it.
        r"\\alpha + \\\\frac{1}{2}",
        r"\alpha + \\\\frac{1}{2}",
        r"\\\\(x\\\\)",
        r"50\\\\%",
        r"\\\\mymacro{x}",
        r"\\\\server\\share",
        r"\\\\begin{pmatrix} 1 \\\\ 2 \\\\end{pmatrix}",
        r"\\begin{pmatrix} 1 \\\\alpha \\end{pmatrix}",
        r"\\begin{pmatrix} 1 \\\\\\\\ 2 \\end{pmatrix}",
        # Accents or apostrophes.
        r"Poincar\'e",
        r"d\'Alembert",
        r"Schr\"odinger",
    ],
    ids=ascii,
)
def test_json_object_ambiguous_latex_raises(written: str) -> None:
    assert _value(written) is None


def test_json_object_sign_in_one_string_counts_for_all() -> None:
    assert json_object(r'{"a": "$\pi$", "b": ["$\nu$"]}') == {"a": r"$\pi$", "b": [r"$\nu$"]}
    with pytest.raises(ParseError):
        json_object(r'{"a": "$\\pi$", "b": ["$\nu$"]}')


def test_true_strings_forgotten_escapes_most_are_repaired_and_none_wrongly() -> None:
    values = [(true, _value(_forgotten(true))) for true in TRUE_STRINGS]
    assert [pair for pair in values if pair[1] not in (None, pair[0])] == []
    assert len(TRUE_STRINGS) >= 150
    assert sum(value is not None for _, value in values) >= 0.9 * len(TRUE_STRINGS)


def test_true_strings_properly_escaped_are_unchanged() -> None:
    assert [true for true in TRUE_STRINGS if _value(json.dumps(true)[1:-1]) != true] == []


def test_true_strings_escaped_twice_most_are_read_and_none_wrongly() -> None:
    values = [(true, _value(json.dumps(true.replace("\\", "\\\\"))[1:-1])) for true in TRUE_STRINGS]
    assert [pair for pair in values if pair[1] not in (None, pair[0])] == []
    assert sum(value is not None for _, value in values) >= 0.9 * len(TRUE_STRINGS)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_true_strings_escapes_forgotten_here_and_there_are_never_read_wrongly(share: float) -> None:
    rng = Random(7)
    wrong = []
    for _ in range(1_000):
        trues = [rng.choice(TRUE_STRINGS) for _ in range(rng.randint(1, 3))]
        written = [_forgotten(true, lambda: rng.random() < share) for true in trues]
        try:
            values = json_object(
                "{" + ",".join(f'"k{i}": "{said}"' for i, said in enumerate(written)) + "}"
            )
        except ParseError:
            continue
        wrong += [
            (true, said) for true, said in zip(trues, values.values(), strict=True) if true != said
        ]
    assert wrong == []


# No formula has a backslash in front of a row's: such a text is one that was escaped twice.
_PROPER = st.lists(
    st.sampled_from(sorted(COMMANDS)).map("\\{} ".format)
    | st.sampled_from([*"$ {}()[]^_=.,:;'abuxyz019é", "\n", "\n\n", "\\(", "\\)", "\\[", "\\]"])
    | st.sampled_from(["exists", "u ", "e ", "i ", "less", "not ", "the ", "rate", "act", '"', " "])
    | st.sampled_from(["\\begin{pmatrix} ", " \\\\ ", " \\end{pmatrix}", "\\{", "\\}", "$$", "\t"]),
    max_size=25,
).map("".join)


@settings(max_examples=400, deadline=None)
@given(_PROPER, _PROPER)
def test_json_object_properly_escaped_value_is_never_changed(one: str, other: str) -> None:
    value = {"a": one, "b": [other]}
    try:
        read = json_object(json.dumps(value))
    except ParseError:
        return
    assert read == value


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('\\ntrfbuaex{}"$( 1'), max_size=40))
def test_json_object_value_has_no_control_character_that_is_no_text(written: str) -> None:
    value = _value(written.replace('"', '\\"'))
    assert value is None or not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", value)


def test_repaired_without_a_backslash_is_the_same_object() -> None:
    text = '{"a": "b"}'
    assert repaired(text) is text


def test_repaired_too_many_backslashes_raises() -> None:
    with pytest.raises(ParseError):
        repaired('{"a": "' + "\\" * (MAX_BACKSLASHES + 2) + '"}')
