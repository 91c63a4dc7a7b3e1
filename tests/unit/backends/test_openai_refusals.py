"""Refusals as servers word them: whose they are, what is shown of them, what switch helps."""

import asyncio
import json
import ssl
from typing import Any

import aiohttp
import pytest

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_errors import (
    DoubtfulError,
    error_of,
    is_format_refused,
    transport_error,
)
from chimera_ray.errors import (
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import Message, ReplySchema, Request
from chimera_ray.model_config import OpenAIModel

PROMPT = "Describe how a steam engine turns heat into work, in a few sentences."
CONFIG = OpenAIModel(
    backend="openai",
    name="some-model",
    base_url="http://host.test/v1",
    api_key_env="STUB_KEY",
    extra_body={"top_a": 0.5},
)
REQUEST = Request((Message("user", PROMPT),), None, 1)
ASKED_FOR_FIELDS = REQUEST._replace(schema=ReplySchema("answer", {"type": "object"}))


def _error(status: int, body: object, **headers: str) -> ChimeraError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    error = error_of(Answer(status, headers, content), CONFIG, REQUEST)
    assert str(error).isprintable()
    assert len(str(error)) < 500
    assert PROMPT[:16] not in str(error)
    return error


RAW = {"error": {"message": "seed: Extra inputs are not permitted", "code": 400}}
SHAPES: dict[str, tuple[Any, str]] = {
    "openai": ({"error": {"message": "It broke.", "type": "t", "code": "c"}}, "[c: It broke.]"),
    "message_is_an_object": ({"error": {"message": {"text": "", "detail": "It broke."}}}, "broke"),
    "error_is_a_text": ({"error": "It broke."}, "[It broke.]"),
    "error_beside_a_message": ({"error": "Bad Request", "message": "It broke."}, "It broke."),
    "vllm": ({"object": "error", "message": "It broke.", "code": 400}, "It broke."),
    "tgi": ({"error": "It broke.", "error_type": "validation"}, "[validation: It broke.]"),
    "fastapi": ({"detail": "It broke."}, "[It broke.]"),
    "pydantic": (
        {"detail": [{"loc": ["body", "messages", 0], "msg": "It broke.", "type": "missing"}]},
        "[missing: body.messages.0: It broke.]",
    ),
    "mistral": (
        {"object": "error", "message": {"detail": [{"loc": ["body"], "msg": "It broke."}]}},
        "body: It broke.",
    ),
    "gemini": (
        [{"error": {"code": 400, "message": "It broke.", "status": "INVALID_ARGUMENT"}}],
        "[400: It broke.]",
    ),
    "cloudflare": ({"success": False, "errors": [{"code": 7000, "message": "It broke."}]}, "broke"),
    "problem_details": (
        {"type": "about:blank", "title": "Bad", "status": 400, "detail": "It broke."},
        "[400: It broke.]",
    ),
    "openrouter": (
        {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error": "Why."}'}}},
        "Provider returned error: Why.",
    ),
    "json_in_a_text": (
        {"error": {"message": '{"error": {"message": "It broke."}}'}},
        "[It broke.]",
    ),
    "list_of_texts": (["It broke.", "Twice."], "It broke.; Twice."),
    "plain": (b"It broke.", "[It broke.]"),
    "plain_with_a_mark": (b"\xef\xbb\xbf" + b'{"error": "It broke."}', "[It broke.]"),
    "utf_16": ('{"error": "It broke."}'.encode("utf-16"), "[It broke.]"),
    "html": (b"<html><head><title>400 It&#39;s bad</title></head><p>x</p>", "[400 It's bad]"),
    "xml": (b"<?xml?><Error><Code>No</Code><Message>It broke.</Message></Error>", "[It broke.]"),
    "event": (b'event: error\ndata: {"error": {"message": "It broke."}}\n\n', "[It broke.]"),
    "repeated_many_times": ({"error": {"message": "It broke. " * 1_000}}, "It broke."),
}


@pytest.mark.parametrize(("body", "words"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("status", [400, 500])
def test_error_keeps_its_words_in_any_shape(status: int, body: object, words: str) -> None:
    error = _error(status, body)
    assert words in str(error)
    assert type(error) is (ProviderError if status == 400 else TransientProviderError)


@pytest.mark.parametrize(
    "body", [{}, [], None, "", 0, {"error": {}}, {"detail": []}, [[[]]], {"error": [None]}], ids=str
)
def test_error_without_words_goes_by_its_status(body: object) -> None:
    assert str(_error(400, body)) == "some-model: HTTP 400"


BAD_KEYS: dict[str, tuple[int, Any]] = {
    "gemini": (400, [{"error": {"code": 400, "message": "API key not valid. Please pass one."}}]),
    "gemini_reason": (
        400,
        {"error": {"message": "Bad.", "details": [{"reason": "API_KEY_INVALID"}]}},
    ),
    "gemini_expired": (400, {"error": {"message": "API key expired. Please renew the API key."}}),
    "xai": (
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: x"},
    ),
    "text": (401, b"Unauthorized"),
    "detail": (401, {"detail": "Not authenticated"}),
    "error_text": (403, {"error": "You do not have access to this model."}),
    "anthropic": (400, {"error": {"type": "authentication_error", "message": "invalid x-api-key"}}),
    "groq_restricted": (400, {"error": {"message": "Organization has been restricted."}}),
    "banned_for_what_it_asked": (
        403,
        {"error": {"message": "Your account was deactivated for violating our usage policies."}},
    ),
    "detail_list": (422, {"detail": [{"loc": ["header"], "msg": "Missing API key"}]}),
}


@pytest.mark.parametrize(("status", "body"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_bad_key_in_any_shape_stops_the_run_and_names_the_variable(status: int, body: Any) -> None:
    error = _error(status, body)
    assert isinstance(error, EndpointError)
    assert "the key in STUB_KEY" in str(error)


UNEXPLAINED: dict[str, tuple[int, Any]] = {
    "html": (403, b"<html><title>403 Forbidden</title></html>"),
    "nothing": (403, b""),
    "text": (403, b"Forbidden"),
    "json": (403, {"error": {"message": "Forbidden"}}),
    "firewall": (405, b"<html><title>405</title>Your request has been blocked.</html>"),
    "quoted": (403, {"error": {"message": f"Invalid API key? {PROMPT}"}}),
}


@pytest.mark.parametrize(("status", "body"), UNEXPLAINED.values(), ids=UNEXPLAINED)
def test_refusal_without_a_reason_is_the_rows_own_and_tells_what_else_it_may_be(
    status: int, body: Any
) -> None:
    error = _error(status, body)
    assert isinstance(error, DoubtfulError)
    assert str(error).startswith(f"some-model: refused without a clear reason (HTTP {status})")
    assert isinstance(error.of_all, EndpointError)
    assert PROMPT[:16] not in str(error.of_all)


SPENT: dict[str, tuple[int, Any]] = {
    "openai": (429, {"error": {"code": "insufficient_quota", "message": "You exceeded it."}}),
    "moonshot": (429, {"error": {"type": "exceeded_current_quota_error", "message": "No."}}),
    "deepseek": (402, {"error": {"message": "Insufficient Balance"}}),
    "anthropic": (400, {"error": {"message": "Your credit balance is too low to access it."}}),
    "xai": (
        429,
        {"code": "x", "error": "Your team has either used all available credits or reached its"},
    ),
    "xai_new": (403, {"error": "Your newly created team doesn't have any credits yet."}),
    "groq": (400, {"error": {"code": "blocked_api_access", "message": "spend limit reached"}}),
    "alibaba": (400, {"code": "Arrearage", "message": "Access denied."}),
    "minimax": (500, {"error": {"message": "insufficient balance (1008)"}}),
    "litellm": (400, {"error": {"message": "Budget has been exceeded! Current cost: 26.0"}}),
    "zhipu": (429, {"error": {"code": "1113", "message": "您的账户余额不足"}}),
}


@pytest.mark.parametrize(("status", "body"), SPENT.values(), ids=SPENT)
def test_empty_account_stops_the_run(status: int, body: Any) -> None:
    error = _error(status, body)
    assert isinstance(error, EndpointError)
    assert "top up" in str(error)


UNWANTED: dict[str, tuple[int, Any, str]] = {
    "openrouter": (
        403,
        {
            "error": {
                "code": 403,
                "message": 'The model requires moderation and your input was flagged for "x"',
                "metadata": {"reasons": ["x"], "flagged_input": PROMPT},
            }
        },
        "your input was flagged",
    ),
    "xai": (
        403,
        {
            "code": "The caller does not have permission to execute the specified operation",
            "error": "Content violates usage guidelines. Team: t, API key ID: k, Model: m, "
            "Failed check: SAFETY_CHECK_TYPE_BIO",
        },
        "SAFETY_CHECK_TYPE_BIO",
    ),
    "azure": (
        400,
        {
            "error": {
                "code": "content_filter",
                "message": "The response was filtered due to the prompt triggering Azure OpenAI's "
                "content management policy.",
                "innererror": {"code": "ResponsibleAIPolicyViolation"},
            }
        },
        "content management policy",
    ),
    "azure_inner": (
        400,
        {"error": {"message": "No.", "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
        "No.",
    ),
    "openai": (
        400,
        {"error": {"code": "invalid_prompt", "message": "Invalid prompt: it was flagged."}},
        "flagged",
    ),
    "openai_image": (
        400,
        {"error": {"message": "Rejected by our safety system."}},
        "safety system",
    ),
    "alibaba": (
        400,
        {
            "code": "data_inspection_failed",
            "message": "Input data may contain inappropriate content",
        },
        "data_inspection_failed",
    ),
    "deepseek": (400, {"error": {"message": "Content Exists Risk"}}, "Content Exists Risk"),
    "moonshot": (
        400,
        {"error": {"message": "rejected because it was considered high risk"}},
        "risk",
    ),
    "zhipu": (400, {"error": {"code": "1301", "message": "输入内容包含敏感内容"}}, "敏感"),
    "volcengine": (400, {"error": {"code": "InputTextSensitiveContentDetected"}}, "Sensitive"),
    "anthropic": (
        400,
        {"error": {"message": "Output blocked by content filtering policy"}},
        "block",
    ),
    "cohere": (498, {"message": "blocked because it may violate our Usage Guidelines"}, "violate"),
    "portkey": (446, {"error": {"message": "The guardrail checks failed."}}, "guardrail"),
    "minimax": (422, {"error": {"message": "input new_sensitive (1026)"}}, "new_sensitive"),
    "gemini": (400, [{"error": {"message": "Prompt was blocked: PROHIBITED_CONTENT"}}], "blocked"),
    "plain": (403, b"Your request was blocked by our content moderation.", "content moderation"),
    "nested": (
        403,
        {"error": {"message": '{"error": "Content violates usage guidelines."}'}},
        "Content violates usage guidelines",
    ),
}


@pytest.mark.parametrize(("status", "body", "words"), UNWANTED.values(), ids=UNWANTED)
def test_prompt_that_is_not_wanted_is_the_rows_refusal_in_the_servers_words(
    status: int, body: Any, words: str
) -> None:
    error = _error(status, body)
    assert type(error) is RefusalError
    assert words in str(error)


TOO_LONG: dict[str, tuple[int, Any]] = {
    "llama_cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size. try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9_000,
                "n_ctx": 4_096,
            }
        },
    ),
    "llama_cpp_500": (
        500,
        {"error": {"message": "the request exceeds the available context size"}},
    ),
    "openai": (400, {"error": {"code": "context_length_exceeded", "message": "Too much."}}),
    "xai": (
        400,
        {"error": "This model's maximum prompt length is 131072 but it has 537812 tokens."},
    ),
    "anthropic": (
        400,
        {"error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}},
    ),
    "gemini": (
        400,
        [{"error": {"message": "The input token count (9) exceeds the maximum number of tokens"}}],
    ),
    "tgi": (422, {"error": "Input validation error: `inputs` must have less than 4096 tokens."}),
    "sglang": (400, {"message": "Input length (9000 tokens) exceeds the maximum allowed length"}),
    "groq": (
        413,
        {
            "error": {
                "code": "rate_limit_exceeded",
                "message": "Request too large for model `m` on tokens per minute (TPM): Limit "
                "6000, Requested 7190, please reduce your message size and try again.",
            }
        },
    ),
    "openai_429": (
        429,
        {
            "error": {
                "code": "rate_limit_exceeded",
                "type": "tokens",
                "message": "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, "
                "Requested 40000. The input or output tokens must be reduced in order to run.",
            }
        },
    ),
    "limit_below_what_is_asked": (
        429,
        {"error": {"message": "Rate limit reached on TPM: Limit 10,000, Requested 20,000."}},
    ),
    "moonshot": (400, {"error": {"message": "Your request exceeded model token limit: 131072"}}),
    "dashscope": (400, {"error": {"message": "Range of input length should be [1, 98304]"}}),
    "cohere": (400, {"message": "too many tokens: the prompt cannot exceed 128000"}),
    "nginx": (413, b"<html><head><title>413 Request Entity Too Large</title></head></html>"),
}


@pytest.mark.parametrize(("status", "body"), TOO_LONG.values(), ids=TOO_LONG)
def test_request_that_never_fits_is_the_rows_own(status: int, body: Any) -> None:
    assert type(_error(status, body)) is ContextError


PASSING: dict[str, tuple[int, Any, float | None]] = {
    "openai": (
        429,
        {"error": {"message": "Rate limit reached: Limit 10000, Used 9000, Requested 2000."}},
        None,
    ),
    "openai_hint": (429, {"error": {"message": "Please try again in 6m0s."}}, 360),
    "groq_hint": (
        429,
        {"error": {"message": "Please try again in 7.66s. Need more tokens?"}},
        7.66,
    ),
    "azure_hint": (429, {"error": {"message": "Please retry after 26 seconds."}}, 26),
    "gemini_hint": (
        429,
        [
            {
                "error": {
                    "code": 429,
                    "message": "You exceeded your current quota, please check your plan",
                    "status": "RESOURCE_EXHAUSTED",
                    "details": [{"@type": "RetryInfo", "retryDelay": "37s"}],
                }
            }
        ],
        37,
    ),
    "together": (
        429,
        {
            "error": {
                "type": "credit_limit",
                "message": "Request was rejected: request rate limiting",
            }
        },
        None,
    ),
    "bedrock": (429, {"message": "Too many tokens, please wait before trying again."}, None),
    "groq_capacity": (498, {"error": {"message": "Flex tier capacity exceeded"}}, None),
    "overloaded": (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, None),
    "cloudflare": (524, b"<html><title>host | 524: A timeout occurred</title></html>", None),
    "too_long_in_passing": (503, {"error": "the upstream took too long"}, None),
    "moderation_is_down": (503, {"error": "blocked by a failing content filter"}, None),
}


@pytest.mark.parametrize(("status", "body", "wait_s"), PASSING.values(), ids=PASSING)
def test_what_passes_is_tried_again_when_it_says(
    status: int, body: Any, wait_s: float | None
) -> None:
    error = _error(status, body)
    assert type(error) is TransientProviderError
    assert error.is_limited == (status in (429, 498))
    assert error.retry_after_s == wait_s
    late = _error(status, body, **{"retry-after": "9"})
    assert isinstance(late, TransientProviderError)
    assert late.retry_after_s == 9


FIELDS: dict[str, tuple[int, Any, str]] = {
    "openai": (
        400,
        {"error": {"message": "Unrecognized request argument supplied: seed"}},
        "seed: set sends_seed: false",
    ),
    "pydantic": (
        422,
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]},
        "seed: set sends_seed: false",
    ),
    "mistral": (
        422,
        {
            "message": {
                "detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]
            }
        },
        "seed: set sends_seed: false",
    ),
    "gemini": (
        400,
        [{"error": {"message": 'Invalid JSON payload received. Unknown name "seed": Cannot find'}}],
        "seed: set sends_seed: false",
    ),
    "openrouter": (
        400,
        {"error": {"message": "Provider returned error", "metadata": {"raw": json.dumps(RAW)}}},
        "seed: set sends_seed: false",
    ),
    "serde": (
        422,
        b"Failed to deserialize: unknown field `seed`, expected one of `max_tokens`, `top_p`",
        "seed: set sends_seed: false",
    ),
    "bedrock": (
        400,
        {"message": "Malformed input request: #: extraneous key [seed] is not permitted"},
        "seed: set sends_seed: false",
    ),
    "xai": (
        400,
        {"error": "Argument not supported on this model: presencePenalty"},
        "presence_penalty: set sampling.presence_penalty: null",
    ),
    "litellm": (
        400,
        {"error": {"message": "groq does not support parameters: ['top_k'], for model=m"}},
        "top_k: set sampling.top_k: null",
    ),
    "openai_limit": (
        400,
        {
            "error": {
                "param": "max_tokens",
                "message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.",
            }
        },
        "max_tokens: set token_limit_field: max_completion_tokens",
    ),
    "older": (
        400,
        {"error": {"message": "max_completion_tokens: extra fields not permitted"}},
        "max_completion_tokens: set token_limit_field: max_tokens",
    ),
    "effort": (
        400,
        {"error": {"message": "This model does not support parameter reasoningEffort."}},
        "reasoning_effort: set sampling.reasoning_effort: null",
    ),
    "value": (
        400,
        {"error": {"message": "'temperature' does not support 0.6 with this model."}},
        "temperature: set sampling.temperature: null",
    ),
    "wrong_value": (
        400,
        {"error": {"message": "invalid temperature: only 1 is allowed for this model"}},
        "value of temperature: set sampling.temperature: null, or change it",
    ),
    "wrong_choice": (
        400,
        {"error": {"message": "`reasoning_effort` must be one of `none` or `default`"}},
        "value of reasoning_effort: set sampling.reasoning_effort: null",
    ),
    "cerebras": (
        400,
        {"message": "body.seed: property 'body.seed' is unsupported", "param": "validation_error"},
        "seed: set sends_seed: false",
    ),
    "litellm_500": (
        500,
        {"error": {"message": "ollama does not support parameters: {'seed': 1}, for model=m"}},
        "seed: set sends_seed: false",
    ),
    "format": (
        400,
        {"error": {"message": "This response_format type is unavailable now"}},
        "response_format: set structured_output: none",
    ),
    "stream": (
        400,
        {"error": {"message": "stream_options is not supported"}},
        "stream_options: set stream: never",
    ),
    "own": (
        400,
        {"error": {"message": "Unknown parameter: top_a"}},
        "take top_a out of extra_body",
    ),
}


@pytest.mark.parametrize(("status", "body", "said"), FIELDS.values(), ids=FIELDS)
def test_unknown_field_is_named_with_the_switch_that_leaves_it_out(
    status: int, body: Any, said: str
) -> None:
    error = _error(status, body)
    assert isinstance(error, EndpointError)
    assert said in str(error)


@pytest.mark.parametrize(
    "words",
    [
        "unexpected: {} seed",
        "Invalid API key {}",
        "insufficient balance, {}",
        "model not found: {}",
        "{} is not supported, seed",
    ],
)
def test_words_that_quote_the_prompt_stop_no_run(words: str) -> None:
    error = _error(400, {"error": {"message": words.format(PROMPT)}})
    assert isinstance(error, ProviderError)


@pytest.mark.parametrize("name", ["input", "flagged_input", "failed_generation"])
def test_what_an_error_quotes_of_the_request_is_not_judged(name: str) -> None:
    quoted = "context length, insufficient balance, unknown field seed, content_filter"
    assert type(_error(400, {"error": {"message": "It broke.", name: quoted}})) is ProviderError


MODELS = [
    "Model Not Exist",
    "some-model is not a valid model ID",
    "Invalid model: some-model",
    "The model `some-model` does not exist",
]


@pytest.mark.parametrize("words", MODELS)
def test_unknown_model_stops_the_run(words: str) -> None:
    error = _error(400, {"error": {"message": words}})
    assert isinstance(error, EndpointError)
    assert "does not know this model" in str(error)


FORMATS = {
    "deepseek": (400, {"error": {"message": "This response_format type is unavailable now"}}, True),
    "deepseek_text": (422, b"This response_format type is unavailable now", True),
    "groq": (400, {"error": {"message": "This model does not support response format"}}, True),
    "llama_cpp": (400, {"error": {"message": "failed to parse grammar"}}, True),
    "silent": (400, b"", True),
    "groq_generation": (400, {"error": {"code": "json_validate_failed", "message": "No."}}, True),
    "schema": (400, {"error": {"message": "Invalid json_schema: context=('size')"}}, True),
    "another_field": (400, {"error": {"message": "Unknown parameter: seed"}}, False),
    "key": (400, {"error": {"message": "API key not valid."}}, False),
    "prompt": (400, {"error": {"code": "content_filter"}}, False),
    "too_long": (400, {"error": {"code": "context_length_exceeded"}}, False),
    "passing": (429, {"error": {"message": "response_format is not supported"}}, False),
}


@pytest.mark.parametrize(("status", "body", "is_refused"), FORMATS.values(), ids=FORMATS)
def test_format_may_be_what_is_refused_unless_another_reason_is_told(
    status: int, body: Any, is_refused: bool
) -> None:
    answer = Answer(status, {}, body if isinstance(body, bytes) else json.dumps(body).encode())
    assert is_format_refused(answer, ASKED_FOR_FIELDS, "json_schema") == is_refused
    assert not is_format_refused(answer, ASKED_FOR_FIELDS, "none")
    assert not is_format_refused(answer, REQUEST, "json_schema")


def _caused(exc: Exception, *causes: BaseException) -> Exception:
    last: BaseException = exc
    for cause in causes:
        last.__cause__ = cause
        last = cause
    return exc


UNTRUSTED = ssl.SSLCertVerificationError(1, "certificate verify failed")
UNTRUSTED.verify_message = "self-signed certificate"
NOT_TLS = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
NOT_TLS.reason = "WRONG_VERSION_NUMBER"


@pytest.mark.parametrize(
    ("cause", "said"),
    [(UNTRUSTED, "not trusted here (self-signed certificate)"), (NOT_TLS, "does not speak TLS")],
    ids=["certificate", "no_tls"],
)
def test_connection_that_can_never_be_made_stops_the_run(cause: Exception, said: str) -> None:
    error = transport_error(_caused(aiohttp.ClientError(PROMPT), cause), CONFIG)
    assert isinstance(error, EndpointError)
    assert said in str(error)


TROUBLES = {
    "timed out (ConnectionTimeoutError)": _caused(
        aiohttp.ConnectionTimeoutError(), TimeoutError(), asyncio.CancelledError()
    ),
    "timed out (SocketTimeoutError)": aiohttp.SocketTimeoutError("Timeout on reading"),
    "timed out (TimeoutError)": TimeoutError(),
    "the connection failed (ServerDisconnectedError)": aiohttp.ServerDisconnectedError(),
    "the connection failed (ConnectionResetError)": _caused(
        aiohttp.ClientError(PROMPT), ConnectionResetError(PROMPT)
    ),
}


@pytest.mark.parametrize(("said", "exc"), TROUBLES.items(), ids=TROUBLES)
def test_connection_that_failed_is_tried_again_and_named_by_its_kind(
    said: str, exc: Exception
) -> None:
    error = transport_error(exc, CONFIG)
    assert (type(error), str(error)) == (TransientProviderError, f"some-model: {said}")
