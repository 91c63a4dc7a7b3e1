"""What Hydra composed, judged: every wrong key is named, in one line."""

from typing import Any

import pytest
from pydantic import ValidationError

from chimera_ray.config import ROLES, Config, Models, Pool, read_config
from chimera_ray.errors import ConfigError
from chimera_ray.llm import Usage
from chimera_ray.model_config import (
    Batch,
    Latency,
    OpenAIModel,
    Prices,
    Sampling,
    SimulatedModel,
    VllmModel,
)
from chimera_ray.runners.ray_address import address_of


def _composed(**changes: Any) -> dict[str, Any]:
    """A whole configuration; changes by dotted key, with `__` for the dot, `...` to delete."""
    composed: dict[str, Any] = {
        "recipe": {
            "name": "tiny",
            "subjects": [{"name": "Mathematics", "target_topics": 2}],
            "stages": ["expand_topics"],
            "params": {},
        },
        "models": {role: {"backend": "simulated", "name": "teacher"} for role in ROLES},
        "runtime": {"kind": "preview"},
        "output_dir": "out",
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        place = composed
        for part in path:
            place = place.setdefault(part, {})
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return composed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recpie": {}}, "recpie: no such key"),
        ({"recipe__stagse": []}, "recipe.stagse: no such key"),
        ({"models__judge": {}}, "models.judge: no such key"),
        ({"models__solver__temprature": 1}, "models.solver.temprature: no such key"),
        ({"models__solver__sampling": {"topp": 1}}, "models.solver.sampling.topp: no such key"),
        ({"models__solver__base_url": "http://x"}, "models.solver.base_url: no such key"),
        ({"runtime__pool": {"actor": 1}}, "runtime.pool.actor: no such key"),
        ({"runtime__pools": {"x": {"actor": 1}}}, "runtime.pools.x.actor: no such key"),
        ({"recipe": ...}, "recipe: missing"),
        ({"output_dir": ...}, "output_dir: missing"),
        ({"models__grader": ...}, "models.grader: missing"),
        ({"models__grader__name": ...}, "models.grader.name: missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_config_unknown_or_missing_key_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(_composed(**changes))
    assert str(caught.value) == said


ADDRESSES = ["auto", "head:6379", "10.0.0.1:1", "[::1]:65535", "ray-head.team_1.svc:6379"]
NO_ADDRESSES = [
    *("http://head:8265", "ray://head:10001", "head", "head:", ":6379", "head:0", "head:65536"),
    *("head:port", "head:6379/", "my head:6379", "me:hunter2@head:6379", "head:\u0663", "::1:6379"),
    *("\x1b[31m:1", "head:" + "9" * 5_000, ""),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_address_of_a_ray_cluster_is_taken(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = read_config(_composed(runtime__ray_address=address)).runtime
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    assert address_of(given) == address
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert address_of(read_config(_composed()).runtime) == address


@pytest.mark.parametrize("address", NO_ADDRESSES, ids=range(len(NO_ADDRESSES)))
def test_what_is_no_address_of_a_ray_cluster_is_refused_unseen(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"^runtime\.ray_address: must be host:port") as caught:
        read_config(_composed(runtime__ray_address=address))
    assert "hunter2" not in str(caught.value)
    runtime = read_config(_composed()).runtime
    monkeypatch.setenv("RAY_ADDRESS", address)
    if not address:  # as if it were not set
        assert address_of(runtime) == "auto"
        return
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS must be host:port") as caught:
        address_of(runtime)
    assert "hunter2" not in str(caught.value)


def test_config_error_of_a_list_is_told_where_it_is_and_not_again_of_the_list() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(_composed(recipe__subjects=["Physics"], recipe__stages=[1]))
    said = str(caught.value).split("; ")
    assert [part.split(":")[0] for part in said] == ["recipe.subjects.0", "recipe.stages.0"]


def test_config_missing_key_inside_a_list_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(_composed(recipe__subjects=[{"name": "M"}]))
    assert "recipe.subjects.0.target_topics: missing" in str(caught.value).split("; ")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"recipe": "demo"}, "recipe"),
        ({"recipe__name": "De mo"}, "recipe.name"),
        ({"recipe__name": "../up"}, "recipe.name"),
        ({"recipe__name": ""}, "recipe.name"),
        ({"recipe__name": "x" * 61}, "recipe.name"),
        ({"recipe__name": "demo\n"}, "recipe.name"),
        ({"recipe__subjects": []}, "recipe.subjects"),
        ({"recipe__subjects": None}, "recipe.subjects"),
        ({"recipe__subjects": ["Mathematics"]}, "recipe.subjects.0"),
        (
            {"recipe__subjects": [{"name": "M", "target_topics": 0}]},
            "recipe.subjects.0.target_topics",
        ),
        ({"recipe__subjects": [{"name": "", "target_topics": 1}]}, "recipe.subjects.0.name"),
        ({"recipe__stages": []}, "recipe.stages"),
        ({"recipe__stages": "expand_topics"}, "recipe.stages"),
        ({"recipe__params": ["x"]}, "recipe.params"),
        ({"recipe__params": {"expand_topics": 5}}, "recipe.params.expand_topics"),
        ({"models__solver": "gpt"}, "models.solver"),
        ({"models__solver": {"name": "x"}}, "models.solver"),
        ({"models__solver__backend": "magic"}, "models.solver"),
        ({"models__solver__name": ""}, "models.solver.name"),
        ({"models__solver__seed": "many"}, "models.solver.seed"),
        ({"models__solver__refusal_rate": 1.01}, "models.solver.refusal_rate"),
        ({"models__solver__refusal_rate": -0.01}, "models.solver.refusal_rate"),
        ({"models__solver__refusal_rate": float("nan")}, "models.solver.refusal_rate"),
        ({"models__solver__latency": {"mean_s": -1}}, "models.solver.latency.mean_s"),
        ({"models__solver__sampling": {"temperature": 3}}, "models.solver.sampling.temperature"),
        ({"models__solver__prices": {"input_usd": -1}}, "models.solver.prices.input_usd"),
        ({"runtime__kind": "cloud"}, "runtime.kind"),
        ({"runtime__pool": {"actors": 0}}, "runtime.pool.actors"),
        (
            {"runtime__pools": {"draft_problem": {"actors": 0}}},
            "runtime.pools.draft_problem.actors",
        ),
        ({"runtime__flush_s": 0}, "runtime.flush_s"),
        ({"runtime__flush_s": 61}, "runtime.flush_s"),
        ({"runtime__preview_rows": 0}, "runtime.preview_rows"),
        ({"output_dir": ""}, "output_dir"),
        ({"output_dir": None}, "output_dir"),
        ({"output_dir": 5}, "output_dir"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value)[:60],
)
def test_config_wrong_value_names_its_key(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(_composed(**changes))
    message = str(caught.value)
    assert message.startswith(f"{named}: ")
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize("price", [float("nan"), float("inf")])
def test_config_price_that_is_no_number_is_refused(price: float) -> None:
    with pytest.raises(ConfigError):
        read_config(_composed(models__solver__prices={"output_usd": price}))


def test_config_several_wrong_keys_are_all_named_in_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(_composed(recpie={}, output_dir=..., runtime__kind="cloud"))
    message = str(caught.value)
    for key in ("recpie: ", "output_dir: ", "runtime.kind: "):
        assert key in message
    assert message.count("; ") == 2


def test_config_subject_named_twice_is_named() -> None:
    subjects = [{"name": name, "target_topics": 1} for name in ("Physics", "PHYSICS")]
    with pytest.raises(ConfigError, match="subjects named twice: physics"):
        read_config(_composed(recipe__subjects=subjects))


def test_config_long_hostile_value_is_shown_in_short() -> None:
    with pytest.raises(ConfigError) as caught:
        read_config(_composed(runtime__kind="\n\x1b[31m" * 10_000))
    message = str(caught.value)
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 300


def test_config_whole_is_read_and_frozen() -> None:
    config = read_config(_composed())
    assert config.recipe.subjects[0].expansions == 1
    assert config.runtime.pool_of("draft_problem") == Pool()
    with pytest.raises(ValidationError):
        config.output_dir = "elsewhere"  # type: ignore[misc]


def test_config_dumped_and_read_again_is_the_same() -> None:
    config = read_config(_composed(models__solver__sampling={"top_p": 0.9}))
    assert read_config(config.model_dump(mode="json")) == config


def test_config_pools_of_a_stage_go_before_the_common_one() -> None:
    pools = {"draft_problem": {"actors": 3, "max_in_flight": 7}}
    config = read_config(_composed(runtime__pools=pools))
    assert config.runtime.pool_of("draft_problem") == Pool(actors=3, max_in_flight=7)
    assert config.runtime.pool_of("validate_problem") == Pool()


def test_config_every_role_has_a_model_and_no_other() -> None:
    assert tuple(Models.model_fields) == ROLES
    config: Config = read_config(_composed(models__grader__name="another"))
    assert [config.models.of(role).name for role in ROLES] == ["teacher"] * 5 + ["another"]


SIMULATED = SimulatedModel(backend="simulated", name="m")
OPENAI = OpenAIModel(backend="openai", name="m")
VLLM = VllmModel(backend="vllm", name="m")


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        (SIMULATED, {"latency": Latency(mean_s=9), "prices": Prices(input_usd=1)}),
        (OPENAI, {"base_url": "http://x", "api_key_env": "KEY", "prices": Prices(input_usd=1)}),
        (VLLM, {"tensor_parallel_size": 4, "max_num_seqs": 8, "max_model_len": 99}),
    ],
    ids=["simulated", "openai", "vllm"],
)
def test_model_identity_is_silent_on_how_it_is_reached(
    model: SimulatedModel | OpenAIModel | VllmModel, changes: dict[str, Any]
) -> None:
    for change in changes.items():
        assert model.model_copy(update=dict([change])).identity() == model.identity()


@pytest.mark.parametrize("model", [SIMULATED, OPENAI, VLLM], ids=["simulated", "openai", "vllm"])
@pytest.mark.parametrize(
    "change", [{"name": "n"}, {"sampling": Sampling(temperature=0.6)}], ids=["name", "sampling"]
)
def test_model_identity_follows_weights_and_sampling(
    model: SimulatedModel | OpenAIModel | VllmModel, change: dict[str, Any]
) -> None:
    assert model.model_copy(update=change).identity() != model.identity()


@pytest.mark.parametrize(
    "field", [name for name in SimulatedModel.model_fields if name.endswith("_rate")] + ["seed"]
)
def test_model_identity_of_the_simulation_follows_its_errors(field: str) -> None:
    assert SIMULATED.model_copy(update={field: 1}).identity() != SIMULATED.identity()


def test_model_simulated_never_passes_for_real() -> None:
    assert SIMULATED.identity() not in (OPENAI.identity(), VLLM.identity())


def test_model_cost_counts_cached_tokens_once() -> None:
    prices = Prices(input_usd=1.0, cached_usd=0.1, output_usd=10.0)
    model = OPENAI.model_copy(update={"prices": prices})
    usage = Usage(1_000_000, 400_000, 50_000)
    assert model.cost_usd(usage) == pytest.approx(0.6 + 0.04 + 0.5)


def test_model_cost_of_reasoning_tokens_is_theirs_alone() -> None:
    prices = Prices(output_usd=10.0, reasoning_usd=2.0)
    model = OPENAI.model_copy(update={"prices": prices})
    usage = Usage(output_tokens=100_000, reasoning_tokens=80_000)
    assert model.cost_usd(usage) == pytest.approx(0.2 + 0.16)
    batched = model.model_copy(update={"batch": Batch()})
    assert batched.cost_usd(usage) == pytest.approx(0.18)


def test_model_identity_of_an_endpoint_is_what_is_asked_not_how_it_is_reached() -> None:
    reached = {"base_url": "http://other/v1", "api_key_env": "OTHER", "batch": Batch()}
    assert OPENAI.model_copy(update=reached).identity() == OPENAI.identity()
    assert OPENAI.model_copy(update={"extra_body": {"top_k": 1}}).identity() != OPENAI.identity()


def test_config_one_endpoint_with_two_limits_is_refused_and_both_roles_are_named() -> None:
    remote = {"backend": "openai", "name": "m"}
    limited = {**remote, "limits": {"requests_per_minute": 60}}
    with pytest.raises(ConfigError, match=r"drafter and verifier_a .* m at the provider"):
        read_config(_composed(models__drafter=remote, models__verifier_a=limited))
