"""An ended batch's lines and errors: hostile and odd ones first; and the journal's entries."""

import json
import time
from typing import Any

import pytest
from batch_runs import Memory

from chimera_ray.backends import build_model
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.openai_batch_answers import (
    Answers,
    answers_of,
    refusal_in,
    reply_in,
)
from chimera_ray.backends.openai_batch_journal import KEEP_S, Entries, places_of
from chimera_ray.backends.openai_batch_state import BatchState, batch_state
from chimera_ray.backends.openai_errors import error_of
from chimera_ray.errors import (
    ConfigError,
    EndpointError,
    LedgerError,
    ProviderError,
    TransientProviderError,
)
from chimera_ray.llm import Message, Request
from chimera_ray.model_config import Batch as BatchSettings
from chimera_ray.model_config import OpenAIModel
from chimera_ray.schemas import digest

CONFIG = OpenAIModel(backend="openai", name="some-model")
PROMPT = "THE-PROMPT " * 8
REQUEST = Request((Message("user", PROMPT),), None, 1)
KEYS = [digest("key", str(at)) for at in range(4)]
LOST = TransientProviderError("lost")


def _line(key: str, status: object = 200, text: str = "text", **changes: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    body = {"id": "chatcmpl-1", "choices": [{"message": message, "finish_reason": "stop"}]}
    response = {"status_code": status, "request_id": "req_1", "body": body}
    line = {"custom_id": key, "response": response, "error": None, **changes}
    return json.dumps(line, ensure_ascii=False).encode()


def _answers(*lines: bytes) -> tuple[Answers, int]:
    answers = Answers(LOST, {})
    answers.file.write(b"\n".join(lines))
    return answers, answers.index()


def _text(answers: Answers, key: str) -> str:
    line = answers.line(key)
    assert line is not None
    return reply_in(line, CONFIG, REQUEST).text


JUNK = {
    "no_json": b"\xff\xfe\x00",
    "null": b"null",
    "list": b"[1, 2]",
    "no_id": b'{"response": {}}',
    "id_is_a_number": b'{"custom_id": 3}',
    "deep": b"[" * 200_000,
    "long_number": b'{"custom_id": ' + b"9" * 5_000 + b"}",
    "cut": _line(KEYS[0])[:-20],
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_line_that_is_none_is_counted_and_takes_no_other_with_it(junk: bytes) -> None:
    answers, num_bad = _answers(_line(KEYS[1]), junk, b"", _line(KEYS[2], text="last"))
    assert num_bad == 1
    assert answers.line(KEYS[0]) is None
    assert str(answers.failure_of(KEYS[0])) == "lost"
    assert (_text(answers, KEYS[1]), _text(answers, KEYS[2])) == ("text", "last")
    answers.close()


def test_line_keeps_what_a_text_takes_for_line_breaks() -> None:
    text = "a\u2028b\u0085c\x0bd\u2029e"
    answers, num_bad = _answers(_line(KEYS[0], text=text), _line(KEYS[1]))
    assert (num_bad, _text(answers, KEYS[0]), _text(answers, KEYS[1])) == (0, text, "text")
    answers.close()


@pytest.mark.parametrize("is_first", [True, False])
def test_line_with_an_answer_counts_before_one_with_an_error(is_first: bool) -> None:
    lines = [_line(KEYS[0], 500), _line(KEYS[0], text="the answer")]
    answers, _ = _answers(*(lines[::-1] if is_first else lines))
    assert _text(answers, KEYS[0]) == "the answer"
    answers.close()


ODD: dict[str, dict[str, Any]] = {
    "expired": {"response": None, "error": {"code": "batch_expired", "message": PROMPT}},
    "nothing": {"response": None},
    "error_is_a_text": {"response": None, "error": PROMPT},
    "code_is_a_sentence": {"response": None, "error": {"code": PROMPT}},
    "status_is_a_text": {"response": {"status_code": "200", "body": {}}},
    "status_is_odd": {"response": {"status_code": 0, "body": {}}},
    "status_is_true": {"response": {"status_code": True}},
    "no_body": {"response": {"status_code": 200}},
    "body_is_a_list": {"response": {"status_code": 200, "body": [PROMPT]}},
    "id_is_a_list": {"response": {"status_code": 200, "request_id": [], "body": {"choices": []}}},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_line_that_says_nothing_usable_is_a_passing_error_without_the_prompt(
    odd: dict[str, Any],
) -> None:
    answers, num_bad = _answers(_line(KEYS[0], **odd))
    line = answers.line(KEYS[0])
    assert line is not None
    assert refusal_in(line) is None
    with pytest.raises(TransientProviderError) as caught:
        reply_in(line, CONFIG, REQUEST)
    assert "THE-PROMPT" not in str(caught.value)
    assert num_bad == 0
    answers.close()


@pytest.mark.parametrize("body", [None, [], PROMPT, {"error": PROMPT}, {"error": {}}])
def test_line_with_a_status_is_that_error_whatever_its_body(body: object) -> None:
    answers, _ = _answers(_line(KEYS[0], response={"status_code": 429, "body": body}))
    line = answers.line(KEYS[0])
    assert line is not None
    refusal = refusal_in(line)
    assert refusal is not None
    error = error_of(refusal, CONFIG, REQUEST)
    assert isinstance(error, TransientProviderError)
    assert error.is_limited
    assert "THE-PROMPT" not in str(error)
    answers.close()


# ---- batches that failed as a whole -----------------------------------------------------------


def _failed(*errors: dict[str, Any], status: str = "failed") -> BatchState | None:
    said = {"object": "list", "data": list(errors)}
    return batch_state({"id": "batch_1", "status": status, "errors": said})


def _kinds(batch: BatchState | None, keys: list[str] = KEYS) -> list[type[Exception]]:
    answers = answers_of(batch, keys, CONFIG)
    answers.close()
    failures = [answers.failure_of(key) for key in KEYS]
    assert not any("THE-PROMPT" in str(failure) for failure in failures)
    return [type(failure) for failure in failures]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("billing_hard_limit_reached", EndpointError),
        ("insufficient_quota", EndpointError),
        ("model_not_found", EndpointError),
        ("token_limit_exceeded", TransientProviderError),
        ("invalid_request", ProviderError),
        ("content_filter", ProviderError),
        (PROMPT, ProviderError),
        (None, ProviderError),
    ],
)
def test_batch_that_failed_fails_all_calls_by_its_code(
    code: str | None, kind: type[Exception]
) -> None:
    error = {"code": code, "message": PROMPT, "line": None, "param": None}
    assert _kinds(_failed(error)) == [kind] * 4
    answers = answers_of(_failed(error), KEYS, CONFIG)
    assert answers.is_queue_full == (code == "token_limit_exceeded")
    answers.close()


def test_batch_that_failed_for_some_lines_fails_those_and_asks_the_others_again() -> None:
    wrong = [{"code": "invalid_json_line", "line": at} for at in (2, 0, 99, None)]
    again = [TransientProviderError, ProviderError, *[TransientProviderError] * 2]
    assert _kinds(_failed(*wrong)) == again
    # Found in the journal, nobody knows here which call a line is.
    assert _kinds(_failed(*wrong), []) == [ProviderError] * 4


def test_batch_that_is_gone_or_ended_otherwise_is_asked_again() -> None:
    assert _kinds(None) == [TransientProviderError] * 4
    assert _kinds(_failed({"code": "x"}, status="expired")) == [TransientProviderError] * 4
    said = {"id": "b", "status": "failed", "errors": None}
    assert _kinds(batch_state(said)) == [TransientProviderError] * 4


@pytest.mark.parametrize(
    "said",
    [None, [], "page", {}, {"id": None}, {"id": 3}, {"id": ""}, {"id": ["x"], "status": "failed"}],
)
def test_batch_without_an_id_is_none(said: object) -> None:
    assert batch_state(said) is None


def test_batch_of_fields_of_other_types_says_nothing_by_them() -> None:
    odd = {"status": 3, "created_at": "now", "output_file_id": {}, "error_file_id": "file_1"}
    assert batch_state({"id": "b", **odd, "errors": {"data": {}}}) == (
        BatchState("b", file_ids=("file_1",))
    )
    assert _kinds(_failed(*[{"code": 3, "line": "2"}])) == [ProviderError] * 4
    listed = batch_state({"id": "b", "status": "failed", "errors": {"data": [None, 3, "x"]}})
    assert _kinds(listed) == [ProviderError] * 4


# ---- the journal ------------------------------------------------------------------------------


def test_entries_are_found_by_another_process_newest_first() -> None:
    journal = Memory()
    writing = Entries(journal)
    first, second = writing.intend("file-1", KEYS[:3]), writing.intend("file-2", KEYS[2:])
    writing.note(first, "batch-1")
    reading = Entries(journal)
    reading.refresh()
    found = {entry.input_file_id: entry for entry in reading.newest_first()}
    assert found["file-1"].among(places_of(KEYS)) == [0, 1, 2]
    assert found["file-2"].among(places_of(KEYS[::-1])) == [0, 1]
    assert [found[name].batch_id for name in ("file-1", "file-2")] == ["batch-1", None]
    writing.note(second, "batch-2")
    reading.refresh()
    assert found["file-2"].batch_id == "batch-2"
    reading.drop(found["file-2"])
    reading.refresh()
    assert [entry.input_file_id for entry in reading.newest_first()] == ["file-1"]


def test_entries_older_than_their_files_and_other_names_are_passed_over() -> None:
    journal = Memory()
    name = Entries(journal).intend("file-1", KEYS).stem
    old = f"{int(time.time() - KEEP_S - 10)}-{name.split('-')[1]}"
    journal.write(f"{old}.intent", "not even read")
    journal.write("notes.txt", "mine")
    entries = Entries(journal)
    entries.refresh()
    assert [entry.stem for entry in entries.newest_first()] == [name]


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"input_file_id": "f", "custom_ids": [3]}'),
        '{"input_file_id": "f", "custom_ids": ["-1"]}',
        '{"input_file_id": "f", "custom_ids": 1}',
    ],
)
def test_entry_that_cannot_be_read_stops_the_run(text: str) -> None:
    journal = Memory()
    journal.write(f"{int(time.time())}-{'0' * 16}.intent", text)
    with pytest.raises(LedgerError, match="journal of batches"):
        Entries(journal).refresh()


def test_model_in_batches_without_a_journal_is_refused() -> None:
    config = CONFIG.model_copy(update={"batch": BatchSettings()})
    with pytest.raises(ConfigError, match="some-model"):
        build_model(config, lambda _: pytest.fail("no gate"), Halt(), 1)
