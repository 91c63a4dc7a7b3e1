"""Headers and query of a model file: what cannot be sent or would show a secret, first."""

from typing import Any

import pytest
from pydantic import ValidationError

from chimera_ray.model_config import OpenAIModel

SECRET = "hunter2-planted"


def _model(**fields: Any) -> OpenAIModel:
    return OpenAIModel.model_validate({"backend": "openai", "name": "m", **fields})


WRONG: dict[str, dict[str, Any]] = {
    "no_value": {"headers": {"X": {}}},
    "null": {"headers": {"X": None}},
    "list": {"headers": {"X": [SECRET]}},
    "yes": {"headers": {"X": True}},
    "both": {"headers": {"X": {"env": "A", "value": SECRET}}},
    "other_key": {"headers": {"X": {"environ": SECRET}}},
    "variable_in_small_letters": {"headers": {"X": {"env": SECRET}}},
    "line_break": {"headers": {"X": f"a\r\nY: {SECRET}"}},
    "no_ascii": {"headers": {"X": f"{SECRET}é"}},
    "name_with_a_blank": {"headers": {"X Y": SECRET}},
    "name_with_a_colon": {"headers": {"X:": SECRET}},
    "name_with_a_line_break": {"headers": {"X\n": SECRET}},
    "empty_name": {"headers": {"": SECRET}},
    "long_name": {"headers": {"X" * 101: SECRET}},
    "twice": {"headers": {"X-Team": "a", "x-team": SECRET}},
    "host": {"headers": {"Host": SECRET}},
    "length": {"headers": {"content-length": 3}},
    "kind_of_body": {"headers": {"Content-Type": "text/plain"}},
    "idempotency": {"headers": {"Idempotency-Key": "1"}},
    "key_twice": {"headers": {"authorization": {"env": "OTHER"}}},
    "key_twice_by_name": {"headers": {"Api-Key": {"env": "B"}}, "api_key_header": "api-key"},
    "key_in_the_host": {"api_key_header": "Host"},
    "key_header_with_a_blank": {"api_key_header": "api key"},
    "query_list": {"query": {"a": [SECRET]}},
    "query_without_a_name": {"query": {"": SECRET}},
    "query_variable": {"query": {"a": {"env": SECRET}}},
    "effort_of_two_words": {"sampling": {"reasoning_effort": "very high"}},
    "effort_empty": {"sampling": {"reasoning_effort": ""}},
    "effort_long": {"sampling": {"reasoning_effort": "x" * 21}},
    "effort_number": {"sampling": {"reasoning_effort": 3}},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_what_cannot_be_sent_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        _model(**fields)


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "high", "xhigh", "max", "Level-9_b"])
def test_reasoning_effort_is_any_word(effort: str) -> None:
    assert _model(sampling={"reasoning_effort": effort}).sampling.reasoning_effort == effort


def test_key_may_be_in_a_header_of_ones_own_making() -> None:
    headers = {"Authorization": {"env": "WHOLE_HEADER"}}
    model = _model(api_key_env=None, headers=headers)
    assert model.variables == {"WHOLE_HEADER": "the header Authorization"}


def test_how_an_endpoint_is_reached_is_no_part_of_what_a_reply_depends_on() -> None:
    plain = _model()
    reached = _model(
        headers={"X-Team": "maths", "X-Secret": {"env": "SECRET"}},
        query={"api-version": "1"},
        api_key_header="api-key",
    )
    assert reached.identity() == plain.identity()
    assert _model(sampling={"reasoning_effort": "none"}).identity() != plain.identity()


def test_limits_are_shared_by_who_is_known_under_the_same_secrets() -> None:
    plain = _model(base_url="http://host.test/v1")
    assert plain.endpoint == "m at http://host.test/v1 by OPENAI_API_KEY"
    same = _model(base_url="http://host.test/v1", query={"api-version": "1"})
    assert same.endpoint == plain.endpoint
    other = _model(base_url="http://host.test/v1", headers={"X": {"env": "TEAM_KEY"}})
    assert other.endpoint != plain.endpoint


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:8000/v1", "https://host", "http://[::1]:9/v1", "https://h.test./v1/"),
        *("http://my_host:80/v1", "https://ex\u00e4mple.test/v1", "http://a-b.c/openai/v1"),
    ],
)
def test_url_that_can_be_asked_is_taken_as_it_is(url: str) -> None:
    assert _model(base_url=url).base_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("http://a b/v1", "http://h:0/v1", "http://h:99999/v1", "http://h:abc/v1", "http://h:/v1"),
        *("http://[::1:9/v1", "http://::1/v1", "http://a..b/v1", f"http://{'a' * 64}.com/v1"),
        *("http://http://h/v1", "http:/h/v1", "h:8000/v1", "ftp://h/v1", "http://", "http:///v1"),
        *("http://h/v1\n", "http://h/\x1b[31m", "http://h/\u202e", "http://h\\v1", "http://-h/v1"),
        *("http://h/v1?a=b", "http://h/v1#a", "http://me@h/v1", "", "http://\ud800/v1"),
    ],
    ids=ascii,
)
def test_url_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        _model(base_url=url)
