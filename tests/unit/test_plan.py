"""What a run is said to cost before it is paid for, held against what it then used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from runs import Run, built, config_of

from chimera_ray.build import new_run_id, preview
from chimera_ray.config import ROLES, Config, read_config
from chimera_ray.errors import ConfigError
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.plan import Plan, plan_run
from chimera_ray.plan_config import PlanConfig
from chimera_ray.plan_estimate import Dice, Range, assumed, constant, fold_share, range_of, rate
from chimera_ray.plan_time import RoleLoad, SegmentTime, StageLoad, times_of
from chimera_ray.report_plan import plan as shown
from chimera_ray.runners.local import LocalCarrier
from chimera_ray.terminal import console

CONF = str(Path(__file__).parents[2] / "conf")
ASKING = {
    "expand_topics": ["expander"],
    "draft_problem": ["drafter"],
    "validate_problem": ["verifier_a", "verifier_b"],
    "sample_trajectory": ["solver"],
    "label_trajectory": ["grader"],
}
OPENAI = {"backend": "openai", "name": "remote", "prices": {}}


def _composed(*overrides: str) -> Config:
    with initialize_config_dir(CONF, version_base="1.3"):
        composed = compose("config", overrides=list(overrides))
    plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    assert isinstance(plain, dict)
    return read_config({str(key): value for key, value in plain.items()})


def _assuming(
    config: Config, calls: float = 1.0, shares: Mapping[str, float] | None = None
) -> Config:
    """A configuration with priors that are known: 100 tokens in and 10 out for each call."""
    asked = {"calls_per_row": [calls] * 2, "input_tokens": [100] * 2, "output_tokens": [10] * 2}
    stages: dict[str, Any] = {
        stage: {"roles": dict.fromkeys(roles, asked)} for stage, roles in ASKING.items()
    }
    for stage, share in (shares or {}).items():
        stages.setdefault(stage, {})["outputs_per_input"] = [share, share]
    said = {"stages": stages, "tokens_per_s": {"openai": [10, 10], "vllm": [10, 10]}}
    return config.model_copy(update={"plan": PlanConfig.model_validate(said)})


def _plan(config: Config) -> Plan:
    return plan_run(config, build_graph(config), Store(config.output_dir))


def _said(config: Config) -> str:
    """A configuration → its plan as a person reads it."""
    screen = console()
    with screen.capture() as captured:
        screen.print(shown(_plan(config), config))
    return captured.get()


def _previewed(config: Config) -> None:
    run_id = new_run_id()
    carrier = LocalCarrier(config, run_id)
    work = config, build_graph(config), Store(config.output_dir), carrier, run_id
    preview(*work, lambda _: None, len)


# ---- the forecast ---------------------------------------------------------------------------


@pytest.mark.process
def test_plan_after_a_preview_of_the_demo_is_near_what_the_run_used(tmp_path: Path) -> None:
    prices = [f"+models.{role}.prices={{input_usd: 1.0, output_usd: 10.0}}" for role in ROLES]
    runtime = ["runtime=preview", "runtime.preview_rows=80", f"output_dir={tmp_path}"]
    config = _composed("recipe=demo", *runtime, *prices)
    _previewed(config)
    before = _plan(config)
    used = built(config).account.roles
    for name in ("calls", "tokens", "cost_usd"):
        total = sum(getattr(counts, name) for counts in used.values())
        said: Range = getattr(before.in_all, name)
        assert said.point == pytest.approx(total, rel=0.2), name
        assert said.low <= total <= said.high, name
    for role in ("drafter", "verifier_a", "verifier_b", "solver"):
        assert before.roles[role].calls.low <= used[role].calls <= before.roles[role].calls.high


def test_plan_of_a_finished_run_pays_nothing_again(tmp_path: Path) -> None:
    run = Run(config_of(tmp_path))
    found = _plan(run.config)
    assert found.to_come.calls == (0, 0, 0)
    assert found.seconds == (0, 0, 0)
    for role, counts in run.account.roles.items():
        assert found.roles[role].calls.point == counts.calls
        assert found.roles[role].cost_usd.point == pytest.approx(counts.cost_usd)
    assert [stage.outputs.point for stage in found.stages] == [
        stage.outputs for stage in run.account.stages
    ]


def test_plan_without_a_ledger_follows_its_priors_and_writes_nothing(tmp_path: Path) -> None:
    shares = {"validate_problem": 0.5}
    config = _assuming(config_of(tmp_path / "new", drafts=4), shares=shares)
    found = _plan(config)
    calls = {role: spend.calls.point for role, spend in found.roles.items()}
    # 2 subjects of 3 topics; 4 drafts of each, of which half pass
    assert calls == {
        "expander": 2,
        "drafter": 24,
        "verifier_a": 24,
        "verifier_b": 24,
        "solver": 12,
        "grader": 12,
    }
    assert found.in_all.input_tokens == (9800, 9800, 9800)
    assert found.in_all.cost_usd.point == pytest.approx(98 * (100 * 1 + 10 * 10) / 1e6)
    assert not (tmp_path / "new").exists()


def test_plan_of_one_more_draft_pays_for_the_new_ones_alone(tmp_path: Path) -> None:
    run = Run(config_of(tmp_path, drafts=2))
    topics = run.stage("plan_drafts").inputs
    found = _plan(config_of(tmp_path, drafts=3))
    to_come = {asked.role: asked.to_come.calls.point for asked in found.asked}
    paid = {asked.role: asked.paid.calls for asked in found.asked}
    assert paid == {role: counts.calls for role, counts in run.account.roles.items()}
    assert (to_come["expander"], to_come["drafter"]) == (0, len(topics.ids))
    assert to_come["solver"] == len(topics.ids)


def test_plan_half_way_looks_behind_folds_that_the_ledger_lacks(tmp_path: Path) -> None:
    config = config_of(tmp_path, drafts=6)
    config = config.model_copy(
        update={"runtime": config.runtime.model_copy(update={"preview_rows": 9})}
    )
    _previewed(config)
    found = {stage.stage: stage for stage in _plan(config).stages}
    assert found["draft_problem"].num_done == 9
    assert found["draft_problem"].inputs == (36, 36, 36)
    assert 0 < found["sample_trajectory"].num_done <= 9
    assert found["sample_trajectory"].inputs.high <= 36


def test_plan_of_expansions_left_asks_for_their_own_targets(tmp_path: Path) -> None:
    subjects = {"Mathematics": 2, "Chemistry": 30}
    params = {"expand_topics": {"max_rounds": 4, "topics_per_round": 10}}
    config = config_of(tmp_path, stages=("expand_topics",), subjects=subjects, params=params)
    found = _plan(_assuming(config))
    assert found.in_all.calls == (4, 4, 4)  # one round and three
    assert found.stages[0].outputs == (32, 32, 32)


def test_plan_that_nobody_can_make_names_the_missing_prior(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"plan\.stages\.expand_topics\.roles\.expander: missing"):
        _plan(config_of(tmp_path))


def test_plan_of_a_stage_that_does_not_exist_names_it(tmp_path: Path) -> None:
    config = _assuming(config_of(tmp_path), shares={"draft_problm": 1.0})
    with pytest.raises(ConfigError, match=r"plan\.stages: no such stage: draft_problm"):
        _plan(config)


def test_plan_needs_no_prior_where_nobody_is_asked(tmp_path: Path) -> None:
    stages = ("expand_topics", "dedupe_topics", "nominate_topics", "confirm_topic")
    assert _plan(Run(config_of(tmp_path, stages=stages)).config).to_come.calls == (0, 0, 0)


def test_plan_of_a_remote_model_without_speed_names_it(tmp_path: Path) -> None:
    config = _assuming(config_of(tmp_path, models={"solver": {**OPENAI}}))
    plan = config.plan.model_copy(update={"tokens_per_s": {}})
    with pytest.raises(ConfigError, match="tokens_per_s: neither remote nor openai"):
        _plan(config.model_copy(update={"plan": plan}))


def test_plan_knows_what_the_parameters_say(tmp_path: Path) -> None:
    config = _composed("recipe=chimera_9k", f"output_dir={tmp_path}")
    found = {asked.stage: asked for asked in _plan(config).asked}
    assert found["confirm_topic"].to_come.calls == (0, 0, 0)
    graded = _composed(
        "recipe=chimera_9k",
        f"output_dir={tmp_path}",
        "recipe.params.label_trajectory.use_rules=false",
        "recipe.params.nominate_topics.min_similarity=75",
    )
    again = {asked.stage: asked for asked in _plan(graded).asked}
    assert again["confirm_topic"].to_come.calls.low > 0
    rows = {stage.stage: stage for stage in _plan(graded).stages}
    assert again["label_trajectory"].to_come.calls == rows["label_trajectory"].inputs


# ---- budgets and what is said ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("cap", "said"),
    [(1.0, "fits"), (0.0049, "reached at about 25% of the run")],
    ids=["fits", "too_small"],
)
def test_plan_says_whether_the_cap_fits(tmp_path: Path, cap: float, said: str) -> None:
    config = _assuming(config_of(tmp_path, drafts=4), shares={"validate_problem": 0.5})
    runtime = config.runtime.model_copy(update={"max_cost_usd": cap})
    assert said in _said(config.model_copy(update={"runtime": runtime}))


def test_plan_counts_what_is_paid_towards_the_cap(tmp_path: Path) -> None:
    run = Run(config_of(tmp_path))
    spent = sum(counts.cost_usd for counts in run.account.roles.values())
    runtime = run.config.runtime.model_copy(update={"max_cost_usd": spent / 2})
    (budget,) = _plan(run.config.model_copy(update={"runtime": runtime})).budgets
    assert budget.share == pytest.approx(0.5)


def test_plan_names_models_without_prices_and_those_on_gpus(tmp_path: Path) -> None:
    served = {"backend": "vllm", "name": "served", "prices": {}}
    said = _said(_assuming(config_of(tmp_path, models={"drafter": OPENAI, "solver": served})))
    assert "No prices are set for remote" in said
    assert "GPUs are not in this plan: what served costs" in said


def test_plan_shows_the_day_of_the_prices(tmp_path: Path) -> None:
    dated = {"prices": {"input_usd": 1.0, "as_of": "2026-02-03"}}
    assert "2026-02-03" in _said(_assuming(config_of(tmp_path, models={"solver": dated})))


# ---- estimates ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "prior", "expected"),
    [
        ([], (1.0, 4.0), (1.0, 2.0, 4.0, 0)),
        ([], (0.0, 4.0), (0.0, 2.0, 4.0, 0)),
        ([0.0, 0.0], (1.0, 1.0), (1.0, 1.0, 1.0, 0)),
        ([1.0] * 10, (0.4, 0.9), (0.722, 0.886, 1.0, 10)),
        ([5.0, 7.0], (0.1, 0.2), (3.0, 6.0, 12.0, 2)),
        ([4.0, 5.0, 6.0, 5.0], (0.1, 0.2), (3.701, 5.0, 6.299, 4)),
    ],
    ids=["prior", "prior_from_0", "known", "share", "few", "mean"],
)
def test_rate_is_measured_or_assumed(
    values: list[float], prior: tuple[float, float], expected: tuple[float, ...]
) -> None:
    assert rate(np.array(values), prior) == pytest.approx(expected, abs=0.02)


def test_rate_of_nothing_is_none() -> None:
    assert rate(np.empty(0), None) is None


@pytest.mark.parametrize(
    ("num_rows", "num_kept", "total", "point"),
    [(0, 0, 100, 0.849), (50, 50, 500, 1.0), (100, 90, 100, 0.9), (100, 95, 400, 0.774)],
    ids=["prior", "no_duplicates", "all_seen", "grows"],
)
def test_fold_share_falls_as_duplicates_grow(
    num_rows: int, num_kept: int, total: float, point: float
) -> None:
    found = fold_share(num_rows, num_kept, constant(total), (0.72, 1.0))
    assert found.point == pytest.approx(point, abs=0.002)


def test_fold_share_agrees_with_draws_from_a_pool() -> None:
    pool = np.random.default_rng(5).integers(0, 2000, 1500)
    seen, total = len(set(pool[:600].tolist())), len(set(pool.tolist()))
    found = fold_share(600, seen, constant(1500), (0.01, 1.0))
    assert seen + 900 * found.point == pytest.approx(total, rel=0.05)


def test_dice_draws_lie_in_the_range_and_repeat() -> None:
    estimate = assumed((1.0, 9.0))
    draws = Dice().draw(estimate)
    assert np.array_equal(draws, Dice().draw(estimate))
    assert (draws[0], draws.min(), draws.max()) == (3.0, 1.0, 9.0)
    assert range_of(draws) == pytest.approx((1.0, 3.0, 9.0), abs=0.1)


# ---- time -----------------------------------------------------------------------------------


def _timed(
    tmp_path: Path, solver: dict[str, Any], slots: int = 10, rows: float = 600
) -> SegmentTime:
    """600 calls of the solver, of 100 tokens and 5 s each → the time that they take."""
    config = config_of(tmp_path, models={"solver": {**OPENAI, **solver}})
    pool = config.runtime.pool.model_copy(update={"max_in_flight": slots})
    config = config.model_copy(update={"runtime": config.runtime.model_copy(update={"pool": pool})})
    calls, tokens = constant(rows), constant(rows * 100)
    role = RoleLoad("solver", calls, tokens, constant(5.0), tokens)
    load = StageLoad("sample_trajectory", constant(rows), constant(rows * 5), (role,))
    times, total = times_of([[load]], config, {})
    assert total == times[0].seconds
    return times[0]


@pytest.mark.parametrize(
    ("limits", "slots", "seconds", "bound_by"),
    [
        ({}, 10, 300, "slots of sample_trajectory"),
        ({"requests_per_minute": 60}, 10, 600, "requests at remote"),
        ({"requests_per_minute": 60, "tokens_per_minute": 3000}, 10, 1200, "tokens at remote"),
        ({"max_in_flight": 2}, 10, 1500, "slots at remote"),
        ({"requests_per_minute": 6000}, 10_000, 6, "requests at remote"),
        ({}, 10_000, 5, "slots of sample_trajectory"),
    ],
    ids=["slots", "requests", "tokens", "endpoint", "few_requests", "one_turn"],
)
def test_time_is_that_of_the_slowest_bound(
    tmp_path: Path, limits: dict[str, float], slots: int, seconds: float, bound_by: str
) -> None:
    found = _timed(tmp_path, {"limits": limits}, slots)
    assert (found.seconds.point, found.bound_by) == (pytest.approx(seconds), bound_by)


def test_time_on_vllm_has_no_more_slots_than_sequences(tmp_path: Path) -> None:
    served = {"backend": "vllm", "name": "served", "max_num_seqs": 4}
    assert _timed(tmp_path, served).seconds.point == pytest.approx(600 / 4 * 5)


def test_time_of_batches_is_not_bound_by_the_limits_of_calls(tmp_path: Path) -> None:
    found = _timed(tmp_path, {"limits": {"requests_per_minute": 1}, "batch": {}})
    assert found.bound_by == "slots of sample_trajectory"


def test_time_of_stages_at_one_endpoint_adds_up(tmp_path: Path) -> None:
    remote = {**OPENAI, "limits": {"requests_per_minute": 60}}
    config = config_of(tmp_path, models={"drafter": remote, "verifier_a": remote})
    hundred, second = constant(100), constant(1.0)
    loads = [
        StageLoad(stage, hundred, hundred, (RoleLoad(role, hundred, hundred, second, hundred),))
        for stage, role in (("draft_problem", "drafter"), ("validate_problem", "verifier_a"))
    ]
    (together,), _ = times_of([loads], config, {})
    apart, total = times_of([[load] for load in loads], config, {})
    assert together.seconds.point == pytest.approx(200)
    assert [each.seconds.point for each in apart] == pytest.approx([100, 100])
    assert total.point == pytest.approx(200)


def test_time_of_a_batch_is_up_to_a_day(tmp_path: Path) -> None:
    config = _assuming(config_of(tmp_path, models={"solver": {**OPENAI, "batch": {}}}))
    times = {segment.stages[-1]: segment.seconds for segment in _plan(config).segments}
    low, point, high = times["label_trajectory"]
    assert 3600 <= low < point < high <= 24 * 3600
