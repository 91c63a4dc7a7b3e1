"""The SDK's errors, as the calls on files and batches raise them → ours."""

import json

import openai

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_errors import error_of, transport_error
from chimera_ray.errors import ChimeraError
from chimera_ray.llm import Request
from chimera_ray.model_config import OpenAIModel

_NO_REQUEST = Request((), None, 0)


def error_of_sdk(exc: openai.OpenAIError, config: OpenAIModel) -> ChimeraError:
    """An error of the SDK → ours, without the server's words: they may quote any of the prompts."""
    if not isinstance(exc, openai.APIStatusError):
        return transport_error(exc, config)
    return error_of_code(exc.status_code, exc.code or exc.type, config, dict(exc.response.headers))


def error_of_code(
    status: int, code: str | None, config: OpenAIModel, headers: dict[str, str] | None = None
) -> ChimeraError:
    """A status and a code without words → the error that they are."""
    body = json.dumps({"error": {"code": code}}).encode()
    return error_of(Answer(status, headers or {}, body), config, _NO_REQUEST)
