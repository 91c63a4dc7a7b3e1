"""Any OpenAI-compatible endpoint, through the official SDK: one request → one reply or one error.

The SDK's own retries are off: `limits.persist` decides. It asks for the raw response, since parsing
that into the SDK's types costs as much CPU as all the rest together.
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx2
import openai

from chimera_ray.backends.aiohttp_client import AiohttpClient
from chimera_ray.backends.forecast import Forecast
from chimera_ray.backends.gate import Gate
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Learnt
from chimera_ray.backends.limits import persist
from chimera_ray.backends.openai_errors import kind_of, refused_field, translated
from chimera_ray.backends.openai_replies import reply_of
from chimera_ray.backends.rate_headers import learnt_from
from chimera_ray.backends.strict_schema import strict_schema
from chimera_ray.errors import EndpointError, TransientProviderError
from chimera_ray.llm import Reply, ReplySchema, Request, Usage
from chimera_ray.model_config import OpenAIModel
from chimera_ray.schemas import digest

_WEAKER = {"json_schema": "json_object", "json_object": "none"}


class OpenAI:
    """A model behind an endpoint; made and used inside one event loop."""

    trouble = ""

    def __init__(self, config: OpenAIModel, gate: Gate, halt: Halt, max_connections: int) -> None:
        """A configuration → the model; nothing is opened yet.

        Args:
            config: the model and how it is reached.
            gate: where calls wait for their turn at the endpoint.
            halt: stops whatever waits.
            max_connections: the pool's size; as many as there are slots.

        Raises:
            EndpointError: the environment variable that is to hold the key is not set here.
        """
        self.name = config.name
        self._config, self._gate, self._halt = config, gate, halt
        self._client = open_client(config, max_connections)
        self._url = f"{str(self._client.base_url).rstrip('/')}/chat/completions"
        self._structured, self._bodies = config.structured_output, Bodies(config)
        self._forecast = Forecast(config.sampling.max_tokens)
        self._learnt: Learnt | None = None
        self._identity = config.identity()
        self._is_reached = False
        self._unreached_since: float | None = None

    async def complete(self, request: Request) -> Reply:
        """Request → reply, tried again until the deadline.

        Raises:
            ProviderError: the request was refused, or no attempt had a reply.
            RefusalError: the endpoint declined to have it answered.
            EndpointError: the endpoint refuses whatever is asked.
        """
        estimated = self._forecast.usage(request)
        return await persist(
            partial(self._attempt, request),
            self._gate,
            self._halt,
            self._config.retry,
            estimated.input_tokens + estimated.output_tokens,
            self._tell,
        )

    def cost_usd(self, usage: Usage) -> float:
        """Tokens of one call → US dollars, by the configured prices."""
        return self._config.cost_usd(usage)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _attempt(self, request: Request) -> Reply:
        timeouts = self._config.timeouts
        try:
            async with asyncio.timeout(timeouts.total_s):
                while True:
                    structured = self._structured
                    try:
                        response = await self._post(request, structured)
                        break
                    except openai.BadRequestError as exc:
                        if refused_field(exc) != "response_format" or structured == "none":
                            raise
                        self._weaken(structured)
        except TimeoutError:
            raise TransientProviderError(
                f"{self.name}: no whole reply within {timeouts.total_s:g} s"
            ) from None
        except openai.OpenAIError as exc:
            if isinstance(exc, openai.APIStatusError):
                self._is_reached = True
                self._learnt = learnt_from(exc.response.headers) or self._learnt
            else:
                self._require_reachable(exc)
            # Not `from exc`: the server may quote the prompt, and a chain is logged whole.
            raise translated(exc, self._config, request) from None
        self._is_reached = True
        self._learnt = learnt_from(response.headers) or self._learnt
        reply = reply_of(response.content, response.headers, self._config, request)
        self._forecast.learn(reply.usage)
        return reply

    async def _post(self, request: Request, structured: str) -> httpx2.Response:
        key = call_key(self._identity, request)
        if structured != self._config.structured_output:  # another body is another call
            key = digest(key, structured)
        return await self._client.post(
            self._url,
            cast_to=httpx2.Response,
            content=json.dumps(self._bodies.of(request, structured)).encode(),
            options={
                "headers": {"Idempotency-Key": key, "Content-Type": "application/json"},
                "idempotency_key": key,  # or the SDK draws one, which costs more than all of this
            },
        )

    def _require_reachable(self, exc: Exception) -> None:
        """Ends the run when the endpoint was never reached: nobody starts a server that slowly."""
        limit_s = self._config.retry.unreachable_s
        if self._unreached_since is None:  # not since it was made: a stage may begin late
            self._unreached_since = time.monotonic()
        if not self._is_reached and time.monotonic() - self._unreached_since > limit_s:
            where = self._config.base_url or "the provider"
            raise EndpointError(
                f"{self.name}: {where} could not be reached in {limit_s:g} s ({kind_of(exc)}): "
                "check base_url, and that the server is up"
            ) from None

    def _weaken(self, structured: str) -> None:
        """Takes a weaker way of asking for fields from now on, since this one is not known."""
        if self._structured == structured:
            self._structured = _WEAKER[structured]  # type: ignore[assignment]  # one of the three

    def _tell(self) -> Learnt | None:
        learnt, self._learnt = self._learnt, None
        return learnt


class _Client(openai.AsyncOpenAI):
    """The SDK's client, which makes requests of bytes after the pattern of the first of them.

    They differ in content and key alone, and making each anew takes a third of a call's CPU.
    """

    _pattern: httpx2.Request | None = None

    def _build_request(self, options: Any, **unused: Any) -> httpx2.Request:  # noqa: ANN401 - the SDK's own types
        pattern = self._pattern
        if not isinstance(options.content, bytes):
            return super()._build_request(options, **unused)
        if pattern is None or str(pattern.url) != options.url:
            pattern = self._pattern = super()._build_request(options, **unused)
            del pattern.headers["Content-Length"]
        request = httpx2.Request(
            pattern.method,
            pattern.url,
            headers=httpx2.Headers(pattern.headers, encoding="ascii"),
            content=options.content,
            extensions=pattern.extensions,
        )
        request.headers["Idempotency-Key"] = options.idempotency_key
        return request


def open_client(config: OpenAIModel, max_connections: int) -> openai.AsyncOpenAI:
    """A configuration → the SDK's client over aiohttp, with the key of this process's environment.

    Raises:
        EndpointError: the environment variable is not set.
    """
    times = config.timeouts
    timeout = httpx2.Timeout(
        times.total_s, connect=times.connect_s, read=times.first_byte_s, pool=times.total_s
    )
    return _Client(
        api_key=key_of(config),
        base_url=config.base_url,
        max_retries=0,
        timeout=timeout,
        http_client=AiohttpClient(max_connections, timeout),
    )


def key_of(config: OpenAIModel) -> str:
    """A configuration → the key, from the environment of this process; a dummy if it takes none.

    Raises:
        EndpointError: the environment variable is not set.
    """
    if config.api_key_env is None:
        return "none"
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise EndpointError(
            f"{config.name}: the environment variable {config.api_key_env} is not set where the "
            "calls are made; it is to hold the endpoint's key"
        )
    return key


def call_key(identity: str, request: Request) -> str:
    """A model's identity and a request → the call's idempotency key.

    The same in every attempt, and in the run after a kill.
    """
    said = [text for message in request.messages for text in message]
    limit = [] if request.max_tokens is None else [str(request.max_tokens)]
    return digest("call", identity, str(request.seed), *said, *limit)


class Bodies:
    """A model's requests as what is sent; what is the same in all of them is made once."""

    def __init__(self, config: OpenAIModel) -> None:
        """A configuration → the fields that it sets."""
        sampling = config.sampling.model_dump(exclude_none=True)
        if "max_tokens" in sampling:
            sampling[config.token_limit_field] = sampling.pop("max_tokens")
        self._fixed: dict[str, Any] = {"model": config.name, **sampling, **config.extra_body}
        self._sends_seed, self._token_limit = config.sends_seed, config.token_limit_field
        self._formats: dict[tuple[str, str], tuple[ReplySchema, Mapping[str, Any]]] = {}

    def of(self, request: Request, structured: str) -> Mapping[str, Any]:
        """A request → its body, with its fields asked for in that way."""
        messages = [message._asdict() for message in request.messages]
        body: dict[str, Any] = {**self._fixed, "messages": messages}
        if self._sends_seed:
            body["seed"] = request.seed
        if request.max_tokens is not None:
            body[self._token_limit] = request.max_tokens
        if request.schema is not None and structured != "none":
            body["response_format"] = self._format(request.schema, structured)
        return body

    def _format(self, schema: ReplySchema, structured: str) -> Mapping[str, Any]:
        if structured == "json_object":
            return {"type": "json_object"}
        key = (schema.name, structured)
        known = self._formats.get(key)
        if known is None or known[0] is not schema:
            strict = strict_schema(schema.json_schema)
            said = {"name": schema.name, "strict": True, "schema": strict}
            known = self._formats[key] = (schema, {"type": "json_schema", "json_schema": said})
        return known[1]
