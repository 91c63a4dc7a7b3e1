"""What keeps a model's engines up, with a fake launch and a clock that jumps."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from runs import config_of
from virtual_time import run_virtually

from chimera_ray.backends.engine_keeper import (
    LATER_S,
    MAX_FRUITLESS,
    MAX_STARTS,
    Keeper,
    LaunchError,
    Stats,
    notes_of,
)
from chimera_ray.backends.engines import Ask
from chimera_ray.backends.vllm import Loaded
from chimera_ray.errors import ConfigError, EngineError
from chimera_ray.llm import Reply
from chimera_ray.model_config import Sampling, VllmModel
from chimera_ray.runners.own_engines import OwnEngines

LOAD_S = 100.0
WAIT_S = 3_600.0
CLOSE_S = 5.0
LOADED = Loaded(4_096, 1_024, LOAD_S, "fake")
BUSY = Stats(3, 1, 500)


@dataclass
class _Engine:
    """An engine that is up for so long, and has done so much meanwhile."""

    node: str
    stats_up: Stats = BUSY
    lives_s: float = 1e9
    loaded: Loaded = LOADED
    born_s: float = 0.0
    is_closed: bool = False

    async def generate(self, ask: Ask) -> Reply:
        return Reply(self.node)

    async def stats(self) -> Stats | None:
        return None if _now() - self.born_s > self.lives_s else self.stats_up

    async def close(self) -> None:
        await asyncio.sleep(CLOSE_S)
        self.is_closed = True


@dataclass
class _Launch:
    """Starts what its script says; machines come up at once unless told otherwise."""

    script: list[_Engine | Exception]
    machine_s: float = 0.0
    avoided: list[frozenset[str]] = field(default_factory=list)
    begun_s: list[float] = field(default_factory=list)
    engines: list[_Engine] = field(default_factory=list)

    async def __call__(self, avoided: Set[str], told: Callable[[str], None]) -> _Engine:
        self.avoided.append(frozenset(avoided))
        self.begun_s.append(_now())
        await asyncio.sleep(self.machine_s)
        told("loading")
        await asyncio.sleep(LOAD_S)
        said = self.script.pop(0) if self.script else _Engine("any")
        if isinstance(said, Exception):
            raise said
        said.born_s = _now()
        self.engines.append(said)
        return said


def _now() -> float:
    return asyncio.get_running_loop().time()


def _failed(node: str = "", text: str = "out of memory") -> LaunchError:
    exc = LaunchError(text)
    exc.node = node
    return exc


def _model(replicas: int = 1, **settings: Any) -> VllmModel:
    said = {"backend": "vllm", "name": "served", "replicas": replicas}
    return VllmModel.model_validate(said | settings)


def _kept(
    launch: Callable[..., Awaitable[Any]],
    work: Callable[[Keeper], Coroutine[Any, Any, Any]],
    replicas: int = 1,
) -> Any:
    """A launch and what is done beside the keeper → what that gave; the keeper is closed then."""

    async def main() -> Any:
        keeper = Keeper(_model(replicas), launch, WAIT_S)
        keeper.start()
        try:
            return await work(keeper)
        finally:
            await keeper.close()

    return run_virtually(main())


async def _until(holds: Callable[[], object], keeper: Keeper, limit_s: float = 100_000.0) -> None:
    """Waits until something holds, by what the keeper tells."""
    version = -1
    deadline = _now() + limit_s
    while not holds():
        assert _now() < deadline, "it did not come to hold"
        version = await keeper.after(version, 10.0)


def test_keeper_brings_up_as_many_engines_as_there_are_replicas() -> None:
    launch = _Launch([_Engine(node) for node in "abc"])

    async def work(keeper: Keeper) -> tuple[list[str], set[str]]:
        await _until(lambda: len(keeper.up) == 3, keeper)
        return sorted(engine.node for engine in keeper.up.values()), set(keeper.up)

    nodes, keys = _kept(launch, work, replicas=3)
    assert nodes == ["a", "b", "c"]
    assert len(keys) == 3


def test_keeper_that_follows_another_gives_its_engines_other_names() -> None:
    async def work(keeper: Keeper) -> set[str]:
        await _until(lambda: keeper.up, keeper)
        return set(keeper.up)

    assert _kept(_Launch([]), work).isdisjoint(_kept(_Launch([]), work))


def test_keeper_that_waits_hears_of_an_engine_at_once() -> None:
    async def work(keeper: Keeper) -> tuple[int, float]:
        version = await keeper.after(keeper.version, 1_000.0)
        return version, _now()

    version, heard_s = _kept(_Launch([]), work)
    assert version > 0
    assert heard_s == pytest.approx(LOAD_S)


def test_keeper_without_news_answers_after_the_time_that_it_was_given() -> None:
    async def work(keeper: Keeper) -> tuple[int, float]:
        return await keeper.after(keeper.version, 20.0), _now()

    assert _kept(_Launch([]), work) == (0, pytest.approx(20.0))


def test_keeper_old_version_is_answered_at_once() -> None:
    async def work(keeper: Keeper) -> float:
        await _until(lambda: keeper.up, keeper)
        before = _now()
        await keeper.after(-1, 1_000.0)
        return _now() - before

    assert _kept(_Launch([]), work) == 0


def test_keeper_puts_another_engine_in_a_dead_one_s_place() -> None:
    launch = _Launch([_Engine("a", lives_s=50), _Engine("b")])

    async def work(keeper: Keeper) -> tuple[str, str, list[str]]:
        await _until(lambda: keeper.up, keeper)
        (first,) = keeper.up
        await _until(lambda: not keeper.up, keeper)
        await _until(lambda: keeper.up, keeper)
        (second,) = keeper.up
        return first, second, [engine.node for engine in keeper.up.values()]

    first, second, nodes = _kept(launch, work)
    assert first != second
    assert nodes == ["b"]


def test_keeper_dead_engine_is_taken_off_before_it_is_closed_and_then_is_closed() -> None:
    launch = _Launch([_Engine("a", lives_s=50), _Engine("b")])

    async def work(keeper: Keeper) -> tuple[bool, bool, float]:
        await _until(lambda: keeper.up, keeper)
        await _until(lambda: not keeper.up, keeper)
        was_closed = launch.engines[0].is_closed
        gone_s = _now()
        await _until(lambda: len(launch.begun_s) == 2, keeper)
        return was_closed, launch.engines[0].is_closed, launch.begun_s[1] - gone_s

    was_closed, is_closed, began_again_s = _kept(launch, work)
    assert (was_closed, is_closed) == (False, True)
    assert began_again_s == pytest.approx(CLOSE_S)


def test_keeper_start_that_fails_is_tried_elsewhere() -> None:
    launch = _Launch([_failed("a"), _failed("b"), _Engine("c")])

    async def work(keeper: Keeper) -> list[str]:
        await _until(lambda: keeper.up, keeper)
        assert keeper.failure is None
        return [engine.node for engine in keeper.up.values()]

    assert _kept(launch, work) == ["c"]
    assert launch.avoided == [frozenset(), {"a"}, {"a", "b"}]


def test_keeper_start_that_fails_nowhere_in_particular_avoids_nothing() -> None:
    launch = _Launch([_failed(), EngineError("no"), _Engine("c")])

    async def work(keeper: Keeper) -> None:
        await _until(lambda: keeper.up, keeper)

    _kept(launch, work)
    assert launch.avoided == [frozenset()] * 3


def test_keeper_after_so_many_failed_starts_in_a_row_says_why_in_one_line() -> None:
    launch = _Launch([_failed(node) for node in "abcdef"])

    async def work(keeper: Keeper) -> Exception | None:
        await _until(lambda: keeper.failure, keeper)
        await asyncio.sleep(1_000)
        return keeper.failure

    failure = _kept(launch, work)
    assert type(failure) is EngineError
    assert "out of memory" in str(failure)
    assert "\n" not in str(failure)
    assert len(launch.begun_s) == MAX_STARTS


def test_keeper_start_that_succeeds_makes_earlier_failures_forgotten() -> None:
    turns: list[_Engine | Exception] = []
    for _ in range(5):
        turns += [_failed("a"), _failed("b"), _Engine("c", lives_s=10)]
    launch = _Launch(turns)

    async def work(keeper: Keeper) -> Exception | None:
        await _until(lambda: len(launch.engines) == 5, keeper)
        return keeper.failure

    assert _kept(launch, work) is None


def test_keeper_wrong_configuration_is_not_tried_again() -> None:
    launch = _Launch([ConfigError("no config.json"), _Engine("b")])

    async def work(keeper: Keeper) -> Exception | None:
        await _until(lambda: keeper.failure, keeper)
        await asyncio.sleep(1_000)
        return keeper.failure

    failure = _kept(launch, work)
    assert (type(failure), str(failure)) == (ConfigError, "no config.json")
    assert len(launch.begun_s) == 1


def test_keeper_error_that_nobody_foresaw_is_told_to_whoever_asks() -> None:
    async def launch(avoided: Set[str], told: Callable[[str], None]) -> _Engine:
        told("loading")
        raise ImportError("libcudart.so.13: cannot open shared object file")

    async def work(keeper: Keeper) -> Exception | None:
        await asyncio.sleep(100_000)
        return keeper.failure

    assert isinstance(_kept(launch, work), EngineError)


def test_keeper_engines_that_die_before_they_have_replied_end_the_run_at_last() -> None:
    launch = _Launch([_Engine("a", Stats(3, 0, 50), lives_s=10) for _ in range(2 * MAX_FRUITLESS)])

    async def work(keeper: Keeper) -> Exception | None:
        await _until(lambda: keeper.failure, keeper)
        return keeper.failure

    assert type(_kept(launch, work)) is EngineError
    assert len(launch.engines) == MAX_FRUITLESS


def test_keeper_engines_that_die_after_they_have_replied_are_replaced_for_ever() -> None:
    launch = _Launch([_Engine("a", lives_s=10) for _ in range(5 * MAX_FRUITLESS)])

    async def work(keeper: Keeper) -> Exception | None:
        await _until(lambda: len(launch.engines) == 4 * MAX_FRUITLESS, keeper)
        return keeper.failure

    assert _kept(launch, work) is None


def test_keeper_without_any_machine_gives_up_when_the_time_is_over() -> None:
    launch = _Launch([], machine_s=1e6)

    async def work(keeper: Keeper) -> tuple[Exception | None, float]:
        await _until(lambda: keeper.failure, keeper)
        return keeper.failure, _now()

    failure, gave_up_s = _kept(launch, work, replicas=2)
    assert type(failure) is EngineError
    assert "engine_wait_s" in str(failure)
    assert gave_up_s == pytest.approx(WAIT_S, abs=11)


class _Places:
    """Starts of two engines, told apart by their order: the second fails as it is told."""

    def __init__(self, first: _Launch, second: _Launch) -> None:
        self.launches = {"first": first, "second": second}

    async def __call__(self, avoided: Set[str], told: Callable[[str], None]) -> _Engine:
        task = asyncio.current_task()
        assert task is not None
        name = task.get_name()
        if name not in self.launches:
            name = "first" if not self.launches["first"].begun_s else "second"
            task.set_name(name)
        return await self.launches[name](avoided, told)


def test_keeper_goes_on_with_the_engines_that_serve_when_another_cannot_be_had() -> None:
    broken = _Launch([_failed(text="CUDA out of memory") for _ in range(9)])

    async def work(keeper: Keeper) -> tuple[Exception | None, list[str], list[object]]:
        await asyncio.sleep(5 * (LOAD_S + LATER_S))
        states = [note["state"] for note in notes_of({"id": keeper})]
        return keeper.failure, [engine.node for engine in keeper.up.values()], states

    launch = _Places(_Launch([_Engine("a")]), broken)
    failure, nodes, (first, second) = _kept(launch, work, replicas=2)
    assert (failure, nodes, first) == (None, ["a"], "up")
    assert "CUDA out of memory" in str(second)
    assert MAX_STARTS < len(broken.begun_s) < 9


def test_keeper_whose_last_engine_is_lost_and_cannot_be_had_again_fails() -> None:
    lost = _Launch([_Engine("a", lives_s=1_000), *(_failed() for _ in range(9))])
    broken = _Launch([_failed() for _ in range(99)])

    async def work(keeper: Keeper) -> Exception | None:
        await _until(lambda: keeper.failure, keeper)
        return keeper.failure

    assert isinstance(_kept(_Places(lost, broken), work, replicas=2), EngineError)
    assert len(lost.begun_s) == 1 + MAX_STARTS


def test_keeper_engine_that_comes_back_serves_again() -> None:
    flaky = _Launch([*(_failed() for _ in range(MAX_STARTS)), _Engine("b")])

    async def work(keeper: Keeper) -> set[str]:
        await _until(lambda: len(keeper.up) == 2, keeper)
        return {engine.node for engine in keeper.up.values()}

    assert _kept(_Places(_Launch([_Engine("a")]), flaky), work, replicas=2) == {"a", "b"}


def test_keeper_whose_engine_cannot_be_asked_or_ended_starts_another() -> None:
    class Broken(_Engine):
        async def stats(self) -> Stats | None:
            raise RuntimeError("no way there")

        async def close(self) -> None:
            raise RuntimeError("no way there either")

    launch = _Launch([Broken("a"), _Engine("b")])

    async def work(keeper: Keeper) -> list[str]:
        await _until(lambda: len(launch.engines) == 2, keeper)
        return [engine.node for engine in keeper.up.values()]

    assert _kept(launch, work) == ["b"]


def test_keeper_with_one_machine_waits_for_the_others_for_ever() -> None:
    launch = _Launch([])

    async def launch_one(avoided: Set[str], told: Callable[[str], None]) -> _Engine:
        if launch.begun_s:
            await asyncio.sleep(1e7)
        return await launch(avoided, told)

    async def work(keeper: Keeper) -> tuple[Exception | None, int]:
        await asyncio.sleep(10 * WAIT_S)
        return keeper.failure, len(keeper.up)

    assert _kept(launch_one, work, replicas=2) == (None, 1)


def test_keeper_whose_engine_is_still_loading_when_the_time_is_over_goes_on() -> None:
    launch = _Launch([], machine_s=WAIT_S - LOAD_S / 2)

    async def work(keeper: Keeper) -> Exception | None:
        await _until(lambda: keeper.up, keeper)
        return keeper.failure

    assert _kept(launch, work) is None


def test_keeper_whose_engine_was_lost_just_before_the_time_is_over_waits_for_the_next() -> None:
    launch = _Launch([_Engine("spot", lives_s=WAIT_S / 2)], machine_s=WAIT_S / 3)

    async def work(keeper: Keeper) -> Exception | None:
        await _until(lambda: len(launch.engines) == 2, keeper)
        return keeper.failure

    assert _kept(launch, work) is None


@pytest.mark.parametrize(
    "moment_s", [1.0, LOAD_S / 2, LOAD_S + 50.0], ids=["waits", "loads", "is_up"]
)
def test_keeper_that_is_closed_ends_its_engines_and_starts_no_more(moment_s: float) -> None:
    launch = _Launch([], machine_s=20.0)

    async def main() -> tuple[int, bool, int]:
        keeper = Keeper(_model(2), launch, WAIT_S)
        keeper.start()
        await asyncio.sleep(moment_s)
        await keeper.close()
        begun = len(launch.begun_s)
        await asyncio.sleep(1_000)
        all_closed = all(engine.is_closed for engine in launch.engines)
        return len(keeper.up), all_closed, len(launch.begun_s) - begun

    assert run_virtually(main()) == (0, True, 0)


def test_keeper_calls_go_to_the_engines_that_are_up() -> None:
    async def work(keeper: Keeper) -> str:
        await _until(lambda: keeper.up, keeper)
        (engine,) = keeper.up.values()
        ask = Ask("name", (), "", Sampling(), None, {}, 1, None, "", 0)
        return (await engine.generate(ask)).text

    assert _kept(_Launch([_Engine("here")]), work) == "here"


def test_notes_tell_how_each_engine_stands_and_what_its_predecessors_made() -> None:
    launch = _Launch([_Engine("a", lives_s=50), _Engine("b", Stats(2, 1, 70))])

    async def work(keeper: Keeper) -> list[list[dict[str, object]]]:
        shown = []
        for moment_s in (1.0, LOAD_S + 10, LOAD_S + 60, 2 * LOAD_S + 100):
            await asyncio.sleep(moment_s - _now())
            shown.append(notes_of({"id": keeper}))
        return shown

    shown = _kept(launch, work)
    kept = ("state", "node", "num_running", "num_generated")
    assert [tuple(note[key] for key in kept) for (note,) in shown] == [
        ("loading", "", 0, 0),
        ("up", "a", 3, 500),
        ("loading", "a", 0, 500),
        ("up", "b", 2, 570),
    ]
    assert shown[1][0]["model"] == "served"
    assert shown[1][0]["cache_tokens"] == 4_096


def test_own_engines_that_never_started_close_without_a_word(tmp_path: Path) -> None:
    engines = OwnEngines(config_of(tmp_path))
    assert engines.notes() == []
    engines.close()
    engines.close()
    assert list(tmp_path.iterdir()) == []
