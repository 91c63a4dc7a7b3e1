"""The files of an ended batch → each call's reply, or what became of it instead.

Nothing in them is trusted: a line that says nothing usable is a call without an answer.
"""

import json
import re
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile
from typing import IO, Any

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_batch_errors import error_of_code
from chimera_ray.backends.openai_batch_state import BatchState
from chimera_ray.backends.openai_replies import reply_from
from chimera_ray.errors import ChimeraError, EndpointError, ProviderError, TransientProviderError
from chimera_ray.llm import Reply, Request
from chimera_ray.model_config import OpenAIModel

Line = Mapping[str, Any]
_QUEUE_FULL = ("token_limit_exceeded",)
"""the batch was not begun: what waits at the provider is as much as it takes"""
_NOT_FOUND = ("model_not_found", "invalid_model")
_CODE = re.compile(r"[\w.\-]{1,60}")


class Answers:
    """One ended batch: its lines, on this machine's disk, and what holds for those without one."""

    def __init__(self, failure: ChimeraError, by_key: Mapping[str, ChimeraError]) -> None:
        """Without lines, until the file is filled and indexed.

        Args:
            failure: what became of a call that has no line.
            by_key: the same, of some calls in particular.
        """
        self.file: IO[bytes] = TemporaryFile()  # noqa: SIM115 - it is closed with this
        self.is_queue_full = False
        self._failure, self._by_key = failure, by_key
        self._starts: dict[str, int] = {}

    def index(self) -> int:
        """Finds each call's line, an answer before an error → how many lines were none."""
        self.file.seek(0)
        start = num_bad = 0
        for raw in self.file:  # by bytes: a text's own kinds of line break are no ends
            line = _line(raw)
            if line is not None and (line["custom_id"] not in self._starts or _status(line) == 200):
                self._starts[line["custom_id"]] = start
            num_bad += line is None and bool(raw.strip())
            start += len(raw)
        return num_bad

    def line(self, key: str) -> Line | None:
        """A custom_id → its line, if it has one."""
        start = self._starts.get(key)
        if start is None:
            return None
        self.file.seek(start)
        return _line(self.file.readline())

    def failure_of(self, key: str) -> ChimeraError:
        """A custom_id without a line → what became of it."""
        error = self._by_key.get(key, self._failure)
        return type(error)(str(error))

    def close(self) -> None:
        """Gives back the disk."""
        self.file.close()


def answers_of(batch: BatchState | None, keys: Sequence[str], config: OpenAIModel) -> Answers:
    """An ended batch and its custom_ids, in the order of its input → its answers, still to fill.

    None is a batch that is gone; without custom_ids, nobody knows which call a line number means.
    """
    name = config.name
    lost = TransientProviderError(f"{name}: the call's batch ended without an answer to it")
    if batch is None or batch.status != "failed" or batch.errors is None:
        return Answers(lost, {})
    codes = [_code(error.code) for error in batch.errors]
    if any(code in _QUEUE_FULL for code in codes):
        answers = Answers(TransientProviderError(f"{name}: too much is enqueued in batches"), {})
        answers.is_queue_full = True
        return answers
    fatal = [error for code in codes if isinstance(error := _final(code, config), EndpointError)]
    if fatal:
        return Answers(fatal[0], {})
    by_key: dict[str, ChimeraError] = {
        keys[error.line - 1]: _final(code, config)
        for code, error in zip(codes, batch.errors, strict=True)
        if error.line is not None and 0 < error.line <= len(keys)
    }
    if by_key:  # the others were never looked at
        return Answers(TransientProviderError(f"{name}: the call's batch was not begun"), by_key)
    return Answers(_final(codes[0] if codes else "", config), {})


def refusal_in(line: Line) -> Answer | None:
    """A call's line → the answer that the endpoint would have refused it with, if it did."""
    status = _status(line)
    if status is None or status == 200:
        return None
    return Answer(status, {}, json.dumps(line["response"].get("body")).encode())


def reply_in(line: Line, config: OpenAIModel, request: Request) -> Reply:
    """A call's line that is no error → its reply.

    Raises:
        TransientProviderError: it was not answered, or by what is no reply.
    """
    if _status(line) is None:
        error = line.get("error")
        code = _code(error.get("code") if isinstance(error, dict) else None)
        raise TransientProviderError(f"{config.name}: not answered in its batch [{code}]")
    response = line["response"]
    request_id = response.get("request_id")
    named = request_id if isinstance(request_id, str) else ""
    return reply_from(response.get("body"), named, config, request)


def _line(raw: bytes) -> Line | None:
    try:
        line = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    is_line = isinstance(line, dict) and isinstance(line.get("custom_id"), str)
    return line if is_line else None


def _status(line: Line) -> int | None:
    response = line.get("response")
    status = response.get("status_code") if isinstance(response, dict) else None
    is_status = isinstance(status, int) and not isinstance(status, bool) and 100 <= status < 600
    return status if is_status else None


def _final(code: str, config: OpenAIModel) -> ChimeraError:
    """The code of a failed batch → what it means for its calls, or for the run."""
    error = error_of_code(404 if code in _NOT_FOUND else 400, code, config)
    if isinstance(error, EndpointError):
        return error
    return ProviderError(f"{config.name}: the call's batch was refused [{code}]")


def _code(said: object) -> str:
    """A code from a file → the same, if it looks like one."""
    return said if isinstance(said, str) and _CODE.fullmatch(said) else "no code"
