"""Configuration: what Hydra composed, judged once, frozen ever after.

`recipe` says what is made and `models` who does it: both are identity. `runtime` says where and
how wide, and never is. Keys are given by the *name* of an environment variable.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from chimera_ray.credentials import HINT, is_secret, redacted, require_none
from chimera_ray.errors import ConfigError
from chimera_ray.model_config import Limits, ModelConfig, OpenAIModel
from chimera_ray.plan_config import PlanConfig
from chimera_ray.strict import Strict

ROLES = ("expander", "drafter", "verifier_a", "verifier_b", "solver", "grader")
MAX_PORT = 65_535
_HEAD_HOST = re.compile(r"[\w.-]+|\[[0-9A-Fa-f:.%]+\]")
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$", max_length=60)]


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
    language: Annotated[str, Field(min_length=1, max_length=60)] = "English"
    """what the data are written in; a recipe hands it to the stages whose prompts name it"""
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

    @model_validator(mode="after")
    def _limits_agree(self) -> "Models":
        seen: dict[str, tuple[str, Limits]] = {}
        for role in ROLES:
            model = self.of(role)
            if not isinstance(model, OpenAIModel):
                continue
            other, limits = seen.setdefault(model.endpoint, (role, model.limits))
            if limits != model.limits:
                raise ValueError(
                    f"{other} and {role} give different limits for one endpoint: {model.endpoint}"
                )
        return self


class Pool(Strict):
    """How wide one stage runs."""

    actors: Annotated[int, Field(ge=1)] = 1
    max_in_flight: Annotated[int, Field(ge=1)] = 256
    """rows that one actor works on at the same time"""


def cluster_address(said: str) -> str:
    """The address of a Ray cluster's head, or auto, Ray's word for one of this machine → itself.

    Raises:
        ValueError: it is none, without it, since it may hold a password.
    """
    host, _, port = said.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= MAX_PORT
    if said != "auto" and not (_HEAD_HOST.fullmatch(host) and is_port):
        raise ValueError(
            "must be host:port of the head of a Ray cluster, 6379 by default; http:// is for "
            "`ray job submit --address`"
        )
    return said


class Runtime(Strict):
    """Where the run happens and how wide; nothing here changes what is made."""

    kind: Literal["preview", "local", "cluster"]
    ray_address: Annotated[str, AfterValidator(cluster_address)] | None = None
    """kind=cluster: the cluster to join; None is the one that the job was submitted to"""
    num_cpus: Annotated[int, Field(ge=1)] | None = None
    """kind=local: CPUs that Ray may use; None is all of them"""
    pool: Pool = Pool()
    """every stage that `pools` does not name"""
    pools: Mapping[str, Pool] = {}
    """by stage name"""
    flush_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """seconds between two parts of one actor where there can be no journal (object stores, file
    systems without locks): what a kill can cost there; elsewhere it costs about 0.05 s"""
    progress_s: Annotated[float, Field(gt=0)] = 5.0
    """seconds between two progress lines where there is no terminal"""
    preview_rows: Annotated[int, Field(ge=1)] = 3
    """kind=preview: rows that each stage takes at most"""
    max_cost_usd: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """what all calls behind the run's rows may cost, those of earlier executions included; at the
    cap nothing new starts and the run ends with exit code 3. With a token limit for every call it
    is passed by one call at most; near it, fewer calls are in flight"""
    max_total_tokens: Annotated[int, Field(gt=0)] | None = None
    """the same for input and output tokens"""
    stop_grace_s: Annotated[float, Field(ge=0)] = 10.0
    """seconds that calls in flight get to end when an endpoint refuses for good; at the budget's
    cap they get all the time they need"""

    partial_every_tokens: Annotated[int, Field(ge=1)] = 2_048
    """output tokens of an engine's call between two writes of what it has so far: what its death
    can cost each trajectory in flight"""
    engine_wait_s: Annotated[float, Field(gt=0)] = 3_600.0
    """seconds until the first machine for an engine must have come up"""
    engine_load_s: Annotated[float, Field(gt=0)] = 7_200.0
    """seconds that an engine may take to load; after that its start has failed, and another machine
    is tried. Time for 470 GB of weights at 1 Gbit/s; an engine inside the driver has no limit"""

    def pool_of(self, stage: str) -> Pool:
        """A stage's name → its pool."""
        return self.pools.get(stage, self.pool)


class Config(Strict):
    """One run, whole."""

    recipe: Recipe
    models: Models
    runtime: Runtime
    output_dir: Annotated[str, Field(min_length=1)]
    plan: PlanConfig = PlanConfig()
    """what is assumed before there is anything to measure; never part of what is made"""


def read_config(composed: Mapping[str, Any]) -> Config:
    """A composed mapping → the judged configuration.

    Raises:
        ConfigError: a secret is in it, or one line for each key that is wrong, naming it.
    """
    require_none(composed)
    try:
        return Config.model_validate(composed)
    except ValidationError as exc:
        raise ConfigError(explain(exc, "")) from None


def explain(exc: ValidationError, prefix: str) -> str:
    """A pydantic error → one line that names each wrong key, and what is wrong with it."""
    problems = []
    errors = exc.errors(include_url=False, include_context=False, include_input=True)
    wrong = [error["loc"] for error in errors]
    for error in errors:
        loc = error["loc"]
        if any(len(inner) > len(loc) and inner[: len(loc)] == loc for inner in wrong):
            continue  # of what is wrong inside it
        tags = {"simulated", "openai", "vllm"} if loc[:1] == ("models",) else set()
        where = prefix + ".".join(str(part) for part in loc if part not in tags)
        known = _KINDS.get(error["type"])
        field = _FIELDS.get(where) or _FIELDS.get(where.rsplit(".", 1)[-1])
        said = field or error["msg"].removeprefix("Value error, ")
        said += _shown(where, error["input"])
        problems.append(f"{where}: {known or said}" if where else error["msg"])
    return redacted("; ".join(problems))


_KINDS = {"extra_forbidden": "no such key", "missing": "missing"}
_VARIABLE = f"must be a variable's name of A-Z, 0-9 and _; {HINT}"
_FIELDS = {
    "base_url": "must be http:// or https:// with a host and, if any, a port of 1 to 65535, and no "
    "blank, user, password, ? or #",
    "recipe.name": "must be of a-z, 0-9 and _, at most 60 of them, not beginning with _",
    "recipe.subjects": "must be a list of subjects, at least one",
    "recipe.stages": "must be a list of stages, at least one",
    "api_key_env": _VARIABLE,
    "env": _VARIABLE,
    "reasoning_effort": "must be one short word, as none, low or xhigh",
    "api_key_header": "must be a header's name",
}
"""what a pattern means"""
_CLOSED = frozenset(
    {"base_url", "api_key_env", "headers", "query", "extra_body", "env", "ray_address"}
)
"""fields whose wrong value may be a secret of any form"""


def _shown(where: str, value: object) -> str:
    """A key and its wrong value → the value in brackets, if it is short and surely no secret."""
    if isinstance(value, str):
        is_open = _CLOSED.isdisjoint(where.split(".")) and not is_secret(where, value)
        return f" ({value!r:.60})" if is_open else ""
    return f" ({value!r})" if value is None or isinstance(value, bool | int | float) else ""
