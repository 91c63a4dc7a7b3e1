"""Two runs that share a stage's work: no row is paid twice, and each of them has every row."""

import asyncio
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from fakes import ROLLOUT, call_of
from runs import STAGES, config_of

from chimera_ray.backends.gate import Exchange
from chimera_ray.backends.halt import Halt
from chimera_ray.errors import LedgerError
from chimera_ray.graph import build_graph
from chimera_ray.ledger import claims
from chimera_ray.ledger.claims import Claims
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply, Request, Usage
from chimera_ray.model_config import ModelConfig, OpenAIModel
from chimera_ray.runners import shared_rows
from chimera_ray.runners.reins import Reins
from chimera_ray.runners.shared_rows import Item, SharedRows
from chimera_ray.runners.worker import StageWorker
from chimera_ray.schemas import Call, Record, row_id

WORKS = [f"{number:016x}{0:016x}" for number in range(1, 9)]


class _Solver:
    """Answers after a while, and keeps what it was asked."""

    name = "solver"

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked

    async def complete(self, request: Request) -> Reply:
        self._asked.append(request.messages[0].content)
        await asyncio.sleep(0.02)
        return Reply("6", usage=Usage(10, 0, 20, 0))

    def cost_usd(self, usage: Usage) -> float:
        return 0.0

    async def close(self) -> None:
        return


@pytest.fixture
def open_claims(tmp_path: Path) -> Iterator[Callable[[str], Claims]]:
    """A run's name → its claims, closed in the end."""
    with ExitStack() as stack:
        yield lambda run_id: stack.enter_context(closing(Claims(tmp_path, run_id)))


def _no_endpoint(model: OpenAIModel) -> Exchange:
    raise AssertionError(f"{model.name} is asked in this process")


def _item(number: int) -> Item:
    payload = ROLLOUT.model_copy(update={"problem": f"Problem {number}"}).model_dump_json()
    return row_id("Rollout", payload), payload


async def _work(output_dir: Path, run_id: str, count: int, asked: list[str]) -> list[Record]:
    """A run's worker over the same rows as every other one's → its records."""
    config = config_of(output_dir, stages=STAGES[:-1])
    pool = config.runtime.pool.model_copy(update={"max_in_flight": 4})
    runtime = config.runtime.model_copy(update={"pool": pool, "flush_s": 0.05})
    config = config.model_copy(update={"runtime": runtime})
    opened: Callable[[ModelConfig, Reins, int], _Solver] = lambda *_: _Solver(asked)  # noqa: E731
    node = build_graph(config).nodes[-1]
    worker = StageWorker(config, node, run_id, Reins(run_id, _no_endpoint, None), opened)
    items = [_item(number) for number in range(count)]
    records = [record async for group in worker.work(items) for record in group]
    await worker.close()
    return records


def test_runs_that_start_together_pay_for_each_row_once_and_both_have_all(tmp_path: Path) -> None:
    asked: list[str] = []

    async def both() -> list[list[Record]]:
        runs = (_work(tmp_path, name, 60, asked) for name in ("one", "two"))
        return await asyncio.gather(*runs)

    ids = sorted(_item(number)[0] for number in range(60))
    for records in asyncio.run(both()):
        assert sorted(record.input_id for record in records) == ids
    assert len(asked) == len(set(asked)) == 60


def test_run_that_starts_later_pays_for_nothing_that_the_first_one_has_in_hand(
    tmp_path: Path,
) -> None:
    asked: list[str] = []

    async def later() -> list[list[Record]]:
        first = asyncio.create_task(_work(tmp_path, "one", 300, asked))
        while len(asked) < 20:
            await asyncio.sleep(0.01)
        return [await _work(tmp_path, "two", 300, asked), await first]

    for records in asyncio.run(later()):
        assert len(records) == 300
    assert len(asked) == len(set(asked)) == 300


def test_run_alone_claims_nothing(tmp_path: Path) -> None:
    asyncio.run(_work(tmp_path, "one", 5, []))
    taken = list(tmp_path.rglob("claims/taken"))
    assert [path.stat().st_size for path in taken] == [0]
    assert not list(tmp_path.rglob("*.lock"))


def test_calls_that_another_run_has_paid_for_meanwhile_are_not_made_again(
    open_claims: Callable[[str], Claims], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_rows, "LOOK_S", 0.0)
    open_claims("other")
    paid = (call_of("paid for"),)

    async def claim() -> Sequence[Call] | None:
        def found(items: Sequence[Item]) -> tuple[dict[str, Record], dict[str, Sequence[Call]]]:
            return {}, {name: paid for name, _ in items}

        shared = SharedRows(open_claims("run"), lambda _: WORKS[0], found, tuple, Halt())
        return await shared.claimed(("row", "{}"), ())

    assert asyncio.run(claim()) == paid


@pytest.mark.parametrize("trouble", [LedgerError("stale"), OSError("stale")], ids=["ledger", "os"])
def test_row_of_another_run_is_waited_for_through_trouble_with_the_store(
    open_claims: Callable[[str], Claims], monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    monkeypatch.setattr(shared_rows, "POLL_S", 0.0)
    open_claims("other").take([WORKS[0]])
    record = Record(WORKS[0], "row", "rejected", "", "", (), (), "other", 0.0)
    answers: list[Exception | dict[str, Record]] = [{}, trouble, {}, {"row": record}]

    def ask(items: Sequence[Item]) -> tuple[dict[str, Record], dict[str, Sequence[Call]]]:
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found, {}

    async def wait() -> Record | None:
        shared = SharedRows(open_claims("run"), lambda _: WORKS[0], ask, tuple, Halt())
        return (await asyncio.wait_for(shared.ended(("row", "{}")), 20))[0]

    assert asyncio.run(wait()) == record


def test_claims_where_files_cannot_be_locked_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(handle: object, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert claims.open_claims(Store(str(tmp_path)), "ledger/stage/abc", "run") is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_claims_first_come_first_served(open_claims: Callable[[str], Claims]) -> None:
    one, two = open_claims("one"), open_claims("two")
    assert one.has_others()
    assert one.take(WORKS[:3]) == [True] * 3
    assert two.take(WORKS[1:5]) == [False, False, True, True]
    assert one.take(WORKS[:4]) == [True, True, True, False]
    assert two.are_free([WORKS[0], WORKS[3], WORKS[7]]) == [False, True, True]


def test_claims_given_back_are_free_for_others(open_claims: Callable[[str], Claims]) -> None:
    one, two = open_claims("one"), open_claims("two")
    one.take(WORKS[:2])
    one.give_back(WORKS[:1])
    assert two.take(WORKS[:2]) == [True, False]


def test_claims_of_a_run_that_ended_are_free(open_claims: Callable[[str], Claims]) -> None:
    one, two = open_claims("one"), open_claims("two")
    one.take(WORKS)
    one.close()
    assert two.take(WORKS) == [True] * len(WORKS)
    assert not two.has_others()


def test_claims_of_a_killed_process_are_free_and_its_file_is_swept(
    tmp_path: Path, open_claims: Callable[[str], Claims]
) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from chimera_ray.ledger.claims import Claims\n"
        f"claims = Claims(Path(sys.argv[1]), 'one'); claims.take({WORKS[:2]!r})\n"
        "print('taken', flush=True); time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        two = open_claims("two")
        while_alive = two.take(WORKS[:3])
        child.kill()
    assert while_alive == [False, False, True]
    assert two.take(WORKS[:3]) == [True] * 3
    assert not two.has_others()
    assert len(list(tmp_path.glob("*.lock"))) == 1


@pytest.mark.parametrize("tail", [b"x", b"\0" * 15, os.urandom(7)])
def test_claims_half_an_entry_of_a_killed_process_is_cut_off(
    tmp_path: Path, tail: bytes, open_claims: Callable[[str], Claims]
) -> None:
    one, two = open_claims("one"), open_claims("two")
    one.take(WORKS[:2])
    with open(tmp_path / "taken", "ab") as file:
        file.write(tail)
    assert two.take(WORKS[1:3]) == [False, True]
    assert one.take(WORKS[2:4]) == [False, True]


def test_claims_a_newcomer_that_is_alone_begins_anew(
    tmp_path: Path, open_claims: Callable[[str], Claims]
) -> None:
    one = open_claims("one")
    one.take(WORKS)
    one.close()
    two = open_claims("two")
    assert (tmp_path / "taken").stat().st_size == 0
    assert two.take(WORKS) == [True] * len(WORKS)
