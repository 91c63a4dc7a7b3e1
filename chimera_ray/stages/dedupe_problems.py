"""Near-duplicate problems, within a topic and across topics."""

from collections.abc import Sequence

from pydantic import Field

from chimera_ray.metrics.overlap import NgramIndex
from chimera_ray.schemas import Problem
from chimera_ray.stage import Params, Reject, fold


class DedupeProblemsParams(Params):
    """When two problems are one."""

    ngram_words: int = Field(default=5, ge=1)
    min_jaccard: float = Field(default=0.7, gt=0, le=1)
    """similarity of distinct word n-grams from which on the later problem is a duplicate"""


@fold(takes=Problem, gives=Problem, params=DedupeProblemsParams)
def dedupe_problems(
    rows: Sequence[Problem], params: DedupeProblemsParams
) -> list[Problem | Reject]:
    """Problems → those that resemble no earlier problem that was kept.

    Rejects:
        duplicate_problem: the detail names the match (topic and draft) and its score.

    Source:
        ours; the paper names no deduplication of problems.
    """
    index = NgramIndex(params.ngram_words)
    kept: list[Problem | Reject] = []
    for row in rows:
        match = index.best(row.problem)
        if match is not None and match.jaccard >= params.min_jaccard:
            kept.append(Reject("duplicate_problem", f"{match.key}, Jaccard {match.jaccard:.3f}"))
        else:
            index.add(f"{row.subject} / {row.topic} / draft {row.draft_index}", row.problem)
            kept.append(row)
    return kept
