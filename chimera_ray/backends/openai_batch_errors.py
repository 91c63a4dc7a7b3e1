"""A status and a code that came with a batch → our error, without the server's words.

Those may quote any of the prompts.
"""

import json
from collections.abc import Mapping

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_error_body import error_body
from chimera_ray.backends.openai_errors import error_of
from chimera_ray.errors import ChimeraError
from chimera_ray.llm import Request
from chimera_ray.model_config import OpenAIModel

_NO_REQUEST = Request((), None, 0)


def error_of_answer(answer: Answer, config: OpenAIModel) -> ChimeraError:
    """An answer that is no success, to a call on files or batches → its error."""
    code = error_body(answer.body).code or None
    return error_of_code(answer.status, code, config, answer.headers)


def error_of_code(
    status: int, code: str | None, config: OpenAIModel, headers: Mapping[str, str] | None = None
) -> ChimeraError:
    """A status and a code without words → the error that they are."""
    body = json.dumps({"error": {"code": code}}).encode()
    return error_of(Answer(status, headers or {}, body), config, _NO_REQUEST)
