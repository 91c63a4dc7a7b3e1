"""How the stub server behaves: what goes wrong with an answer, how often, and what it limits.

Knows what an answer looks like and nothing about HTTP connections, teachers or batches.
"""

import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from chimera_ray.llm import Usage
from chimera_ray.schemas import digest

Rate = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

ID = "################"
"""where the id of a reply goes, in a body that is made before the id is known"""
FLAT_FAULTS = ("limited", "error_500_html", "error_503", "wrong_content_type")
"""faults without a reply"""
UNUSABLE = frozenset(
    {
        *("wrong_content_type", "malformed_json", "truncated_json", "half_sent"),
        *("invalid_utf8", "null_content", "empty_choices"),
    }
)
"""faults whose answer has status 200 and is no chat completion that a client could use"""
FAULTS = (
    *FLAT_FAULTS,
    *("dropped", "half_sent", "hung", "malformed_json", "truncated_json", "refusal", "huge"),
    *("duplicate_keys", "invalid_utf8", "no_usage", "null_content", "empty_choices", "length"),
    "content_filter",
)
_SCRIPTED = re.compile(rf"ok|{'|'.join(FAULTS)}|status:[45]\d\d(:\w+)?|quirk:[\w<|>]+|stream:\w+")
_PAGE = b"<!DOCTYPE html>\n<html><head><title>%s</title></head><body><h1>%s</h1></body></html>\n"


class Behaviour(BaseModel):
    """What the server does; by default it is well-behaved, instantaneous and without limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["simulated", "fixed"] = "simulated"
    """fixed: one constant reply, whatever is asked of whichever model"""
    reply_chars: Count = 1_000
    """of the fixed reply"""
    teachers: Mapping[str, Mapping[str, Any]] = {}
    """model name → fields of `SimulatedModel`; of a shipped model's name: instead of its own"""
    reasoning_field: Literal["reasoning_content", "reasoning"] | None = None
    """the message's field for what comes before `</think>`; None: it stays in the content"""
    seed: int = 0
    """of faults and waiting times"""
    latency_mean_s: Seconds = 0.0
    latency_sigma: Annotated[float, Field(ge=0, le=5)] = 0.0
    """of the logarithm; 0 is a fixed time"""

    # Shares of the attempts; at most one fault each, so together they are 1 at most.
    limited: Rate = 0.0
    error_500_html: Rate = 0.0
    error_503: Rate = 0.0
    wrong_content_type: Rate = 0.0
    dropped: Rate = 0.0
    half_sent: Rate = 0.0
    hung: Rate = 0.0
    malformed_json: Rate = 0.0
    truncated_json: Rate = 0.0
    refusal: Rate = 0.0
    huge: Rate = 0.0
    duplicate_keys: Rate = 0.0
    invalid_utf8: Rate = 0.0
    no_usage: Rate = 0.0
    null_content: Rate = 0.0
    empty_choices: Rate = 0.0
    length: Rate = 0.0
    content_filter: Rate = 0.0
    script: tuple[str, ...] = ()
    """faults of the first requests: a name, "ok", "status:NNN" with or without ":error_code", or
    "quirk:" or "stream:" and the name of one"""
    quirk: str = ""
    """of `stub_quirks`: how every good reply is sent, in place of any fault"""
    retry_after: Seconds | Literal["date"] | None = None
    """what `limited` and a scripted 429 or 503 send as Retry-After"""
    retry_after_date_s: Seconds = 1.0
    """how far ahead the date is"""
    huge_chars: Count = 5_000_000

    keys: tuple[str, ...] | None = None
    """API keys that are accepted; None: any, and none"""
    quota_calls: Count | None = None
    """replies after which the account is empty"""
    max_prompt_chars: Count | None = None
    banned: tuple[str, ...] = ()
    """words that no prompt may hold"""
    blocked: tuple[str, ...] = ()
    """words that no prompt may hold either, and a 403 does not say why"""
    supports_schema: bool = True
    rejects: tuple[str, ...] = ()
    """fields of a request that the server does not know"""

    stream: Literal["taken", "refused", "only"] = "taken"
    """what becomes of calls that are to be streamed; only: the others are refused"""
    stream_quirk: str = ""
    """of `stub_events.STREAMS`: how events are sent"""
    stream_share: Rate = 0.0
    """of a reply's waiting time that passes after its first event"""
    event_chars: Annotated[int, Field(ge=1)] = 20
    gateway_s: Seconds | None = None
    """of silence, after which a call that is not streamed gets a 504; None: any"""
    gateway_closes: bool = False
    """it closes the connection instead"""

    rpm: Positive | None = None
    tpm: Positive | None = None
    max_concurrent: Annotated[int, Field(ge=1)] | None = None
    burst_s: Positive = 6.0
    """how many seconds' worth of requests and of tokens may come at once"""
    limit_retry_after: bool = True
    sends_limit_headers: bool = False

    batch_s: Seconds = 0.0
    """from a batch's creation to its end"""
    batch_expired: Rate = 0.0
    """share of a batch's items that are never answered"""
    batch_item_error: Rate = 0.0
    """share of a batch's items that fail with status 500"""
    batch_fails: bool = False

    @field_validator("script")
    @classmethod
    def _script_is_known(cls, script: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [step for step in script if not _SCRIPTED.fullmatch(step)]
        if unknown:
            raise ValueError(f"unknown steps: {unknown}")
        return script

    @model_validator(mode="after")
    def _rates_add_up(self) -> "Behaviour":
        if sum(getattr(self, fault) for fault in FAULTS) > 1 + 1e-9:
            raise ValueError("the rates of the faults are more than 1 together")
        return self


class Answer(NamedTuple):
    """What is sent for one request."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[str, ...] = ()
    """further ones, as lines"""
    usage: Usage = Usage()
    code: str = ""
    """of the error"""
    events: tuple[bytes, ...] = ()
    """what is sent in place of the body, one after the other"""
    over_s: float = 0.0
    """how long sending the events takes"""


def as_json(value: object) -> bytes:
    """A value → its JSON."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def error(
    status: int,
    message: str,
    code: str | None = None,
    param: str | None = None,
    kind: str | None = None,
    headers: tuple[str, ...] = (),
) -> Answer:
    """What is wrong → the answer that says so as OpenAI does."""
    kind = kind or ("server_error" if status >= 500 else "invalid_request_error")
    said = {"message": message, "type": kind, "param": param, "code": code}
    return Answer(status, as_json({"error": said}), headers=headers, code=code or "")


def unit(*parts: object) -> float:
    """Parts → a number in [0, 1), always the same one."""
    return int(digest("stub", *map(str, parts))[:13], 16) / 16**13


def draw(behaviour: Behaviour, rates: Mapping[str, float], key: str, nth: int) -> str:
    """A key and how often it was seen → the fault of this attempt, "" if there is none."""
    if not rates:
        return ""
    place = unit("fault", behaviour.seed, key, nth)
    for fault, rate in rates.items():
        place -= rate
        if place < 0:
            return fault
    return ""


def rates_of(behaviour: Behaviour) -> dict[str, float]:
    """A behaviour → the rates of the faults that it has."""
    return {fault: rate for fault in FAULTS if (rate := getattr(behaviour, fault))}


def flat(fault: str, behaviour: Behaviour) -> Answer:
    """A fault without a reply, or a scripted status → its answer."""
    match fault.split(":"):
        case ["limited"]:
            wait = _retry_after(behaviour)
            return error(429, "Slow down.", "rate_limit_exceeded", kind="requests", headers=wait)
        case ["error_500_html"]:
            title = b"500 Internal Server Error"
            return Answer(500, _PAGE % (title, title), "text/html; charset=utf-8")
        case ["error_503"]:
            return error(503, "The engine is currently overloaded, please try again later.")
        case ["wrong_content_type"]:
            return Answer(200, _PAGE % (b"Sign in", b"Proxy"), "text/html; charset=utf-8")
    status, _, code = fault.removeprefix("status:").partition(":")
    kind = code if code == "insufficient_quota" else None
    wait = _retry_after(behaviour) if status in ("429", "503") else ()
    said = f"As scripted: {fault}."
    return error(int(status), said, code or None, kind=kind, headers=wait)


def _retry_after(behaviour: Behaviour) -> tuple[str, ...]:
    match behaviour.retry_after:
        case None:
            return ()
        case "date":
            at = formatdate(time.time() + behaviour.retry_after_date_s, usegmt=True)
            return (f"retry-after: {at}",)
        case seconds:
            return (f"retry-after: {seconds:g}",)


def spoiled(fault: str, reply: dict[str, Any], usage: Usage, behaviour: Behaviour) -> Answer:
    """A whole reply → the answer with this fault; its usage is what was paid all the same."""
    choice = reply["choices"][0]
    message = choice["message"]
    text = message["content"] or message["refusal"] or "-"
    match fault:
        case "refusal":
            message |= {"content": None, "refusal": "I'm sorry, but I can't help with that."}
        case "huge":
            message["content"] = (text * (behaviour.huge_chars // len(text) + 1))[
                : behaviour.huge_chars
            ]
        case "length":
            message["content"], choice["finish_reason"] = text[: len(text) // 2], "length"
        case "content_filter":
            message["content"], choice["finish_reason"] = text[: len(text) // 2], "content_filter"
        case "null_content":
            message |= {"content": None, "refusal": None}
        case "empty_choices":
            reply["choices"] = []
        case "no_usage":
            del reply["usage"]
        case "invalid_utf8":
            message["content"] = text
    return Answer(200, _broken(fault, as_json(reply)), usage=usage)


def _broken(fault: str, body: bytes) -> bytes:
    match fault:
        case "duplicate_keys":
            return b'{"choices": [], ' + body[1:]
        case "malformed_json":
            return body.replace(b'"choices": [', b'"choices": [[,', 1)
        case "truncated_json":
            return body[: len(body) // 2]
        case "invalid_utf8":
            return body.replace(b'"content": "', b'"content": "\xff\xff', 1)
    return body


class Bucket:
    """Tokens that come back steadily; a cost beyond its capacity passes when it is full."""

    def __init__(self, per_minute: float, burst_s: float) -> None:
        self.per_minute = per_minute
        self._rate = per_minute / 60
        self._capacity = max(1.0, self._rate * burst_s)
        self._level, self._at = self._capacity, time.monotonic()

    def wait_s(self, cost: float) -> float:
        """A cost → the seconds until it can be taken, 0 if it can be now."""
        now = time.monotonic()
        self._level = min(self._capacity, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(cost, self._capacity) - self._level) / self._rate)

    def take(self, cost: float) -> None:
        """Takes a cost; the level may fall below zero."""
        self._level -= cost

    def headers(self, what: str) -> tuple[str, ...]:
        """What it counts → its state as OpenAI's header lines."""
        reset = duration(self.wait_s(self._capacity))
        return (
            f"x-ratelimit-limit-{what}: {self.per_minute:.0f}",
            f"x-ratelimit-remaining-{what}: {max(0, math.floor(self._level))}",
            f"x-ratelimit-reset-{what}: {reset}",
        )


def duration(seconds: float) -> str:
    """Seconds → as OpenAI writes them: 20ms, 1s, 6m0s."""
    ms = math.ceil(seconds * 1000)
    if ms < 1000:
        return f"{ms}ms" if ms else "0s"
    minutes, rest = divmod(ms, 60_000)
    return (f"{minutes}m" if minutes else "") + f"{rest / 1000:g}s"
