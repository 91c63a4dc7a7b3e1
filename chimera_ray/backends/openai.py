"""Any OpenAI-compatible endpoint: one request → one reply or one error."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from chimera_ray.backends.delivered import Delivered
from chimera_ray.backends.forecast import Forecast
from chimera_ray.backends.gate import Gate
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Learnt
from chimera_ray.backends.limits import persist
from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_calls import Calls
from chimera_ray.backends.openai_errors import (
    error_of,
    is_format_refused,
    kind_of,
    transport_error,
)
from chimera_ray.backends.openai_http import FAILURES, Http
from chimera_ray.backends.openai_passage import Passage
from chimera_ray.backends.openai_replies import reply_of
from chimera_ray.backends.rate_headers import learnt_from
from chimera_ray.backends.strict_schema import strict_schema
from chimera_ray.backends.structured_output import StructuredOutput, names_way
from chimera_ray.errors import ChimeraError, EndpointError, TransientProviderError
from chimera_ray.llm import Reply, ReplySchema, Request, Usage
from chimera_ray.model_config import OpenAIModel, Structured
from chimera_ray.schemas import digest


class OpenAI:
    """A model behind an endpoint; made and used inside one event loop."""

    trouble = ""

    def __init__(
        self,
        config: OpenAIModel,
        gate: Gate,
        halt: Halt,
        max_connections: int,
        delivered: Delivered | None = None,
    ) -> None:
        """A configuration → the model; nothing is opened yet.

        Args:
            config: the model and how it is reached.
            gate: where calls wait for their turn at the endpoint.
            halt: stops whatever waits.
            max_connections: the pool's size; as many as there are slots.
            delivered: is told of output tokens as they come; None: nobody asks for them.

        Raises:
            EndpointError: the environment variable that is to hold the key is not set here.
        """
        self.name = config.name
        self._config, self._gate, self._halt = config, gate, halt
        self._http = Http(config, max_connections)
        self._delivered = delivered or Delivered()
        self._calls = Calls(config, self._http, self._delivered)
        self._formats, self._bodies = StructuredOutput(config.structured_output), Bodies(config)
        self._passage = Passage()
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
        await self._http.close()

    async def _attempt(self, request: Request) -> Reply:
        self._passage.begin()
        try:
            reply = await self._replied(request)
        except ChimeraError as exc:
            raise self._passage.judged(exc) from None
        finally:
            self._passage.end()
        self._passage.answered()
        return reply

    async def _replied(self, request: Request) -> Reply:
        try:
            answer = await self._answer(request)
        except FAILURES as exc:
            error = transport_error(exc, self._config)
            if isinstance(error, TransientProviderError):
                self._require_reachable(exc)
            # Not `from exc`: the server may quote the prompt, and a chain is logged whole.
            raise error from None
        self._is_reached = True
        self._learnt = learnt_from(answer.headers) or self._learnt
        if not 200 <= answer.status < 300:
            raise error_of(answer, self._config, request)
        reply = reply_of(answer, self._config, request)
        self._forecast.learn(reply.usage)
        stream = answer.stream
        self._delivered.add(
            self.name, reply.usage.output_tokens - (0 if stream is None else stream.num_told)
        )
        return reply

    async def _answer(self, request: Request) -> Answer:
        """A request → its answer, tried in weaker ways if that may be why it is refused.

        If those are refused as well, it is for another reason, and the first answer tells it.
        """
        formats = self._formats
        first_way = way = formats.way
        first = refusal = answer = await self._post(request, way)
        while is_format_refused(answer, request, way):
            if way != first_way and not names_way(answer):
                return first
            refusal, way = answer, formats.weaker(way, answer)
            answer = await self._post(request, way)
        if way != first_way and answer.status in (400, 422):
            return first
        if 200 <= answer.status < 300 and request.schema is not None:
            formats.took(way) if way == first_way else formats.helped(first_way, refusal, way)
        return answer

    async def _post(self, request: Request, structured: Structured) -> Answer:
        key = call_key(self._identity, request)
        if structured != self._config.structured_output:  # another body is another call
            key = digest(key, structured)
        return await self._calls.make(self._bodies.of(request, structured), key)

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

    def _tell(self) -> Learnt | None:
        learnt, self._learnt = self._learnt, None
        return learnt


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
