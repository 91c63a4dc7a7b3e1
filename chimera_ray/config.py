"""Configuration: what Hydra composed, judged once, frozen ever after.

`recipe` says what is made and `models` who does it: both are identity. `runtime` says where and
how wide, and never is. Keys are given by the *name* of an environment variable.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chimera_ray.errors import ConfigError
from chimera_ray.schemas import digest

ROLES = ("expander", "drafter", "verifier_a", "verifier_b", "solver", "grader")
SIMULATED_REVISION = "1"
"""raised by hand when the simulated world's problems or the teacher's ways change"""
Rate = Annotated[float, Field(ge=0, le=1)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=60)]


class Strict(BaseModel):
    """Frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class SubjectConfig(Strict):
    """One subject of the recipe."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    target_topics: Annotated[int, Field(ge=1)]
    """topics asked for in all, over the subject's expansions"""
    expansions: Annotated[int, Field(ge=1)] = 1
    """independent expansions that share the target; the paper samples mathematics several times"""


class Recipe(Strict):
    """What is made: the subjects, the stages in their order, the stages' parameters."""

    name: Name
    subjects: Annotated[tuple[SubjectConfig, ...], Field(min_length=1)]
    stages: Annotated[tuple[str, ...], Field(min_length=1)]
    params: Mapping[str, Mapping[str, Any]] = {}
    """by stage name; the stage itself judges them"""

    @model_validator(mode="after")
    def _subjects_differ(self) -> "Recipe":
        names = [subject.name.casefold() for subject in self.subjects]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"subjects named twice: {', '.join(twice)}")
        return self


class Sampling(Strict):
    """How a model draws its tokens; None leaves a setting to the server."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Rate | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """output tokens, reasoning included"""
    reasoning_effort: Literal["minimal", "low", "medium", "high"] | None = None


class Prices(Strict):
    """US dollars per million tokens; reasoning tokens cost as output."""

    input_usd: Dollars = 0.0
    cached_usd: Dollars | None = None
    """None: as input"""
    output_usd: Dollars = 0.0
    as_of: str = ""
    """the day on which these prices were read"""


class _Model(Strict):
    name: Annotated[str, Field(min_length=1)]
    """the weights, as the provider or the hub names them"""
    sampling: Sampling = Sampling()
    prices: Prices = Prices()

    def identity(self) -> str:
        """What a reply depends on: weights and sampling, never how they are reached."""
        return digest("model", self.name, self.sampling.model_dump_json())

    def cost_usd(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> float:
        """Tokens of one call → US dollars."""
        fresh, prices = input_tokens - cached_tokens, self.prices
        cached_usd = prices.input_usd if prices.cached_usd is None else prices.cached_usd
        return (
            fresh * prices.input_usd
            + cached_tokens * cached_usd
            + output_tokens * prices.output_usd
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
    malformed_rate: Rate = 0.0
    """replies that do not parse"""
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


class OpenAIModel(_Model):
    """A model behind an OpenAI-compatible endpoint."""

    backend: Literal["openai"]
    base_url: str | None = None
    """None: the provider's own"""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] = "OPENAI_API_KEY"
    """name of the environment variable that holds the key; it is read where the call is made"""


class VllmModel(_Model):
    """Weights that vLLM serves inside the run, on the cluster's GPUs."""

    backend: Literal["vllm"]
    tensor_parallel_size: Annotated[int, Field(ge=1)] = 1
    max_model_len: Annotated[int, Field(ge=1)] | None = None
    """prompt and output tokens together"""
    max_num_seqs: Annotated[int, Field(ge=1)] = 128
    """sequences decoded at once by one engine"""


ModelConfig = Annotated[SimulatedModel | OpenAIModel | VllmModel, Field(discriminator="backend")]


class Models(Strict):
    """Who does which job: one model for each role."""

    expander: ModelConfig
    drafter: ModelConfig
    verifier_a: ModelConfig
    verifier_b: ModelConfig
    solver: ModelConfig
    grader: ModelConfig

    def of(self, role: str) -> ModelConfig:
        """A role's name → the model that is bound to it."""
        model: ModelConfig = getattr(self, role)
        return model


class Pool(Strict):
    """How wide one stage runs."""

    actors: Annotated[int, Field(ge=1)] = 1
    max_in_flight: Annotated[int, Field(ge=1)] = 256
    """rows that one actor works on at the same time"""


class Runtime(Strict):
    """Where the run happens and how wide; nothing here changes what is made."""

    kind: Literal["preview", "local", "cluster"]
    ray_address: str | None = None
    """kind=cluster: the cluster to join; None is the one that the job was submitted to"""
    num_cpus: Annotated[int, Field(ge=1)] | None = None
    """kind=local: CPUs that Ray may use; None is all of them"""
    pool: Pool = Pool()
    """every stage that `pools` does not name"""
    pools: Mapping[str, Pool] = {}
    """by stage name"""
    flush_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """seconds between two writes of one actor to the ledger: what a kill can cost"""
    progress_s: Annotated[float, Field(gt=0)] = 5.0
    """seconds between two progress lines where there is no terminal"""
    preview_rows: Annotated[int, Field(ge=1)] = 3
    """kind=preview: rows that each stage takes at most"""

    def pool_of(self, stage: str) -> Pool:
        """A stage's name → its pool."""
        return self.pools.get(stage, self.pool)


class Config(Strict):
    """One run, whole."""

    recipe: Recipe
    models: Models
    runtime: Runtime
    output_dir: Annotated[str, Field(min_length=1)]


def read_config(composed: Mapping[str, Any]) -> Config:
    """A composed mapping → the judged configuration.

    Raises:
        ConfigError: one line for each key that is wrong, naming it.
    """
    try:
        return Config.model_validate(composed)
    except ValidationError as exc:
        raise ConfigError(explain(exc, "")) from None


def explain(exc: ValidationError, prefix: str) -> str:
    """A pydantic error → one line that names each wrong key, and what is wrong with it."""
    problems = []
    for error in exc.errors(include_url=False, include_context=False, include_input=True):
        tags = {"simulated", "openai", "vllm"}
        where = ".".join(str(part) for part in error["loc"] if part not in tags)
        value = (
            "" if error["type"] in {"extra_forbidden", "missing"} else f" ({error['input']!r:.60})"
        )
        known = {"extra_forbidden": "no such key", "missing": "missing"}
        problems.append(f"{prefix}{where}: {known.get(error['type'], error['msg'])}{value}")
    return "; ".join(problems)
