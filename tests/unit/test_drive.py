"""Whole runs: the accounts add up, nothing is paid twice, and no accident changes the result."""

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fakes import ScriptedModel
from runs import STAGES, Run, config_of, identity, payloads_of, records_of

from chimera_ray.account import Account, RoleAccount
from chimera_ray.backends.gate import Exchange
from chimera_ray.build import preview
from chimera_ray.config import Config
from chimera_ray.drive import RunError, drive
from chimera_ray.errors import CarrierError
from chimera_ray.frontier import Standing
from chimera_ray.graph import Graph, build_graph
from chimera_ray.ledger.compact import compact
from chimera_ray.ledger.index import ACCEPTED, FAILED, PartLostError
from chimera_ray.ledger.parts import is_part, part_name, to_records, write_part
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply
from chimera_ray.model_config import OpenAIModel
from chimera_ray.runners.local import LocalCarrier
from chimera_ray.runners.perform import StageBugError, perform
from chimera_ray.runners.reins import Reins
from chimera_ray.runners.shared_rows import Item
from chimera_ray.runners.worker import StageWorker, open_model
from chimera_ray.schemas import Call, Draft, Record, Topic
from chimera_ray.stage import Fold, Models, Params, Reject, fold, stage

LINEAR = tuple(name for name in STAGES if not name.startswith("dedupe"))
"""no fold, so that what a row rests on never changes"""
FALLIBLE: dict[str, dict[str, Any]] = {
    "drafter": {"wrong_answer_rate": 0.3},
    "verifier_a": {"false_reject_rate": 0.1},
    "verifier_b": {"false_accept_rate": 0.3},
    "solver": {"wrong_answer_rate": 0.3, "truncation_rate": 0.1},
}
FAULTS: dict[str, Any] = {
    "malformed_rate": 0.2,
    "refusal_rate": 0.2,
    "truncation_rate": 0.2,
    "transient_error_rate": 0.2,
}


ASKED_AGAIN = {
    name: {"retry_truncated": True}
    for name in ("expand_topics", "draft_problem", "validate_problem", "sample_trajectory")
} | {"label_trajectory": {"retry_truncated": True, "use_rules": False}}
"""a cut reply is no end either"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with wrong answers and rejects, for tests to copy and compare with."""
    return Run(config_of(tmp_path_factory.mktemp("undisturbed"), models=FALLIBLE))


@pytest.fixture
def finished(undisturbed: Run, tmp_path: Path) -> Config:
    """The configuration of a finished run, with a ledger of its own."""
    shutil.copytree(Path(undisturbed.config.output_dir) / "ledger", tmp_path / "ledger")
    return config_of(tmp_path, models=FALLIBLE)


def _see(standings: Sequence[Standing]) -> None:
    """Looks on."""


def _require_sums(account: Account) -> None:
    previous = None
    for found in account.stages:
        assert found.inputs == found.accepted + found.rejected + found.failed + found.todo
        assert sum(found.rejected_reasons.values()) == found.rejected
        assert sum(found.failed_reasons.values()) == found.failed
        assert found.todo == 0
        if previous is not None:
            assert found.inputs == previous.outputs
        previous = found


def _all_records(store: Store) -> list[Record]:
    """Every record in the ledger, those that another has beaten as well."""
    paths = sorted(Path(store.path("ledger")).rglob("part-*.parquet"))
    return [
        record
        for path in paths
        if path.parent.name != "set_aside"
        for record in to_records(pq.ParquetFile(path).read())
    ]


def _paid_calls(store: Store) -> list[tuple[str, str, str, int, str]]:
    """Every call that was really made, each named by its work and its request."""
    return [
        (record.work_id, *identity(call))
        for record in _all_records(store)
        for call in record.calls
        if not call.is_replayed
    ]


def _require_nothing_paid_twice(store: Store) -> None:
    twice = [call for call, count in Counter(_paid_calls(store)).items() if count > 1]
    assert twice == []


# ---- sums and reruns ------------------------------------------------------------------------


def test_run_small_accounts_add_up_and_equal_the_ledger(undisturbed: Run) -> None:
    _require_sums(undisturbed.account)
    assert undisturbed.account.set_aside == []
    assert undisturbed.account.roles == undisturbed.paid
    assert len(_paid_calls(undisturbed.store)) == sum(undisturbed.num_calls.values())
    stages = {found.stage: found for found in undisturbed.account.stages}
    assert stages["validate_problem"].rejected > 0
    assert stages["label_trajectory"].accepted == len(undisturbed.ids) > 0
    declined = undisturbed.account.declined_checks
    assert declined["verifier_a"]["is_answer_correct"] > 0
    _require_nothing_paid_twice(undisturbed.store)


def test_run_finished_again_calls_nobody_and_gives_the_same(
    undisturbed: Run, finished: Config
) -> None:
    before = sorted(Path(finished.output_dir).rglob("*"))
    again = Run(finished)
    assert again.paid == {}
    assert again.ids == undisturbed.ids
    assert again.account == undisturbed.account
    assert sorted(Path(finished.output_dir).rglob("*")) == before


@pytest.mark.parametrize(
    ("stages", "max_runs"), [(STAGES, 3), (LINEAR, 50)], ids=["paper", "without_folds"]
)
def test_run_with_faults_rerun_works_on_failed_rows_alone(
    tmp_path: Path, stages: Sequence[str], max_runs: int
) -> None:
    config = config_of(
        tmp_path, drafts=1, stages=stages, subjects={"Physics": 2}, params=ASKED_AGAIN, **FAULTS
    )
    before: dict[str, Record] = {}
    paid: list[dict[str, RoleAccount]] = []
    num_failed = []
    for _ in range(max_runs):
        run = Run(config)
        _require_sums(run.account)
        paid.append(run.paid)
        num_failed.append(sum(found.failed for found in run.account.stages))
        records = {record.work_id: record for found in run.records.values() for record in found}
        for work, record in records.items():
            _require_goes_on_from(before.get(work), record, run.id)
        here = [record for record in records.values() if record.run_id == run.id]
        made = [call for record in here for call in _new_calls(before.get(record.work_id), record)]
        assert len(made) == sum(run.num_calls.values())
        num_known = sum(len(record.calls) for record in records.values())
        assert num_known == sum(role.calls for role in run.account.roles.values())
        before |= records
        if run.account.is_complete:
            break
    assert num_failed[0] > 0
    _require_nothing_paid_twice(run.store)
    if stages is LINEAR:
        assert num_failed[-1] == 0
        assert run.ids
        for role, counts in run.account.roles.items():
            spent = [counts_of[role] for counts_of in paid if role in counts_of]
            assert counts.calls == sum(part.calls for part in spent)
            assert counts.tokens == sum(part.tokens for part in spent)
            assert counts.cost_usd == pytest.approx(sum(part.cost_usd for part in spent))


def _require_goes_on_from(before: Record | None, now: Record, run_id: str) -> None:
    """Final records stay as they are; failed ones keep every call that was made for them."""
    if before is None:
        assert now.run_id == run_id
    elif before.outcome != "failed":
        assert now == before
    else:
        assert now.run_id == run_id
        known = {_paid(call) for call in before.calls}
        # A call of this very try is replayed too where the record of the open work paid for it.
        assert known <= {_paid(call) for call in now.calls if call.is_replayed}
        usable = {identity(call) for call in before.calls if call.status == "ok"}
        assert usable <= {identity(call) for call in now.calls}


def _new_calls(before: Record | None, now: Record) -> list[Call]:
    """The calls of a record that an earlier one of the same work had not."""
    known = {_paid(call) for call in before.calls} if before else set()
    return [call for call in now.calls if _paid(call) not in known]


def _paid(call: Call) -> tuple[str, str, int, float]:
    return call.role, call.prompt_id, call.seed, call.cost_usd


def test_rerun_of_a_failed_row_keeps_the_reply_of_the_other_verifier(tmp_path: Path) -> None:
    config = config_of(tmp_path, models={"verifier_b": {"malformed_rate": 1.0}})
    runs = [Run(config), Run(config), Run(config)]
    num_problems = len(runs[0].stage("validate_problem").inputs.ids)
    assert runs[0].stage("validate_problem").count(FAILED) == num_problems > 0
    assert runs[0].num_calls["verifier_a"] == num_problems
    assert [run.num_calls for run in runs[1:]] == [{"verifier_b": num_problems}] * 2
    assert runs[2].account.roles["verifier_a"] == runs[0].paid["verifier_a"]
    assert runs[2].account.roles["verifier_b"].calls == 3 * num_problems
    for record in records_of(runs[2].stage("validate_problem")):
        assert len({call.seed for call in record.calls if call.role == "verifier_b"}) == 3
        good = [call for call in record.calls if call.role == "verifier_a"]
        assert [(call.status, call.is_replayed, bool(call.text)) for call in good] == [
            ("ok", True, True)
        ]


# ---- what a change costs --------------------------------------------------------------------


def test_run_with_more_drafts_pays_for_the_new_ones_alone(
    undisturbed: Run, finished: Config
) -> None:
    more = Run(config_of(Path(finished.output_dir), drafts=3, models=FALLIBLE))
    num_topics = len(more.stage("plan_drafts").inputs.ids)
    assert more.num_calls["drafter"] == num_topics
    for verifier in ("verifier_a", "verifier_b"):  # a verdict each, and a comparison of some
        assert num_topics <= more.num_calls[verifier] <= 2 * num_topics
    assert "expander" not in more.num_calls
    drafts = set(more.stage("draft_problem").inputs.ids)
    assert set(undisturbed.stage("draft_problem").inputs.ids) < drafts
    assert set(undisturbed.ids) <= set(more.ids)
    _require_nothing_paid_twice(more.store)


def test_run_with_another_grader_pays_for_grading_alone(finished: Config) -> None:
    models = {**FALLIBLE, "grader": {"seed": 7}}
    run = Run(config_of(Path(finished.output_dir), models=models))
    assert set(run.num_calls) == {"grader"}
    assert run.num_calls["grader"] == run.account.roles["grader"].calls


def test_run_with_another_verifier_pays_for_no_trajectory_again(
    undisturbed: Run, finished: Config
) -> None:
    models = {**FALLIBLE, "verifier_a": {"false_reject_rate": 0.4, "seed": 3}}
    run = Run(config_of(Path(finished.output_dir), models=models))
    known = set(undisturbed.stage("sample_trajectory").inputs.ids)
    wanted = set(run.stage("sample_trajectory").inputs.ids)
    assert wanted & known
    assert run.num_calls.get("solver", 0) == len(wanted - known)
    num_asked = run.account.roles["verifier_a"].calls
    assert run.num_calls["verifier_a"] == num_asked >= len(run.stage("validate_problem").inputs.ids)
    _require_nothing_paid_twice(run.store)


def test_run_of_another_recipe_shares_the_work_in_common(finished: Config) -> None:
    shorter = config_of(
        Path(finished.output_dir), stages=STAGES[:5], models=FALLIBLE, name="shorter"
    )
    assert Run(shorter).paid == {}
    other = config_of(Path(finished.output_dir), stages=LINEAR, models=FALLIBLE, name="other")
    run = Run(other)
    assert set(run.num_calls) <= {"drafter", "verifier_a", "verifier_b", "solver", "grader"}
    _require_nothing_paid_twice(run.store)


@pytest.mark.parametrize(
    "changes",
    [{}, {"latency": {"mean_s": 0.004, "sigma": 1.5}}],
    ids=["the_same", "random_latency"],
)
def test_run_elsewhere_with_the_same_seed_leaves_the_same_ledger(
    undisturbed: Run, tmp_path: Path, changes: dict[str, Any]
) -> None:
    run = Run(config_of(tmp_path, models=FALLIBLE, **changes))
    assert run.outcomes == undisturbed.outcomes
    assert run.ids == undisturbed.ids
    for name, records in run.records.items():
        twins = undisturbed.records[name]
        assert [r.outputs for r in records] == [r.outputs for r in twins]
        assert [sorted(map(identity, r.calls)) for r in records] == [
            sorted(map(identity, r.calls)) for r in twins
        ]
    assert payloads_of(run.stage("dedupe_problems")) == payloads_of(
        undisturbed.stage("dedupe_problems")
    )


def test_run_with_another_seed_leaves_another_ledger(undisturbed: Run, tmp_path: Path) -> None:
    run = Run(config_of(tmp_path, models=FALLIBLE, seed=1))
    assert not set(run.ids) & set(undisturbed.ids)
    assert run.graph.run_name != undisturbed.graph.run_name


def test_run_compacted_in_between_goes_on_as_before(undisturbed: Run, finished: Config) -> None:
    store = Store(finished.output_dir)
    for standing in undisturbed.standings:
        for number in range(8):  # enough small parts for all of them to be merged
            _split_off(store, standing.folder, number)
        assert compact(store, standing.folder) >= 8
    again = Run(finished)
    assert again.paid == {}
    assert again.account == undisturbed.account
    assert again.ids == undisturbed.ids


def _split_off(store: Store, folder: str, number: int) -> None:
    """Copies a part, as two actors that did the same rows would leave them."""
    name = next(filter(is_part, store.names(folder)))
    shutil.copy(store.path(folder, name), store.path(folder, f"part-9-copy{number}.parquet"))


# ---- accidents ------------------------------------------------------------------------------


class Passing:
    """A carrier that does what it is told to do; the one beneath does the work."""

    def __init__(self, config: Config, carry: Callable[["Passing", list[Standing]], None]) -> None:
        self.config, self._carry = config, carry
        self.num_passes = 0

    def carry(self, standings: Sequence[Standing]) -> None:
        self.num_passes += 1
        self._carry(self, list(standings))

    def work_off(self, standings: Sequence[Standing], run_id: str = "") -> None:
        LocalCarrier(self.config, run_id or "run").carry(standings)

    def engines(self) -> list[dict[str, Any]]:
        return []

    def in_flight(self) -> dict[str, int]:
        return {}

    def notices(self) -> list[str]:
        return []

    def close(self) -> None:
        return


def _only(standing: Standing, count: int) -> Standing:
    """A standing → the same, as if only so many rows were to be done."""
    outcome = standing.found.outcome.copy()
    outcome[standing.todo[count:]] = ACCEPTED
    return replace(standing, found=standing.found._replace(outcome=outcome))


def _lose_between_stages(carrier: Passing, standings: list[Standing]) -> None:
    for standing in standings:
        carrier.work_off([standing])


def _lose_most(carrier: Passing, standings: list[Standing]) -> None:
    for standing in standings:
        carrier.work_off([_only(standing, 7)])


def _do_all_twice(carrier: Passing, standings: list[Standing]) -> None:
    threads = [Thread(target=carrier.work_off, args=(standings,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _give_up_after_some(carrier: Passing, standings: list[Standing]) -> None:
    carrier.work_off([_only(standings[0], 4)])
    raise CarrierError("the cluster went away")


@pytest.mark.parametrize(
    "carry",
    [_lose_between_stages, _lose_most, _do_all_twice, _give_up_after_some],
    ids=["lost_between_stages", "lost_most", "all_twice", "carrier_error"],
)
def test_run_by_a_bad_carrier_ends_as_if_undisturbed(
    undisturbed: Run, tmp_path: Path, carry: Callable[[Passing, list[Standing]], None]
) -> None:
    config = config_of(tmp_path, models=FALLIBLE)
    carrier = Passing(config, carry)
    if carry is _give_up_after_some:  # it can bring only the first stage of a segment forward
        carrier = Passing(config, _give_up_then_work())
    run = Run(config, carrier)
    assert run.outcomes == undisturbed.outcomes
    assert run.ids == undisturbed.ids
    assert len(set(run.ids)) == len(run.ids)
    for role, counts in run.account.roles.items():
        assert counts.cost_usd == pytest.approx(undisturbed.account.roles[role].cost_usd)
        assert counts.calls == undisturbed.account.roles[role].calls
    _require_sums(run.account)


def _give_up_then_work() -> Callable[[Passing, list[Standing]], None]:
    def carry(carrier: Passing, standings: list[Standing]) -> None:
        if carrier.num_passes % 2:
            _give_up_after_some(carrier, standings)
        carrier.work_off(standings)

    return carry


@pytest.mark.parametrize("pass_number", [1, 3], ids=["expanding", "solving"])
def test_run_killed_in_the_middle_goes_on_where_it_was(
    undisturbed: Run, tmp_path: Path, pass_number: int
) -> None:
    config = config_of(tmp_path, models=FALLIBLE)

    def carry(carrier: Passing, standings: list[Standing]) -> None:
        if carrier.num_passes == pass_number:
            carrier.work_off([_only(standings[0], 2)])
            raise KeyboardInterrupt
        carrier.work_off(standings)

    with pytest.raises(KeyboardInterrupt):
        Run(config, Passing(config, carry))
    num_paid = len(_paid_calls(Store(str(tmp_path))))
    run = Run(config)
    assert run.ids == undisturbed.ids
    assert run.outcomes == undisturbed.outcomes
    total = sum(counts.calls for counts in undisturbed.paid.values())
    assert sum(run.num_calls.values()) == total - num_paid
    _require_nothing_paid_twice(run.store)


def test_run_by_a_carrier_that_does_nothing_stops(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    carrier = Passing(config, lambda carrier, standings: None)
    with pytest.raises(RunError, match="2 of expand_topics"):
        Run(config, carrier)
    assert carrier.num_passes == 1


def test_run_by_a_carrier_that_only_complains_stops_and_says_why(tmp_path: Path) -> None:
    def carry(carrier: Passing, standings: list[Standing]) -> None:
        raise CarrierError("no room on any node")

    with pytest.raises(RunError, match="no room on any node"):
        Run(config_of(tmp_path), Passing(config_of(tmp_path), carry))


def _damage(path: Path, where: str) -> None:
    content = bytearray(path.read_bytes())
    if where == "footer":
        path.write_bytes(content[: len(content) // 2])
        return
    chunk = next(
        column
        for column in pq.read_metadata(path).row_group(0).to_dict()["columns"]
        if column["path_in_schema"] == "outputs.list.element.payload"
    )
    start = chunk["dictionary_page_offset"] or chunk["data_page_offset"]
    content[start + chunk["total_compressed_size"] - 8] ^= 0xFF  # in a page, not in its header
    path.write_bytes(content)


def _parts(config: Config, stage_name: str) -> list[Path]:
    return sorted(Path(config.output_dir).glob(f"ledger/{stage_name}/*/part-*.parquet"))


@pytest.mark.parametrize("stage_name", ["draft_problem", "dedupe_problems", "sample_trajectory"])
def test_run_finished_with_a_corrupt_part_names_it_and_does_its_rows_again(
    undisturbed: Run, finished: Config, stage_name: str
) -> None:
    part = _parts(finished, stage_name)[0]
    _damage(part, "footer")
    run = Run(finished)
    assert [Path(name).name for name in run.account.set_aside] == [part.name]
    assert f"{stage_name}/" in run.account.set_aside[0]
    assert run.ids == undisturbed.ids
    assert run.outcomes == undisturbed.outcomes
    _require_sums(run.account)


def test_run_that_meets_corrupt_rows_only_when_it_carries_them_goes_on(
    finished: Config,
) -> None:
    parts = _parts(finished, "draft_problem")
    for part in parts:
        _damage(part, "payload")
    models = {**FALLIBLE, "verifier_a": {"seed": 5}}  # so that the problems are read again
    run = Run(config_of(Path(finished.output_dir), drafts=3, models=models))
    assert [Path(name).name for name in run.account.set_aside] == [part.name for part in parts]
    _require_sums(run.account)
    assert run.account.is_complete
    clean = Run(config_of(Path(finished.output_dir) / "clean", drafts=3, models=models))
    assert run.outcomes == clean.outcomes
    assert run.ids == clean.ids


def test_run_that_meets_corrupt_rows_of_a_segment_that_was_done_goes_on(
    undisturbed: Run, finished: Config
) -> None:
    parts = _parts(finished, "validate_problem")
    for part in parts:
        _damage(part, "payload")
    shutil.rmtree(Path(finished.output_dir) / "ledger/dedupe_problems")  # a fold reads them again
    run = Run(finished)
    set_aside = {Path(name).name for name in run.account.set_aside}
    assert set_aside
    assert set_aside <= {part.name for part in parts}
    assert run.ids == undisturbed.ids
    _require_sums(run.account)


# ---- bugs in stages -------------------------------------------------------------------------


@stage(takes=Topic, gives=Draft, params=Params)
async def silent(row: Topic, models: Models, params: Params) -> AsyncIterator[Draft | Reject]:
    """Gives nothing."""
    for _ in ():
        yield Reject("never")


@stage(takes=Topic, gives=Draft, params=Params)
async def wrong_type(row: Topic, models: Models, params: Params) -> AsyncIterator[Draft | Reject]:
    """Gives what it took."""
    yield row  # type: ignore[misc]


@stage(takes=Topic, gives=Draft, params=Params)
async def undecided(row: Topic, models: Models, params: Params) -> AsyncIterator[Draft | Reject]:
    """Gives a row and a reject."""
    yield Draft(subject="a", area="b", topic=row.topic, draft_index=0, facet="c")
    yield Reject("no")


@fold(takes=Topic, gives=Topic, params=Params)
def forgetful(rows: Sequence[Topic], params: Params) -> list[Topic | Reject]:
    """Forgets one of the rows."""
    return list(rows[1:])


@fold(takes=Topic, gives=Topic, params=Params)
def renaming(rows: Sequence[Topic], params: Params) -> list[Topic | Reject]:
    """Gives rows of another type."""
    return [row.topic for row in rows]  # type: ignore[misc]


@pytest.mark.parametrize(
    "broken", [silent, wrong_type, undecided, forgetful, renaming], ids=lambda found: found.name
)
def test_run_of_a_stage_with_a_bug_stops_and_names_it(tmp_path: Path, broken: Any) -> None:
    config = config_of(tmp_path, stages=STAGES[:3])
    graph = build_graph(config)
    place = 1 if isinstance(broken, Fold) else 2
    nodes = list(graph.nodes)
    nodes[place] = replace(nodes[place], stage=broken)
    store, carrier = Store(config.output_dir), LocalCarrier(config, "run")
    with pytest.raises(StageBugError, match=broken.name):
        drive(replace(graph, nodes=tuple(nodes)), store, carrier, "run", _see)


# ---- the worker -----------------------------------------------------------------------------


def _no_endpoint(model: OpenAIModel) -> Exchange:
    raise AssertionError(f"{model.name} is no remote model")


def test_worker_given_the_same_row_twice_at_once_pays_once(
    undisturbed: Run, tmp_path: Path
) -> None:
    config = config_of(tmp_path, models=FALLIBLE)
    node = undisturbed.stage("sample_trajectory").node
    inputs = undisturbed.stage("sample_trajectory").inputs
    items: list[Item] = [
        (inputs.ids[place], payload) for place, payload in inputs.rows(np.arange(3))
    ]

    async def work() -> list[list[str]]:
        reins = Reins("test", _no_endpoint, None)
        worker = StageWorker(config, node, "run", reins, open_model)

        async def one(given: Sequence[Item]) -> list[str]:
            return [r.work_id async for group in worker.work(given) for r in group]

        given = await asyncio.gather(one([*items, items[0]]), one(items[::-1]))
        again = await one(items)
        await worker.close()
        return [*given, again]

    first, second, again = asyncio.run(work())
    assert sorted(first) == sorted(second) == sorted(again)
    assert len(first) == 3
    calls: list[Call] = [c for record in _all_records(Store(str(tmp_path))) for c in record.calls]
    assert len(calls) == 3


# ---- previews -------------------------------------------------------------------------------


def _itself(standings: list[Standing]) -> list[Standing]:
    return standings


def test_preview_beside_a_run_that_makes_parts_is_shown_all_the_same(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    gone = iter([PartLostError("a journal that is a part by now")])

    def show(standings: list[Standing]) -> int:
        for error in gone:
            raise error
        return len(standings)

    work = config, build_graph(config), Store(config.output_dir), LocalCarrier(config, "look")
    assert preview(*work, "look", _see, show) == len(STAGES)


def test_preview_takes_so_many_rows_of_each_stage_and_the_run_goes_on(tmp_path: Path) -> None:
    config = config_of(tmp_path, drafts=3)
    graph: Graph = build_graph(config)
    carrier, store = LocalCarrier(config, "look"), Store(config.output_dir)
    standings = preview(config, graph, store, carrier, "look", _see, _itself)
    assert max(len(standing.inputs.ids) for standing in standings) == config.runtime.preview_rows
    assert not any(len(standing.todo) for standing in standings)
    num_paid = len(_paid_calls(store))
    run = Run(config)
    _require_sums(run.account)
    _require_nothing_paid_twice(run.store)
    assert len(_paid_calls(store)) == num_paid + sum(run.num_calls.values())


# ---- what models may say --------------------------------------------------------------------


@stage(takes=Topic, gives=Draft, params=Params)
async def moody(row: Topic, models: Models, params: Params) -> AsyncIterator[Draft | Reject]:
    """Gives a draft for the first topic, and has a bug at the others."""
    if row.topic_index == 0:
        yield Draft(subject=row.subject, area="b", topic=row.topic, draft_index=0, facet="c")
    else:
        await asyncio.sleep(0.002)  # so that the first topic's row is done by now


def test_run_stopped_by_a_bug_keeps_the_rows_that_were_done(tmp_path: Path) -> None:
    config = config_of(tmp_path, stages=("expand_topics", "plan_drafts"), subjects={"Physics": 3})
    graph = build_graph(config)
    broken = replace(graph.nodes[1], stage=moody)
    store, carrier = Store(config.output_dir), LocalCarrier(config, "run")
    with pytest.raises(StageBugError):
        drive(replace(graph, nodes=(graph.nodes[0], broken)), store, carrier, "run", _see)
    assert [record.outcome for record in _all_records(store)] == ["accepted", "accepted"]


@pytest.mark.parametrize(
    "reason", ['It is "\\ ' * 150, "It is \U0001f600" * 300], ids=["quotes", "emoji"]
)
def test_run_with_hostile_verifier_reasons_counts_declined_checks(
    tmp_path: Path, reason: str
) -> None:
    wrong = {"drafter": {"wrong_answer_rate": 1.0}}
    config = config_of(tmp_path, stages=STAGES[:5], subjects={"Physics": 2}, models=wrong)
    before = Run(config)
    names = ("is_on_topic", "is_clear", "is_verifiable", "is_answer_correct")
    checks = {name: {"is_passed": False, "reason": reason} for name in names}
    reply = Reply(json.dumps({**checks, "own_answer": None}))
    standing = before.stage("validate_problem")
    payloads = payloads_of(standing)
    records = [
        asyncio.run(
            perform(
                standing.node,
                input_id,
                payload,
                {role: ScriptedModel(reply) for role in standing.node.roles},
                (),
                before.id,
            )
        )
        for input_id, payload in zip(standing.inputs.ids, payloads, strict=True)
    ]
    for name in filter(is_part, before.store.names(standing.folder)):
        before.store.delete(f"{standing.folder}/{name}")
    write_part(before.store, standing.folder, part_name("tests", 0), records)
    number = len(records)
    assert Run(config).account.declined_checks == {
        verifier: dict.fromkeys(checks, number) for verifier in ("verifier_a", "verifier_b")
    }
