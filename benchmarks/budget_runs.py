"""Runs with a cap, in virtual time: how near the cap they end, and how many calls are in flight.

    python benchmarks/budget_runs.py [--seeds 10] [--workers 2]

Each run has a shape of reply lengths, a way in which waiting depends on length, a few processes
with slots of their own, and a cap; its replies, seeds and retries are drawn. Of each shape it
prints the share of runs that end within 5% of the cap, the best and the worst, and the calls in
flight by the share of the cap that was spent, against the slots that there are.
"""

import argparse
import asyncio
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from virtual_time import run_virtually

from chimera_ray.backends.budget import Budget, in_process
from chimera_ray.backends.budget_messages import Spend
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.metered import ATTEMPTS, LONGEST_REPLY, Metered, Work
from chimera_ray.backends.purse import Purse
from chimera_ray.errors import BudgetError
from chimera_ray.llm import LostAttempt, Message, Reply, Request, Usage

NEAR = 0.05
USD_PER_TOKEN = 1e-5
TOKENS_PER_S = 100.0
MEAN = 4_000
"""output tokens of a reply"""
Draw = Callable[[Random, float], float]
"""a random state, and the share of the cap that is spent → a reply's length, 1 on average"""


class Shape(NamedTuple):
    """One kind of run."""

    name: str
    draw: Draw
    num_calls: int = 1_000
    """of mean length that the cap pays for"""
    num_slots: int = 130
    num_processes: int = 2
    planned: float | None = 1.0
    """the plan's high end, in mean lengths"""
    max_tokens: float | None = None
    """in mean lengths"""
    waits: str = "by length"
    lost_rate: float = 0.0
    """of attempts that are billed and give nothing"""
    roles: tuple[float, ...] = (1.0,)
    """mean lengths of the roles that each row asks, one after the other"""


class Outcome(NamedTuple):
    """What came of a run."""

    share: float
    """spent of the cap"""
    largest: float
    """call, as a share of the cap"""
    in_flight: tuple[float, float, float]
    """on average, of the slots: below half of the cap, up to 90%, and above"""
    seconds: float


def constant(random: Random, share: float) -> float:
    """Always the same."""
    return 1.0


def log_normal(sigma: float) -> Draw:
    """Log-normal."""
    return lambda random, share: random.lognormvariate(-sigma * sigma / 2, sigma)


def pareto(alpha: float) -> Draw:
    """Pareto."""
    return lambda random, share: random.paretovariate(alpha) * (alpha - 1) / alpha


def bimodal(random: Random, share: float) -> float:
    """One in twenty is 40 times as long as the others."""
    return (40.0 if random.random() < 0.05 else 1.0) / 2.95


def growing(random: Random, share: float) -> float:
    """The last are five times as long as the first."""
    return log_normal(0.7)(random, share) * (1 + 4 * share) / 2.5


def shrinking(random: Random, share: float) -> float:
    """The last are a fifth as long as the first."""
    return log_normal(0.7)(random, share) * (5 - 4 * share) / 2.5


SHAPES = (
    Shape("constant", constant),
    Shape("constant, plan 6 times too low", constant, planned=1 / 6),
    Shape("constant, cap of 40 calls", constant, num_calls=40, num_slots=500),
    Shape("log-normal 1, cap of 100 calls", log_normal(1.0), num_calls=100),
    Shape("log-normal 0.5", log_normal(0.5)),
    Shape("log-normal 1", log_normal(1.0)),
    Shape("log-normal 1.5", log_normal(1.5)),
    Shape("log-normal 1.5, no plan", log_normal(1.5), planned=None),
    Shape("log-normal 1.5, plan 6 times too low", log_normal(1.5), planned=1 / 6),
    Shape("log-normal 1.5, waits alike", log_normal(1.5), waits="alike"),
    Shape("log-normal 1.5, waits at random", log_normal(1.5), waits="at random"),
    Shape("log-normal 1.5, 8 processes, 320 slots", log_normal(1.5), 2_000, 320, 8),
    Shape("log-normal 1.5, 600 calls", log_normal(1.5), 600, 100),
    Shape("log-normal 1, roles 1:4:0.2", log_normal(1.0), roles=(1.0, 4.0, 0.2)),
    Shape("log-normal 1, 10% of attempts lost", log_normal(1.0), lost_rate=0.1),
    Shape("Pareto 1.5", pareto(1.5)),
    Shape("Pareto 2", pareto(2.0)),
    Shape("bimodal", bimodal),
    Shape("growing five times", growing),
    Shape("shrinking to a fifth", shrinking),
    Shape("limit 2, log-normal 0.5", log_normal(0.5), max_tokens=2.0),
    Shape("limit 4, log-normal 1.5", log_normal(1.5), max_tokens=4.0),
    Shape("limit 20, log-normal 1.5", log_normal(1.5), max_tokens=20.0),
    Shape("limit 2, cap of 40 calls", constant, 40, 500, max_tokens=2.0),
    Shape("limit 4, 10% of attempts lost", log_normal(1.0), max_tokens=4.0, lost_rate=0.1),
)


class Bill:
    """What a provider bills, and how many calls it works on."""

    def __init__(self, cap: float) -> None:
        """Nothing yet."""
        self.usd, self.largest, self.cap = 0.0, 0.0, cap
        self._count, self._since = 0, 0.0
        self._areas = [0.0] * 3
        self._times = [0.0] * 3

    def count(self, change: int) -> None:
        """One more is in flight, or one less."""
        share, now = self.usd / self.cap, time.monotonic()
        place = 0 if share < 0.5 else 1 if share < 0.9 else 2
        self._areas[place] += self._count * (now - self._since)
        self._times[place] += now - self._since
        self._count, self._since = self._count + change, now

    def add(self, usd: float) -> None:
        """A call is billed."""
        self.usd += usd
        self.largest = max(self.largest, usd)

    @property
    def in_flight(self) -> tuple[float, float, float]:
        """On average, below half of the cap, up to 90%, and above."""
        low, middle, high = (
            a / max(t, 1e-9) for a, t in zip(self._areas, self._times, strict=True)
        )
        return low, middle, high


class Drawn:
    """A model whose replies are as long as is drawn."""

    name = "drawn"

    def __init__(self, shape: Shape, mean: float, bill: Bill, random: Random) -> None:
        self._shape, self._mean, self._bill, self._random = shape, mean, bill, random

    async def complete(self, request: Request) -> Reply:
        """Request → a reply, after attempts that were lost."""
        lost: list[LostAttempt] = []
        while True:
            usage = await self._attempt()
            if self._random.random() >= self._shape.lost_rate:
                return Reply("", usage=usage, lost=tuple(lost))
            lost.append(LostAttempt(len(lost) + 1, "cut", usage=usage))
            attempts = ATTEMPTS.get()
            if attempts is not None:
                await attempts.again(lost[-1:])

    async def _attempt(self) -> Usage:
        shape, random = self._shape, self._random
        drawn = shape.draw(random, min(self._bill.usd / self._bill.cap, 1.0)) * self._mean
        limit = LONGEST_REPLY if shape.max_tokens is None else round(shape.max_tokens * MEAN)
        num_tokens = min(max(1, round(MEAN * drawn)), limit)
        usage = Usage(100, 0, num_tokens)
        mean_s = MEAN / TOKENS_PER_S
        waits_s = {
            "by length": num_tokens / TOKENS_PER_S * random.uniform(0.8, 1.2),
            "alike": mean_s,
            "at random": random.expovariate(1 / mean_s),
        }
        self._bill.count(1)
        await asyncio.sleep(waits_s[shape.waits] + 0.5)
        self._bill.count(-1)
        self._bill.add(self.cost_usd(usage))
        return usage

    def cost_usd(self, usage: Usage) -> float:
        """Of input and output tokens alike."""
        return (usage.input_tokens / 8 + usage.output_tokens) * USD_PER_TOKEN

    async def close(self) -> None:
        """Nothing to give back."""


def run(shape: Shape, seed: int) -> Outcome:
    """A shape and a seed → what came of its run."""
    random = Random(seed)
    price = MEAN * USD_PER_TOKEN
    bill = Bill(shape.num_calls * price * statistics.mean(shape.roles))

    async def work() -> float:
        budget = Budget(bill.cap, None, Spend())
        purses = [
            Purse(in_process(budget, time.monotonic), str(n)) for n in range(shape.num_processes)
        ]
        slots = shape.num_slots // shape.num_processes
        rows = [_rows(shape, bill, random, purse) for purse in purses for _ in range(slots)]
        await asyncio.gather(*rows)
        ended_s = time.monotonic()
        for purse in purses:
            await purse.close()
        if not math.isclose(budget.spent.usd, bill.usd, rel_tol=1e-6):
            raise AssertionError(f"{budget.spent.usd} counted, {bill.usd} billed")
        return ended_s

    seconds = run_virtually(work())
    low, middle, high = (count / shape.num_slots for count in bill.in_flight)
    return Outcome(bill.usd / bill.cap, bill.largest / bill.cap, (low, middle, high), seconds)


async def _rows(shape: Shape, bill: Bill, random: Random, purse: Purse) -> None:
    """Row after row in one slot, until the budget is spent."""
    models = [
        Metered(Drawn(shape, mean, bill, random), Halt(), purse, _work(shape, place, mean))
        for place, mean in enumerate(shape.roles)
    ]
    try:
        while True:
            for model in models:
                await model.complete(Request((Message("user", "x" * 400),), None, 1))
    except BudgetError:
        return


def _work(shape: Shape, place: int, mean: float) -> Work:
    planned = None if shape.planned is None else shape.planned * mean * MEAN
    limit = None if shape.max_tokens is None else round(shape.max_tokens * MEAN)
    return Work(f"role {place}", planned, limit)


def least_seconds(shape: Shape, seed: int) -> float:
    """How long the same takes where calls start until the cap is spent, and then no more."""
    random = Random(seed)
    bill = Bill(shape.num_calls * MEAN * USD_PER_TOKEN * statistics.mean(shape.roles))

    async def slot() -> None:
        models = [Drawn(shape, mean, bill, random) for mean in shape.roles]
        while True:
            for model in models:
                if bill.usd >= bill.cap:
                    return
                await model.complete(Request((), None, 1))

    async def work() -> float:
        await asyncio.gather(*(slot() for _ in range(shape.num_slots)))
        return time.monotonic()

    return run_virtually(work())


def _job(job: tuple[int, int]) -> tuple[Outcome, float]:
    shape = SHAPES[job[0]]
    return run(shape, job[1]), least_seconds(shape, job[1])


def table_of(found: Sequence[Sequence[tuple[Outcome, float]]]) -> Table:
    """The outcomes of each shape → one line for each."""
    table = Table(title="spent of the cap, and calls in flight of the slots")
    titles = ("within 5%", "lowest", "median", "highest", "largest call", "<50%", "-90%", "-100%")
    table.add_column("run", no_wrap=True)
    for title in (*titles, "time"):
        table.add_column(title, justify="right")
    for shape, pairs in zip(SHAPES, found, strict=True):
        outcomes = [outcome for outcome, _ in pairs]
        shares = [outcome.share for outcome in outcomes]
        is_near = [abs(share - 1) <= NEAR for share in shares]
        flights = [statistics.mean(o.in_flight[n] for o in outcomes) for n in range(3)]
        table.add_row(
            shape.name,
            f"{sum(is_near)} of {len(shares)}",
            *(f"{value:.1%}" for value in (min(shares), statistics.median(shares), max(shares))),
            f"{max(outcome.largest for outcome in outcomes):.1%}",
            *(f"{value:.0%}" for value in flights),
            f"{statistics.mean(o.seconds / least for o, least in pairs):.2f}x",
        )
    return table


def main() -> int:
    """Runs every shape; exit code 0 if the aims are reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    began = time.perf_counter()
    jobs = [(place, seed) for place in range(len(SHAPES)) for seed in range(args.seeds)]
    with ProcessPoolExecutor(args.workers) as pool:
        pairs = list(pool.map(_job, jobs, chunksize=4))
    found = [pairs[n : n + args.seeds] for n in range(0, len(pairs), args.seeds)]
    console = Console(width=140)
    console.print(table_of(found))
    limited = [o for s, each in zip(SHAPES, found, strict=True) if s.max_tokens for o, _ in each]
    free = [o for s, each in zip(SHAPES, found, strict=True) if not s.max_tokens for o, _ in each]
    num_near = sum(abs(outcome.share - 1) <= NEAR for outcome in free)
    num_kept = sum(outcome.share <= 1 + outcome.largest for outcome in limited)
    console.print(
        f"without a limit {num_near} of {len(free)} runs end within 5% of the cap; with one "
        f"{num_kept} of {len(limited)} pass it by no more than a call "
        f"({time.perf_counter() - began:.0f} s)"
    )
    return 0 if num_kept == len(limited) and num_near >= 0.95 * len(free) else 1


if __name__ == "__main__":
    sys.exit(main())
