"""How a row's models are asked: seeds, records of every call, replies that were paid for before."""

import asyncio
import json
from collections.abc import Awaitable, Sequence
from itertools import product
from typing import TypeVar

import pytest
from fakes import Said, ScriptedModel

from chimera_ray.call_log import CallLog
from chimera_ray.errors import (
    ParseError,
    ProviderError,
    RefusalError,
    RowError,
    TransientProviderError,
    TruncatedError,
)
from chimera_ray.llm import BoundModel, Reply, ReplySchema, Request, ask, ask_each, complete, whole
from chimera_ray.schemas import Call

T = TypeVar("T")


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ParseError("no number") from None


def _await(awaited: Awaitable[T]) -> T:
    async def run() -> T:
        return await awaited

    return asyncio.run(run())


def _tried(
    *script: Said, role: str = "solver", work: str = "w", earlier: Sequence[Call] = ()
) -> tuple[int | None, CallLog, ScriptedModel]:
    """One try at getting a number: what came of it, its log, and the model."""
    model, log = ScriptedModel(*script), CallLog(work, earlier)
    try:
        value = _await(ask(BoundModel(role, model, log), "How many?", _number))
    except RowError:
        value = None
    return value, log, model


class _Deaf(ScriptedModel):
    """Never answers."""

    async def complete(self, request: Request) -> Reply:
        await asyncio.Event().wait()
        return await super().complete(request)


def test_call_that_is_cancelled_leaves_no_trace_and_no_other_seed() -> None:
    log = CallLog("w")

    async def give_up() -> None:
        asked = asyncio.create_task(ask(BoundModel("solver", _Deaf(), log), "How many?", _number))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(give_up())
    assert log.calls == []


@pytest.mark.parametrize(
    ("said", "error", "status"),
    [
        (Reply("no", "refusal"), RefusalError, "refused"),
        (Reply("7", "refusal"), RefusalError, "refused"),
        (Reply("", "refusal"), RefusalError, "refused"),
        (Reply("7", "length"), TruncatedError, "truncated"),
        (Reply("7", "repetition"), TruncatedError, "truncated"),
        (Reply("7", "abort"), ProviderError, "error"),
        ("seven", ParseError, "unparsable"),
        ("", ParseError, "unparsable"),
        (RefusalError("filtered"), RefusalError, "refused"),
        (TruncatedError("cut"), TruncatedError, "truncated"),
        (ProviderError("404"), ProviderError, "error"),
        (TransientProviderError("503"), TransientProviderError, "error"),
        (RowError("odd"), RowError, "error"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_ask_unusable_reply_raises_and_is_recorded(
    said: Said, error: type[RowError], status: str
) -> None:
    log = CallLog("w")
    with pytest.raises(error) as caught:
        _await(ask(BoundModel("solver", ScriptedModel(said), log), "How many?", _number))
    (call,) = log.calls
    assert (call.status, call.error, call.is_replayed) == (status, str(caught.value), False)
    if isinstance(said, Reply):
        assert (call.text, call.finish_reason) == (said.text, said.finish_reason)


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), KeyError("bug")], ids=repr)
def test_ask_bug_in_the_parser_propagates_and_the_paid_call_is_recorded(error: Exception) -> None:
    def buggy(_: str) -> int:
        raise error

    log = CallLog("w")
    with pytest.raises(type(error)):
        _await(ask(BoundModel("solver", ScriptedModel("7"), log), "How many?", buggy))
    (call,) = log.calls
    assert (call.text, call.output_tokens, call.status) == ("7", 20, "error")


def test_ask_usable_reply_is_parsed_and_recorded_whole() -> None:
    value, log, model = _tried("7")
    assert value == 7
    (call,) = log.calls
    assert call.latency_s >= 0
    assert call._replace(latency_s=0.0, prompt_id="") == Call(
        role="solver",
        model="scripted",
        prompt_id="",
        seed=model.requests[0].seed,
        status="ok",
        error="",
        finish_reason="stop",
        input_tokens=10,
        cached_tokens=4,
        output_tokens=20,
        reasoning_tokens=15,
        is_usage_estimated=False,
        cost_usd=0.02,
        latency_s=0.0,
        attempts=2,
        resumed_tokens=0,
        first_token_s=0.0,
        decode_s=0.0,
        request_id="r",
        is_replayed=False,
        text="7",
        reasoning="",
    )


def test_ask_schema_and_prompt_are_sent_as_given() -> None:
    model, schema = ScriptedModel("7"), ReplySchema("number", {"type": "integer"})
    prompt = "  How many? {{ braces }} \\frac{1}{2}\n"
    _await(ask(BoundModel("solver", model, CallLog("w")), prompt, _number, schema))
    assert model.prompts == [prompt]
    assert model.requests[0].schema == schema


def test_complete_cut_reply_is_the_parsers_to_judge() -> None:
    model = ScriptedModel(Reply("and on", "length", reasoning="Hm."))
    reply = _await(complete(BoundModel("solver", model, CallLog("w")), "?", lambda reply: reply))
    assert (reply.text, reply.finish_reason, reply.reasoning) == ("and on", "length", "Hm.")


def test_seed_same_role_work_and_try_is_the_same() -> None:
    assert _tried("7")[2].requests == _tried("8")[2].requests


def test_seed_differs_by_role_work_and_try() -> None:
    seeds = set()
    for role, work in product(("verifier_a", "verifier_b"), ("w1", "w2")):
        calls: Sequence[Call] = ()
        for _ in range(3):
            log = _tried("no number", role=role, work=work, earlier=calls)[1]
            seeds.add(log.calls[0].seed)
            calls = (*log.calls, *calls)
    assert len(seeds) == 12
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_seed_same_prompt_twice_in_one_try_differs() -> None:
    model, log = ScriptedModel("7", "8"), CallLog("w")
    bound = BoundModel("solver", model, log)
    assert [_await(ask(bound, "How many?", _number)) for _ in range(2)] == [7, 8]
    assert len({request.seed for request in model.requests}) == 2


def test_replay_paid_reply_is_used_and_nobody_asked() -> None:
    _, first, _ = _tried("7")
    value, again, model = _tried(earlier=first.calls)
    assert (value, model.requests) == (7, [])
    assert again.calls == [first.calls[0]._replace(is_replayed=True)]


@pytest.mark.parametrize(
    "change", [{"role": "grader"}, {"prompt_id": "another"}, {"status": "unparsable"}], ids=str
)
def test_replay_reply_of_another_question_is_not_used(change: dict[str, str]) -> None:
    _, first, _ = _tried("7")
    value, _, model = _tried("8", earlier=[first.calls[0]._replace(**change)])  # type: ignore[arg-type]
    assert (value, len(model.requests)) == (8, 1)


def test_replay_same_prompt_twice_takes_both_replies_in_order() -> None:
    log = CallLog("w")
    bound = BoundModel("solver", ScriptedModel("7", "8"), log)
    for _ in range(2):
        _await(ask(bound, "How many?", _number))
    again = BoundModel("solver", ScriptedModel(), CallLog("w", log.calls))
    assert [_await(ask(again, "How many?", _number)) for _ in range(2)] == [7, 8]


@pytest.mark.parametrize(
    "parser_error", [ParseError("stricter now"), TruncatedError("no longer whole")], ids=repr
)
def test_replay_reply_that_the_parser_now_refuses_is_marked_and_asked_anew(
    parser_error: RowError,
) -> None:
    def stricter(text: str) -> int:
        if text == "7":
            raise parser_error
        return int(text)

    _, first, _ = _tried("7")
    model, log = ScriptedModel("8"), CallLog("w", first.calls)
    assert _await(ask(BoundModel("solver", model, log), "How many?", stricter)) == 8
    refused, made = log.calls
    assert (refused.is_replayed, refused.error) == (True, str(parser_error))
    assert (made.is_replayed, made.status) == (False, "ok")
    assert refused.seed != made.seed


def test_call_keeps_how_a_reply_came_and_gives_it_back_when_replayed() -> None:
    model, log = ScriptedModel(), CallLog("w")
    said = Reply("7", resumed_tokens=5, first_token_s=0.25, decode_s=1.5)
    _await(ask(BoundModel("solver", ScriptedModel(said), log), "How many?", _number))
    (call,) = log.calls
    assert (call.resumed_tokens, call.first_token_s, call.decode_s) == (5, 0.25, 1.5)
    again = BoundModel("solver", model, CallLog("w", log.calls))
    assert _await(complete(again, "How many?", lambda reply: reply)) == said


def test_ask_limit_on_tokens_is_sent_as_given() -> None:
    model = ScriptedModel("7", "8")
    bound = BoundModel("solver", model, CallLog("w"))
    _await(ask(bound, "How many?", _number, max_tokens=9))
    _await(ask(bound, "How many?", _number))
    assert [request.max_tokens for request in model.requests] == [9, None]
    assert [request.continues for request in model.requests] == [None, None]


# ---- second chances -------------------------------------------------------------------------

CUT = Reply("1, 2, and", "length")
LOOPS = Reply("1, 1, 1, 1", "repetition")


def _chanced(
    *script: Said, earlier: Sequence[Call] = (), is_cut_final: bool = True
) -> tuple[str | None, CallLog, ScriptedModel]:
    """One try with a second chance of 99 tokens: the text, if it is whole, its log, the model."""
    model, log = ScriptedModel(*script), CallLog("w", earlier, is_cut_final=is_cut_final)
    bound = BoundModel("solver", model, log)
    try:
        reply = _await(complete(bound, "How many?", whole, second_chance_tokens=99))
    except RowError:
        return None, log, model
    return reply.text, log, model


def _limits(model: ScriptedModel) -> list[tuple[int | None, int | None]]:
    return [(request.max_tokens, request.continues) for request in model.requests]


def test_second_chance_whole_reply_needs_none() -> None:
    text, log, model = _chanced("7")
    assert (text, _limits(model), len(log.calls)) == ("7", [(None, None)], 1)


def test_second_chance_cut_reply_is_asked_for_once_more_with_the_larger_limit() -> None:
    text, log, model = _chanced(CUT, "7")
    assert text == "7"
    first, second = model.requests
    assert _limits(model) == [(None, None), (99, first.seed)]
    assert (first.messages, first.schema) == (second.messages, second.schema)
    assert first.seed != second.seed
    assert [(c.status, c.seed) for c in log.calls] == [
        ("truncated", first.seed),
        ("ok", second.seed),
    ]


def test_second_chance_is_the_last() -> None:
    text, log, model = _chanced(CUT, Reply("1, 2, 3, and", "length"))
    assert (text, len(model.requests)) == (None, 2)
    assert [c.text for c in log.calls] == ["1, 2, and", "1, 2, 3, and"]


@pytest.mark.parametrize(
    "said",
    [LOOPS, Reply("no", "refusal"), Reply("1", "abort"), ProviderError("404"), TruncatedError("?")],
    ids=lambda said: getattr(said, "finish_reason", type(said).__name__),
)
def test_second_chance_is_for_replies_that_were_cut_at_their_limit_alone(said: Said) -> None:
    text, log, model = _chanced(said)
    assert (text, len(log.calls), len(model.requests)) == (None, 1, 1)


@pytest.mark.parametrize(
    "second", [None, ProviderError("down"), Reply("no", "refusal"), Reply("1", "abort")], ids=str
)
def test_second_chance_that_gave_nothing_is_taken_again_without_the_first_call(
    second: Said | None,
) -> None:
    """None: the second call was under way when the process was killed."""
    _, before, was = _chanced(CUT, second or "unheard")
    earlier = before.calls[: 1 if second is None else 2]
    text, log, model = _chanced("7", earlier=earlier)
    assert text == "7"
    assert _limits(model) == [(99, earlier[0].seed)]
    cut, made = log.calls
    assert cut == earlier[0]._replace(is_replayed=True)
    assert (made.is_replayed, made.status) == (False, "ok")
    if second is None:  # as if it had not been interrupted: a model may know its seed
        assert model.requests == was.requests[1:]
    else:
        assert made.seed not in {call.seed for call in earlier}


def test_second_chance_whole_reply_of_an_earlier_one_is_used_and_nobody_asked() -> None:
    _, before, _ = _chanced(CUT, "7")
    text, log, model = _chanced(earlier=before.calls[::-1])
    assert (text, model.requests) == ("7", [])
    assert [(c.status, c.is_replayed) for c in log.calls] == [("ok", True)]


@pytest.mark.parametrize("second", [CUT, LOOPS], ids=["length", "repetition"])
@pytest.mark.parametrize("turn", [1, -1], ids=["in_order", "newest_first"])
def test_second_chance_that_was_cut_too_is_final_and_nobody_asked(second: Reply, turn: int) -> None:
    _, before, _ = _chanced(CUT, second)
    text, log, model = _chanced(earlier=before.calls[::turn])
    assert (text, model.requests) == (None, [])
    assert log.calls == [call._replace(is_replayed=True) for call in before.calls]


def test_second_chance_where_cut_replies_are_asked_for_again_begins_anew() -> None:
    calls: Sequence[Call] = ()
    for _ in range(3):
        _, log, model = _chanced(CUT, CUT, earlier=calls, is_cut_final=False)
        first = model.requests[0].seed
        assert _limits(model) == [(None, None), (99, first)]
        calls = (*log.calls, *(call._replace(is_replayed=True) for call in calls))
    assert len({call.seed for call in calls}) == 6
    text, _, model = _chanced(LOOPS, earlier=calls, is_cut_final=False)
    assert (text, _limits(model)) == (None, [(None, None)])


def test_second_chance_same_prompt_twice_gives_each_question_its_own() -> None:
    model, log = ScriptedModel(CUT, "7", CUT, "8"), CallLog("w")
    bound = BoundModel("solver", model, log)
    said = [_await(complete(bound, "?", whole, second_chance_tokens=99)).text for _ in range(2)]
    assert said == ["7", "8"]
    seeds = [request.seed for request in model.requests]
    assert _limits(model) == [(None, None), (99, seeds[0]), (None, None), (99, seeds[2])]
    assert len(set(seeds)) == 4


def _panel(log: CallLog, **said: Said) -> dict[str, BoundModel]:
    return {role: BoundModel(role, ScriptedModel(line), log) for role, line in said.items()}


def test_ask_each_gives_one_value_per_role_in_their_order() -> None:
    panel = _panel(CallLog("w"), zeta="1", alpha="2", mid="3")
    assert _await(ask_each(panel, "How many?", _number)) == (1, 2, 3)


@pytest.mark.parametrize(
    "said",
    [{"a": "no", "b": "2"}, {"a": "1", "b": "no"}, {"a": "no", "b": "no"}],
    ids=json.dumps,
)
def test_ask_each_one_fails_yet_every_call_is_awaited_and_recorded(said: dict[str, Said]) -> None:
    log = CallLog("w")
    with pytest.raises(ParseError):
        _await(ask_each(_panel(log, **said), "How many?", _number))
    assert {call.role: call.status for call in log.calls} == {
        role: "unparsable" if line == "no" else "ok" for role, line in said.items()
    }


def test_ask_each_slow_role_is_awaited_after_a_quick_one_failed() -> None:
    quick_has_failed = asyncio.Event()

    class Slow(ScriptedModel):
        async def complete(self, request: object) -> Reply:
            await quick_has_failed.wait()
            await asyncio.sleep(0)
            return Reply("2")

    class Quick(ScriptedModel):
        async def complete(self, request: object) -> Reply:
            quick_has_failed.set()
            raise ProviderError("down")

    log = CallLog("w")
    panel = {"a": BoundModel("a", Quick(), log), "b": BoundModel("b", Slow(), log)}
    with pytest.raises(ProviderError):
        _await(ask_each(panel, "How many?", _number))
    assert [(call.role, call.status) for call in log.calls] == [("a", "error"), ("b", "ok")]
