"""Which topics look alike: string distance nominates, `confirm_topic` lets a model decide."""

from collections import defaultdict
from collections.abc import Sequence

from pydantic import Field

from chimera_ray.metrics.topic_key import similar_pairs
from chimera_ray.schemas import NominatedTopic, Topic
from chimera_ray.stage import Params, Reject, fold


class NominateTopicsParams(Params):
    """The switch for near-duplicates."""

    min_similarity: float | None = Field(default=None, ge=0, le=100)
    """percent, of the normal forms; None nominates nothing, so that no model is asked"""
    max_candidates: int = Field(default=5, ge=1)
    """earlier topics shown to the model for one topic, the most similar ones first"""


@fold(takes=Topic, gives=NominatedTopic, params=NominateTopicsParams, revision=2)
def nominate_topics(
    rows: Sequence[Topic], params: NominateTopicsParams
) -> list[NominatedTopic | Reject]:
    """Topics → the same, each with the earlier topics of its subject that its name resembles.

    Source:
        ours; the paper keeps near-duplicates. Similarity alone does harm ("Linear", "Nonlinear
        Programming"), so it decides nothing here.
    """
    candidates: dict[int, tuple[str, ...]] = defaultdict(tuple)
    by_subject: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        by_subject[row.subject].append(place)
    if params.min_similarity is not None:
        for places in by_subject.values():
            pairs = similar_pairs([rows[at].topic for at in places], params.min_similarity)
            for earlier, later, _ in sorted(pairs, key=lambda pair: (-pair[2], pair[0])):
                if len(candidates[places[later]]) < params.max_candidates:
                    candidates[places[later]] += (rows[places[earlier]].topic,)
    return [
        NominatedTopic(**row.model_dump(), candidates=candidates[place])
        for place, row in enumerate(rows)
    ]
