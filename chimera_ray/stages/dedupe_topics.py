"""The set around E(S) in the paper's Algorithm 1, made robust against spelling."""

from collections.abc import Sequence

from chimera_ray.metrics.topic_key import topic_key
from chimera_ray.schemas import Topic
from chimera_ray.stage import Params, Reject, fold


class DedupeTopicsParams(Params):
    """Nothing to set: equal normal forms are one topic."""


@fold(takes=Topic, gives=Topic, params=DedupeTopicsParams, revision=2)
def dedupe_topics(rows: Sequence[Topic], params: DedupeTopicsParams) -> list[Topic | Reject]:
    """Topics → those whose normal form no earlier topic of their subject has.

    Rejects:
        duplicate_topic: the detail names the topic that it repeats.

    Source:
        Algorithm 1's set(E(S)), per subject. Deviation: equality of normal forms, not of strings.
    """
    first: dict[tuple[str, str], str] = {}
    kept: list[Topic | Reject] = []
    for row in rows:
        key = (row.subject, topic_key(row.topic))
        if key in first:
            kept.append(Reject("duplicate_topic", f"repeats: {first[key]}"))
        else:
            first[key] = row.topic
            kept.append(row)
    return kept
