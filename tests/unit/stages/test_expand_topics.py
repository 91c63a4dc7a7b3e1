"""Subject → topics, in rounds, whatever the expander lists."""

from typing import Any

import pytest
from fakes import Said, ScriptedModel, each_fault, perform_on, require_failed, rows_of

from chimera_ray.metrics.topic_key import topic_key
from chimera_ray.schemas import Record, Subject, Topic

SUBJECT = Subject(subject="Mathematics", target_topics=4, expansion_index=3)


def _areas(**topics: list[str]) -> dict[str, Any]:
    return {"areas": [{"area": area, "topics": names} for area, names in topics.items()]}


def _expand(*script: Said, **params: Any) -> tuple[Record, ScriptedModel]:
    expander = ScriptedModel(*script)
    return perform_on("expand_topics", SUBJECT, {"expander": expander}, **params), expander


def _names(record: Record) -> list[str]:
    return [row.topic for row in rows_of(record, Topic)]


@each_fault
def test_expand_topics_unusable_first_reply_fails_the_row(
    fault: Said, reason: str, status: str
) -> None:
    record, _ = _expand(fault)
    require_failed(record, reason)
    assert [call.status for call in record.calls] == [status]


@each_fault
def test_expand_topics_unusable_second_round_fails_the_row_and_keeps_the_first(
    fault: Said, reason: str, status: str
) -> None:
    record, _ = _expand(_areas(Algebra=["Rings", "Fields"]), fault, max_rounds=2)
    require_failed(record, reason)
    assert [call.status for call in record.calls] == ["ok", status]


@pytest.mark.parametrize(
    "reply",
    [
        '{"areas": "none"}',
        '{"areas": [{"area": "", "topics": []}]}',
        '{"areas": [{"area": "Algebra", "topics": null}]}',
        '{"areas": [{"area": "Algebra"}]}',
        '{"areas": [{"area": "name of the area", "topics": ["topic", "topic"]}]}',
        '{"areas": [{"area": "Algebra", "topics": ["topic 1", "topic 2"]}]}',
        '{"areas": [{"area": "Algebra", "topics": ["<name>", "Rings"]}]}',
        '{"areas": [{"area": "Algebra", "topics": ["..."]}]}',
        '["Rings", "Fields"]',
        '{"areas": [{"area": "' + "A" * 201 + '", "topics": ["Rings"]}]}',
    ],
    ids=lambda reply: reply[:40],
)
def test_expand_topics_reply_of_another_shape_fails_the_row(reply: str) -> None:
    require_failed(_expand(reply)[0], "unparsable")


@pytest.mark.parametrize(
    "reply",
    [_areas(), _areas(Algebra=[]), _areas(Algebra=["", "   ", "\n", "Knots of " * 30])],
    ids=["no_areas", "empty_area", "no_names"],
)
def test_expand_topics_nothing_listed_is_rejected(reply: dict[str, Any]) -> None:
    record, _ = _expand(reply, max_rounds=3)
    assert (record.outcome, record.reason, record.outputs) == ("rejected", "no_topics", ())
    assert len(record.calls) == 1


def test_expand_topics_blank_area_fails_the_row() -> None:
    require_failed(_expand('{"areas": [{"area": "  ", "topics": ["Rings"]}]}')[0], "unparsable")


def test_expand_topics_one_round_is_the_one_shot_list() -> None:
    record, expander = _expand(_areas(Algebra=[" Rings ", "Fields"], Analysis=["Measures"]))
    assert rows_of(record, Topic) == [
        Topic(subject="Mathematics", area=area, topic=topic, expansion_index=3, topic_index=index)
        for index, (area, topic) in enumerate(
            [("Algebra", "Rings"), ("Algebra", "Fields"), ("Analysis", "Measures")]
        )
    ]
    (prompt,) = expander.prompts
    assert "<wanted>4</wanted>" in prompt
    assert "<known>" not in prompt
    (call,) = record.calls
    assert (call.role, call.model, call.status) == ("expander", "scripted", "ok")
    assert (call.input_tokens, call.cached_tokens) == (10, 4)
    assert (call.output_tokens, call.reasoning_tokens) == (20, 15)
    assert (call.cost_usd, call.attempts, call.request_id) == (0.02, 2, "r")


def test_expand_topics_more_rounds_name_what_is_known_and_ask_for_the_rest() -> None:
    record, expander = _expand(
        _areas(Algebra=["Rings"], Analysis=["Measures"]),
        _areas(Algebra=["Fields"]),
        _areas(Algebra=["Groups"]),
        max_rounds=3,
        topics_per_round=2,
    )
    assert _names(record) == ["Rings", "Measures", "Fields", "Groups"]
    first, second, third = expander.prompts
    assert "<wanted>2</wanted>" in first
    assert "<wanted>2</wanted>" in second
    assert "Algebra: Rings\nAnalysis: Measures\n" in second
    assert "<wanted>1</wanted>" in third
    assert "Algebra: Rings; Fields\nAnalysis: Measures\n" in third


def test_expand_topics_target_reached_leaves_out_the_surplus_and_stops() -> None:
    record, _ = _expand(_areas(Algebra=["A1", "A2", "A3"], Analysis=["B1", "B2"]), max_rounds=9)
    assert _names(record) == ["A1", "A2", "A3", "B1"]
    assert len(record.calls) == 1


def test_expand_topics_nothing_new_ends_the_rounds() -> None:
    record, _ = _expand(
        _areas(Algebra=["Rings"]), _areas(Algebra=["The rings", "RINGS"]), max_rounds=9
    )
    assert _names(record) == ["Rings", "The rings", "RINGS"]
    assert len(record.calls) == 2


def test_expand_topics_duplicates_are_given_and_do_not_count() -> None:
    record, _ = _expand(
        _areas(Algebra=["Rings", "Rings", "Fields"], Rings=["Rings", "Groups", "Sets"])
    )
    rows = rows_of(record, Topic)
    assert [row.topic_index for row in rows] == list(range(6))
    assert len({topic_key(row.topic) for row in rows}) == SUBJECT.target_topics
    assert len({output.row_id for output in record.outputs}) == 6


def test_expand_topics_second_try_asks_only_for_the_round_that_failed() -> None:
    first, _ = _expand(_areas(Algebra=["Rings"]), "nothing", max_rounds=2)
    expander = ScriptedModel(_areas(Algebra=["Fields"]))
    second = perform_on(
        "expand_topics", SUBJECT, {"expander": expander}, earlier=first.calls, max_rounds=2
    )
    assert _names(second) == ["Rings", "Fields"]
    assert "Algebra: Rings" in expander.prompts[0]
    marks = [(call.status, call.is_replayed) for call in second.calls]
    assert marks == [("ok", True), ("ok", False), ("unparsable", True)]
    assert len({call.seed for call in second.calls}) == 3


def test_expand_topics_schema_lets_no_list_be_longer_than_what_is_wanted() -> None:
    _, expander = _expand(_areas(Algebra=["Rings"]), _areas(), max_rounds=2)
    schemas = [request.schema.json_schema for request in expander.requests if request.schema]
    bounds = [
        (schema["properties"]["areas"]["maxItems"], part["properties"]["topics"]["maxItems"])
        for schema in schemas
        for part in (schema["$defs"]["Area"],)
    ]
    assert bounds == [(4, 4), (3, 3)]
