"""What an endpoint's refusals become: which pass, which end the row, which end the run."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_error_body import error_body
from chimera_ray.backends.openai_errors import error_of
from chimera_ray.backends.openai_quotes import MIN_KEY_CHARS
from chimera_ray.backends.openai_verdicts import refused_field
from chimera_ray.errors import (
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import Message, Request
from chimera_ray.model_config import OpenAIModel

KEY = "sk-proj-Zq81PlantedKey77"
PROMPT = (
    'Determine $\\frac{R(3,3)}{\\nu}$ where "R" is\nRamsey\'s\tnumber.\n\n'
    "Answer\nin\none\nshort\nline"
)
CONFIG = OpenAIModel(
    backend="openai",
    name="some-model",
    base_url="http://host.test/v1",
    api_key_env="PLANTED_KEY",
    extra_body={"chat_template_kwargs": {"enable_thinking": True}},
)
REQUEST = Request((Message("system", "Be brief."), Message("user", PROMPT)), None, 1)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)


def _answer(
    status: int, body: object = None, content: bytes | None = None, **headers: str
) -> Answer:
    sent = json.dumps({"error": body}).encode() if content is None else content
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, sent)


def _said(message: object = "As it happens.", code: object = None, **more: Any) -> dict[str, Any]:
    return {"message": message, "type": "invalid_request_error", "code": code, **more}


def _error(status: int, body: object = None, **more: Any) -> ChimeraError:
    return error_of(_answer(status, body, **more), CONFIG, REQUEST)


QUOTED = {
    "whole": PROMPT,
    "within": f"Your prompt was: {PROMPT[:40]}",
    "one_line": " ".join(PROMPT.split()),
    "as_json": json.dumps([{"role": "user", "content": PROMPT}]),
    "as_python": repr([{"role": "user", "content": PROMPT}]),
    "tail_of_short_lines": "input: Answer in one short line",
    "tail_of_short_lines_as_json": "input: Answer\\nin\\none\\nshort\\nline",
    "key": f"Incorrect API key provided: {KEY}.",
    "half_a_key": f"Key {KEY[:12]}... is not valid here",
    "last_of_a_key": f"Key ...{KEY[-9:]} is not valid here",
}
SECRETS = ("Determine", "Ramsey", "Answer", "short", "Planted", "Zq81", "Key77")


@pytest.mark.parametrize("place", ["message", "code", "type", "param"])
@pytest.mark.parametrize("status", [400, 401, 429, 503])
@pytest.mark.parametrize("words", QUOTED.values(), ids=QUOTED)
def test_error_never_quotes_the_prompt_or_the_key(words: str, status: int, place: str) -> None:
    body = {"message": "Bad.", "code": None, "type": None, "param": None, place: words}
    error = _error(status, body)
    assert [secret for secret in SECRETS if secret in str(error)] == []
    assert error.__cause__ is None


@pytest.mark.parametrize("key", ["", "x", "x" * (MIN_KEY_CHARS - 1)])
def test_error_keeps_its_words_where_the_key_is_no_secret(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_KEY", key)
    assert "too large by xxx" in str(_error(400, _said("too large by xxx")))


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "param", "x"]), inner, max_size=5
        )
    ),
    max_leaves=6,
)
STATUSES = st.sampled_from([400, 401, 403, 404, 409, 413, 418, 422, 429, 451, 500, 503, 529, 599])


@settings(max_examples=40, deadline=None)
@given(status=STATUSES, body=BODIES)
def test_error_of_any_answer_is_one_of_ours_in_one_line(status: int, body: Any) -> None:
    error = _error(status, content=json.dumps(body).encode())
    assert isinstance(error, ChimeraError)
    assert len(str(error)) < 600
    assert str(error).isprintable()
    str(error).encode()


@pytest.mark.parametrize(
    "content", [b"", b"<html>\xff</html>", b'{"error": {"mess', b"[" * 500, b"null"], ids=repr
)
@pytest.mark.parametrize("status", [400, 502])
def test_error_of_a_broken_body_goes_by_its_status(content: bytes, status: int) -> None:
    error = _error(status, content=content)
    kind = ProviderError if status == 400 else TransientProviderError
    assert (type(error), str(error)) == (kind, f"some-model: HTTP {status}")


@pytest.mark.parametrize(
    "status", [408, 409, 424, 425, 429, 498, 499, 500, 502, 503, 504, 520, 524, 529]
)
def test_error_that_may_pass_says_so_and_when(status: int) -> None:
    error = _error(status, _said(), retry_after="7")
    assert isinstance(error, TransientProviderError)
    assert (error.is_limited, error.retry_after_s) == (status in (429, 498), 7)
    assert str(error) == f"some-model: HTTP {status} [invalid_request_error: As it happens.]"


def test_error_that_may_pass_with_a_wrong_header_does_not_say_when() -> None:
    error = _error(503, _said(), retry_after="soon")
    assert isinstance(error, TransientProviderError)
    assert error.retry_after_s is None


FATAL = {
    "bad_key": (401, "invalid_api_key", "check the key"),
    "payment": (402, "payment_required", "top up"),
    "forbidden": (403, "invalid_token", "check what the key may use"),
    "no_model": (404, "model_not_found", "check name and base_url"),
    "no_endpoint": (405, None, "refuses every call"),
    "proxy": (407, None, "a proxy that asks for a user and a password"),
    "quota": (429, "insufficient_quota", "top up"),
    "billing": (429, "billing_hard_limit_reached", "top up"),
    "billing_as_400": (400, "billing_not_active", "top up"),
}


@pytest.mark.parametrize(("status", "code", "advice"), FATAL.values(), ids=FATAL)
def test_error_for_good_names_model_url_and_what_to_do(
    status: int, code: str | None, advice: str
) -> None:
    error = _error(status, _said(code=code))
    assert isinstance(error, EndpointError)
    assert str(error).startswith("some-model at http://host.test/v1 ")
    assert advice in str(error)
    if status in (401, 403, 429):
        assert "PLANTED_KEY" in str(error)


def test_error_for_good_by_its_type_alone_is_one() -> None:
    body = {"message": "No.", "type": "insufficient_quota", "code": None}
    assert isinstance(_error(429, body), EndpointError)


def test_error_of_an_endpoint_without_a_key_says_that_there_is_none() -> None:
    config = OpenAIModel(backend="openai", name="m", api_key_env=None)
    error = error_of(_answer(401, _said()), config, REQUEST)
    assert str(error).startswith("m at the provider refuses calls without a key (HTTP 401)")


DECLINED = ["content_filter", "content_policy_violation", "invalid_prompt", "moderation_blocked"]


@pytest.mark.parametrize("code", DECLINED)
def test_error_of_a_safety_system_is_a_refusal(code: str) -> None:
    assert isinstance(_error(400, _said(code=code)), RefusalError)


TOO_LONG = {
    "code": _said(code="context_length_exceeded"),
    "openai": _said("This model's maximum context length is 8192 tokens, you asked for 9000."),
    "window": _said("Input exceeds the context window of this model."),
    "vllm": _said("The prompt is too long: 9000 tokens", code=400),
}


@pytest.mark.parametrize("body", TOO_LONG.values(), ids=TOO_LONG)
def test_error_of_a_request_that_is_too_long_is_the_rows_own(body: dict[str, Any]) -> None:
    assert type(_error(400, body)) is ContextError


@pytest.mark.parametrize("status", [400, 406, 418, 422, 451])
def test_error_of_a_request_that_is_wrong_is_the_rows_own_and_final(status: int) -> None:
    assert type(_error(status, _said())) is ProviderError


FIELDS: dict[str, tuple[dict[str, Any], str | None]] = {
    "openai": (
        _said("Unsupported parameter: 'temperature'", "unsupported_parameter", param="temperature"),
        "temperature",
    ),
    "openai_value": (
        _said("Unsupported value: 'temperature'", "unsupported_value", param="temperature"),
        "temperature",
    ),
    "vllm": (
        _said("1 validation error: max_completion_tokens Extra inputs are not permitted"),
        "max_completion_tokens",
    ),
    "nested_param": (
        _said("'response_format' is not supported", param="response_format.type"),
        "response_format",
    ),
    "no_param": (_said("'response_format' of this type is not supported."), "response_format"),
    "max_tokens_is_not_its_longer_namesake": (
        _said("max_tokens is not supported: use the other"),
        "max_tokens",
    ),
    "our_extra": (_said("Unrecognized field: chat_template_kwargs"), "chat_template_kwargs"),
    "our_extra_by_param": (
        _said("Unsupported", param="chat_template_kwargs"),
        "chat_template_kwargs",
    ),
    "not_ours": (_said("Unsupported parameter", param="messages"), None),
    "wrong_value_of_the_row": (_said("messages must be at most 2", param="messages"), None),
    "unexpected_in_the_row": (_said("Unexpected seed", param="messages[0].content"), None),
    "nothing": (_said("Unsupported."), None),
}


@pytest.mark.parametrize(("body", "field"), FIELDS.values(), ids=FIELDS)
@pytest.mark.parametrize("status", [400, 422])
def test_error_of_a_field_that_is_unknown_ends_the_run_and_names_it(
    body: dict[str, Any], field: str | None, status: int
) -> None:
    answer = _answer(status, body)
    assert refused_field(status, error_body(answer.body), REQUEST, CONFIG.extra_body) == field
    error = error_of(answer, CONFIG, REQUEST)
    assert isinstance(error, EndpointError) == (field is not None)
    assert (f"does not take the field {field}:" in str(error)) == (field is not None)


def test_refused_field_is_none_for_any_other_status() -> None:
    said = error_body(_answer(400, _said("Unsupported", param="seed")).body)
    assert refused_field(400, said, REQUEST) == "seed"
    for status in (401, 404, 429, 500):
        assert refused_field(status, said, REQUEST) is None


def test_error_shows_no_more_of_the_servers_words_than_a_line_takes() -> None:
    error = _error(400, _said("bad \x1b[31m\n\u2028\udcff" + "x" * 5_000, code="c" * 500))
    assert str(error).isprintable()
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (f"<p>Bad</p>&#{'9' * 5_000};", "Bad"),
        (f"<p>Bad</p> <style>{'a' * 30_000}", "Bad"),
        (f"<head><head a='x'>{'<script>x' * 2_000}</script></head><p>Bad", "Bad"),
        ("<pre" * 5_000 + "><pre>Bad</pre>", "Bad"),
    ],
    ids=["number", "unclosed", "nested", "cut tags"],
)
def test_error_page_of_any_form_says_what_it_shows(page: str, words: str) -> None:
    found = error_body(f"<html>{page}".encode())
    assert found.words.startswith(words)
    assert not found.is_json
