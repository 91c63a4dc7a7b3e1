"""Whole small runs whose every role is played over HTTP, undisturbed and otherwise."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from runs import Run, built, config_of
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.backends.simulated import Simulated
from chimera_ray.build import new_run_id
from chimera_ray.config import ROLES, Config, Pool
from chimera_ray.errors import BudgetError, EndpointError
from chimera_ray.llm import Model
from chimera_ray.model_config import ModelConfig, SimulatedModel
from chimera_ray.runners.local import LocalCarrier
from chimera_ray.runners.reins import Reins
from chimera_ray.schemas import Call
from chimera_ray.stages import STAGES
from chimera_ray.text.reasoning import split_reasoning

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
KEY = "sk-planted-0123456789abcdef"
NAMES = {role: f"simulated-{role.split('_')[0]}" for role in ROLES}
FLAWLESS = dict.fromkeys(ROLES, "simulated")
FLAWED = {
    "malformed_rate": 0.08,
    "refusal_rate": 0.1,
    "truncation_rate": 0.15,
    "wrong_answer_rate": 0.2,
    "false_accept_rate": 0.2,
    "false_reject_rate": 0.1,
}
NARROW = Pool(max_in_flight=4)
RETRY = {"first_wait_s": 0.01, "max_wait_s": 0.05, "deadline_s": 60.0}
SUBJECTS = {"Mathematics": 3, "Physics": 3}
TOPIC_STAGES = [name for name in STAGES if name != "decontaminate_problem"]


@pytest.fixture(scope="module")
def running() -> Iterator[StubServer]:
    with StubServer() as server:
        yield server


@pytest.fixture
def server(running: StubServer, monkeypatch: pytest.MonkeyPatch) -> StubServer:
    """The server as new, which takes the key that is set."""
    monkeypatch.setenv("STUB_KEY", KEY)
    running.set(**Behaviour(keys=(KEY,), teachers={"flawed": FLAWED}).model_dump())
    running.reset()
    return running


def _config(
    server: StubServer,
    output_dir: Path,
    runtime: Mapping[str, Any] | None = None,
    names: Mapping[str, str] = NAMES,
    **every_model: Any,
) -> Config:
    fields = {"backend": "openai", "base_url": server.url, "api_key_env": "STUB_KEY"}
    config = config_of(
        output_dir,
        drafts=4,
        subjects=SUBJECTS,
        params={"nominate_topics": {"min_similarity": 40}},
        stages=TOPIC_STAGES,
        models={role: {"name": names[role]} for role in ROLES},
        **{**fields, "retry": RETRY, **every_model},
    )
    changed = config.runtime.model_copy(update=dict(runtime or {}))
    return config.model_copy(update={"runtime": changed})


@cache
def _teachers() -> dict[str, SimulatedModel]:
    """The shipped models and the flawed one, by name."""
    paths = sorted((ROOT / "conf" / "model").glob("simulated*.yaml"))
    entries = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths]
    entries.append({"backend": "simulated", "name": "flawed", **FLAWED})
    return {entry["name"]: SimulatedModel.model_validate(entry) for entry in entries}


class Here(Simulated):
    """The teacher that the server would ask, in this process, at the configured prices."""

    def __init__(self, config: ModelConfig, reins: Reins, max_connections: int) -> None:
        super().__init__(_teachers()[config.name].model_copy(update={"prices": config.prices}))


def _here(config: Config) -> Run:
    """The same run without a server."""
    open_here: type[Model] = Here
    run_id = new_run_id()
    return Run(config, LocalCarrier(config, run_id, open_here), run_id)


def _said(run: Run) -> dict[str, list[Any]]:
    """Stage → what the ledger keeps of each row.

    Aside from how long it took, in what order calls ended that were made at the same time, whether
    a reply was in the ledger before its row was, and attempts that were paid for and lost.
    """
    return {
        stage: [
            (*record[:6], sorted(_kept(call) for call in record.calls if not _is_lost(call)))
            for record in run.records[stage]
        ]
        for stage in run.records
    }


def _kept(call: Call) -> Call:
    """A call, with its thinking apart, as a server's replies are kept."""
    reasoning, text = split_reasoning(call.text)
    kept = call._replace(latency_s=0, request_id="", attempts=0, is_replayed=False)
    return kept._replace(text=text, reasoning=call.reasoning or reasoning or "")


def _is_lost(call: Call) -> bool:
    return call.status == "error" and call.is_usage_estimated


def _all_calls(run: Run) -> list[Call]:
    return [call for records in run.records.values() for record in records for call in record.calls]


def _made(run: Run) -> int:
    return sum(run.num_calls.values())


def _require_whole(run: Run) -> None:
    """Holds every input of every stage to be in one outcome, by the account's own sums."""
    for stage in run.account.stages:
        assert stage.inputs == stage.accepted + stage.rejected + stage.failed
        assert stage.todo == 0
    assert run.account.stages[0].inputs > 0


@pytest.mark.parametrize(
    "names",
    [NAMES, {**dict.fromkeys(ROLES, "flawed"), "expander": "simulated"}],
    ids=["shipped", "flawed"],
)
def test_remote_run_leaves_the_ledger_of_a_run_without_a_server(
    server: StubServer, tmp_path: Path, names: dict[str, str]
) -> None:
    remote = Run(_config(server, tmp_path / "remote", names=names))
    here = _here(_config(server, tmp_path / "here", names=names))
    assert _said(remote) == _said(here)
    assert remote.ids == here.ids
    _require_whole(remote)
    roles = {call.role for call in _all_calls(remote)}
    assert roles == set(ROLES)
    if names is not NAMES:
        reasons = {record.reason for records in remote.records.values() for record in records}
        assert {"refused", "truncated", "unparsable"} <= reasons
    counts = server.counts()
    calls = _all_calls(remote)
    assert counts["requests"] == counts["finished"] == len(calls) == _made(remote)
    assert counts["tokens"] == sum(call.input_tokens + call.output_tokens for call in calls)
    ids = [name for key in server.keys().values() for name in key.request_ids]
    assert sorted(ids) == sorted(call.request_id for call in calls)


def test_remote_run_again_makes_no_request_also_at_another_endpoint(
    server: StubServer, tmp_path: Path
) -> None:
    first = Run(_config(server, tmp_path, names=FLAWLESS))
    server.reset()
    again = Run(_config(server, tmp_path, names=FLAWLESS))
    elsewhere = "http://127.0.0.1:9/v1"
    moved = Run(_config(server, tmp_path, names=FLAWLESS, base_url=elsewhere))
    assert server.counts()["requests"] == 0
    assert first.ids == again.ids == moved.ids
    assert _said(first) == _said(again)


CHAOS = {"limited": 0.1, "error_500_html": 0.05, "dropped": 0.02, "hung": 0.01} | {
    "malformed_json": 0.03
}


def test_remote_run_in_chaos_ends_as_if_there_were_none_and_nothing_is_paid_twice(
    server: StubServer, tmp_path: Path
) -> None:
    here = _here(_config(server, tmp_path / "here"))
    server.set(**CHAOS, retry_after=0.1, seed=7)
    remote = Run(_config(server, tmp_path / "remote", timeouts={"first_byte_s": 1.5}))
    assert _said(remote) == _said(here)
    _require_whole(remote)
    counts = server.counts()
    assert len(counts["faults"]) >= 4
    assert counts["requests"] == counts["finished"] + sum(counts["faults"].values())
    assert {key.finished for key in server.keys().values()} == {1}
    calls = [call for call in _all_calls(remote) if not _is_lost(call)]
    assert sum(call.attempts for call in calls) == counts["requests"]


def test_remote_run_one_stray_429_with_a_long_wait_holds_back_its_own_row_alone(
    server: StubServer, tmp_path: Path
) -> None:
    server.set(script=[*["ok"] * 40, "limited"], retry_after=1.5)
    run = Run(_config(server, tmp_path))
    _require_whole(run)
    waits = sorted(call.latency_s for call in _all_calls(run))
    assert 1.5 <= waits[-1] < 4
    assert waits[-2] < 1.4
    assert Counter(call.attempts for call in _all_calls(run))[2] == 1


@pytest.mark.parametrize("fault", ["error_503", "null_content"])
def test_remote_run_rows_that_fail_leave_the_others_as_they_are(
    server: StubServer, tmp_path: Path, fault: str
) -> None:
    """A quarter of the last stage's rows gets no usable reply; errors are never rows."""
    whole = _here(_config(server, tmp_path / "whole", names=FLAWLESS))
    server.set(**{fault: 0.25})
    retry = {**RETRY, "deadline_s": 0.001}
    config = _config(server, tmp_path / "part", names=FLAWLESS, retry=retry)
    stages = config.recipe.stages[:-1]
    before = config.model_copy(
        update={"recipe": config.recipe.model_copy(update={"stages": stages})}
    )
    _here(before)
    part = Run(config)
    _require_whole(part)
    told = {record.work_id: record for record in whole.records["label_trajectory"]}
    records = part.records["label_trajectory"]
    failed = [record for record in records if record.outcome == "failed"]
    assert 0 < len(failed) < len(records) / 2
    assert all(not record.outputs and record.reason and record.detail for record in failed)
    for record in records:
        if record.outcome != "failed":
            assert record[:6] == told[record.work_id][:6]
    server.set(**{fault: 0.0})
    mended = Run(config)
    assert {call.status for record in failed for call in record.calls} & {"ok"} == set()
    assert mended.num_calls.get("grader", 0) == len(failed)
    assert [r.outcome for r in mended.records["label_trajectory"]] == [
        r.outcome for r in whole.records["label_trajectory"]
    ]


def test_remote_run_topic_that_the_safety_system_declines_fails_no_other(
    server: StubServer, tmp_path: Path
) -> None:
    whole = _here(_config(server, tmp_path / "whole"))
    problems = [record for record in whole.records["draft_problem"] if record.outputs]
    word = yaml.safe_load(problems[0].outputs[0].payload)["topic"]
    server.set(banned=(word,))
    part = Run(_config(server, tmp_path / "part"))
    _require_whole(part)
    told = {record.work_id: record for record in whole.records["draft_problem"]}
    declined = [r for r in part.records["draft_problem"] if r.reason == "refused"]
    assert 0 < len(declined) < len(told) / 2
    for record in part.records["draft_problem"]:
        assert record in declined or record[:6] == told[record.work_id][:6]


MENDED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bad_key": ({"script": [*["ok"] * 45, "status:401"]}, {}),
    "quota": ({"quota_calls": 45}, {"quota_calls": None}),
}


@pytest.mark.parametrize(("broken", "mended"), MENDED.values(), ids=MENDED)
def test_remote_run_refused_midway_stops_and_goes_on_when_it_is_mended(
    server: StubServer, tmp_path: Path, broken: dict[str, Any], mended: dict[str, Any]
) -> None:
    here = _here(_config(server, tmp_path / "here", names=FLAWLESS))
    server.set(**broken, latency_mean_s=0.02)
    config = _config(server, tmp_path / "remote", {"pool": NARROW}, names=FLAWLESS)
    began = time.monotonic()
    with pytest.raises(EndpointError) as caught:
        Run(config)
    assert time.monotonic() - began < 20
    assert "STUB_KEY" in str(caught.value)
    assert KEY not in str(caught.value)
    counts = server.counts()
    num_refused = counts["requests"] - counts["finished"]
    assert 1 <= num_refused <= 3 * 8  # what was in flight at the moment
    server.set(**mended, latency_mean_s=0.0)
    run = Run(config)
    assert _said(run) == _said(here)
    # What had its reply is not asked for again, also of rows that had not ended.
    assert {key.finished for key in server.keys().values()} == {1}
    assert server.counts()["finished"] == _made(here)


@pytest.mark.parametrize("grace_s", [0.0, 0.6])
def test_remote_run_refused_while_a_long_call_is_in_flight_waits_its_grace_and_no_more(
    server: StubServer, tmp_path: Path, grace_s: float
) -> None:
    server.set(script=[*["ok"] * 10, "hung", *["ok"] * 10, "status:401"])
    began = time.monotonic()
    with pytest.raises(EndpointError):
        Run(_config(server, tmp_path, {"stop_grace_s": grace_s}))
    assert grace_s <= time.monotonic() - began < grace_s + 5


def test_remote_run_refused_keeps_the_replies_that_come_within_the_grace(
    server: StubServer, tmp_path: Path
) -> None:
    """The stub's waiting comes after a scripted status, so the others are still in flight."""
    server.set(script=[*["ok"] * 12, "status:401"], latency_mean_s=0.1)
    config = _config(server, tmp_path, {"stop_grace_s": 5.0})
    with pytest.raises(EndpointError):
        Run(config)
    before = server.counts()
    assert before["finished"] == before["requests"] - before["statuses"]["401"]
    server.set(latency_mean_s=0.0)
    _require_whole(Run(config))
    assert {key.finished for key in server.keys().values()} == {1}


def _budgeted(server: StubServer, path: Path, **caps: Any) -> Config:
    return _config(server, path, {"pool": NARROW, **caps}, names=FLAWLESS)


def _spent(calls: list[Call]) -> tuple[float, int]:
    tokens = sum(call.input_tokens + call.output_tokens for call in calls)
    return sum(call.cost_usd for call in calls), tokens


@pytest.mark.parametrize("cap", ["max_cost_usd", "max_total_tokens"])
def test_remote_run_stops_at_its_budget_and_pays_for_the_rest_alone_with_a_higher_one(
    server: StubServer, tmp_path: Path, cap: str
) -> None:
    here = _here(_config(server, tmp_path / "here", names=FLAWLESS))
    usd, tokens = _spent(_all_calls(here))
    half = usd / 2 if cap == "max_cost_usd" else tokens // 2
    server.set(latency_mean_s=0.02)
    with pytest.raises(BudgetError, match="leaves room for no further call"):
        Run(_budgeted(server, tmp_path / "remote", **{cap: half}))
    counts = server.counts()
    costs = sorted(
        call.cost_usd if cap == "max_cost_usd" else call.input_tokens + call.output_tokens
        for call in _all_calls(here)
    )
    prices = {"input": 1.0 / 1e6, "output": 10.0 / 1e6}
    usage = counts["usage"]
    spent = usage["input_tokens"] * prices["input"] + usage["output_tokens"] * prices["output"]
    spent = spent if cap == "max_cost_usd" else counts["tokens"]
    assert half * 0.7 <= spent <= half + sum(costs[-counts["max_in_flight"] :])
    server.set(latency_mean_s=0.0)
    rest = Run(_budgeted(server, tmp_path / "remote", **{cap: half * 3}))
    assert _said(rest) == _said(here)
    assert {key.finished for key in server.keys().values()} == {1}
    assert _made(rest) == _made(here) - counts["finished"]
    assert _made(rest) > 0
    total = rest.account.roles.values()
    assert sum(role.cost_usd for role in total) == pytest.approx(usd)
    assert sum(role.tokens for role in total) == tokens


def test_remote_run_whose_budget_was_spent_before_it_began_asks_nothing(
    server: StubServer, tmp_path: Path
) -> None:
    with pytest.raises(BudgetError):
        Run(_budgeted(server, tmp_path, max_total_tokens=4_000))
    server.reset()
    with pytest.raises(BudgetError):
        Run(_budgeted(server, tmp_path, max_total_tokens=4_000))
    assert server.counts()["requests"] == 0


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file below a folder → what is in it, as bytes and, of a table, decoded."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes().decode("latin-1")
            if path.suffix == ".parquet":
                yield path, repr(pq.ParquetFile(path).read().to_pylist())


def _job(*arguments: str, cwd: Path, **env: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "jobs" / "build_dataset.py"), *arguments]
    return subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, "STUB_KEY": KEY, **env},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _arguments(server: StubServer, output_dir: Path, rows: int, *more: str) -> list[str]:
    """A preview's command line: all roles at the server."""
    bound = [
        argument
        for role in ROLES
        for argument in (
            f"model@models.{role}=openai_compatible",
            f"models.{role}.name={NAMES[role]}",
            f"models.{role}.base_url={server.url}",
            f"models.{role}.api_key_env=STUB_KEY",
            f"models.{role}.retry.first_wait_s=0.01",
            f"models.{role}.prices.output_usd=10.0",
        )
    ]
    runtime = ["runtime=preview", f"runtime.preview_rows={rows}", f"output_dir={output_dir}"]
    return [*bound, *runtime, "recipe.params.label_trajectory.use_rules=false", *more]


def _prompt_lines() -> list[str]:
    """What every prompt says in the same words, line by line."""
    texts = [
        path.read_text(encoding="utf-8") for path in (ROOT / "chimera_ray/prompts").glob("*.md")
    ]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [line for line in lines if len(line) > 30 and "{" not in line]


def test_remote_run_with_all_kinds_of_failures_leaves_the_key_nowhere(
    server: StubServer, tmp_path: Path
) -> None:
    rates = dict.fromkeys(("error_503", "limited", "refusal", "length", "malformed_json"), 0.1)
    server.set(**rates, banned=("Physics",), seed=4)
    manifest = built(_config(server, tmp_path))
    assert sum(stage.failed for stage in manifest.account.stages) > 0
    assert manifest.account.roles["drafter"].calls > 0
    found = list(_files(tmp_path))
    names = {path.name for path, _ in found}
    assert {"config.yaml", "manifest.json"} <= names
    assert any(path.suffix == ".parquet" for path, _ in found)
    for path, said in found:
        assert KEY not in said, path
        assert KEY[:14] not in said, path
    assert any("STUB_KEY" in said for path, said in found if path.name == "config.yaml")


def test_remote_jobs_end_with_their_codes_and_say_neither_key_nor_prompt(
    server: StubServer, tmp_path: Path
) -> None:
    cases: dict[str, tuple[list[str], int, str]] = {
        "sound": ([], 0, ""),
        "budget": (["runtime.max_cost_usd=0.01"], 3, "stopped: the budget leaves room for no"),
        "bad_key": ([f"models.{role}.api_key_env=WRONG_KEY" for role in ROLES], 1, "HTTP 401"),
    }
    wrong = "sk-wrong-9876543210"
    processes = {}
    for name, (more, _, _) in cases.items():
        (tmp_path / name).mkdir()
        arguments = _arguments(server, tmp_path / name / "out", 4, *more)
        processes[name] = _job(*arguments, cwd=tmp_path / name, WRONG_KEY=wrong)
    for name, (_, code, complaint) in cases.items():
        printed, said = processes[name].communicate(timeout=120)
        assert (processes[name].returncode, name) == (code, name), said
        assert complaint in said
        assert "Traceback" not in said
        assert said.count("\n") <= 1 or code == 0
        assert [line for line in _prompt_lines() if line in said] == []
        texts = [printed, said, *(text for _, text in _files(tmp_path / name))]
        for secret in (KEY, KEY[:14], wrong, wrong[:14]):
            assert not any(secret in text for text in texts), name
        assert {path.name for path in (tmp_path / name).iterdir()} <= {"out"}


def _run(config: Config) -> None:
    Run(config)


def test_remote_run_killed_half_way_pays_twice_for_what_was_in_flight_at_most(
    server: StubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_KEY", KEY)
    here = _here(_config(server, tmp_path / "here", names=FLAWLESS))
    server.set(latency_mean_s=0.15)
    config = _config(server, tmp_path / "remote", {"pool": NARROW}, names=FLAWLESS)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(config,))
    process.start()
    while server.counts()["finished"] < _made(here) / 2:
        assert process.is_alive()
        process.join(0.02)
    process.kill()
    process.join()
    server.set(latency_mean_s=0.0)
    run = Run(config)
    _require_whole(run)
    assert run.ids == here.ids
    num_twice = server.counts()["finished"] - _made(here)
    # In flight, and what two stages' rows and two verifiers had ended within one flush.
    assert 0 <= num_twice <= 2 * server.counts()["max_in_flight"]
