"""In what order a stage's rows start: what was learnt of rows that ended, and of earlier tries."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from fakes import ROLLOUT, call_of
from runs import STAGES, config_of

from chimera_ray.backends.gate import Exchange
from chimera_ray.config import Config
from chimera_ray.graph import Node, build_graph
from chimera_ray.ledger.parts import part_name, write_part
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply, Request, Usage
from chimera_ray.model_config import ModelConfig, OpenAIModel
from chimera_ray.runners.reins import Reins
from chimera_ray.runners.shared_rows import Item
from chimera_ray.runners.worker import StageWorker
from chimera_ray.schemas import Call, Record, row_id, work_id

TOKENS = {"Literature": 10, "Mathematics": 1_000, "Physics": 400}


class _Solver:
    """Says as much as the problem's subject takes, and keeps the problems in their order."""

    name, trouble = "solver", ""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request.messages[0].content)
        await asyncio.sleep(0)
        subject = self.asked[-1].split()[0]
        return Reply("6", usage=Usage(10, 0, TOKENS[subject], 0))

    def cost_usd(self, usage: Usage) -> float:
        return 0.0

    async def close(self) -> None:
        return


def _no_endpoint(model: OpenAIModel) -> Exchange:
    raise AssertionError(f"{model.name} is asked in this process")


def _item(problem: str) -> Item:
    """A subject and a number → the row of that problem."""
    row = ROLLOUT.model_copy(update={"subject": problem.split()[0], "problem": problem})
    payload = row.model_dump_json()
    return row_id("Rollout", payload), payload


def _config(output_dir: Path) -> tuple[Config, Node]:
    """One slot, and rows whose reply was cut are tried again."""
    config = config_of(
        output_dir,
        stages=STAGES[:-1],
        params={"sample_trajectory": {"retry_truncated": True}},
    )
    pool = config.runtime.pool.model_copy(update={"max_in_flight": 1})
    runtime = config.runtime.model_copy(update={"pool": pool})
    config = config.model_copy(update={"runtime": runtime})
    return config, build_graph(config).nodes[-1]


def _order(
    output_dir: Path, problems: Sequence[str], earlier: Mapping[str, tuple[Call, ...]]
) -> list[str]:
    """Problems as they arrive, and calls of an earlier run → problems as they were worked on."""
    config, node = _config(output_dir)
    records = [
        Record(
            work_id(node.fingerprint, _item(problem)[0]),
            _item(problem)[0],
            "failed",
            "truncated",
            "finish reason: length",
            (),
            calls,
            "an earlier run",
            0.0,
        )
        for problem, calls in earlier.items()
    ]
    write_part(Store(config.output_dir), node.folder, part_name("tests", 0), records)
    solver = _Solver()
    opened: Callable[[ModelConfig, Reins, int], _Solver] = lambda *_: solver  # noqa: E731

    async def work() -> None:
        worker = StageWorker(config, node, "run", Reins("test", _no_endpoint, None), opened)
        items = [_item(problem) for problem in problems]
        ended = [r.input_id async for group in worker.work(items) for r in group]
        assert sorted(ended) == sorted(name for name, _ in items)
        await worker.close()

    asyncio.run(work())
    return solver.asked


def _numbered(subject: str, count: int) -> list[str]:
    return [f"{subject} {number}" for number in range(count)]


def test_worker_begins_with_an_unknown_subject_soon_and_goes_on_with_the_longest(
    tmp_path: Path,
) -> None:
    short, long, middle = (_numbered(subject, 6) for subject in TOKENS)
    order = _order(tmp_path, [*short, *long, *middle], {})
    assert order == [short[0], long[0], middle[0], *long[1:], *middle[1:], *short[1:]]


CUT = call_of("on and", status="truncated", finish_reason="length", resumed_tokens=0)
LONG = {
    "cut": (CUT,),
    "resumed": (call_of(status="error", resumed_tokens=9),),
    "cut_before_an_error": (call_of(status="error", resumed_tokens=0, seed=1), CUT),
}


@pytest.mark.parametrize("calls", LONG.values(), ids=LONG)
def test_worker_row_that_is_known_to_be_long_goes_before_all_that_wait(
    tmp_path: Path, calls: tuple[Call, ...]
) -> None:
    short, long = (_numbered(subject, 6) for subject in ("Literature", "Mathematics"))
    order = _order(tmp_path, [*short, *long], {short[4]: calls, long[3]: calls})
    assert order[:3] == [short[0], short[4], long[3]]
    rest = [name for name in long if name != long[3]]
    assert order[3:8] == rest


class _Replaying(_Solver):
    """Answers at once, as what is replayed does, and notes how many files were there by then."""

    def __init__(self, count_parts: Callable[[], int]) -> None:
        super().__init__()
        self._count_parts = count_parts
        self.seen: list[int] = []

    async def complete(self, request: Request) -> Reply:
        self.asked.append(request.messages[0].content)
        self.seen.append(self._count_parts())
        return Reply("6", usage=Usage(10, 0, 10, 0))


def test_rows_that_wait_for_nobody_let_others_be_written_meanwhile(tmp_path: Path) -> None:
    config, node = _config(tmp_path)
    pool = config.runtime.pool.model_copy(update={"max_in_flight": 64})
    runtime = config.runtime.model_copy(update={"flush_s": 0.0, "pool": pool})
    config = config.model_copy(update={"runtime": runtime})
    store = Store(config.output_dir)
    solver = _Replaying(lambda: len(store.names(node.folder)))
    opened: Callable[[ModelConfig, Reins, int], _Solver] = lambda *_: solver  # noqa: E731

    async def work() -> None:
        worker = StageWorker(config, node, "run", Reins("test", _no_endpoint, None), opened)
        items = [_item(problem) for problem in _numbered("Physics", 2_000)]
        async for _ in worker.work(items):
            pass
        await worker.close()

    asyncio.run(work())
    assert solver.seen[-1] > solver.seen[0]
