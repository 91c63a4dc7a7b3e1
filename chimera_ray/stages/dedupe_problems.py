"""Problems that were drafted before, within a topic and across topics."""

from collections.abc import Sequence

from pydantic import Field

from chimera_ray.metrics.problem_index import ProblemIndex
from chimera_ray.schemas import Problem
from chimera_ray.stage import Params, Reject, fold


class DedupeProblemsParams(Params):
    """When two problems are one."""

    max_changed_words: float = Field(default=0.06, ge=0, lt=1)
    """share of a problem's words (two signs of a formula count as one) that may differ from an
    earlier problem's, rounded down to whole words; what is given must be the same"""


@fold(takes=Problem, gives=Problem, params=DedupeProblemsParams, revision=2)
def dedupe_problems(
    rows: Sequence[Problem], params: DedupeProblemsParams
) -> list[Problem | Reject]:
    """Problems → those that repeat no earlier problem that was kept.

    A repeat is typeset otherwise, has its sentences in another order, its variables renamed or a
    few words changed. With another number, operator or function it is another problem.

    Rejects:
        duplicate_problem: the detail names the match (topic and draft) and how many words differ.

    Source:
        ours; the paper names no deduplication of problems.
    """
    index = ProblemIndex(params.max_changed_words)
    kept: list[Problem | Reject] = []
    for row in rows:
        key = f"{row.subject} / {row.topic} / draft {row.draft_index}"
        same = index.find_or_add(key, row.problem)
        if same is None:
            kept.append(row)
        else:
            words = f"{same.changed} of {same.num_words} words differ"
            kept.append(Reject("duplicate_problem", f"{same.key}: {words}"))
    return kept
