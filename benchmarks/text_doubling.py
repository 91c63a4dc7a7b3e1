"""Is every text function linear? CPU time of each on adversarial shapes, at doubling lengths.

    python benchmarks/text_doubling.py                                       every function
    python benchmarks/text_doubling.py words.words topic_key.topic_key   only these
    python benchmarks/text_doubling.py --max-chars 250000                     shorter texts

Each function runs in a process of its own, up to 2,000,000 characters or its own documented bound.
A time is the best of five, or of two where one call takes over 0.3 s. A ratio is what twice the
text takes, over what the text takes, or over 5 ms where that takes less. Exits with 1 if any ratio
is over 2.5; that pair of lengths is measured once more first, and no longer text is tried then.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from text_shapes import SUBJECTS, Shape, Subject, function_of

MAX_RATIO = 2.5
MAX_CHARS = 2_000_000
PROBE_CHARS = 10_000
FLOOR_S = 0.005
LONG_S = 0.3
REPEATS, LONG_REPEATS = 5, 2
NUM_DOUBLINGS = 3
"""up to the longest text; a probe goes before them, so that nothing quadratic takes hours"""


class Row(NamedTuple):
    """One function on one shape."""

    function: str
    shape: str
    chars: int
    """of the longest text that was tried"""
    seconds: float
    """that it took"""
    ratio: float
    """the worst one"""


def seconds_of(subject: Subject, text: str) -> float:
    """A function and a text → the CPU time of the best call."""
    function = function_of(subject)
    best, repeat = float("inf"), 0
    while repeat < (LONG_REPEATS if best > LONG_S else REPEATS):
        start = time.process_time()
        subject.call(function, text)
        best, repeat = min(best, time.process_time() - start), repeat + 1
    return best


def measure(subject: Subject, shape: Shape, max_chars: int) -> Row:
    """A function and a shape → its worst ratio, over the probe and the last doublings."""
    longest = min(max_chars, subject.max_chars)
    probed = [PROBE_CHARS << step for step in range(3) if PROBE_CHARS << step < longest >> 3]
    chars = [*probed, *(longest >> step for step in range(NUM_DOUBLINGS, -1, -1))]
    row = Row(subject.name, shape.name[:60], 0, 0.0, 0.0)
    before: tuple[int, float] | None = None
    for length in chars:
        seconds = seconds_of(subject, shape.text(length))
        ratio = 0.0
        if before is not None and length == 2 * before[0]:
            ratio = seconds / max(before[1], FLOOR_S)
            if ratio > MAX_RATIO:
                first = seconds_of(subject, shape.text(before[0]))
                seconds = min(seconds, seconds_of(subject, shape.text(length)))
                ratio = seconds / max(first, FLOOR_S)
        row = row._replace(chars=length, seconds=seconds, ratio=max(row.ratio, ratio))
        if row.ratio > MAX_RATIO:
            break
        before = (length, seconds)
    return row


def measure_all(name: str, max_chars: int) -> list[Row]:
    """A function's name → its rows; run in a process of its own."""
    (subject,) = (subject for subject in SUBJECTS if subject.name == name)
    return [measure(subject, shape, max_chars) for shape in subject.shapes]


def rows_of(names: Sequence[str], max_chars: int) -> Iterator[list[Row]]:
    """Functions → the rows of each, as soon as they are there."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for name in names:
            yield pool.submit(measure_all, name, max_chars).result()


def table_of(rows: Sequence[Row]) -> Table:
    """Rows → the table that is printed."""
    table = Table("function", "shape", "characters", "ms", "worst ratio")
    for row in rows:
        mark = " !" if row.ratio > MAX_RATIO else ""
        time_ms = f"{row.seconds * 1_000:,.1f}"
        table.add_row(row.function, row.shape, f"{row.chars:,}", time_ms, f"{row.ratio:.2f}{mark}")
    return table


def main() -> int:
    """Measures, prints, and says by the exit code whether all is linear."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    known = [subject.name for subject in SUBJECTS]
    parser.add_argument("functions", nargs="*", metavar="function", help=", ".join(known))
    parser.add_argument("--max-chars", type=int, default=MAX_CHARS)
    args = parser.parse_args()
    if unknown := set(args.functions) - set(known):
        parser.error(f"no such function: {', '.join(sorted(unknown))}")
    console = Console(width=120)
    rows: list[Row] = []
    for found in rows_of(args.functions or known, args.max_chars):
        worst = max(found, key=lambda row: row.ratio)
        slowest = max(found, key=lambda row: row.seconds / row.chars)
        rows += found
        console.print(table_of([worst] if worst == slowest else [worst, slowest]))
    failed = [row for row in rows if row.ratio > MAX_RATIO]
    console.print(
        f"{len(rows)} shapes of {len({row.function for row in rows})} functions;", end=" "
    )
    console.print(f"{len(failed)} over {MAX_RATIO}, worst {max(row.ratio for row in rows):.2f}")
    if failed:
        console.print(table_of(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
