"""The set around E(S): the first of equal names stays, and the others are told which it was."""

import pytest
from fakes import TOPIC

from chimera_ray.schemas import Topic
from chimera_ray.stage import Reject
from chimera_ray.stages.dedupe_topics import DedupeTopicsParams, dedupe_topics


def _topics(*names: str, subject: str = "Mathematics") -> list[Topic]:
    return [
        TOPIC.model_copy(update={"subject": subject, "topic": name, "topic_index": place})
        for place, name in enumerate(names)
    ]


def _fold(rows: list[Topic]) -> list[Topic | Reject]:
    return list(dedupe_topics.run(rows, DedupeTopicsParams()))


@pytest.mark.parametrize(
    "again",
    ["Graph theory", "GRAPH THEORY", "Theory of graphs", "  the graph-theory ", "Graph Theories"],
)
def test_dedupe_topics_same_words_in_another_guise_names_the_first(again: str) -> None:
    rows = _topics("Graph theory", again)
    assert _fold(rows) == [rows[0], Reject("duplicate_topic", "repeats: Graph theory")]


@pytest.mark.parametrize(
    "other", ["Group theory", "Extremal graph theory", "Graphs", "History of graph theory"]
)
def test_dedupe_topics_other_words_are_kept(other: str) -> None:
    rows = _topics("Graph theory", other)
    assert _fold(rows) == rows


def test_dedupe_topics_same_name_in_another_subject_is_kept() -> None:
    rows = _topics("Graph theory") + _topics("Graph theory", subject="Computer Science")
    assert _fold(rows) == rows


def test_dedupe_topics_chain_of_repeats_names_the_first_each_time() -> None:
    rows = _topics("Sieves", "Sieve", "The sieve")
    assert [row.detail for row in _fold(rows) if isinstance(row, Reject)] == ["repeats: Sieves"] * 2


def test_dedupe_topics_no_rows_gives_none() -> None:
    assert _fold([]) == []
