"""Every quirk of an endpoint, whole and streamed: what the ledger keeps, and that its bill is true.

A call goes through the backend and through `llm.complete`, as a stage makes it. What the server
truly bills is in the stub's counts.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import stub_quirks
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.limits import MAX_LOST
from chimera_ray.backends.openai import OpenAI
from chimera_ray.call_log import CallLog
from chimera_ray.errors import ChimeraError, ContextError, EndpointError, RowError
from chimera_ray.llm import BoundModel, complete, whole
from chimera_ray.model_config import OpenAIModel
from chimera_ray.prompts import render
from chimera_ray.schemas import Call
from chimera_ray.stages.draft_problem import SCHEMA

pytestmark = pytest.mark.process

PROMPT = render(
    "draft_problem",
    language="English",
    subject="Mathematics",
    area="Algebra",
    topic="Sums",
    facet="",
)
QUICK = {"first_wait_s": 0.01, "max_wait_s": 0.02, "deadline_s": 20.0, "unreachable_s": 20.0}


class Asked(NamedTuple):
    """What came of one piece of work with one call."""

    text: str
    error: ChimeraError | None
    calls: Sequence[Call]


class Endpoint(StubServer):
    """The server, and how it is called."""

    stream = "never"


@pytest.fixture(scope="module")
def running() -> Iterator[Endpoint]:
    with Endpoint() as server:
        yield server


@pytest.fixture(params=["never", "always"], ids=["whole", "streamed"])
def server(running: Endpoint, request: pytest.FixtureRequest) -> Endpoint:
    """The server as new, called in either way."""
    running.stream = request.param
    running.set(**Behaviour().model_dump())
    running.reset()
    return running


async def _ask(server: Endpoint, log: CallLog, changes: dict[str, Any]) -> Asked:
    config = OpenAIModel(
        backend="openai",
        name="simulated-drafter",
        base_url=server.url,
        api_key_env=None,
        retry=QUICK,
        **{"stream": server.stream, **changes},
    )
    gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "test")
    model = OpenAI(config, gate, Halt(), 1)
    bound = BoundModel("drafter", model, log)
    try:
        text = await complete(bound, PROMPT, lambda reply: whole(reply).text, SCHEMA)
    except ChimeraError as exc:
        return Asked("", exc, log.calls)
    finally:
        await model.close()
        await gate.close()
    return Asked(text, None, log.calls)


def _asked(server: Endpoint, earlier: Sequence[Call] = (), **changes: Any) -> Asked:
    return asyncio.run(_ask(server, CallLog("work", earlier), changes))


def _billed(server: Endpoint) -> tuple[int, int]:
    """Tokens of input and output that the server truly bills."""
    counts = server.counts()
    sums = [counts["usage"], counts["wasted"]]
    return sum(s["input_tokens"] for s in sums), sum(s["output_tokens"] for s in sums)


def _counted(calls: Sequence[Call]) -> tuple[int, int]:
    paid = [call for call in calls if not call.is_replayed]
    return sum(call.input_tokens for call in paid), sum(call.output_tokens for call in paid)


def _require_true_bill(server: Endpoint, calls: Sequence[Call]) -> None:
    """Holds our bill to be the server's, or to be marked as estimated and not to be nothing."""
    ours, true = _counted(calls), _billed(server)
    if any(call.is_usage_estimated for call in calls):
        assert ours[0] > 0
    else:
        assert ours == true


ESTIMATED = {
    *("reasoning_beside_all", "zero_usage", "zero_output", "null_usage", "list_usage"),
    *("negative_usage", "one_token", "total_below_parts"),
}


@pytest.mark.parametrize("quirk", stub_quirks.USAGE)
def test_usage_of_every_kind_is_billed_truly_or_said_to_be_estimated(
    server: Endpoint, quirk: str
) -> None:
    whole_text = _asked(server).text
    server.reset()
    server.set(quirk=quirk)
    asked = _asked(server)
    assert (asked.text, asked.error) == (whole_text, None)
    (call,) = asked.calls
    assert call.is_usage_estimated == (quirk in ESTIMATED)
    _require_true_bill(server, asked.calls)
    if quirk == "reasoning_beside_completion":
        assert call.reasoning_tokens == stub_quirks.HIDDEN_TOKENS


STOPS = [name for name in stub_quirks.ENDINGS if name.removeprefix("ends_") in stub_quirks.STOPS]
STOPS += ["ends_null", "ends_whatever", "no_ending"]


@pytest.mark.parametrize("quirk", STOPS)
def test_reply_that_ended_is_taken_whatever_the_server_calls_it(
    server: Endpoint, quirk: str
) -> None:
    whole_text = _asked(server).text
    server.reset()
    server.set(quirk=quirk)
    asked = _asked(server)
    assert (asked.text, asked.error) == (whole_text, None)
    assert [(call.status, call.finish_reason) for call in asked.calls] == [("ok", "stop")]
    _require_true_bill(server, asked.calls)


@pytest.mark.parametrize("word", stub_quirks.CUTS)
def test_reply_that_was_cut_is_truncated_whatever_the_server_calls_it(
    server: Endpoint, word: str
) -> None:
    server.set(quirk=f"cut_{word}")
    asked = _asked(server)
    assert [(call.status, call.finish_reason) for call in asked.calls] == [("truncated", "length")]
    _require_true_bill(server, asked.calls)


UNUSABLE = sorted(
    stub_quirks.UNUSABLE_QUIRKS - {"inside_401", "inside_402", "inside_403", "inside_429"}
)


@pytest.mark.parametrize("quirk", UNUSABLE)
def test_reply_that_cannot_be_used_is_tried_again_and_each_attempt_is_in_the_ledger(
    server: Endpoint, quirk: str
) -> None:
    whole_text = _asked(server).text
    server.reset()
    server.set(script=[f"quirk:{quirk}"] * 2)
    asked = _asked(server)
    assert (asked.text, asked.error) == (whole_text, None)
    assert [call.status for call in asked.calls] == ["error", "error", "ok"]
    assert [call.attempts for call in asked.calls] == [1, 2, 3]
    assert len({call.seed for call in asked.calls}) == 1
    assert all(call.error for call in asked.calls[:2])
    _require_true_bill(server, asked.calls)


@pytest.mark.parametrize("quirk", UNUSABLE)
def test_reply_that_never_can_be_used_fails_after_a_few_attempts_that_are_all_counted(
    server: Endpoint, quirk: str
) -> None:
    server.set(quirk=quirk)
    asked = _asked(server)
    assert isinstance(asked.error, RowError)
    assert server.counts()["requests"] == MAX_LOST
    assert [call.attempts for call in asked.calls] == list(range(1, MAX_LOST + 1))
    assert {call.status for call in asked.calls} == {"error"}
    _require_true_bill(server, asked.calls)


def test_partial_text_of_attempts_that_broke_off_is_kept(server: Endpoint) -> None:
    server.set(script=["quirk:events_cut", "quirk:ends_error"])
    cut, broken, last = _asked(server).calls
    assert broken.text == last.text
    assert 0 < len(cut.text) < len(last.text)
    assert last.text.startswith(cut.text)
    assert (cut.is_usage_estimated, broken.is_usage_estimated) == (True, False)


@pytest.mark.parametrize("quirk", stub_quirks.MESSAGES)
def test_reasoning_is_kept_apart_from_the_text_wherever_it_is_sent(
    server: Endpoint, quirk: str
) -> None:
    whole_text = _asked(server).text
    server.reset()
    server.set(quirk=quirk)
    asked = _asked(server)
    (call,) = asked.calls
    assert (call.text, call.status) == (whole_text, "ok")
    assert call.reasoning == ("" if quirk == "text_in_reasoning" else stub_quirks.THOUGHT)
    _require_true_bill(server, asked.calls)


@pytest.mark.parametrize("quirk", ["events", "byte_order_mark"])
def test_reply_in_an_odd_envelope_is_whole(server: Endpoint, quirk: str) -> None:
    whole_text = _asked(server).text
    server.reset()
    server.set(quirk=quirk)
    asked = _asked(server)
    assert [(call.text, call.attempts) for call in asked.calls] == [(whole_text, 1)]
    _require_true_bill(server, asked.calls)


@pytest.mark.parametrize("quirk", ["flagged", "safety_check"])
def test_prompt_that_is_not_wanted_is_the_rows_refusal_and_free(
    server: Endpoint, quirk: str
) -> None:
    server.set(quirk=quirk)
    (call,) = _asked(server).calls
    assert (call.status, call.output_tokens, server.counts()["requests"]) == ("refused", 0, 1)
    assert "flagged" in call.error or "SAFETY_CHECK_TYPE_BIO" in call.error


def test_reply_that_a_filter_ended_is_a_refusal_that_is_paid_for(server: Endpoint) -> None:
    server.set(quirk="ends_SAFETY")
    asked = _asked(server)
    assert [call.status for call in asked.calls] == ["refused"]
    _require_true_bill(server, asked.calls)


FATAL = ["inside_401", "inside_402", "bad_key_in_a_list", "seed_unknown"]
DOUBTFUL = ["forbidden_text", "inside_403"]


@pytest.mark.parametrize("quirk", FATAL)
def test_refusal_for_good_stops_the_run_and_is_no_call(server: Endpoint, quirk: str) -> None:
    server.set(quirk=quirk)
    asked = _asked(server)
    assert isinstance(asked.error, EndpointError)
    assert asked.calls == []
    assert server.counts()["requests"] == 1


@pytest.mark.parametrize("quirk", DOUBTFUL)
def test_refusal_without_a_reason_fails_its_row_at_once_and_is_free(
    server: Endpoint, quirk: str
) -> None:
    server.set(quirk=quirk)
    (call,) = _asked(server).calls
    assert (call.status, call.output_tokens, server.counts()["requests"]) == ("error", 0, 1)
    assert "403" in call.error


@pytest.mark.parametrize("quirk", ["never_fits", "context_size"])
def test_request_that_never_fits_fails_its_row_at_once(server: Endpoint, quirk: str) -> None:
    server.set(quirk=quirk)
    asked = _asked(server)
    assert type(asked.error) is ContextError
    assert server.counts()["requests"] == 1


@pytest.mark.parametrize("quirk", ["inside_429", "capacity"])
def test_limit_that_passes_is_waited_for_and_costs_nothing(server: Endpoint, quirk: str) -> None:
    server.set(script=[f"quirk:{quirk}"] * 2)
    asked = _asked(server)
    assert [(call.status, call.attempts) for call in asked.calls] == [("ok", 3)]
    assert not asked.calls[0].is_usage_estimated
    _require_true_bill(server, asked.calls)


def test_work_that_is_taken_up_again_neither_loses_nor_repeats_lost_attempts(
    server: Endpoint,
) -> None:
    server.set(script=["quirk:ends_error"])
    first = _asked(server)
    again = _asked(server, earlier=first.calls)
    assert again.text == first.text
    assert [(call.status, call.is_replayed) for call in again.calls] == [("ok", True)]
    assert server.counts()["requests"] == 2


def test_work_that_failed_goes_on_with_another_seed(server: Endpoint) -> None:
    server.set(quirk="choices_null")
    first = _asked(server)
    server.set(quirk="")
    again = _asked(server, earlier=first.calls)
    assert again.error is None
    (call,) = again.calls
    assert call.seed not in {failed.seed for failed in first.calls}


def test_run_that_stops_between_attempts_has_those_that_were_paid_for(server: Endpoint) -> None:
    server.set(script=["quirk:ends_error", "quirk:inside_402"])
    asked = _asked(server)
    assert isinstance(asked.error, EndpointError)
    assert [(call.status, call.attempts) for call in asked.calls] == [("error", 1)]
    _require_true_bill(server, asked.calls)


def test_every_quirk_has_its_test() -> None:
    tried = {*stub_quirks.USAGE, *STOPS, *UNUSABLE, *stub_quirks.MESSAGES, *FATAL, *DOUBTFUL}
    tried |= {f"cut_{word}" for word in stub_quirks.CUTS}
    tried |= {"events", "byte_order_mark", "flagged", "safety_check", "ends_SAFETY", "ends_null"}
    tried |= {"never_fits", "context_size", "inside_429", "capacity"}
    assert tried == set(stub_quirks.QUIRKS)
