"""What the answer rules accept, by kind, by form and of mutated answers, and their CPU time.

    python benchmarks/answer_rules.py                  the tables, about two minutes
    python benchmarks/answer_rules.py --docs           and puts them into docs/answer_rules.md
    python benchmarks/answer_rules.py --mutants 2000   fewer mutated answers

The pairs are those of tests/data/answers. The mutated answers are true ones of the simulated world
with one thing changed, so that they are false by the way they are made; every task takes part.
"""

import argparse
import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from answer_mutants import Mutant, make_mutants
from rich.console import Console

from chimera_ray.metrics.answers.match import equal_by_rule, match_answer

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data" / "answers"
PAGE = ROOT / "docs" / "answer_rules.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


class Pair(NamedTuple):
    """Two answers and the group they are counted in."""

    group: str
    reference: str
    predicted: str


class Count(NamedTuple):
    """One group of pairs."""

    group: str
    pairs: int
    accepted: int
    without_child: int
    """Pairs for which no child process was asked."""


def read_pairs(name: str, group: str) -> list[Pair]:
    """File of pairs → its pairs, grouped by the field of that name."""
    lines = (DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Pair(row[group], row["reference"], row["predicted"]) for row in rows]


async def count(pairs: Iterable[Pair]) -> tuple[list[Count], list[float], list[Pair]]:
    """Pairs → counts by group, CPU ms of each that needed no child, and the accepted pairs."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    times_ms: list[float] = []
    accepted: list[Pair] = []
    for pair in pairs:
        start = time.thread_time()
        match = equal_by_rule(pair.reference, pair.predicted)
        if match is not None:
            times_ms.append(1000 * (time.thread_time() - start))
        is_equal = (match or await match_answer(pair.reference, pair.predicted)).is_equal
        if is_equal:
            accepted.append(pair)
        for place, number in enumerate((1, is_equal, match is not None)):
            sums[pair.group][place] += number
    return [Count(group, *numbers) for group, numbers in sums.items()], times_ms, accepted


def table(head: Sequence[str], counts: Sequence[Count]) -> str:
    """Counts → a Markdown table with a last line for all of them."""
    totals = [sum(count[place] for count in counts) for place in (1, 2, 3)]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(map(str, count))} |" for count in counts]
    return "\n".join([*lines, f"| **all** | {' | '.join(f'**{total}**' for total in totals)} |"])


def spread(times_ms: Sequence[float]) -> str:
    """Times → a sentence with their median and their 99th percentile."""
    median, high, most = np.percentile(times_ms, (50, 99, 100))
    return (
        f"CPU time of what needs no child process ({len(times_ms):,} pairs): p50 {median:.2f} ms, "
        f"p99 {high:.2f} ms, at most {most:.1f} ms."
    )


def write_page(text: str) -> None:
    """Tables → the page, between its two markers."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _as_pair(mutant: Mutant) -> Pair:
    return Pair(mutant.strategy, mutant.answer, mutant.changed)


async def measure(num_mutants: int) -> tuple[str, list[Pair]]:
    """Number of mutated answers → the tables, and every pair that was accepted wrongly."""
    unequal, unequal_ms, wrong = await count(read_pairs("unequal", "kind"))
    equal, equal_ms, _ = await count(read_pairs("equal", "form"))
    mutated, mutated_ms, false = await count(map(_as_pair, make_mutants(num_mutants)))
    parts = (
        "### Unequal pairs by kind",
        table(("kind", "pairs", "wrong accepts", "settled without a child"), unequal),
        "### Equal pairs by form",
        table(("form", "pairs", "accepted", "settled without a child"), equal),
        "### Mutated answers of the simulated world by strategy",
        table(("changed", "answers", "wrong accepts", "settled without a child"), mutated),
        spread([*unequal_ms, *equal_ms, *mutated_ms]),
    )
    return "\n\n".join(parts), [*wrong, *false]


def main() -> None:
    """Arguments → the tables on the screen, and in the page if it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mutants", type=int, default=12_000)
    parser.add_argument("--docs", action="store_true", help="write the tables into the page")
    arguments = parser.parse_args()
    text, wrong = asyncio.run(measure(arguments.mutants))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(text)
    for pair in wrong:
        console.print(f"WRONG: {' | '.join(pair)}")
    if arguments.docs:
        write_page(text)


if __name__ == "__main__":
    main()
