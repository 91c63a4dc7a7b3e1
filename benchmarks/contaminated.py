"""Benchmark items to be kept out: short ones inside longer texts, and pairs that share a form."""

import re
from pathlib import Path
from random import Random

from planted import TEMPLATES, filled

_HERE = Path(__file__).parent
SHORT_ITEMS = (_HERE / "short_items.txt").read_text("utf-8").splitlines()
STEMS = (_HERE / "form_stems.txt").read_text("utf-8").splitlines()
"""what is asked, without its end"""
TAILS = (_HERE / "form_tails.txt").read_text("utf-8").splitlines()
"""ends that ask for the form of an answer"""


def inside(item: str, dice: Random) -> str:
    """An item → a longer text of other matter with the item in its middle."""
    parts = re.split(r"(?<=[.?!])\s+(?=[A-Z])", filled(dice.choice(TEMPLATES), dice))
    at = dice.randint(1, len(parts) - 1)
    return " ".join([*parts[:at], item, *parts[at:]])


def formed(tail: str) -> list[str]:
    """A form of answers → different problems that ask for it."""
    return [f"{stem} {tail}" for stem in STEMS]
