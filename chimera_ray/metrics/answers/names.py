r"""Which names an expression may hold: functions, constants, and letters that plainly commute.

Left out on purpose: \omega (ordinals), capital Greek letters and \sigma_x (operators), \partial,
\nabla, \hat, \bar, \vec, \mathbf, and whatever else is not written here.
"""

FUNCTIONS = {
    **{
        name: name
        for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp")
    },
    **{name: name for name in ("arcsin", "arccos", "arctan", "ln", "log")},
    **{"asin": "arcsin", "acos": "arccos", "atan": "arctan"},
}
ANGLE_FUNCTIONS = frozenset({"sin", "cos", "tan", "cot", "sec", "csc"})
POWERED_FUNCTIONS = ANGLE_FUNCTIONS | {"sinh", "cosh", "tanh", "ln", "log"}
"""of which \\sin^2 x is the square of the value"""
GREEK_LETTERS = frozenset(
    r"""
    \alpha \beta \gamma \delta \epsilon \varepsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu
    \xi \rho \sigma \tau \upsilon \phi \varphi \chi \psi
    """.split()  # noqa: SIM905 - many words, read as words
)
MULTIPLIERS = frozenset("abckmnrstxyz")
"""letters that multiply what stands in parentheses after them; others may be functions of it"""
NUMBER_SETS = frozenset("QZ")
FUNCTION_LETTERS = frozenset({"f", "g", "h", r"\sigma", r"\tau", r"\phi", r"\varphi", r"\psi"})
"""letters whose power −1 may be an inverse map"""
MAX_RUN = 3
"""letters in a row that are a product; more of them are a word"""


def is_product_of_letters(word: str) -> bool:
    """Letters in a row → whether each is a factor, since they are no word, function or name."""
    is_word = word in _WORDS or f"\\{word}" in GREEK_LETTERS or len(set(word)) < len(word)
    starts_as_function = len(word) > 1 and word.startswith(tuple(FUNCTIONS))
    return len(word) <= MAX_RUN and not is_word and not starts_as_function


_WORDS = frozenset(
    """
    an as at be by do go he if in is it me my no of on or so to up us we am pm mod gcd lcm max min
    sup inf det deg dim ker arg lim nan dne and any all but can day few for has had how its low let
    man men new nor not now odd off old one our out own per put red run say see sum the top too try
    two use via was way who why win yes yet you top bit box law tan dx dy dz dt du dv dr ds
    cm mm km kg nm
    """.split()  # noqa: SIM905 - many words, read as words
)
