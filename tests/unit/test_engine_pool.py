"""The pool of a model's engines, and the model that asks them: rooms, deaths, suspects."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from virtual_time import run_virtually

from chimera_ray.backends.engines import AGAIN_S, MAX_DEATHS, Ask, EnginePool, Vllm
from chimera_ray.errors import (
    BudgetError,
    ChimeraError,
    ConfigError,
    ContextError,
    EngineDeathError,
    EngineError,
    EngineLostError,
    StopError,
)
from chimera_ray.llm import Message, Reply, ReplySchema, Request, Usage
from chimera_ray.model_config import Repetition, Sampling, VllmModel

REQUEST = Request((Message("user", "What is 6 times 7?"),), None, seed=11)


def _config(**settings: Any) -> VllmModel:
    return VllmModel.model_validate({"backend": "vllm", "name": "served"} | settings)


def _lost(is_gone: bool = True, is_counted: bool = True, is_pinned: bool = False) -> Exception:
    lost = EngineLostError("the engine died")
    lost.is_gone, lost.is_counted, lost.is_pinned = is_gone, is_counted, is_pinned
    return lost


@dataclass
class _Engine:
    """An engine that takes a second for each call, and dies when it is told to."""

    errors: list[Exception] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    num_at_once: int = 0
    most_at_once: int = 0
    seconds: float = 1.0

    async def generate(self, ask: Ask) -> Reply:
        self.asks.append(ask)
        self.num_at_once += 1
        self.most_at_once = max(self.most_at_once, self.num_at_once)
        try:
            await asyncio.sleep(self.seconds)
            if self.errors:
                raise self.errors.pop(0)
            return Reply(ask.name)
        finally:
            self.num_at_once -= 1


def _pool(*engines: _Engine, max_num_seqs: int = 10) -> EnginePool:
    pool = EnginePool(max_num_seqs)
    for place, engine in enumerate(engines):
        pool.add(f"engine-{place}", engine.generate)
    return pool


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def _key_of(pool: EnginePool, name: str = "call") -> str:
    async with pool.place(name) as (key, _):
        return key


def _requests(count: int) -> list[Request]:
    return [REQUEST._replace(seed=seed) for seed in range(count)]


# ---- the pool -------------------------------------------------------------------------------


def test_pool_call_before_any_engine_is_up_waits_for_the_first() -> None:
    async def work() -> tuple[bool, str]:
        pool = EnginePool(1)
        waiting = asyncio.create_task(_key_of(pool))
        await asyncio.sleep(1_000)
        was_done = waiting.done()
        pool.add("late", _Engine().generate)
        return was_done, await waiting

    assert run_virtually(work()) == (False, "late")


def test_pool_of_two_engines_shares_the_calls_evenly() -> None:
    async def work() -> tuple[int, int]:
        engines = _Engine(), _Engine()
        model = Vllm(_config(), _pool(*engines))
        await asyncio.gather(*map(model.complete, _requests(20)))
        return engines[0].most_at_once, engines[1].most_at_once

    assert run_virtually(work()) == (10, 10)


@pytest.mark.parametrize(("max_num_seqs", "room"), [(1, 2), (10, 11), (80, 88)])
def test_pool_engine_gets_a_tenth_more_calls_than_it_decodes_at_once(
    max_num_seqs: int, room: int
) -> None:
    async def work() -> _Engine:
        engine = _Engine()
        model = Vllm(_config(), _pool(engine, max_num_seqs=max_num_seqs))
        await asyncio.gather(*map(model.complete, _requests(3 * room)))
        return engine

    engine = run_virtually(work())
    assert engine.most_at_once == room
    assert len({ask.name for ask in engine.asks}) == len(engine.asks) == 3 * room


def test_pool_calls_get_their_turn_in_the_order_in_which_they_came() -> None:
    async def work() -> list[int]:
        engine = _Engine()
        model = Vllm(_config(), _pool(engine, max_num_seqs=1))
        await asyncio.gather(*map(model.complete, _requests(20)))
        return [ask.seed for ask in engine.asks]

    assert run_virtually(work()) == list(range(20))


def test_pool_engine_that_comes_up_late_finds_work() -> None:
    async def work() -> tuple[int, float]:
        first, late = _Engine(), _Engine()
        pool = _pool(first, max_num_seqs=10)
        model = Vllm(_config(), pool)
        asked = [asyncio.create_task(model.complete(request)) for request in _requests(44)]
        await asyncio.sleep(0.5)
        pool.add("late", late.generate)
        await asyncio.gather(*asked)
        return len(late.asks), asyncio.get_running_loop().time()

    num_late, ended = run_virtually(work())
    assert num_late == 22
    assert ended == pytest.approx(2.5)


def test_pool_dropped_engine_is_asked_no_more_and_not_taken_for_a_new_one() -> None:
    async def work() -> tuple[str, bool]:
        pool = _pool(_Engine(), _Engine())
        pool.drop("engine-0")
        engines = {f"engine-{place}": _Engine().generate for place in range(2)}
        pool.set(engines, None)
        return await _key_of(pool), pool.knows("engine-0")

    assert run_virtually(work()) == ("engine-1", True)


def test_pool_set_takes_those_engines_and_no_others() -> None:
    async def work() -> set[str]:
        pool = _pool(_Engine(), _Engine())
        pool.set({name: _Engine().generate for name in ("engine-1", "engine-2")}, None)
        found = set()
        async with pool.place("a") as (one, _), pool.place("b") as (two, _):
            found = {one, two}
        return found

    assert run_virtually(work()) == {"engine-1", "engine-2"}


def test_pool_call_that_an_engine_works_on_goes_there_though_it_is_full() -> None:
    async def work() -> str:
        engines = _Engine(), _Engine()
        pool = EnginePool(1)
        pool.add("idle", engines[0].generate)
        pool.add("busy", engines[1].generate, frozenset({"mine"}))
        stays = [pool.place(name) for name in "abcd"]  # both are full now
        for stay in stays:
            await stay.__aenter__()
        key = await asyncio.wait_for(_key_of(pool, "mine"), 1)
        for stay in stays:
            await stay.__aexit__(None, None, None)
        return key

    assert run_virtually(work()) == "busy"


@pytest.mark.parametrize("reason", [EngineError("no GPUs"), ConfigError("no"), BudgetError("cap")])
def test_pool_that_failed_tells_who_waits_and_who_comes_later(reason: ChimeraError) -> None:
    async def work() -> list[BaseException | str]:
        pool = EnginePool(1)
        waiting = [asyncio.create_task(_key_of(pool)) for _ in range(3)]
        await _settle()
        pool.fail(reason)
        pool.fail(StopError("another"))
        pool.add("too late", _Engine().generate)
        return [
            *await asyncio.gather(*waiting, return_exceptions=True),
            *await asyncio.gather(_key_of(pool), return_exceptions=True),
        ]

    found = run_virtually(work())
    assert [(type(exc), str(exc)) for exc in found] == [(type(reason), str(reason))] * 4


def test_pool_that_failed_lets_calls_in_flight_end() -> None:
    async def work() -> Reply:
        pool = _pool(_Engine())
        asked = asyncio.create_task(Vllm(_config(), pool).complete(REQUEST))
        await _settle()
        pool.fail(BudgetError("cap"))
        return await asked

    assert run_virtually(work()).text


def test_pool_call_that_is_given_up_while_it_waits_holds_no_place() -> None:
    async def work() -> set[int]:
        engine = _Engine()
        model = Vllm(_config(), _pool(engine, max_num_seqs=1))
        asked = [asyncio.create_task(model.complete(request)) for request in _requests(10)]
        await _settle()
        for place in (1, 2, 4, 7):
            asked[place].cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return {ask.seed for ask in engine.asks}

    assert run_virtually(work()) == {0, 1, 3, 5, 6, 8, 9}


def test_pool_call_that_is_given_up_as_its_turn_comes_passes_it_on() -> None:
    async def work() -> str:
        pool = _pool(_Engine(), max_num_seqs=1)
        held = [pool.place(name) for name in "ab"]
        for stay in held:
            await stay.__aenter__()
        first, second = (asyncio.create_task(_key_of(pool, name)) for name in "cd")
        await _settle()
        await held[0].__aexit__(None, None, None)  # the turn of c, in the moment that it goes
        first.cancel()
        return await asyncio.wait_for(second, 10)

    assert run_virtually(work()) == "engine-0"


def test_pool_that_is_closed_does_what_it_was_to_do_then() -> None:
    done: list[str] = []
    pool = EnginePool(1)
    pool.on_close(lambda: done.append("a"))
    pool.on_close(lambda: done.append("b"))
    assert done == []
    pool.close()
    assert done == ["a", "b"]


# ---- what an engine is asked ----------------------------------------------------------------


def _asked(config: VllmModel, *requests: Request) -> list[Ask]:
    async def work() -> list[Ask]:
        engine = _Engine()
        model = Vllm(config, _pool(engine))
        for request in requests:
            await model.complete(request)
        return engine.asks

    return run_virtually(work())


def test_vllm_ask_says_what_the_request_and_the_model_file_say() -> None:
    config = _config(
        sampling={"temperature": 0.6, "max_tokens": 900},
        repetition={"min_count": 7},
        chat_template_args={"enable_thinking": False},
    )
    (ask,) = _asked(config, REQUEST._replace(max_tokens=40))
    assert ask.messages == REQUEST.messages
    assert (ask.seed, ask.max_tokens, ask.schema, ask.continues) == (11, 40, "", "")
    assert ask.sampling == Sampling(temperature=0.6, max_tokens=900)
    assert ask.repetition == Repetition(min_count=7)
    assert ask.template_args == {"enable_thinking": False}
    assert ask.num_deaths == 0


def test_vllm_ask_with_fields_carries_their_schema() -> None:
    schema: Mapping[str, Any] = {"type": "object", "properties": {"answer": {"type": "string"}}}
    (ask,) = _asked(_config(), REQUEST._replace(schema=ReplySchema("reply", schema)))
    assert json.loads(ask.schema) == schema


def test_vllm_ask_is_named_by_prompt_and_seed_alone() -> None:
    other = REQUEST._replace(messages=(Message("user", "What is 7 times 6?"),))
    asks = _asked(
        _config(sampling={"top_k": 3}),
        REQUEST,
        REQUEST._replace(max_tokens=9),
        REQUEST._replace(seed=12),
        other,
    )
    names = [ask.name for ask in asks]
    assert names[0] == names[1] == _asked(_config(), REQUEST)[0].name
    assert len(set(names)) == 3


def test_vllm_second_chance_names_the_call_that_it_continues() -> None:
    first, second = _asked(_config(), REQUEST, REQUEST._replace(seed=12, continues=11))
    assert second.continues == first.name
    assert second.name != first.name


def test_vllm_cost_is_that_of_the_model_file() -> None:
    model = Vllm(_config(prices={"input_usd": 1.0, "output_usd": 10.0}), EnginePool(1))
    assert model.cost_usd(Usage(1_000_000, 0, 100_000, 0)) == pytest.approx(2.0)


# ---- deaths ---------------------------------------------------------------------------------


@dataclass
class _Outcome:
    reply: Reply | None
    error: Exception | None
    asks: list[Ask]
    ended_s: float


def _outcome(*errors: Exception, num_engines: int = 30) -> _Outcome:
    """One call whose first tries end so, each engine gone with its try, unless it says no."""

    async def work() -> _Outcome:
        asks: list[Ask] = []
        left = list(errors)

        async def generate(ask: Ask) -> Reply:
            await asyncio.sleep(0.25)
            asks.append(ask)
            if left:
                raise left.pop(0)
            return Reply("done")

        pool = EnginePool(1)
        for place in range(num_engines):
            pool.add(f"engine-{place}", generate)
        reply: Reply | None = None
        error: Exception | None = None
        try:
            reply = await asyncio.wait_for(Vllm(_config(), pool).complete(REQUEST), 1_000)
        except ChimeraError as exc:
            error = exc
        return _Outcome(reply, error, asks, asyncio.get_running_loop().time())

    return run_virtually(work())


def test_vllm_call_whose_engine_dies_goes_on_at_another_as_a_suspect() -> None:
    found = _outcome(_lost())
    assert found.reply == Reply("done")
    assert [ask.num_deaths for ask in found.asks] == [0, 1]
    assert len({ask.name for ask in found.asks}) == 1


def test_vllm_engine_that_died_is_not_asked_again() -> None:
    async def work() -> tuple[int, int]:
        bad, good = _Engine([_lost()]), _Engine()
        model = Vllm(_config(), _pool(bad, good, max_num_seqs=1))
        for request in _requests(5):
            await model.complete(request)
        return len(bad.asks), len(good.asks)

    assert run_virtually(work()) == (1, 5)


def test_vllm_call_waits_for_an_engine_when_its_only_one_died() -> None:
    async def work() -> Reply:
        pool = _pool(_Engine([_lost()]))
        asked = asyncio.create_task(Vllm(_config(), pool).complete(REQUEST))
        await asyncio.sleep(1_000)
        assert not asked.done()
        pool.add("replacement", _Engine().generate)
        return await asked

    assert run_virtually(work()).text


def test_vllm_first_death_is_never_pinned_on_the_row() -> None:
    assert _outcome(_lost(is_pinned=True)).reply == Reply("done")


def test_vllm_row_that_kills_its_second_engine_alone_is_failed() -> None:
    found = _outcome(_lost(), _lost(is_pinned=True))
    assert isinstance(found.error, EngineDeathError)
    assert len(found.asks) == 2


def test_vllm_row_beside_others_at_deaths_is_failed_only_after_many() -> None:
    assert _outcome(*[_lost() for _ in range(MAX_DEATHS - 1)]).reply == Reply("done")
    found = _outcome(*[_lost() for _ in range(MAX_DEATHS)])
    assert isinstance(found.error, EngineDeathError)
    assert [ask.num_deaths for ask in found.asks] == list(range(MAX_DEATHS))


def test_vllm_machines_that_go_away_are_never_held_against_the_row() -> None:
    found = _outcome(*[_lost(is_counted=False) for _ in range(20)])
    assert found.reply == Reply("done")
    assert {ask.num_deaths for ask in found.asks} == {0}


def test_vllm_engine_that_cannot_be_reached_is_asked_again_a_while_later() -> None:
    found = _outcome(*[_lost(is_gone=False) for _ in range(10)], num_engines=1)
    assert found.reply == Reply("done")
    assert {ask.num_deaths for ask in found.asks} == {0}
    assert found.ended_s == pytest.approx(10 * AGAIN_S + 11 * 0.25)


@pytest.mark.parametrize("kind", [ContextError, ConfigError, EngineError])
def test_vllm_other_errors_pass_and_leave_the_place_free(
    kind: Callable[[str], ChimeraError],
) -> None:
    async def work() -> list[Reply | BaseException]:
        engine = _Engine([kind("no") for _ in range(3)])
        model = Vllm(_config(), _pool(engine, max_num_seqs=1))
        asked = map(model.complete, _requests(5))
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 100)

    found = run_virtually(work())
    assert [type(said) for said in found] == [kind, kind, kind, Reply, Reply]


def test_vllm_many_calls_at_one_death_all_go_on_and_none_is_lost_or_doubled() -> None:
    async def work() -> tuple[list[Reply], list[Ask]]:
        dying, living = _Engine([_lost() for _ in range(5)]), _Engine()
        model = Vllm(_config(), _pool(dying, living, max_num_seqs=4))
        replies = await asyncio.gather(*map(model.complete, _requests(30)))
        return replies, living.asks

    replies, asks = run_virtually(work())
    assert len({reply.text for reply in replies}) == len(replies) == 30
    assert len(asks) == 30
    assert sum(ask.num_deaths for ask in asks) == 5


def test_vllm_that_is_closed_leaves_its_pool_to_others() -> None:
    async def work() -> Reply:
        pool = _pool(_Engine())
        await Vllm(_config(), pool).close()
        return await Vllm(_config(), pool).complete(REQUEST)

    assert run_virtually(work()).text
