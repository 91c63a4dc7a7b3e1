"""A secret in a configuration is found, whatever it looks like, and never repeated."""

import pytest

from chimera_ray.config import ROLES, read_config
from chimera_ray.credentials import is_secret, redacted, require_none, require_none_in
from chimera_ray.errors import ConfigError

KEY = "sk-proj-abcDEF0123456789"
SECRETS = {
    "a_key_for_its_name": ("models.solver.api_key_env", KEY),
    "short_key": ("models.solver.api_key_env", "sk-12345678"),
    "key_without_prefix": ("models.solver.api_key_env", "ABCDEF0123456789ABCDEF01"),
    "user_and_password": ("models.solver.base_url", "https://me:pass@host/v1"),
    "password_alone": ("models.solver.base_url", "http://:pass@host"),
    "query": ("models.solver.base_url", "https://host/v1?api-key=abc"),
    "second_of_a_query": ("models.solver.base_url", "https://host/v1?v=1&subscription-key=abc"),
    "signed": ("output_dir", "https://host/c?sv=1&sig=abc%3D"),
    "store": ("output_dir", "s3://AKID:SECRET@bucket/run"),
    "store_with_a_slash": ("output_dir", "s3://AKID:SEC/RET@bucket/run"),
    "store_query": ("output_dir", "s3://bucket/run?access_key=A&secret_key=B"),
    "bearer": ("models.solver.headers.X-Auth", "Bearer abc123def"),
    "basic": ("models.solver.headers.x", "basic dXNlcjpwYXNz1"),
    "header_by_name": ("models.solver.headers.Authorization", "abc"),
    "api_key_header": ("models.solver.headers.api-key", "abc"),
    "value_of_a_header": ("models.solver.headers.Authorization.value", "hunter2"),
    "value_of_an_own_header": ("models.solver.headers.Ocp-Apim-Subscription-Key.value", "hunter2"),
    "value_by_its_form": ("models.solver.headers.X-Team.value", "4f9d8a7b6c5e4d3f2a1b0c9d8e7f"),
    "value_with_a_bearer": ("models.solver.headers.X-Team.value", "Bearer abc123def"),
    "key_of_a_query": ("models.solver.query.subscription-key", "hunter2"),
    "x_api_key": ("models.solver.headers.X-Api-Key", "abc"),
    "camel": ("models.solver.extra_body.user.apiKey", "hunter2"),
    "token": ("models.solver.extra_body.access_token", "hunter2"),
    "engine_token": ("models.solver.engine_args.hf_token", "abc"),
    "password": ("models.solver.extra_body.password", "hunter2"),
    "random_hex": ("models.solver.extra_body.x", "4f9d8a7b6c5e4d3f2a1b0c9d8e7f6a5b"),
    "random_base64": ("models.solver.query.x", "aGVsbG8gd29ybGQ5IQ=="),
    "hugging_face": ("recipe.name", "hf_AbCdEfGhIjKlMnOp1"),
    "github": ("recipe.language", "ghp_AbCdEfGhIjKlMnOp1"),
    "google": ("recipe.language", "AIzaSyA0123456789abcdefghij"),
    "jwt": ("models.solver.name", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc"),
    "pem": ("models.solver.extra_body.x", "-----BEGIN RSA PRIVATE KEY-----"),
    "user_alone": ("output_dir", "s3://AKIDPLAIN@bucket/run"),
    "token_as_user": ("models.solver.extra_body.image", "https://plain-token@host/x"),
    **{
        f"header_{name}": (f"models.solver.headers.{name}.value", "hunter2")
        for name in ("X-Auth", "X-Key", "x-functions-key", "PRIVATE-TOKEN", "helicone-auth")
    },
    **{
        f"query_{name}": (f"models.solver.query.{name}", "hunter2")
        for name in ("key", "code", "sig", "signature", "auth", "pwd", "pass")
    },
    **{
        f"body_{name}": (f"models.solver.extra_body.tools.0.{name}", "hunter2")
        for name in ("passphrase", "userToken", "bearer_token", "signing_key", "license_key", "pwd")
    },
    "from_the_environment": ("models.solver.name", "${oc.env:MY_KEY}"),
    "nested_in_a_resolver": ("output_dir", "/data/${oc.decode:${oc.env:MY_KEY}}"),
}
INNOCENT = {
    "variable": ("models.solver.api_key_env", "OPENAI_API_KEY"),
    "header_by_variable": ("models.solver.headers.Authorization.env", "MY_KEY"),
    "value_of_a_plain_header": ("models.solver.headers.X-Team.value", "maths-9k"),
    "organisation": ("models.solver.headers.OpenAI-Organization.value", "org-chimera"),
    "title": ("models.solver.headers.HTTP-Referer.value", "https://host.test/app"),
    "version": ("models.solver.query.api-version", "2025-04-01-preview"),
    "url": ("models.solver.base_url", "https://host:8000/openai/deployments/gpt-5/v1"),
    "port_and_at": ("output_dir", "hdfs://host:8020/user@data/x"),
    "region": ("output_dir", "s3://bucket/run?region=eu-central-1&scheme=https"),
    "field": ("models.solver.token_limit_field", "max_completion_tokens"),
    "tier": ("models.solver.extra_body.service_tier", "flex"),
    "models": ("models.solver.extra_body.models.0", "anthropic/claude-3.5-sonnet-20241022"),
    "commit": ("models.solver.engine_args.revision", "0123456789abcdef0123456789abcdef01234567"),
    "revision": ("models.solver.revision", "0123456789abcdef0123456789abcdef01234567"),
    "weights": ("models.solver.name", "nvidia/Llama-3_1-Nemotron-Ultra-253B-v1"),
    "stop": ("models.solver.extra_body.stop_token", "</s>"),
    "cache_key": ("models.solver.extra_body.prompt_cache_key", "maths"),
    "end": ("models.solver.chat_template_args.eos_token", "</s>"),
    "author": ("models.solver.headers.X-Author.value", "me"),
    "azure": ("output_dir", "abfs://container@account.host/run"),
    "address_in_a_path": ("models.solver.extra_body.page", "https://host/@me/x"),
    "prose": ("recipe.subjects.0.name", "Basic understanding of load bearer structures"),
    "empty": ("models.solver.headers.Authorization", ""),
    "path": ("output_dir", "/data/runs/2026-01-01T00:00:00Z"),
}


def _composed(place: str, text: str) -> dict[str, object]:
    """A key, as dots part it, and its text → a mapping that holds it there."""
    value: object = text
    for part in reversed(place.split(".")):
        value = {part: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(("place", "text"), SECRETS.values(), ids=SECRETS)
def test_secret_is_refused_by_its_place_and_without_its_value(place: str, text: str) -> None:
    assert is_secret(place, text)
    with pytest.raises(ConfigError) as caught:
        require_none(_composed(place, text))
    assert place in str(caught.value)
    assert text not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        require_none_in([f"{place}={text}"])
    assert text not in str(caught.value)


@pytest.mark.parametrize(("place", "text"), INNOCENT.values(), ids=INNOCENT)
def test_text_that_is_no_secret_passes(place: str, text: str) -> None:
    assert not is_secret(place, text)
    require_none(_composed(place, text))
    require_none_in([f"{place}={text}"])


def test_secret_as_a_key_of_a_mapping_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        require_none({"models": {"solver": {"extra_body": {KEY: 1, "x": {KEY: "y"}}}}})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "override",
    [
        "models.solver.extra_body={api_key: hunter2}",
        "models.solver.extra_body={user: {'api-key': \"hunter2\"}}",
        "+models.solver.headers={Authorization: hunter2, x: y}",
        "models.solver.headers={Authorization: {value: hunter2}}",
        "models.solver.headers={'X-Api-Key': {\"value\":hunter2}}",
        "++models.solver.password=hunter2",
        "models.solver.query={code: hunter2}",
        "+models.solver.headers={X-Key: hunter2}",
        f"recipe.subjects=[{{name: {KEY}}}]",
        f"{KEY}=1",
        KEY,
    ],
)
def test_override_with_a_secret_inside_is_refused(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        require_none_in([override])
    assert "hunter2" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_override_that_names_a_variable_inside_passes() -> None:
    require_none_in(["+models.solver.headers={Authorization: {env: MY_KEY}}", "--cfg", "job"])


@pytest.mark.parametrize(
    "text", ["plain-words", "a plain-words-more b", "https://h/plain-words-more"]
)
def test_text_that_holds_a_secret_variables_value_is_refused(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_none({"output_dir": text})
    monkeypatch.setenv("MY_API_KEY", "plain-words")
    monkeypatch.setenv("THEIR_TOKEN", "plain-words-more")
    with pytest.raises(ConfigError) as caught:
        require_none({"output_dir": text})
    assert "plain-words" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("KEY_MODE", "on"), ("TOKENIZERS_X", "plain-words")])
def test_variable_that_is_short_or_no_secret_forbids_nothing(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    require_none({"output_dir": value})


def test_redacted_keeps_what_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "a-value-of-its-own")
    text = f"tried https://me:pw@host/v1?key=abc&x=1 with {KEY} and a-value-of-its-own: no"
    said = redacted(text)
    assert not [part for part in (KEY, "pw@", "abc", "a-value-of-its-own") if part in said]
    assert said.startswith("tried https://")
    assert said.endswith(": no")
    assert redacted("HTTP 404: no such model gpt-6") == "HTTP 404: no such model gpt-6"


WRONG = {
    "base_url": {"backend": "openai", "name": "x", "base_url": "localhost/hunter2"},
    "api_key_env": {"backend": "openai", "name": "x", "api_key_env": "hunter2"},
    "extra_body": {"backend": "openai", "name": "x", "extra_body": "hunter2"},
    "unknown_key": {"backend": "openai", "name": "x", "key": "hunter2"},
    "header": {"backend": "openai", "name": "x", "headers": {"X-Team": ["hunter2"]}},
    "header_env": {"backend": "openai", "name": "x", "headers": {"X-Team": {"env": "hunter2"}}},
    "header_both": {
        "backend": "openai",
        "name": "x",
        "headers": {"X-Team": {"env": "A", "value": "hunter2"}},
    },
    "header_broken": {
        "backend": "openai",
        "name": "x",
        "headers": {"X-Team": {"value": "a\r\nX-Evil: hunter2"}},
    },
    "query": {"backend": "openai", "name": "x", "query": {"x": ["hunter2"]}},
    "query_name": {"backend": "openai", "name": "x", "query": ["hunter2"]},
    "nested": {"backend": "openai", "name": "x", "limits": {"rpm": {"x": "hunter2"}}},
    "mapping": {"backend": "openai", "name": "x", "sampling": ["hunter2"]},
}


@pytest.mark.parametrize("model", WRONG.values(), ids=WRONG)
def test_error_of_a_configuration_repeats_no_value_that_may_be_a_secret(
    model: dict[str, object],
) -> None:
    composed = {
        "recipe": {"name": "x", "subjects": [], "stages": []},
        "models": dict.fromkeys(ROLES, model),
        "runtime": {"kind": "preview"},
        "output_dir": "out",
    }
    with pytest.raises(ConfigError) as caught:
        read_config(composed)
    assert "hunter2" not in str(caught.value)
    assert "models.solver" in str(caught.value)


@pytest.mark.parametrize("before", ["", "http://h:80,", "http://a:b://", "x-", "hf-" * 99, "eyJ-"])
def test_secret_behind_what_looks_like_one_is_hidden(before: str) -> None:
    for secret in ("https://me:hunter2@h", "hf-aaaa1hunter2", "eyJaaaaaaaa.hunter2aaa"):
        assert "hunter2" not in redacted(f"{before}{secret}")
