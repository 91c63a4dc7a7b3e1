r"""Functions and roots, and what they are taken of: \sin^2 x, \log_2 8, \cos 60^\circ."""

from fractions import Fraction

from chimera_ray.metrics.answers.cursor import CLOSINGS, Cursor, number
from chimera_ray.metrics.answers.names import ANGLE_FUNCTIONS, FUNCTIONS, POWERED_FUNCTIONS
from chimera_ray.metrics.answers.tree import Tree, Unreadable, number_tree, product_tree


class Calls(Cursor):
    """A cursor that reads functions."""

    def root(self) -> Tree:
        """What stands behind a root sign, with its degree."""
        degree = 2
        if self.peek().text == "[":
            self.take()
            token = self.take()
            if not token.text.isdigit() or len(token.text) > 2 or int(token.text) < 2:
                raise Unreadable
            degree = int(token.text)
            self.take("]")
        if self.peek().text not in ("{", "("):
            raise Unreadable
        return Tree("root", str(degree), (self.bracketed(self.peek().text),))

    def function(self, name: str) -> Tree:
        """What stands behind a function's name: its base, its power, its argument."""
        base, power = None, None
        if name == "log" and self.peek().text == "_":
            self.take()
            if self.peek().text == "e":
                self.take()
                name = "ln"
            else:
                base = self.bracketed("{") if self.peek().text == "{" else number(self.take())
        if self.peek().text == "^":
            self.take()
            power = self.exponent()
            if name not in POWERED_FUNCTIONS or not is_whole(power, 2):
                raise Unreadable  # \sin^{-1}
        argument, is_bare = self._argument(name)
        tree = Tree(name, "", (argument,) if base is None else (argument, base))
        if power is not None:
            tree = Tree("power", "", (tree, power))
        follower = self.peek().text
        if (is_bare or power or name in ("ln", "log")) and follower == "^":
            raise Unreadable
        if is_bare and follower in ("(", "/", "!", "|", "{", r"\frac", r"\sqrt"):
            raise Unreadable  # \sin x/2
        return tree

    def _argument(self, name: str) -> tuple[Tree, bool]:
        """What the function is taken of, and whether it stands without parentheses."""
        token = self.peek()
        if token.text in ("(", "{"):
            self.take()
            argument = self.sum()
            if self._is_degree(name):
                if argument.head == "sum":
                    raise Unreadable  # only its last term is in degrees
                argument = _in_degrees(argument)
            self.take(CLOSINGS[token.text])
            return argument, False
        if token.text in (r"\frac", r"\sqrt"):
            return self.atom(), False
        parts: list[Tree] = []
        while self.peek().kind in ("number", "word", "command"):
            if parts and (self.peek().kind == "number" or parts[-1].head == "letter"):
                raise Unreadable
            part = self.atom()
            if part.head not in ("number", "letter", "constant"):
                raise Unreadable
            parts.append(part)
            if self._is_degree(name):
                return _in_degrees(product_tree(*parts)), True
            if self.peek().text in (r"\cdot", r"\times") or self.peek().text[1:] in FUNCTIONS:
                break
        if not parts or (len(parts) > 1 and name not in ANGLE_FUNCTIONS):
            raise Unreadable  # \ln 2x
        return product_tree(*parts), True

    def _is_degree(self, name: str) -> bool:
        is_degree = self.peek().text == "^" and self.peek(1).text == r"\circ"
        if is_degree:
            if name not in ANGLE_FUNCTIONS:
                raise Unreadable
            self._at += 2
        return is_degree


def is_whole(tree: Tree, least: int) -> bool:
    """Tree → whether it is an integer, and not below the least."""
    value = Fraction(tree.name) if tree.head == "number" else None
    return value is not None and value.denominator == 1 and value >= least


def _in_degrees(tree: Tree) -> Tree:
    return product_tree(tree, number_tree(Fraction(1, 180)), Tree("constant", "pi"))
