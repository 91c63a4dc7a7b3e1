"""The stub server's teachers: a request's JSON → the reply's JSON, or the error that it deserves.

Knows nothing about connections, faults or waiting; says only how long a teacher would take.
"""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import yaml
from stub_faults import ID, Answer, Behaviour, as_json, duration, error

from chimera_ray.backends.simulated import Simulated, waiting_s
from chimera_ray.errors import TransientProviderError
from chimera_ray.llm import Message, Reply, ReplySchema, Request, Usage
from chimera_ray.model_config import Latency, SimulatedModel
from chimera_ray.schemas import digest

CONF = Path(__file__).resolve().parents[1] / "conf" / "model"
CREATED = 1_750_000_000
FIXED_SENTENCE = "The reply is the same for everyone. "


class Made(NamedTuple):
    """A reply's JSON, before anything goes wrong with it; None: the teacher failed."""

    reply: dict[str, Any] | None
    usage: Usage
    wait_s: float


class Teachers:
    """The models that a behaviour knows, by name."""

    def __init__(self, behaviour: Behaviour) -> None:
        fields = dict(_shipped())
        for name, own in behaviour.teachers.items():
            fields[name] = {"backend": "simulated", "name": name, **own}
        configs = {name: SimulatedModel.model_validate(entry) for name, entry in fields.items()}
        self._waiting = {name: Simulated(config) for name, config in configs.items()}
        self._teachers = {  # those that never sleep: the server waits, once it knows the cost
            name: Simulated(config.model_copy(update={"latency": Latency()}))
            for name, config in configs.items()
        }
        self._slow = {name for name, config in configs.items() if config.latency.mean_s > 0}
        self._behaviour = behaviour
        self._latency = Latency(mean_s=behaviour.latency_mean_s, sigma=behaviour.latency_sigma)
        self._fixed, self._fixed_usage = self._make_fixed()
        self.fixed = as_json(self._fixed)
        """the body of the fixed reply"""

    @property
    def names(self) -> list[str]:
        """The models that may be asked."""
        return list(self._teachers)

    def denied(self, authorization: str) -> Answer | None:
        """The header of that name → the error that it deserves, if it deserves one."""
        kind, _, key = authorization.partition(" ")
        keys = self._behaviour.keys
        if keys is None or (kind == "Bearer" and key in keys):
            return None
        return error(401, f"Incorrect API key provided: {key[:4]}***.", "invalid_api_key")

    def refused(self, asked: Mapping[str, Any]) -> Answer | None:
        """A request → the error that it deserves, if it deserves one."""
        try:
            return self._fields_refused(asked) or self._prompt_refused(_messages(asked))
        except (TypeError, KeyError, AttributeError):
            return error(400, "We could not parse the JSON body of your request.")

    async def make(self, asked: Mapping[str, Any], key: str) -> Made:
        """A request that was not refused → its reply, always the same one."""
        if self._behaviour.mode == "fixed":
            choice = self._fixed["choices"][0]
            choice = {**choice, "message": {**choice["message"]}}
            return Made({**self._fixed, "choices": [choice]}, self._fixed_usage, self.wait_s(key))
        name = asked["model"]
        request = request_of(asked, key)
        wait_s = self.wait_s(key)
        if name in self._slow:
            wait_s += self._waiting[name].latency_s(request)
        try:
            reply = await self._teachers[name].complete(request)
        except TransientProviderError:
            return Made(None, Usage(), wait_s)
        field = self._behaviour.reasoning_field
        return Made(completion(name, reply, field), reply.usage, wait_s)

    def wait_s(self, key: str) -> float:
        """A key → the seconds that its reply takes, a teacher's own latency aside."""
        if not self._latency.mean_s or not self._latency.sigma:
            return self._latency.mean_s
        said = digest("stub latency", str(self._behaviour.seed), key)
        return waiting_s(self._latency, Random(int(said[:8], 16)))

    def fixed_usage(self) -> Usage:
        """What the fixed reply costs."""
        return self._fixed_usage

    def _fields_refused(self, asked: Mapping[str, Any]) -> Answer | None:
        behaviour = self._behaviour
        model = asked.get("model")
        if behaviour.mode == "simulated" and model not in self._teachers:
            said = f"The model `{model}` does not exist or you do not have access to it."
            return error(404, said, "model_not_found")
        if behaviour.stream == "only" and not asked.get("stream"):
            said = "This model only support stream mode, please enable the stream parameter."
            return error(400, said, "invalid_parameter_error")
        for name in (*["stream"] * (behaviour.stream == "refused"), *behaviour.rejects):
            if asked.get(name):
                said = f"Unsupported parameter: '{name}' is not supported with this model."
                return error(400, said, "unsupported_parameter", name)
        form = asked.get("response_format") or {}
        if form.get("type") == "json_schema" and not behaviour.supports_schema:
            said = "'response_format' of type 'json_schema' is not supported with this model."
            return error(400, f"Invalid parameter: {said}", param="response_format")
        if not asked.get("messages"):
            return error(400, "Missing required parameter: 'messages'.", param="messages")
        return None

    def _prompt_refused(self, messages: tuple[Message, ...]) -> Answer | None:
        behaviour = self._behaviour
        most, chars = behaviour.max_prompt_chars, sum(len(said.content) for said in messages)
        if most is not None and chars > most:
            said = f"maximum context length is {most // 4} tokens, your messages have {chars // 4}."
            return error(400, f"This model's {said}", "context_length_exceeded", "messages")
        if any(word in said.content for said in messages for word in behaviour.banned):
            said = "Your request was rejected by the safety system."
            return error(400, said, "content_policy_violation")
        if any(word in said.content for said in messages for word in behaviour.blocked):
            return error(403, "Forbidden")
        return None

    def _make_fixed(self) -> tuple[dict[str, Any], Usage]:
        chars = self._behaviour.reply_chars
        text = (FIXED_SENTENCE * (chars // len(FIXED_SENTENCE) + 1))[:chars]
        usage = Usage(input_tokens=250, output_tokens=-(-chars // 4))
        return completion("fixed", Reply(text, usage=usage), None), usage


@cache
def _shipped() -> dict[str, Mapping[str, Any]]:
    """The shipped models' fields, by name."""
    entries = [yaml.safe_load(path.read_text()) for path in sorted(CONF.glob("simulated*.yaml"))]
    return {entry["name"]: entry for entry in entries}


def request_of(asked: Mapping[str, Any], key: str) -> Request:
    """A request's JSON → what the teacher is asked; without a seed its key stands for one."""
    schema = None
    form = asked.get("response_format") or {}
    if form.get("type") == "json_schema":
        schema = ReplySchema(form["json_schema"]["name"], form["json_schema"].get("schema", {}))
    seed = asked.get("seed")
    if seed is None:
        seed = int(digest("stub seed", key)[:8], 16) >> 1
    return Request(_messages(asked), schema, seed)


def prompt_tokens(asked: Mapping[str, Any]) -> int:
    """A request's JSON → about how many tokens its messages have."""
    return sum(len(message.content) for message in _messages(asked)) // 4


def completion(model: str, reply: Reply, reasoning_field: str | None) -> dict[str, Any]:
    """A teacher's reply → a chat completion that still lacks its id."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.finish_reason == "refusal":
        message |= {"content": None, "refusal": reply.text}
    elif reasoning_field is not None:
        thinking, tag, rest = reply.text.partition("</think>")
        if tag:
            message |= {"content": rest, reasoning_field: thinking}
        elif reply.usage.reasoning_tokens:  # cut while it was thinking
            message |= {"content": None, reasoning_field: thinking}
    finish_reason = "length" if reply.finish_reason == "length" else "stop"
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}
    usage = reply.usage
    return {
        "id": f"chatcmpl-{ID}",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [choice],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        },
    }


def limited(what: str, wait_s: float, behaviour: Behaviour) -> Answer:
    """A limit that was met and when there is room again → the answer that says so."""
    said = f"Rate limit reached on {what}. Please try again in {duration(wait_s)}."
    wait = (f"retry-after: {math.ceil(wait_s)}",) if behaviour.limit_retry_after else ()
    return error(429, said, "rate_limit_exceeded", kind=what, headers=wait)


def _messages(asked: Mapping[str, Any]) -> tuple[Message, ...]:
    said = asked.get("messages") or ()
    return tuple(Message(message["role"], _text(message["content"])) for message in said)


def _text(content: str | list[dict[str, str]] | None) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
