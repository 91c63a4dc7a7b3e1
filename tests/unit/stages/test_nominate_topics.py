"""String distance nominates candidates for a second look, and decides nothing."""

import pytest
from fakes import TOPIC
from pydantic import ValidationError

from chimera_ray.schemas import NominatedTopic, Topic
from chimera_ray.stages.nominate_topics import NominateTopicsParams, nominate_topics

NAMES = ("Linear programming", "Nonlinear programming", "Integer linear programming", "Sieves")


def _topics(*names: str, subject: str = "Mathematics") -> list[Topic]:
    return [TOPIC.model_copy(update={"subject": subject, "topic": name}) for name in names]


def _candidates(rows: list[Topic], **params: float | None) -> list[tuple[str, ...]]:
    nominated = nominate_topics.run(rows, NominateTopicsParams.model_validate(params))
    assert len(nominated) == len(rows)
    for row, given in zip(rows, nominated, strict=True):
        assert isinstance(given, NominatedTopic)
        assert Topic(**given.model_dump(exclude={"candidates"})) == row
    return [row.candidates for row in nominated if isinstance(row, NominatedTopic)]


@pytest.mark.parametrize(
    "params",
    [{"min_similarity": -1}, {"min_similarity": 101}, {"max_candidates": 0}, {"similarity": 75}],
    ids=str,
)
def test_nominate_topics_impossible_params_are_refused(params: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        NominateTopicsParams.model_validate(params)


def test_nominate_topics_by_default_nominates_nobody() -> None:
    assert _candidates(_topics(*NAMES, NAMES[0])) == [()] * 5


def test_nominate_topics_switched_on_only_earlier_topics_stand_as_candidates() -> None:
    found = _candidates(_topics(*NAMES), min_similarity=75)
    assert found == [(), (NAMES[0],), (NAMES[0], NAMES[1]), ()]


def test_nominate_topics_most_similar_come_first_and_the_rest_is_cut() -> None:
    names = ("abcdefgh zz", "abcdefgh z", "abcdefgh yyyy", "abcdefgh")
    found = _candidates(_topics(*names), min_similarity=50, max_candidates=2)
    assert found[-1] == ("abcdefgh z", "abcdefgh zz")


def test_nominate_topics_other_subject_is_no_candidate() -> None:
    rows = _topics(NAMES[0]) + _topics(NAMES[0], NAMES[1], subject="Computer Science")
    assert _candidates(rows, min_similarity=75) == [(), (), (NAMES[0],)]


def test_nominate_topics_no_rows_gives_none() -> None:
    assert _candidates([], min_similarity=75) == []
