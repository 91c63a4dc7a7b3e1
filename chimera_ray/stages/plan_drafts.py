"""Fan out before paying: one row per problem that is to be drafted."""

from collections.abc import AsyncIterator

from pydantic import Field

from chimera_ray.schemas import Draft, Topic, digest
from chimera_ray.stage import Models, Params, Reject, stage

ANGLES = (
    "an explicit computation that needs a structural insight first",
    "an extremal or optimal value, and where it is attained",
    "the boundary case in which the standard method breaks down",
    "an inverse question: recover the cause from its effects",
    "a count, or a probability, over a well-defined family",
    "an asymptotic or limiting behaviour with its exact constant",
    "an invariant or a conserved quantity that decides the matter",
    "a bridge to a neighbouring area, whose tools are needed",
    "a classification with finitely many cases, of which one is asked for",
    "a procedure followed by hand to its end state",
    "a perturbed classical example, whose known answer no longer holds",
    "a chain of three results, each of which needs the one before",
)
ANSWER_FORMS = (
    "an exact integer",
    "a closed-form expression",
    "a number with units and stated precision",
    "an exact fraction or algebraic number",
    "a short, uniquely determined list or name",
)


class PlanDraftsParams(Params):
    """How many drafts, and what sets them apart."""

    drafts_per_topic: int = Field(default=1, ge=1)
    """the paper's n; more of them leave the earlier ones as they are"""
    angles: tuple[str, ...] = Field(default=ANGLES, min_length=1)
    """what a draft asks about; the drafts of one topic go through them in turn"""
    answer_forms: tuple[str, ...] = Field(default=ANSWER_FORMS, min_length=1)


@stage(takes=Topic, gives=Draft, params=PlanDraftsParams)
async def plan_drafts(
    row: Topic, models: Models, params: PlanDraftsParams
) -> AsyncIterator[Draft | Reject]:
    """Topic → n drafts to be written, each with a facet of its own.

    Source:
        Algorithm 1's "repeat n times". Deviation: the facets, so that n calls do not yield one
        problem n times; where they begin depends on the topic.
    """
    start = int(digest(row.subject, row.topic)[:8], 16)
    for index in range(params.drafts_per_topic):
        yield Draft(
            subject=row.subject,
            area=row.area,
            topic=row.topic,
            draft_index=index,
            facet=_facet(start, index, params),
        )


def _facet(start: int, index: int, params: PlanDraftsParams) -> str:
    num_angles, num_forms = len(params.angles), len(params.answer_forms)
    lap, place = divmod(index, num_angles)
    angle = params.angles[(start + place) % num_angles]
    form = params.answer_forms[(start + place + lap) % num_forms]
    again = "" if lap < num_forms else f"; take {lap // num_forms + 1}, unlike the ones before"
    return f"{angle}; the answer is {form}{again}"
