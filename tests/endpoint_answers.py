"""What endpoints really answer, in `data/endpoints`, and what a call has to make of each.

A file is a kind; a row is one answer with where it was seen and what a user needs of it, written
without a look at the code. `made_of` sends one through the functions that judge every answer.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_errors import DoubtfulError, error_of, is_format_refused
from chimera_ray.backends.openai_http import told_by
from chimera_ray.backends.openai_replies import reply_of
from chimera_ray.errors import (
    ChimeraError,
    ContextError,
    EndpointError,
    ProviderError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import Message, Reply, ReplySchema, Request, Usage
from chimera_ray.model_config import OpenAIModel

FOLDER = Path(__file__).parent / "data" / "endpoints"
KEY_NAME, KEY = "PLANTED_KEY", "sk-planted-4f9a1c77e2b04d5fKey7"
WAIT_S = 20.0
"""what `$HTTP_DATE` and its like are ahead of now"""
DEEP = "[" * 100_000
SCHEMA = ReplySchema("topics", {"type": "object", "properties": {"topics": {"type": "array"}}})
_ERRORS: Sequence[tuple[type[ChimeraError], str]] = (
    (EndpointError, "stop_run"),
    (DoubtfulError, "doubtful"),
    (TransientProviderError, "retry"),
    (ContextError, "context"),
    (RefusalError, "refusal"),
    (ProviderError, "row_failed"),
)
_ENDINGS = {"length": "truncated", "refusal": "refusal", "abort": "aborted"}


class Told(NamedTuple):
    """One answer of an endpoint."""

    kind: str
    id: str
    endpoint: str
    status: int
    headers: Mapping[str, str]
    body: str
    request: Mapping[str, Any]
    expect: Mapping[str, Any]


class Made(NamedTuple):
    """What a call made of it."""

    outcome: str
    words: str = ""
    reply: Reply | None = None
    usage: Usage | None = None
    """of the reply, or of the attempt that was lost; None: nothing is to be paid"""
    is_estimated: bool = False
    is_limited: bool = False
    retry_after_s: float | None = None


def told() -> Iterator[Told]:
    """The answers, file by file."""
    for path in sorted(FOLDER.glob("*.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            headers = {"content-type": "application/json", **row.get("headers", {})}
            yield Told(
                path.stem,
                row["id"],
                row["endpoint"],
                row["status"],
                headers,
                row["raw"] if "raw" in row else json.dumps(row["body"]),
                row.get("request", {}),
                row["expect"],
            )


def made_of(row: Told) -> Made:
    """An answer → what a call makes of it."""
    config = OpenAIModel(
        backend="openai",
        name="m",
        api_key_env=KEY_NAME,
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )
    schema = SCHEMA if row.request.get("schema") else None
    prompt = (Message("user", "Name the least perfect number and say why it is one."),)
    request = Request(prompt, schema, 7, row.request.get("max_tokens", 4_096))
    answer = answer_of(row)
    if 200 <= row.status < 300:
        try:
            return _made_of_reply(reply_of(answer, config, request))
        except ChimeraError as exc:
            return _made_of_error(exc)
    if is_format_refused(answer, request, "json_schema"):
        return Made("weaker")
    return _made_of_error(error_of(answer, config, request))


def answer_of(row: Told) -> Answer:
    """A row → the answer itself, with the key and the times that it is to hold."""
    sent = ((name.encode(), _filled(value).encode()) for name, value in row.headers.items())
    return Answer(row.status, told_by(sent), _bytes(row.body))


def _made_of_reply(reply: Reply) -> Made:
    is_empty = not reply.text and not reply.reasoning
    outcome = _ENDINGS.get(reply.finish_reason, "empty" if is_empty else "reply")
    return Made(outcome, reply.text, reply, reply.usage, reply.is_usage_estimated)


def _made_of_error(error: ChimeraError) -> Made:
    outcome = next(name for kind, name in _ERRORS if isinstance(error, kind))
    lost: Any = error.lost[0] if error.lost else None
    also = error.of_all if isinstance(error, DoubtfulError) else ""
    return Made(
        outcome,
        f"{error}{also}{lost or ''}",
        usage=lost and lost.usage,
        is_estimated=bool(lost and lost.is_usage_estimated),
        is_limited=getattr(error, "is_limited", False),
        retry_after_s=getattr(error, "retry_after_s", None),
    )


def _bytes(body: str) -> bytes:
    if body.startswith("$BYTES:"):
        return bytes.fromhex(body.removeprefix("$BYTES:"))
    return DEEP.encode() if body == "$DEEP" else _filled(body).encode()


def _filled(text: str) -> str:
    """A text of the data → the same with the key and the times that it asks for."""
    then = time.time() + WAIT_S
    iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then + 1))
    for name, value in {
        "$KEY": KEY,
        "$HTTP_DATE": formatdate(then + 1, usegmt=True),
        "$EPOCH_MS": str(int(then * 1000)),
        "$EPOCH": str(int(then + 1)),
        "$ISO": iso,
    }.items():
        text = text.replace(name, value)
    return text
