"""Keeps benchmark items out of the data set."""

from collections.abc import AsyncIterator
from functools import cached_property
from typing import Annotated

from pydantic import Field, model_validator

from chimera_ray.benchmarks import Benchmark, Items, read_items
from chimera_ray.metrics.overlap import NgramIndex, longest_run
from chimera_ray.schemas import Problem, digest
from chimera_ray.stage import Models, Params, Reject, stage


class DecontaminateProblemParams(Params):
    """Which benchmarks, and how much overlap is too much."""

    benchmarks: tuple[Benchmark, ...] = ()
    """none: every problem passes, and the summary says so"""
    ngram_words: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(8, 13), min_length=1)
    """the paper measures both"""
    max_jaccard: float = Field(default=0.2, ge=0, le=1)
    """highest allowed similarity of distinct word n-grams with any benchmark item"""
    max_run_words: int = Field(default=20, ge=1)
    """longest allowed run of words shared with any benchmark item"""

    @model_validator(mode="after")
    def _run_is_seen(self) -> "DecontaminateProblemParams":
        if self.max_run_words < min(self.ngram_words):
            raise ValueError(f"max_run_words must be at least {min(self.ngram_words)}")
        return self

    @cached_property
    def items(self) -> Items:
        """Item id → problem text, of all benchmarks."""
        return read_items(self.benchmarks)

    @cached_property
    def indexes(self) -> tuple[NgramIndex, ...]:
        """One n-gram index for each n, the smallest first."""
        indexes = tuple(NgramIndex(n) for n in sorted(self.ngram_words))
        for index in indexes:
            for key, text in self.items.items():
                index.add(key, text)
        return indexes

    def identity(self) -> str:
        """The parameters with each benchmark's content in place of its path."""
        said = self.model_dump_json(exclude={"benchmarks"})
        return digest(said, *(text for item in self.items.items() for text in item))


@stage(takes=Problem, gives=Problem, params=DecontaminateProblemParams)
async def decontaminate_problem(
    row: Problem, models: Models, params: DecontaminateProblemParams
) -> AsyncIterator[Problem | Reject]:
    """Problem → the same, if it overlaps with no benchmark item too much.

    Rejects:
        contaminated: the detail names the item, the measure and its value.

    Source:
        paper Table 4 measures 8- and 13-gram Jaccard after the fact. Deviation: it filters here,
        and the longest shared run counts too.
    """
    found = _overlap(row.problem, params)
    yield row if found is None else Reject("contaminated", found)


def _overlap(problem: str, params: DecontaminateProblemParams) -> str | None:
    if not params.benchmarks:
        return None
    for index in params.indexes:
        match = index.best(problem)
        if match is not None and match.jaccard > params.max_jaccard:
            return f"{match.key}: {index.n}-gram Jaccard {match.jaccard:.3f}"
    for key in params.indexes[0].sharing(problem):
        run = longest_run(problem, params.items[key])
        if run > params.max_run_words:
            return f"{key}: a run of {run} words"
    return None
