"""Topic → n drafts, each with a facet of its own."""

from itertools import product
from typing import Any

import pytest
from fakes import TOPIC, perform_on, rows_of
from pydantic import ValidationError

from chimera_ray.schemas import Draft
from chimera_ray.stages.plan_drafts import ANGLES, ANSWER_FORMS, PlanDraftsParams

NUM_FACETS = len(ANGLES) * len(ANSWER_FORMS)


def _facets(topic: str = "Ramsey theory", **params: Any) -> list[str]:
    row = TOPIC.model_copy(update={"topic": topic})
    return [draft.facet for draft in rows_of(perform_on("plan_drafts", row, **params), Draft)]


@pytest.mark.parametrize(
    "params",
    [{"drafts_per_topic": 0}, {"angles": ()}, {"answer_forms": ()}, {"draft_per_topic": 2}],
    ids=str,
)
def test_plan_drafts_impossible_params_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PlanDraftsParams.model_validate(params)


def test_plan_drafts_default_is_one_draft_of_the_topic() -> None:
    (draft,) = rows_of(perform_on("plan_drafts", TOPIC), Draft)
    assert draft.model_dump(exclude={"facet"}) == {
        "subject": "Mathematics",
        "area": "Combinatorics",
        "topic": "Ramsey theory",
        "draft_index": 0,
    }


@pytest.mark.parametrize("topic", ["Ramsey theory", "Sieves", "Étale cohomology", "x"])
def test_plan_drafts_all_facets_of_a_topic_come_before_any_repeats(topic: str) -> None:
    facets = _facets(topic, drafts_per_topic=NUM_FACETS)
    assert NUM_FACETS == 60
    assert len(set(facets)) == NUM_FACETS
    assert not any("take" in facet for facet in facets)
    assert set(facets) == {
        f"{angle}; the answer is {form}" for angle, form in product(ANGLES, ANSWER_FORMS)
    }


def test_plan_drafts_beyond_all_facets_each_is_marked_as_another_take() -> None:
    facets = _facets(drafts_per_topic=2 * NUM_FACETS)
    assert len(set(facets)) == 2 * NUM_FACETS
    assert all(facet.endswith("; take 2, unlike the ones before") for facet in facets[NUM_FACETS:])


def test_plan_drafts_any_number_of_angles_and_forms_gives_distinct_facets() -> None:
    for num_angles, num_forms in product(range(1, 8), range(1, 8)):
        facets = _facets(
            drafts_per_topic=2 * num_angles * num_forms,
            angles=tuple(f"angle {place}" for place in range(num_angles)),
            answer_forms=tuple(f"form {place}" for place in range(num_forms)),
        )
        assert len(set(facets)) == len(facets), f"{num_angles} angles, {num_forms} forms"


def test_plan_drafts_more_drafts_leave_the_earlier_ones_as_they_are() -> None:
    few = perform_on("plan_drafts", TOPIC, drafts_per_topic=7).outputs
    many = perform_on("plan_drafts", TOPIC, drafts_per_topic=70).outputs
    assert many[:7] == few


def test_plan_drafts_same_topic_listed_elsewhere_has_the_same_drafts() -> None:
    elsewhere = TOPIC.model_copy(update={"expansion_index": 2, "topic_index": 9})
    assert perform_on("plan_drafts", elsewhere).outputs == perform_on("plan_drafts", TOPIC).outputs


def test_plan_drafts_different_topics_begin_at_different_facets() -> None:
    assert len({_facets(f"topic {place}")[0] for place in range(40)}) > 10
