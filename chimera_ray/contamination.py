"""How much of a run's problems stands in benchmarks: the paper's Table 4, by plain Jaccard.

Knows nothing of the weights and limits that reject a problem. Items are named and never quoted.
"""

from collections.abc import Iterator, Sequence
from heapq import heappush, heappushpop
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from chimera_ray.frontier import Standing, behind
from chimera_ray.ledger.index import ACCEPTED, REJECTED
from chimera_ray.metrics.ngram_index import NgramIndex
from chimera_ray.schemas import Example, Problem
from chimera_ray.stages.decontaminate_problem import DecontaminateProblemParams

NGRAM_WORDS = (8, 13)
"""the paper's two"""
NUM_HIGHEST = 5
CHUNK_ROWS = 2_000
"""problems in memory at once"""


class Pair(BaseModel):
    """A problem and the benchmark item nearest to it."""

    problem_id: str
    """as in the published data set"""
    item_id: str
    """benchmark/id"""
    jaccard: float


class Overlap(BaseModel):
    """The largest Jaccard with any item, over some problems."""

    problems: int
    mean: float | None
    """Score_n; None of no problem"""
    highest: list[Pair]
    """highest first, at most five, none of 0"""


class Score(BaseModel):
    """Score_n for one n."""

    ngram_words: int
    published: Overlap
    """over the problems that examples were published of"""
    judged: Overlap
    """over all that were held against the benchmarks, rejected ones as well"""


class Contamination(BaseModel):
    """A run's problems against all its benchmarks."""

    benchmarks: list[str]
    items: int
    scores: list[Score]


def contamination_of(standings: Sequence[Standing]) -> Contamination | None:
    """The standings of a run → its overlap with its benchmarks; None without any."""
    for standing in standings:
        params = standing.node.params
        if isinstance(params, DecontaminateProblemParams) and params.benchmarks:
            indexes = {n: _index(params, n) for n in NGRAM_WORDS}
            return Contamination(
                benchmarks=[benchmark.name for benchmark in params.benchmarks],
                items=len(params.items),
                scores=_scores(standing, indexes, _published(standings, standing)),
            )
    return None


class _Largest:
    """Takes one largest Jaccard after the other."""

    def __init__(self) -> None:
        self._count, self._sum = 0, 0.0
        self._highest: list[tuple[float, int, str, str]] = []

    def add(self, problem_id: str, item_id: str, jaccard: float) -> None:
        self._count += 1
        self._sum += jaccard
        if jaccard:  # of equals the one that came first stays
            entry = (jaccard, -self._count, problem_id, item_id)
            add = heappush if len(self._highest) < NUM_HIGHEST else heappushpop
            add(self._highest, entry)

    def overlap(self) -> Overlap:
        pairs = [
            Pair(problem_id=problem, item_id=item, jaccard=jaccard)
            for jaccard, _, problem, item in sorted(self._highest, reverse=True)
        ]
        mean = self._sum / self._count if self._count else None
        return Overlap(problems=self._count, mean=mean, highest=pairs)


class _Judged(NamedTuple):
    id: str
    text: str
    is_published: bool


def _index(params: DecontaminateProblemParams, n: int) -> NgramIndex:
    index = NgramIndex(n)
    for key, text in params.items.items():
        index.add(key, text)
    return index


def _published(standings: Sequence[Standing], judging: Standing) -> frozenset[int]:
    """Places at the judging stage of the problems that examples were published of."""
    last = standings[-1]
    if not issubclass(last.node.gives, Example):
        return frozenset()
    _, places = behind(standings, last.outputs(), lambda node: node is judging.node)
    return frozenset(np.unique(places).tolist())


def _judged(standing: Standing, published: frozenset[int]) -> Iterator[_Judged]:
    outcome = standing.found.outcome
    places = np.flatnonzero((outcome == ACCEPTED) | (outcome == REJECTED))
    for start in range(0, len(places), CHUNK_ROWS):
        for place, text in standing.inputs.rows(places[start : start + CHUNK_ROWS]):
            row = standing.node.takes.model_validate_json(text)
            if isinstance(row, Problem):
                yield _Judged(standing.inputs.ids[place], row.problem, place in published)


def _scores(
    standing: Standing, indexes: dict[int, NgramIndex], published: frozenset[int]
) -> list[Score]:
    """The judging stage → a score for each index, in one pass over its rows."""
    largest = {n: {True: _Largest(), False: _Largest()} for n in indexes}
    for row in _judged(standing, published):
        for n, index in indexes.items():
            match = index.best(row.text)
            found = (row.id, match.key, match.jaccard) if match else (row.id, "", 0.0)
            largest[n][False].add(*found)
            if row.is_published:
                largest[n][True].add(*found)
    return [
        Score(
            ngram_words=n,
            published=largest[n][True].overlap(),
            judged=largest[n][False].overlap(),
        )
        for n in indexes
    ]
