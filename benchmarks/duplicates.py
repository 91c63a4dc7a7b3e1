"""How many copies are found, and how many other problems are taken for one: the table in the docs.

    python benchmarks/duplicates.py            prints the tables: about three minutes
    python benchmarks/duplicates.py --docs     writes them into docs/duplicates.md, too
    python benchmarks/duplicates.py --sizes 10000 50000   and the time for so many problems

Copies are planted into the templates of `problem_templates.txt`, filled with numbers, and into the
simulated world's problems without their catalogue numbers.
"""

import argparse
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from resource import RUSAGE_SELF, getrusage

from contaminated import SHORT_ITEMS, TAILS, formed, inside
from planted import KINDS, TEMPLATES, ascii_formulas, filled, one_number_changed

from chimera_ray.metrics.item_index import ItemIndex, Limits
from chimera_ray.metrics.problem_index import ProblemIndex
from chimera_ray.metrics.words import words
from chimera_ray.stages.decontaminate_problem import DecontaminateProblemParams
from chimera_ray.stages.dedupe_problems import DedupeProblemsParams

ROOT = Path(__file__).resolve().parents[1]
MAX_CHANGED = DedupeProblemsParams().max_changed_words
DOCS = ROOT / "docs" / "duplicates.md"
BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
_PARAMS = DecontaminateProblemParams()
LIMITS = Limits(_PARAMS.max_jaccard, _PARAMS.max_containment, _PARAMS.max_run_words)
_WORLD_SEEDS = 4
_MIN_WORLD_WORDS = 60


def world_problems(seeds: Sequence[int]) -> Iterator[str]:
    """Seeds → the simulated world's problems of each task, without the line that names them."""
    from chimera_ray.backends.simulated_catalogue import CATALOGUE
    from chimera_ray.backends.simulated_world import make_item

    for task in sorted(CATALOGUE):
        for seed in seeds:
            yield make_item(task, seed).problem.rpartition("\n\n(Catalogue number")[0]


def template_problems(dice: Random, count: int) -> list[str]:
    """So many fillings of each template, one after the other."""
    return [filled(template, dice) for template in TEMPLATES for _ in range(count)]


def rejected(problems: Sequence[str]) -> int:
    """How many of different problems are taken for an earlier one."""
    index = ProblemIndex(MAX_CHANGED)
    found = [index.find_or_add(str(place), text) for place, text in enumerate(problems)]
    return sum(same is not None for same in found)


def recall(
    problems: Sequence[str], kind: str, dice: Random, index: ProblemIndex
) -> tuple[int, int]:
    """Problems in an index → copies that are found as their own original, and copies in all."""
    found = total = 0
    for place, text in enumerate(problems):
        copy = KINDS[kind](text, dice)
        if copy != text:
            same = index.find(copy)
            found += same is not None and same.key == str(place)
            total += 1
    return found, total


def copies_table(seed: int = 7, fillings: int = 8) -> list[str]:
    """Kinds of copy → how many are found, of templates and of the simulated world's problems."""
    dice = Random(seed)
    ours = list(dict.fromkeys(template_problems(dice, fillings)))
    world = [
        text
        for text in world_problems(range(_WORLD_SEEDS))
        if len(words(text)) >= _MIN_WORLD_WORDS and ascii_formulas(text)
    ]
    lines = [f"| copy | found, of {len(ours)} with formulas | found, of {len(world)} in prose |"]
    lines.append("|---|---:|---:|")
    indexes = []
    for problems in (ours, world):
        index = ProblemIndex(MAX_CHANGED)
        for place, text in enumerate(problems):
            index.add(str(place), text)
        indexes.append(index)
    for kind in KINDS:
        shares = []
        for problems, index in zip((ours, world), indexes, strict=True):
            found, total = recall(problems, kind, dice, index)
            shares.append(f"{found / total:.3f}" if total else "-")
        lines.append(f"| {kind} | {' | '.join(shares)} |")
    return lines


def others_table(seed: int = 11, fillings: int = 50) -> list[str]:
    """Different problems → how many are taken for a repeat."""
    dice = Random(seed)
    pairs = [pair for template in TEMPLATES for pair in one_number_changed(template, dice)]
    ours = template_problems(dice, fillings)
    world = list(dict.fromkeys(world_problems(range(20))))
    unrelated = [filled(template, dice) for template in TEMPLATES]
    counts = (
        (f"{fillings} fillings of each of {len(TEMPLATES)} templates", rejected(ours), len(ours)),
        ("one number changed", sum(rejected(pair) for pair in pairs), len(pairs)),
        ("simulated world, 20 of each task", rejected(world), len(world)),
        ("unrelated", rejected(unrelated), len(unrelated)),
    )
    head = ["| different problems | taken for a repeat | of |", "|---|---:|---:|"]
    return head + [f"| {name} | {count} | {total} |" for name, count, total in counts]


def items_table(seed: int = 13) -> list[str]:
    """Short items in longer texts, plain and disguised; and pairs that share a form alone."""
    dice = Random(seed)
    items = {f"short/{place}": text for place, text in enumerate(SHORT_ITEMS)}
    index = ItemIndex(items, _PARAMS.ngram_words, _PARAMS.containment_words)
    disguises = ("respaced", "other delimiters", "zero-width characters", "Cyrillic look-alikes")
    lines = ["| benchmark item | seen | of |", "|---|---:|---:|"]
    for low, high in ((1, 7), (8, 13), (14, 20), (21, 40)):
        chosen = {k: t for k, t in items.items() if low <= len(words(t)) <= high}
        texts = [(key, inside(text, dice)) for key, text in chosen.items() for _ in range(10)]
        seen = sum(_is_seen(index, key, text) for key, text in texts)
        lines.append(f"| {low} to {high} words, inside a longer text | {seen} | {len(texts)} |")
        hidden = [(key, KINDS[kind](text, dice)) for key, text in texts for kind in disguises]
        seen = sum(_is_seen(index, key, text) for key, text in hidden)
        lines.append(f"| the same, disguised in four ways | {seen} | {len(hidden)} |")
    clean = template_problems(dice, 10)
    seen = sum(index.overlap(text, LIMITS) is not None for text in clean)
    lines.append(f"| other problems, of the templates (none should be) | {seen} | {len(clean)} |")
    for name, few in (("one item", 1), ("three items", 3), ("all other items", 11)):
        seen, total = _forms_seen(few)
        lines.append(
            f"| the same form of answer, against {name} (none should be) | {seen} | {total} |"
        )
    return lines


def _is_seen(index: ItemIndex, key: str, text: str) -> bool:
    found = index.overlap(text, LIMITS)
    return found is not None and found.startswith(f"{key}:")


def _forms_seen(few: int) -> tuple[int, int]:
    seen = total = 0
    for tail in TAILS:
        problems = formed(tail)
        for place, problem in enumerate(problems):
            others = [*problems[place + 1 :], *problems[:place]][:few]
            items = {f"form/{number}": text for number, text in enumerate(others)}
            index = ItemIndex(items, _PARAMS.ngram_words, _PARAMS.containment_words)
            seen += index.overlap(problem, LIMITS) is not None
            total += 1
    return seen, total


def sizes_table(sizes: Sequence[int]) -> list[str]:
    """Numbers of problems → time and memory to go through them all."""
    lines = ["| problems | CPU, s | ms each | peak memory, MB |", "|---:|---:|---:|---:|"]
    for size in sizes:
        dice = Random(size)
        problems = (filled(TEMPLATES[place % len(TEMPLATES)], dice) for place in range(size))
        index, began = ProblemIndex(MAX_CHANGED), time.process_time()
        for place, text in enumerate(problems):
            index.find_or_add(str(place), text)
        took = time.process_time() - began
        peak = getrusage(RUSAGE_SELF).ru_maxrss / 1024
        lines.append(f"| {size:,} | {took:.0f} | {took / size * 1000:.2f} | {peak:,.0f} |")
    return lines


def main() -> None:
    """Measures, prints, and writes where it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    args = parser.parse_args()
    tables = [copies_table(), others_table(), items_table()]
    if args.sizes:
        tables.append(sizes_table(args.sizes))
    told = "\n\n".join("\n".join(table) for table in tables)
    print(told)
    if args.docs:
        text = DOCS.read_text(encoding="utf-8")
        block = re.compile(f"{BEGIN}.*?{END}", re.DOTALL)
        DOCS.write_text(block.sub(lambda _: f"{BEGIN}\n{told}\n{END}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
