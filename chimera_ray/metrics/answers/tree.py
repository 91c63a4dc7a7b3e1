"""What an expression is once it is read: a tree of few heads, which says nothing of notation."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

CONSTANTS = frozenset({"pi", "e", "i"})


class Unreadable(Exception):
    """Raised by whatever meets something that it does not fully understand, or too much of it."""


class Tree(NamedTuple):
    """A number, a constant, a letter, or what an operation makes of other trees."""

    head: str
    """number, constant, letter, sum, product, quotient, power, root, or a function's name"""
    name: str = ""
    """the number as a fraction, or the letter's or the constant's name"""
    parts: "tuple[Tree, ...]" = ()


def number_tree(value: Fraction) -> Tree:
    """Rational → its tree."""
    return Tree("number", str(value))


def product_tree(*parts: Tree) -> Tree:
    """Factors → their product."""
    return parts[0] if len(parts) == 1 else Tree("product", "", parts)


def quotient_tree(top: Tree, bottom: Tree) -> Tree:
    """Dividend and divisor → their quotient."""
    return Tree("quotient", "", (top, bottom))


def negative_tree(tree: Tree) -> Tree:
    """Tree → its negative."""
    if tree.head == "number":
        return number_tree(-Fraction(tree.name))
    return product_tree(number_tree(Fraction(-1)), tree)


def walk(tree: Tree) -> Iterator[Tree]:
    """Tree → it and all its parts."""
    yield tree
    for part in tree.parts:
        yield from walk(part)


def letters(tree: Tree) -> frozenset[str]:
    """Tree → the letters that stand for something unknown."""
    return frozenset(node.name for node in walk(tree) if node.head == "letter")


def letter_orders(tree: Tree) -> frozenset[tuple[str, str]]:
    """Tree → each pair of letters that follow one another within one product.

    Where both orders occur, the letters may be operators, words or elements of a group. What a sum
    or a fraction encloses is apart: neither is written of things that do not commute.
    """
    pairs: set[tuple[str, str]] = set()
    for node in walk(tree):
        if node.head in ("product", "power"):
            earlier: set[str] = set()
            for name in _word(node):
                pairs.update((other, name) for other in earlier if other != name)
                earlier.add(name)
    return frozenset(pair for pair in pairs if not CONSTANTS.issuperset(pair))


def _word(tree: Tree) -> list[str]:
    """A product → its letters and constants in order; (ab)² is abab, its inverse b, then a."""
    if tree.head in ("letter", "constant"):
        return [tree.name]
    if tree.head == "product":
        return [name for part in tree.parts for name in _word(part)]
    if tree.head != "power" or tree.parts[0] == Tree("constant", "e"):
        return []
    word, exponent = _word(tree.parts[0]), tree.parts[1]
    if exponent.head == "number" and exponent.name.startswith("-"):
        word.reverse()
    return word if len(word) < 2 else word * 2
