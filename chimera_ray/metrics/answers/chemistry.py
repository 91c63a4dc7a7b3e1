"""Normal text → the chemical formula that it is, as a sequence: isomers and charges stay apart."""

import re
from typing import TypeAlias

_MAX_CHARS = 200
_ELEMENTS = frozenset(
    """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br
    Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho
    Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu
    """.split()  # noqa: SIM905 - many words, read as words
)
_MARKS = _ELEMENTS | {*"()[]"}
_PART = re.compile(
    r"(?P<mark>[A-Z][a-z]?|[()\[\]])(?P<count>_?\{(?P<braced>\d{1,3})\}|_\d(?!\d)|\d{1,3})?"
    r"|(?P<water>\\cdot ?|\.)(?P<times>\d{0,2})(?=H_?2O)"
    r"|\^(?P<charge>\{\d?[-+]\}|\d?[-+])\Z"
)

Formula: TypeAlias = tuple[tuple[str, str], ...]


def formula(text: str) -> Formula | None:
    r"""Normal text → elements, brackets and charge in order, each with its count.

    Only where at least two elements and a count are written: "C_6" may be a group.
    """
    parts: list[tuple[str, str]] = []
    position = 0
    while position < len(text) <= _MAX_CHARS:
        match = _PART.match(text, position)
        if match is None or (match["mark"] or "(") not in _MARKS:
            return None
        position = match.end()
        if match["mark"]:
            count = match["braced"] or (match["count"] or "").lstrip("_")
            if count.startswith("0") or count == "1" or (match["mark"] in "([" and count):
                return None
            parts.append((match["mark"], count))
        elif match["charge"]:
            parts.append(("charge", match["charge"].strip("{}")))
        else:
            parts.append(("water", match["times"]))
    num_elements = sum(mark[:1].isalpha() and mark in _ELEMENTS for mark, _ in parts)
    has_count = any(count for _, count in parts)
    return tuple(parts) if num_elements >= 2 and has_count and position == len(text) else None
