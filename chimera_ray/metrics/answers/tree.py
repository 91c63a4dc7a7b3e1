"""What an expression is once it is read: a tree of few heads, which says nothing of notation."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple


class Unreadable(Exception):
    """Raised by whatever meets something that it does not fully understand, or too much of it."""


class Tree(NamedTuple):
    """A number, a constant, a letter, or what an operation makes of other trees."""

    head: str
    """number, constant, letter, sum, product, power, root, or a function's name"""
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
    return product_tree(top, Tree("power", "", (bottom, number_tree(Fraction(-1)))))


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

    Where both orders occur, the letters may be operators, words or elements of a group.
    """
    pairs: set[tuple[str, str]] = set()
    for node in walk(tree):
        if node.head == "product":
            names = [name for part in node.parts if (name := _base_letter(part))]
            earlier: set[str] = set()
            for name in names:
                pairs.update((other, name) for other in earlier if other != name)
                earlier.add(name)
    return frozenset(pairs)


def _base_letter(tree: Tree) -> str:
    while tree.head == "power":
        tree = tree.parts[0]
    return tree.name if tree.head == "letter" or tree.name == "i" else ""
