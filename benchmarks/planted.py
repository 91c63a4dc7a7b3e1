"""Problems to be found again: templates filled with numbers, and copies of them in every guise."""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

TEMPLATES = [
    text
    for text in (Path(__file__).parent / "problem_templates.txt").read_text("utf-8").split("\n\n")
    if text.strip()
]
_RANGE = re.compile(r"<([\d.]+)\.\.([\d.]+)>")
_FORMULA = re.compile(r"\$[^$]+\$")
_PLAIN = re.compile(r"[A-Za-z]{2,}[,.;:?]?")
_UPRIGHT = r"\\(?:text|mathrm|operatorname|mathbb|mathcal|mathfrak)\{[^{}]*\}"
_VARIABLE = re.compile(rf"{_UPRIGHT}|\\[A-Za-z]+|[A-Za-z]")
_OTHER_WORDS = """
    velvet harbour lantern carefully meadow orange window slowly painter copper bridge garden
    seven whisper mountain travel button northern silver paper quietly basket river winter
    thunder candle
    """.split()  # noqa: SIM905 - many words, read as words
_CYRILLIC = dict(zip("aeopcyxijsABEKMHOPCTX", "аеорсухіјѕАВЕКМНОРСТХ", strict=True))
_GREEK = dict(zip("aovpiktuxynABEZHIKMNOPTYX", "αονρικτυχγηΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", strict=True))
_SIGNS = {
    r"\le ": "≤ ", r"\ge ": "≥ ", r"\lambda": "λ", r"\omega": "ω", r"\sum": "∑", r"\in ": "∈ ",
    r"\epsilon": "ε", r"\mu": "μ", r"\pi": "π", r"\Gamma": "Γ", r"\times": "×", r"\phi": "φ",
    r"\ldots": "…", r"\to": "→", r"\kappa": "κ", r"\beta": "β", r"\gamma": "γ", r"\zeta": "ζ",
    r"\sigma": "σ", "^2": "²", "^3": "³",
}  # fmt: skip


def filled(template: str, dice: Random) -> str:
    """A template → a problem with numbers of its own."""

    def draw(found: re.Match[str]) -> str:
        low, high = found[1], found[2]
        if "." in low + high:
            digits = max(len(text.partition(".")[2]) for text in (low, high))
            return f"{dice.uniform(float(low), float(high)):.{digits}f}"
        return str(dice.randint(int(low), int(high)))

    return _RANGE.sub(draw, template)


def one_number_changed(template: str, dice: Random) -> list[tuple[str, str]]:
    """A template → for each of its numbers, two problems that differ by it alone."""
    ranges = [found[0] for found in _RANGE.finditer(template)]
    parts = _RANGE.sub("\0", template).split("\0")
    pairs = []
    for place, drawn in enumerate(ranges):
        values = [filled(text, dice) for text in ranges]
        other = values.copy()
        while other[place] == values[place]:
            other[place] = filled(drawn, dice)
        pairs.append((_put(parts, values), _put(parts, other)))
    return pairs


def _put(parts: list[str], values: list[str]) -> str:
    return parts[0] + "".join(map("".join, zip(values, parts[1:], strict=True)))


def ascii_formulas(text: str) -> bool:
    """Whether dollars, if any, can be taken for the delimiters of formulas."""
    return text.count("$") % 2 == 0


def respaced(text: str, dice: Random) -> str:
    """Other white space between words and round the signs of formulas."""
    text = _FORMULA.sub(lambda f: re.sub(r"\s*([=+<>])\s*", r"  \1 ", f[0]), text)
    text = _FORMULA.sub(lambda f: f"$ {f[0][1:-1]} $", text)
    return re.sub(" ", lambda _: dice.choice([" ", "  ", "\n", "\t", "\u00a0"]), text)


def squeezed(text: str, dice: Random) -> str:
    """No white space in formulas but after a command."""
    return _FORMULA.sub(lambda f: re.sub(r"(?<![A-Za-z]) | (?![A-Za-z])", "", f[0]), text)


def redelimited(text: str, dice: Random) -> str:
    """Other delimiters round the formulas."""
    pairs = [(r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$")]
    left, right = dice.choice(pairs)
    return _FORMULA.sub(lambda f: f"{left}{f[0][1:-1]}{right}", text)


def changed(count: int) -> Callable[[str, Random], str]:
    """So many plain words → others."""

    def change(text: str, dice: Random) -> str:
        formulas = [found.span() for found in _FORMULA.finditer(text)]
        places = [
            found.span()
            for found in re.finditer(r"\S+", text)
            if _PLAIN.fullmatch(found[0])
            and not any(start <= found.start() < end for start, end in formulas)
        ]
        for start, end in sorted(dice.sample(places, min(count, len(places))), reverse=True):
            text = text[:start] + dice.choice(_OTHER_WORDS) + text[end:]
        return text

    return change


def renamed(text: str, dice: Random) -> str:
    """Every variable → another, one to one."""
    kept = "eidπ"
    names = sorted(
        {
            found[0]
            for formula in _FORMULA.findall(text)
            for found in _VARIABLE.finditer(formula)
            if len(found[0]) == 1 and found[0] not in kept
        }
    )
    letters = "abcfghjklmnpqrstuvwxyzABCDEFGHKLMNPQRSTUVWXYZ"
    free = [letter for letter in letters if letter not in names]
    dice.shuffle(free)
    to = dict(zip(names, free, strict=False))
    return _FORMULA.sub(
        lambda formula: _VARIABLE.sub(lambda found: to.get(found[0], found[0]), formula[0]), text
    )


def reordered(text: str, dice: Random) -> str:
    """The sentences in another order."""
    parts = re.split(r"(?<=[.?!])\s+(?=[A-Z])", text)
    dice.shuffle(parts)
    return " ".join(parts)


def sprinkled(chars: str, share: float = 0.2) -> Callable[[str, Random], str]:
    """Some of these characters after some letters."""

    def sprinkle(text: str, dice: Random) -> str:
        return "".join(
            char + (dice.choice(chars) if char.isalnum() and dice.random() < share else "")
            for char in text
        )

    return sprinkle


def swapped(letters: dict[str, str], share: float = 0.5) -> Callable[[str, Random], str]:
    """Some letters of prose → those of another script that look alike."""

    def swap(text: str, dice: Random) -> str:
        parts = re.split(r"(\$[^$]+\$)", text)
        return "".join(
            part
            if part.startswith("$")
            else "".join(
                letters.get(char, char) if dice.random() < share else char for char in part
            )
            for part in parts
        )

    return swap


def full_width(text: str, dice: Random) -> str:
    """Letters and digits of prose in their full-width forms."""
    wide = {code: code + 0xFEE0 for code in (*range(48, 58), *range(65, 91), *range(97, 123))}
    parts = re.split(r"(\$[^$]+\$)", text)
    return "".join(part if part.startswith("$") else part.translate(wide) for part in parts)


def upper_case(text: str, dice: Random) -> str:
    """Prose in capitals."""
    parts = re.split(r"(\$[^$]+\$)", text)
    return "".join(part if part.startswith("$") else part.upper() for part in parts)


def in_unicode(text: str, dice: Random) -> str:
    """Signs and Greek letters for their commands."""
    for command, sign in _SIGNS.items():
        text = text.replace(command, sign)
    return text


def all_at_once(text: str, dice: Random) -> str:
    """Words changed, variables renamed, sentences reordered, delimiters and spaces others."""
    for change in (changed(2), renamed, reordered, redelimited):
        text = change(text, dice)
    return text


KINDS: dict[str, Callable[[str, Random], str]] = {
    "respaced": respaced,
    "spaces squeezed out of formulas": squeezed,
    "other delimiters": redelimited,
    "1 word changed": changed(1),
    "2 words changed": changed(2),
    "3 words changed": changed(3),
    "variables renamed": renamed,
    "sentences reordered": reordered,
    "zero-width characters": sprinkled("\u200b\u200c\u200d\u2060\ufeff"),
    "soft hyphens": sprinkled("\u00ad"),
    "bidi marks": sprinkled("\u200e\u200f\u202a\u202c\u2066\u2069"),
    "combining marks": sprinkled("\u0301\u0323\u0336\u034f"),
    "full-width letters": full_width,
    "Cyrillic look-alikes": swapped(_CYRILLIC),
    "Greek look-alikes": swapped(_GREEK, 0.1),
    "upper case": upper_case,
    "Unicode signs for commands": in_unicode,
    "2 changed, renamed, reordered, redelimited": all_at_once,
}
