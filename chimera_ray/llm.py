"""How a stage speaks to a model: `ask`, `ask_each` and `complete`, on models bound to one row.

Knows nothing of what reaches the model (see `backends/`) and nothing of rows beyond the id of the
work that is being done, from which sampling seeds derive.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

from chimera_ray.errors import (
    ParseError,
    ProviderError,
    RefusalError,
    RowError,
    StopError,
    TruncatedError,
)
from chimera_ray.schemas import Call, CallStatus, FinishReason, digest

T = TypeVar("T")


class Message(NamedTuple):
    """One turn of a conversation."""

    role: str
    content: str


class ReplySchema(NamedTuple):
    """The JSON that a reply is to follow."""

    name: str
    json_schema: Mapping[str, Any]


class Usage(NamedTuple):
    """Tokens of one call; cached are part of input, reasoning part of output."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class Request(NamedTuple):
    """What is sent: messages, the schema that the reply is to follow (if any), a seed."""

    messages: tuple[Message, ...]
    schema: ReplySchema | None
    seed: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    text: str
    finish_reason: FinishReason = "stop"
    reasoning: str | None = None
    """the thinking part, where the server returns it apart from the text"""
    usage: Usage = field(default_factory=Usage)
    is_usage_estimated: bool = False
    """the server did not say what it used"""
    request_id: str = ""
    attempts: int = 1


class Model(Protocol):
    """A model that can be asked, whatever reaches it."""

    name: str

    async def complete(self, request: Request) -> Reply:
        """Request → reply, or a `ProviderError` after every attempt worth making."""
        ...

    def cost_usd(self, usage: Usage) -> float:
        """What a call with this usage costs."""
        ...

    async def close(self) -> None:
        """Give back connections and engines."""
        ...


@dataclass(slots=True)
class CallLog:
    """The calls of one piece of work: those made now, and those that an earlier try paid for."""

    work_id: str
    earlier: Sequence[Call] = ()
    calls: list[Call] = field(default_factory=list)
    on_call: Callable[[], None] = lambda: None
    """told of each call that was made, replayed ones aside"""

    def take_earlier(self, role: str, prompt_id: str) -> tuple[Call | None, int]:
        """The reply already paid for, if there is one, and how many tries failed before."""
        nth = sum(
            c.status == "ok" for c in self.calls if (c.role, c.prompt_id) == (role, prompt_id)
        )
        same = [c for c in self.earlier if (c.role, c.prompt_id) == (role, prompt_id)]
        usable = [call for call in same if call.status == "ok"]
        return (usable[nth] if nth < len(usable) else None), nth + len(same) - len(usable)


@dataclass(frozen=True, slots=True)
class BoundModel:
    """A model in its role for one row: the only thing that a stage can ask."""

    role: str
    model: Model
    log: CallLog


async def complete(
    bound: BoundModel, prompt: str, parse: Callable[[Reply], T], schema: ReplySchema | None = None
) -> T:
    """Prompt → what `parse` makes of the whole reply, finish reason and all.

    A reply that an earlier try of the same work paid for is used again. What is called is recorded
    whether or not it can be used.

    Raises:
        RefusalError: the model declined.
        ParseError, TruncatedError: as `parse` says.
        ProviderError: no reply could be had.
    """
    messages = (Message("user", prompt),)
    prompt_id = digest("prompt", *(text for message in messages for text in message))
    paid, num_tries = bound.log.take_earlier(bound.role, prompt_id)
    if paid is not None:
        try:
            value = parse(_reply_of(paid))
        except RowError as exc:  # the parser has become stricter since: this reply is used up
            bound.log.calls.append(
                paid._replace(is_replayed=True, status=_status_of(exc), error=str(exc))
            )
            num_tries += 1
        else:
            bound.log.calls.append(paid._replace(is_replayed=True))
            return value
    seed = (
        int(digest("seed", bound.log.work_id, bound.role, prompt_id, str(num_tries))[:8], 16) >> 1
    )
    began = time.perf_counter()
    reply, error = Reply(""), ""
    status: CallStatus | None = "error"
    try:
        reply = _storable(await bound.model.complete(Request(messages, schema, seed)))
        if reply.finish_reason == "refusal":
            raise RefusalError(f"{bound.role} declined to answer: {reply.text[:80]!r}")
        value = parse(reply)
        status = "ok"
        return value
    except RowError as exc:
        status, error = _status_of(exc), str(exc)
        raise
    except (asyncio.CancelledError, StopError):
        status = None  # never begun; or as after a kill: nobody knows what came of it
        raise
    finally:
        if status is not None:
            call = _call(bound, prompt_id, seed, reply, time.perf_counter() - began)
            bound.log.calls.append(call._replace(status=status, error=error))
            bound.log.on_call()


async def ask(
    bound: BoundModel, prompt: str, parse: Callable[[str], T], schema: ReplySchema | None = None
) -> T:
    """Prompt → what `parse` makes of the reply's text, if the reply is whole.

    Raises:
        TruncatedError: the reply was cut at the token limit.
        RefusalError, ParseError, ProviderError: as in `complete`.
    """
    return await complete(bound, prompt, lambda reply: parse(whole(reply).text), schema)


def whole(reply: Reply) -> Reply:
    """Reply → the same, if it came to its end.

    Raises:
        TruncatedError: it was cut at the token limit, or ended for its loops.
        ProviderError: it was aborted, and asking again may give the whole.
    """
    if reply.finish_reason == "abort":
        raise ProviderError("the reply was aborted before its end")
    if reply.finish_reason != "stop":
        raise TruncatedError(f"finish reason: {reply.finish_reason}")
    return reply


async def ask_each(
    models: Mapping[str, BoundModel],
    prompt: str,
    parse: Callable[[str], T],
    schema: ReplySchema | None = None,
) -> tuple[T, ...]:
    """Prompt → one parsed reply per role, asked at the same time.

    Every call is awaited even when one fails, so that no reply that was paid for is lost.

    Shapes:
        one value per role, in the roles' order.
    """
    asked = (ask(model, prompt, parse, schema) for model in models.values())
    values = await asyncio.gather(*asked, return_exceptions=True)
    raised = [value for value in values if isinstance(value, BaseException)]
    for exc in sorted(raised, key=lambda exc: isinstance(exc, RowError)):
        raise exc  # what is wrong with more than this row comes first
    return tuple(value for value in values if not isinstance(value, BaseException))


def _storable(reply: Reply) -> Reply:
    """A reply as the ledger can keep it: halves of surrogate pairs are no text."""
    if reply.text.isascii() and reply.reasoning is None:
        return reply
    text, reasoning = (
        part.encode("utf-8", "replace").decode() for part in (reply.text, reply.reasoning or "")
    )
    return replace(reply, text=text, reasoning=reasoning or None)


def _status_of(exc: RowError) -> CallStatus:
    statuses: dict[type[RowError], CallStatus] = {
        RefusalError: "refused",
        TruncatedError: "truncated",
        ParseError: "unparsable",
        ProviderError: "error",
    }
    return next((s for kind, s in statuses.items() if isinstance(exc, kind)), "error")


def _call(bound: BoundModel, prompt_id: str, seed: int, reply: Reply, latency_s: float) -> Call:
    return Call(
        role=bound.role,
        model=bound.model.name,
        prompt_id=prompt_id,
        seed=seed,
        status="ok",
        error="",
        finish_reason=reply.finish_reason,
        input_tokens=reply.usage.input_tokens,
        cached_tokens=reply.usage.cached_tokens,
        output_tokens=reply.usage.output_tokens,
        reasoning_tokens=reply.usage.reasoning_tokens,
        is_usage_estimated=reply.is_usage_estimated,
        cost_usd=bound.model.cost_usd(reply.usage),
        latency_s=latency_s,
        attempts=reply.attempts,
        request_id=reply.request_id,
        is_replayed=False,
        text=reply.text,
        reasoning=reply.reasoning or "",
    )


def _reply_of(call: Call) -> Reply:
    return Reply(
        text=call.text,
        finish_reason=call.finish_reason,
        reasoning=call.reasoning or None,
        usage=Usage(
            call.input_tokens, call.cached_tokens, call.output_tokens, call.reasoning_tokens
        ),
        is_usage_estimated=call.is_usage_estimated,
        request_id=call.request_id,
        attempts=call.attempts,
    )
