"""What makes a product ambiguous although each of its factors is understood."""

from chimera_ray.metrics.answers.names import NUMBER_SETS
from chimera_ray.metrics.answers.tokens import Tokens
from chimera_ray.metrics.answers.tree import Tree, Unreadable, letter_orders, letters


def check_letters(*trees: Tree) -> None:
    """Trees of one answer, or of two → nothing; Unreadable if their letters may not commute."""
    names = frozenset[str]().union(*(letters(tree) for tree in trees))
    orders = frozenset[tuple[str, str]]().union(*(letter_orders(tree) for tree in trees))
    if sum(name[:1].isupper() for name in names) > 1 or names & NUMBER_SETS:
        raise Unreadable
    if any(map(_may_be_an_ordinal, trees)):
        raise Unreadable
    if any((second, first) in orders for first, second in orders):
        raise Unreadable


def _may_be_an_ordinal(tree: Tree) -> bool:
    """Tree → whether it is a Greek letter plus a number, of which the order may count."""
    names = letters(tree)
    is_plain = tree.head == "sum" and all(part.head in ("letter", "number") for part in tree.parts)
    return is_plain and len(names) == 1 and all(name.startswith("\\") for name in names)


def check_cross(left: Tree, right: Tree) -> None:
    """Raise Unreadable if × may be no product of numbers: of vectors, spaces, or in "3 × 4"."""
    if letters(left) or letters(right):
        raise Unreadable
    if all(part.head == "number" and "/" not in part.name for part in (left, right)):
        raise Unreadable


def may_be_a_call(left: Tree, inner: Tree) -> bool:
    r"""A factor and what stands in parentheses after it → whether it may be a function of that.

    "n(n+1)" and "a(b+c)" are products; "x(t+1)", "y(2x)" and "\pi(2x)" may be none.
    """
    if left.head == "constant":
        return inner.head != "sum" and left.name == "pi"
    if left.head != "letter":
        return False
    names = letters(inner)
    return inner.head != "sum" or (left.name not in names and len(names) < 2)


def has_word_in_parentheses(tokens: Tokens) -> bool:
    """Tokens → whether letters in a row stand alone in parentheses: "(iv)"."""
    return any(
        (opening.text, closing.text) == ("(", ")") and inner.kind == "word" and len(inner.text) > 1
        for opening, inner, closing in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if inner.text != "pi"
    )
