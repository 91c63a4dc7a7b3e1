"""Replies of work that has not ended survive a kill: open records, written as replies come."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import Run, config_of

from chimera_ray.backends.simulated import Simulated
from chimera_ray.config import Config
from chimera_ray.frontier import walk
from chimera_ray.graph import Node, build_graph
from chimera_ray.ledger import writer, writer_files
from chimera_ray.ledger.index import OPEN, Index
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Model, Reply, Request
from chimera_ray.runners.perform import perform
from chimera_ray.schemas import Record, work_id

UP_TO_DRAFTS = ("expand_topics", "dedupe_topics", "plan_drafts", "draft_problem")
UP_TO_VERDICTS = (*UP_TO_DRAFTS, "validate_problem")


class Deaf(Simulated):
    """A teacher that never answers."""

    async def complete(self, request: Request) -> Reply:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")


def _first_problem(config: Config) -> tuple[Node, str, str]:
    """A ledger up to its drafts → the verifiers' node, and the first row that arrives there."""
    standing = list(walk(build_graph(config), Store(config.output_dir)))[-1]
    place, payload = next(iter(standing.inputs.rows(standing.todo[:1])))
    return standing.node, standing.inputs.ids[place], payload


async def _killed_while_one_verifier_thinks(config: Config) -> None:
    """verifier_a answers, verifier_b does not; the process ends once that is durable."""
    node, name, payload = _first_problem(config)
    store = Store(config.output_dir)
    noted = writer.Writer(store, node.folder, flush_s=0.01)
    models: dict[str, Model] = {
        "verifier_a": Simulated(config.models.verifier_a),
        "verifier_b": Deaf(config.models.verifier_b),
    }
    work = asyncio.create_task(perform(node, name, payload, models, (), "killed", noted.note))
    index = Index(store, node.folder)
    while index.look_up([work_id(node.fingerprint, name)]).outcome != OPEN:
        await asyncio.wait([work], timeout=0.01)
        index.refresh()
    work.cancel()


def test_open_work_reply_before_a_kill_is_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    Run(config_of(tmp_path, stages=UP_TO_DRAFTS))
    config = config_of(tmp_path, stages=UP_TO_VERDICTS)
    asyncio.run(_killed_while_one_verifier_thinks(config))
    *_, before = walk(build_graph(config), Store(config.output_dir))
    assert before.count(OPEN) == 1
    assert len(before.todo) == len(before.inputs.ids)
    run = Run(config)
    num_asked = {role: run.account.roles[role].calls for role in ("verifier_a", "verifier_b")}
    assert min(num_asked.values()) >= len(before.inputs.ids)
    assert run.num_calls == {**num_asked, "verifier_a": num_asked["verifier_a"] - 1}
    assert run.account.stages[-1].todo == 0


def test_open_work_is_to_do_in_the_account_until_it_ends(tmp_path: Path) -> None:
    Run(config_of(tmp_path, stages=UP_TO_DRAFTS))
    config = config_of(tmp_path, stages=UP_TO_VERDICTS)
    asyncio.run(_killed_while_one_verifier_thinks(config))
    rows = Run(config)
    stage = rows.account.stages[-1]
    assert stage.inputs == stage.accepted + stage.rejected


def test_open_work_that_ends_before_the_flush_leaves_one_record(tmp_path: Path) -> None:
    config = config_of(tmp_path, stages=UP_TO_VERDICTS)
    patient = config.runtime.model_copy(update={"flush_s": 1.0})
    run = Run(config.model_copy(update={"runtime": patient}))
    records = run.records["validate_problem"]
    assert all(not call.is_replayed for record in records for call in record.calls)


def test_open_work_that_ends_while_another_is_written_counts_each_call_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "GATHER_S", 0.0)
    monkeypatch.setattr(writer_files, "PART_BYTES", 1)
    slow = {"verifier_b": {"latency": {"mean_s": 0.02, "sigma": 1.0}}}
    run = Run(config_of(tmp_path, drafts=60, stages=UP_TO_VERDICTS, models=slow))
    records = [record for stage in run.records.values() for record in stage]
    assert sum(run.num_calls.values()) == sum(len(record.calls) for record in records)
    assert run.account.roles == run.paid


@pytest.mark.parametrize("part_bytes", [1, writer_files.PART_BYTES], ids=["many", "one"])
def test_open_work_counts_each_call_once_in_many_parts_and_in_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part_bytes: int
) -> None:
    slow = {"verifier_b": {"latency": {"mean_s": 0.05, "sigma": 0.0}}}
    quick = Run(config_of(tmp_path / "quick", stages=UP_TO_VERDICTS))
    monkeypatch.setattr(writer_files, "PART_BYTES", part_bytes)
    run = Run(config_of(tmp_path / "slow", stages=UP_TO_VERDICTS, models=slow))
    is_replayed = any(c.is_replayed for r in run.records["validate_problem"] for c in r.calls)
    assert is_replayed == (part_bytes == 1)
    assert run.num_calls == quick.num_calls
    for role, counts in quick.account.roles.items():
        assert run.account.roles[role].model_dump() == pytest.approx(counts.model_dump())
    assert run.outcomes == quick.outcomes


def test_writer_notes_without_an_end_are_durable_by_themselves(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    record = Record("0" * 32, "1" * 32, "open", "", "", (), (), "run", 0.0)

    async def note() -> None:
        noted = writer.Writer(store, "ledger/stage/abc", flush_s=0.01)
        make: Callable[[], Record] = lambda: record  # noqa: E731
        noted.note(record.work_id, make)
        await noted.close()

    asyncio.run(note())
    index = Index(store, "ledger/stage/abc")
    index.refresh()
    assert index.look_up([record.work_id]).outcome.tolist() == [OPEN]
