"""Attempts that were paid for and gave nothing: each a call of its own, and in later tries once."""

import asyncio
from collections.abc import Sequence

import pytest
from fakes import ROLLOUT, Said, ScriptedModel, perform_on

from chimera_ray.call_log import CallLog
from chimera_ray.errors import (
    BudgetError,
    ChimeraError,
    ContextError,
    EndpointError,
    ParseError,
    RefusalError,
    TransientProviderError,
)
from chimera_ray.llm import BoundModel, LostAttempt, Reply, Usage, ask, complete
from chimera_ray.schemas import Call

CUT = LostAttempt(1, "cut", "half", "why", Usage(3, 1, 4, 2), False, "r1")
GARBLED = LostAttempt(3, "garbled \ud800", "\ud800", "", Usage(3, 0, 9), True)


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ParseError("no number") from None


def _ask(*script: Said, earlier: Sequence[Call] = ()) -> tuple[int | None, CallLog, ScriptedModel]:
    model, log = ScriptedModel(*script), CallLog("work", earlier)
    try:
        value = asyncio.run(ask(BoundModel("solver", model, log), "How many?", _number))
    except ChimeraError:
        value = None
    return value, log, model


def _failing(error: ChimeraError, *lost: LostAttempt, attempts: int = 4) -> ChimeraError:
    error.lost, error.attempts = lost, attempts
    return error


def test_lost_attempts_of_a_reply_are_calls_of_their_own_before_it() -> None:
    value, log, _ = _ask(Reply("7", attempts=4, lost=(CUT, GARBLED), usage=Usage(3, 0, 5)))
    assert value == 7
    cut, garbled, last = log.calls
    assert (cut.text, cut.reasoning, cut.request_id) == ("half", "why", "r1")
    assert (cut.status, cut.error, cut.finish_reason) == ("error", "cut", "abort")
    assert [call.attempts for call in log.calls] == [1, 3, 4]
    assert [call.output_tokens for call in log.calls] == [4, 9, 5]
    assert [call.is_usage_estimated for call in log.calls] == [False, True, False]
    assert {call.seed for call in log.calls} == {last.seed}
    assert all(call.cost_usd > 0 for call in log.calls)
    garbled.text.encode()


@pytest.mark.parametrize("kind", [TransientProviderError, ContextError, RefusalError])
def test_lost_attempts_of_a_call_that_failed_are_in_the_log(kind: type[ChimeraError]) -> None:
    _, log, _ = _ask(_failing(kind("no"), CUT, GARBLED))
    assert [(call.attempts, call.output_tokens) for call in log.calls] == [(1, 4), (3, 9), (4, 0)]
    assert log.calls[-1].error == "no"


def test_lost_last_attempt_is_the_calls_own_record() -> None:
    _, log, _ = _ask(_failing(TransientProviderError("given up"), CUT, GARBLED, attempts=3))
    assert [(call.attempts, call.output_tokens) for call in log.calls] == [(1, 4), (3, 9)]
    assert log.calls[-1].error == "given up"
    assert log.calls[-1].is_usage_estimated


@pytest.mark.parametrize("kind", [EndpointError, BudgetError])
def test_lost_attempts_of_a_call_that_the_run_stopped_are_all_that_is_in_the_log(
    kind: type[ChimeraError],
) -> None:
    _, log, _ = _ask(_failing(kind("stop"), CUT))
    assert [(call.attempts, call.status) for call in log.calls] == [(1, "error")]


def test_lost_attempts_beside_a_reply_that_cannot_be_parsed_are_kept() -> None:
    _, log, _ = _ask(Reply("seven", attempts=2, lost=(CUT,)))
    assert [call.status for call in log.calls] == ["error", "unparsable"]


def test_listener_is_told_once_when_all_of_a_call_is_in_the_log() -> None:
    told: list[int] = []
    log = CallLog("work")
    log.on_call = lambda: told.append(len(log.calls))
    model = ScriptedModel(Reply("7", attempts=4, lost=(CUT, GARBLED)))
    asyncio.run(ask(BoundModel("solver", model, log), "How many?", _number))
    assert told == [3]


def test_lost_attempts_do_not_change_which_reply_is_replayed() -> None:
    _, first, _ = _ask(Reply("7", attempts=2, lost=(CUT,)))
    value, again, model = _ask(earlier=first.calls)
    assert (value, model.requests) == (7, [])
    assert [call.attempts for call in again.calls] == [2]


@pytest.mark.parametrize("is_reversed", [True, False])
def test_lost_attempts_are_no_tries_of_their_own_for_the_next_seed(is_reversed: bool) -> None:
    _, bare, _ = _ask("seven")
    _, second, _ = _ask("8", earlier=bare.calls)
    _, first, _ = _ask(Reply("seven", attempts=4, lost=(CUT, GARBLED)))
    earlier = first.calls[::-1] if is_reversed else first.calls
    _, after, _ = _ask("8", earlier=earlier)
    assert after.calls[0].seed == second.calls[0].seed


def test_lost_attempts_do_not_hide_a_reply_that_was_cut() -> None:
    async def solve(log: CallLog, *script: Said) -> ScriptedModel:
        model = ScriptedModel(*script)
        bound = BoundModel("solver", model, log)
        await complete(bound, "How many?", lambda reply: reply.text, second_chance_tokens=99)
        return model

    cut = Reply("1, 2, and", "length", attempts=2, lost=(CUT,))
    _, log, _ = _ask(cut)
    again = CallLog("work", log.calls[::-1])
    model = asyncio.run(solve(again, "7"))
    assert [request.max_tokens for request in model.requests] == [99]
    assert model.requests[0].continues == log.calls[-1].seed


def test_lost_attempts_are_in_the_record_of_each_later_try_once() -> None:
    failed = perform_on(
        "sample_trajectory",
        ROLLOUT,
        {"solver": ScriptedModel(_failing(TransientProviderError("no"), CUT, GARBLED))},
    )
    ok = Reply("So it is 6.", reasoning="Hm.", attempts=2, lost=(CUT,))
    solved = perform_on(
        "sample_trajectory", ROLLOUT, {"solver": ScriptedModel(ok)}, earlier=failed.calls
    )
    again = perform_on(
        "sample_trajectory", ROLLOUT, {"solver": ScriptedModel()}, earlier=solved.calls
    )
    assert (failed.outcome, solved.outcome, again.outcome) == ("failed", "accepted", "accepted")
    for record in (solved, again):
        names = [(call.seed, call.attempts) for call in record.calls]
        assert len(set(names)) == len(names) == 5
    assert all(call.is_replayed for call in again.calls)
    assert sum(not call.is_replayed for call in solved.calls) == 2
