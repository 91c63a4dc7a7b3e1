"""A model says whether a nominated topic is one of its candidates."""

from typing import Any

import pytest
from fakes import TOPIC, Said, ScriptedModel, each_fault, perform_on, require_failed, rows_of

from chimera_ray.schemas import NominatedTopic, Record, Topic

NOMINATED = NominatedTopic(
    **TOPIC.model_dump(), candidates=("Extremal graph theory", "Theory of Ramsey")
)


def _confirm(*script: Said) -> tuple[Record, ScriptedModel]:
    expander = ScriptedModel(*script)
    return perform_on("confirm_topic", NOMINATED, {"expander": expander}), expander


def _same(number: Any) -> dict[str, Any]:
    return {"reason": "It is the same field.", "same_as": number}


@each_fault
def test_confirm_topic_unusable_reply_fails_the_row(fault: Said, reason: str, status: str) -> None:
    record, _ = _confirm(fault)
    require_failed(record, reason)
    assert [call.status for call in record.calls] == [status]


@pytest.mark.parametrize(
    "number", [0, -1, 3, 10**30, False, 1.5, "Theory of Ramsey", [1]], ids=repr
)
def test_confirm_topic_no_such_candidate_fails_the_row(number: Any) -> None:
    require_failed(_confirm(_same(number))[0], "unparsable")


def test_confirm_topic_yes_instead_of_a_number_fails_the_row() -> None:
    require_failed(_confirm(_same(True))[0], "unparsable")


def test_confirm_topic_same_as_a_candidate_is_rejected_and_names_it() -> None:
    record, _ = _confirm(_same(2))
    assert (record.outcome, record.reason) == ("rejected", "near_duplicate_topic")
    assert record.detail == "equals: Theory of Ramsey (It is the same field.)"
    assert record.outputs == ()


def test_confirm_topic_same_as_none_gives_the_plain_topic() -> None:
    record, expander = _confirm(_same(None))
    assert rows_of(record, Topic) == [TOPIC]
    (prompt,) = expander.prompts
    assert "1. Extremal graph theory\n2. Theory of Ramsey\n" in prompt
    assert "<topic>Ramsey theory</topic>" in prompt


def test_confirm_topic_without_candidates_asks_nobody() -> None:
    row = NominatedTopic(**TOPIC.model_dump(), candidates=())
    record = perform_on("confirm_topic", row, {"expander": ScriptedModel()})
    assert rows_of(record, Topic) == [TOPIC]
    assert record.calls == ()


def test_confirm_topic_second_try_draws_anew_and_keeps_the_first_call() -> None:
    first, _ = _confirm("who knows")
    expander = ScriptedModel(_same(None))
    second = perform_on("confirm_topic", NOMINATED, {"expander": expander}, earlier=first.calls)
    assert rows_of(second, Topic) == [TOPIC]
    marks = [(call.status, call.is_replayed) for call in second.calls]
    assert marks == [("ok", False), ("unparsable", True)]
    assert second.calls[0].seed != first.calls[0].seed
