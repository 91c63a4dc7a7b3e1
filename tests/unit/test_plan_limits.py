"""A plan never says more than the configured limits allow."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs import PRICES, config_of

from chimera_ray.build import new_run_id, preview
from chimera_ray.config import ROLES, Config
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.plan import Plan, plan_run
from chimera_ray.plan_config import PlanConfig
from chimera_ray.plan_estimate import constant
from chimera_ray.plan_limits import CallLimits
from chimera_ray.runners.local import LocalCarrier

OPENAI = {"backend": "openai", "name": "remote"}
VLLM = {"backend": "vllm", "name": "served"}
ASKED = {
    "expand_topics": ["expander"],
    "draft_problem": ["drafter"],
    "validate_problem": ["verifier_a", "verifier_b"],
    "sample_trajectory": ["solver"],
    "label_trajectory": ["grader"],
}


def _assuming(config: Config, read: float = 500, written: float = 20_000) -> Config:
    """Far more output than small limits allow."""
    prior = {
        "calls_per_row": [0.9, 1.5],
        "input_tokens": [read / 2, read],
        "output_tokens": [written / 2, written],
    }
    stages = {stage: {"roles": dict.fromkeys(roles, prior)} for stage, roles in ASKED.items()}
    said = {"stages": stages, "tokens_per_s": {"openai": [10, 10], "vllm": [10, 10]}}
    return config.model_copy(update={"plan": PlanConfig.model_validate(said)})


def _plan(config: Config) -> Plan:
    return plan_run(config, build_graph(config), Store(config.output_dir))


def _require_within(plan: Plan, limit: int) -> None:
    for asked in plan.asked:
        calls, output = asked.to_come.calls, asked.to_come.output_tokens
        for end in ("low", "point", "high"):
            assert getattr(output, end) <= getattr(calls, end) * limit + 1e-6, (asked.role, end)


def _previewed(config: Config) -> Config:
    run_id = new_run_id()
    carrier = LocalCarrier(config, run_id)
    work = config, build_graph(config), Store(config.output_dir), carrier, run_id
    preview(*work, lambda _: None, len)
    return config


def test_plan_of_416_calls_of_1000_tokens_is_not_one_of_six_millions(tmp_path: Path) -> None:
    config = config_of(tmp_path, drafts=16, models=dict.fromkeys(ROLES, OPENAI))
    limited = config_of(
        tmp_path,
        drafts=16,
        models={role: {**OPENAI, "sampling": {"max_tokens": 1_000}} for role in ROLES},
    )
    open_end, held = (_plan(_assuming(each)) for each in (config, limited))
    assert open_end.in_all.output_tokens.point > 10 * held.in_all.output_tokens.high
    _require_within(held, 1_000)
    assert held.in_all.cost_usd.high <= held.in_all.calls.high * (500 * 1 + 1_000 * 10) / 1e6
    assert held.seconds.point < open_end.seconds.point / 10


def test_plan_holds_what_was_measured_to_the_limit_too(tmp_path: Path) -> None:
    """A mean of few calls is taken to be off by as much again."""
    config = _previewed(config_of(tmp_path, drafts=4, sampling={"max_tokens": 40}))
    found = _plan(config)
    assert any(asked.num_measured and asked.to_come.calls.high for asked in found.asked)
    _require_within(found, 40)


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ({**OPENAI, "extra_body": {"max_completion_tokens": 700}}, 700),
        ({**OPENAI, "sampling": {"max_tokens": 700}, "batch": {}}, 700),
        ({**VLLM, "sampling": {"max_tokens": 700}}, 700),
        ({**VLLM, "max_model_len": 900}, 900),
        ({**VLLM, "max_model_len": 9_000, "engine_args": {"max_model_len": 900}}, 900),
        ({"sampling": {"max_tokens": 700}}, 700),
    ],
    ids=["extra_body", "batch", "vllm", "vllm_context", "engine_args", "simulated"],
)
def test_plan_keeps_every_way_of_limiting_a_call(
    tmp_path: Path, said: dict[str, Any], limit: int
) -> None:
    _require_within(_plan(_assuming(config_of(tmp_path, models=dict.fromkeys(ROLES, said)))), limit)


def test_plan_fits_prompt_and_reply_into_the_context(tmp_path: Path) -> None:
    models = {role: {**VLLM, "max_model_len": 4_096} for role in ROLES}
    for read in (500, 4_000, 50_000):
        found = _plan(_assuming(config_of(tmp_path, models=models), read))
        for asked in found.asked:
            assert asked.to_come.tokens.high <= asked.to_come.calls.high * 4_096 + 1e-6


def _second(tmp_path: Path, kind: dict[str, Any], second: int) -> Plan:
    return _plan(
        _assuming(
            config_of(
                tmp_path,
                models={"solver": {**kind, "sampling": {"max_tokens": 1_000}}},
                params={"sample_trajectory": {"second_chance_tokens": second}},
            )
        )
    )


@pytest.mark.parametrize(("kind", "most"), [(OPENAI, 4_000), (VLLM, 3_000)], ids=["openai", "vllm"])
def test_plan_of_a_second_chance_pays_for_both_replies(
    tmp_path: Path, kind: dict[str, Any], most: int
) -> None:
    found = _second(tmp_path, kind, 3_000)
    (solver,) = [asked for asked in found.asked if asked.role == "solver"]
    (rows,) = [stage.inputs for stage in found.stages if stage.stage == "sample_trajectory"]
    assert solver.to_come.calls.point > 1.5 * rows.point
    first_calls = solver.to_come.calls.point / 2
    assert solver.to_come.output_tokens.point == pytest.approx(first_calls * most)


def test_plan_asks_no_more_rounds_than_there_are(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        stages=("expand_topics",),
        subjects={"Mathematics": 500, "Chemistry": 500},
        params={"expand_topics": {"max_rounds": 3, "topics_per_round": 10}},
    )
    found = _plan(_assuming(config))
    assert found.in_all.calls.high <= 6


def test_plan_takes_no_more_reasoning_than_there_is_output(tmp_path: Path) -> None:
    """Endpoints report reasoning beside the output; here its price is the lower one."""
    prices = {**PRICES, "reasoning_usd": 1.0}
    config = _previewed(config_of(tmp_path, drafts=4, prices=prices))
    found = _plan(config)
    assert found.to_come.cost_usd.low >= 0
    assert found.to_come.cost_usd.high <= found.to_come.tokens.high * 10 / 1e6


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from([OPENAI, VLLM, {}]),
    limit=st.integers(1, 50_000),
    more=st.none() | st.integers(1, 50_000),
    context=st.none() | st.integers(60_000, 200_000),
    written=st.floats(1, 300_000),
    read=st.floats(0, 300_000),
)
def test_plan_never_exceeds_calls_times_their_limit(
    tmp_path: Path,
    kind: dict[str, Any],
    limit: int,
    more: int | None,
    context: int | None,
    written: float,
    read: float,
) -> None:
    model = {**kind, "sampling": {"max_tokens": limit}}
    if kind is VLLM:
        model["max_model_len"] = context
    second = None if more is None else {"second_chance_tokens": limit + more}
    params = {} if second is None else {"sample_trajectory": second}
    config = config_of(tmp_path / "new", models=dict.fromkeys(ROLES, model), params=params)
    found = _plan(_assuming(config, read, written))
    _require_within(found, limit + (more or 0))
    for asked in found.asked:
        if asked.role != "solver":
            assert asked.to_come.output_tokens.high <= asked.to_come.calls.high * limit + 1e-6


@given(
    output=st.none() | st.integers(1, 10_000),
    more=st.none() | st.integers(1, 10_000),
    context=st.none() | st.integers(1, 20_000),
    read=st.floats(0, 30_000),
    written=st.floats(0, 30_000),
    goes_on=st.booleans(),
)
def test_limits_leave_numbers_between_nothing_and_what_was_asked(
    output: int | None,
    more: int | None,
    context: int | None,
    read: float,
    written: float,
    goes_on: bool,
) -> None:
    second = None if more is None or output is None else output + more
    limits = CallLimits(output, second, context, goes_on)
    again, each = limits.cut(constant(written))
    assert np.isin(again, (1, 2)).all()
    assert (again * each <= written + (output or 0) + 1e-6).all()
    held = limits.hold(constant(read), each)
    assert (held[0] <= read).all()
    assert ((held[1] >= 0) & (held[1] <= each)).all()
