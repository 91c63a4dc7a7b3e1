"""Keeps benchmark items out of the data set."""

from collections.abc import AsyncIterator
from functools import cached_property
from typing import Annotated

from pydantic import Field, model_validator

from chimera_ray.benchmarks import Benchmark, Items, read_items
from chimera_ray.metrics.item_index import ItemIndex, Limits
from chimera_ray.metrics.problem_index import ProblemIndex
from chimera_ray.schemas import Problem, digest
from chimera_ray.stage import Models, Params, Reject, stage


class DecontaminateProblemParams(Params):
    """Which benchmarks, and how much overlap is too much."""

    benchmarks: tuple[Benchmark, ...] = ()
    """none: every problem passes, and the summary says so"""
    ngram_words: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(8, 13), min_length=1)
    """the paper measures both"""
    max_jaccard: float = Field(default=0.2, ge=0, le=1)
    """highest allowed similarity of distinct word n-grams with any benchmark item; here and below
    an n-gram weighs the less, the more items hold it, and what asks for the form of an answer
    ("relatively prime positive integers. Find m+n") weighs nothing"""
    containment_words: int = Field(default=5, ge=1)
    """words of an n-gram for `max_containment`"""
    max_containment: float = Field(default=0.6, ge=0, le=1)
    """highest allowed share of an item's n-grams in a problem that has all of the item's numbers;
    an item of fewer words than the smallest `ngram_words` is looked for as a whole"""
    max_run_words: int = Field(default=20, ge=1)
    """longest allowed run of words shared with any benchmark item"""
    max_changed_words: float = Field(default=0.06, ge=0, lt=1)
    """share of words by which a problem may differ from an item and is still the same problem, its
    variables renamed or its sentences reordered, as in `dedupe_problems`"""

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
    def index(self) -> ItemIndex:
        """The items by their n-grams."""
        return ItemIndex(self.items, self.ngram_words, self.containment_words)

    @cached_property
    def problems(self) -> ProblemIndex:
        """The items as problems."""
        index = ProblemIndex(self.max_changed_words)
        for key, text in self.items.items():
            index.add(key, text)
        return index

    def identity(self) -> str:
        """The parameters with each benchmark's content in place of its path."""
        said = self.model_dump_json(exclude={"benchmarks"})
        return digest(said, *(text for item in self.items.items() for text in item))


@stage(takes=Problem, gives=Problem, params=DecontaminateProblemParams, revision=2)
async def decontaminate_problem(
    row: Problem, models: Models, params: DecontaminateProblemParams
) -> AsyncIterator[Problem | Reject]:
    """Problem → the same, if it overlaps with no benchmark item too much.

    Rejects:
        contaminated: the detail names the item, the measure and its value.

    Source:
        paper Table 4 measures 8- and 13-gram Jaccard after the fact. Deviation: it filters here,
        by weighted n-grams, and by what of an item is inside a problem, too.
    """
    found = _overlap(row.problem, params)
    yield row if found is None else Reject("contaminated", found)


def _overlap(problem: str, params: DecontaminateProblemParams) -> str | None:
    if not params.benchmarks:
        return None
    limits = Limits(params.max_jaccard, params.max_containment, params.max_run_words)
    if found := params.index.overlap(problem, limits):
        return found
    same = params.problems.find(problem)
    if same is None:
        return None
    return f"{same.key}: the same problem, {same.changed} of {same.num_words} words differ"
