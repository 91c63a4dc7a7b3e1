"""The solver's trajectory: the bare problem goes out, thinking and final part come back apart."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fakes import HALF, ROLLOUT, Said, ScriptedModel, node_of, perform_on, require_failed, rows_of
from pydantic import ValidationError

from chimera_ray.errors import ProviderError, TransientProviderError
from chimera_ray.llm import Reply, Request
from chimera_ray.runners.perform import perform
from chimera_ray.schemas import MAX_TRAJECTORY_CHARS, Call, Record, Trajectory, row_id
from chimera_ray.stages.sample_trajectory import SampleTrajectoryParams


def _sample(
    *script: Said, earlier: tuple[Call, ...] = (), **params: Any
) -> tuple[Record, ScriptedModel]:
    solver = ScriptedModel(*script)
    return perform_on("sample_trajectory", ROLLOUT, {"solver": solver}, earlier, **params), solver


@pytest.mark.parametrize(
    ("fault", "reason", "status"),
    [
        (Reply("I must decline.", "refusal"), "refused", "refused"),
        (Reply("<think>and then", "abort"), "provider_error", "error"),
        (ProviderError("gone"), "provider_error", "error"),
        (TransientProviderError("busy"), "transient_provider_error", "error"),
    ],
    ids=["refusal", "aborted", "provider_error", "transient_error"],
)
@pytest.mark.parametrize("retry_truncated", [False, True])
def test_sample_trajectory_no_trajectory_fails_the_row(
    fault: Said, reason: str, status: str, retry_truncated: bool
) -> None:
    record, _ = _sample(fault, retry_truncated=retry_truncated)
    require_failed(record, reason)
    assert [call.status for call in record.calls] == [status]


@pytest.mark.parametrize(
    "reply",
    [
        Reply("<think>I see, it is 6.</think>"),
        Reply("<think>I see, it is 6.</think> \n"),
        Reply("<think>I see, it is 6."),
        Reply("", reasoning="I see, it is 6."),
        Reply(" ", reasoning="I see, it is 6."),
        Reply("\u200b\x00\ufeff", reasoning="I see, it is 6."),
    ],
    ids=["tags", "blank", "unclosed", "apart", "apart_blank", "invisible"],
)
def test_sample_trajectory_that_ends_within_its_thinking_is_rejected(reply: Reply) -> None:
    record, _ = _sample(reply)
    assert (record.outcome, record.reason, record.outputs) == ("rejected", "no_final_part", ())
    assert record.calls[0].status == "ok"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(""),
        Reply(" \n\u200b"),
        Reply("", reasoning=""),
        Reply("<think></think>"),
        Reply("</think>"),
    ],
    ids=["empty", "blank", "both_empty", "empty_tags", "tag_alone"],
)
def test_sample_trajectory_without_any_text_fails_and_is_asked_again(reply: Reply) -> None:
    first, _ = _sample(reply)
    require_failed(first, "unparsable")
    second, _ = _sample("</think>6", earlier=first.calls)
    assert len(rows_of(second, Trajectory)) == 1


def test_sample_trajectory_over_its_bound_is_rejected() -> None:
    record, _ = _sample(Reply("6", reasoning="x" * MAX_TRAJECTORY_CHARS))
    assert (record.outcome, record.reason) == ("rejected", "too_long")


@pytest.mark.parametrize("finish_reason", ["length", "repetition"])
def test_sample_trajectory_cut_short_is_rejected_and_its_text_kept(finish_reason: Any) -> None:
    record, _ = _sample(Reply("<think>on and on", finish_reason))
    assert (record.outcome, record.reason, record.outputs) == ("rejected", "truncated", ())
    assert record.detail == f"finish reason: {finish_reason}"
    (call,) = record.calls
    assert (call.status, call.text) == ("truncated", "<think>on and on")
    assert call.finish_reason == finish_reason


@pytest.mark.parametrize("finish_reason", ["length", "repetition"])
def test_sample_trajectory_cut_short_and_to_be_retried_fails_and_is_asked_again(
    finish_reason: Any,
) -> None:
    first, _ = _sample(Reply("<think>on and on", finish_reason), retry_truncated=True)
    require_failed(first, "truncated", is_final=False)
    second, solver = _sample("</think>6", earlier=first.calls, retry_truncated=True)
    assert len(rows_of(second, Trajectory)) == 1
    assert solver.requests[0].seed != first.calls[0].seed
    marks = [(call.status, call.is_replayed) for call in second.calls]
    assert marks == [("ok", False), ("truncated", True)]


def test_sample_trajectory_second_chance_is_in_the_record_beside_the_first_call() -> None:
    record, solver = _sample(
        Reply("<think>on", "length"), "<think>on</think>6", second_chance_tokens=99
    )
    (trajectory,) = rows_of(record, Trajectory)
    assert (trajectory.reasoning, trajectory.final_part) == ("on", "6")
    assert [(call.status, call.is_replayed) for call in record.calls] == [
        ("truncated", False),
        ("ok", False),
    ]
    assert [request.max_tokens for request in solver.requests] == [None, 99]
    assert solver.requests[1].continues == record.calls[0].seed


@pytest.mark.parametrize("retry_truncated", [False, True])
def test_sample_trajectory_cut_in_its_second_chance_too_ends_as_truncated(
    retry_truncated: bool,
) -> None:
    params = {"second_chance_tokens": 99, "retry_truncated": retry_truncated}
    cuts = [Reply("<think>on", "length"), Reply("<think>on and on", "length")]
    record, _ = _sample(*cuts, **params)
    require_failed(record, "truncated", is_final=not retry_truncated)
    assert [call.text for call in record.calls] == [reply.text for reply in cuts]
    again, solver = _sample(*cuts, earlier=record.calls, **params)
    require_failed(again, "truncated", is_final=not retry_truncated)
    assert len(solver.requests) == (2 if retry_truncated else 0)
    assert len(again.calls) == (4 if retry_truncated else 2)
    assert sum(call.is_replayed for call in again.calls) == 2


class _DeafTheSecondTime(ScriptedModel):
    """Its reply is cut; then it never answers."""

    async def complete(self, request: Request) -> Reply:
        if self.requests:
            await asyncio.Event().wait()
        return await super().complete(request)


def test_sample_trajectory_killed_in_its_second_chance_goes_on_there_from_its_open_record() -> None:
    node = node_of("sample_trajectory", second_chance_tokens=99)
    payload = ROLLOUT.model_dump_json()
    name = row_id("Rollout", payload)
    opened: list[Record] = []
    solver = _DeafTheSecondTime(Reply("<think>on", "length"))

    async def killed() -> None:
        def note(work: str, make: Callable[[], Record]) -> None:
            opened.append(make())

        work = asyncio.create_task(perform(node, name, payload, {"solver": solver}, (), "r", note))
        while not opened:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(killed())
    (record,) = opened
    assert (record.outcome, len(record.calls)) == ("open", 1)
    resumed, again = _sample("</think>6", earlier=record.calls, second_chance_tokens=99)
    (request,) = again.requests
    assert (request.max_tokens, request.continues) == (99, record.calls[0].seed)
    assert len(rows_of(resumed, Trajectory)) == 1
    assert [(call.status, call.is_replayed) for call in resumed.calls] == [
        ("truncated", True),
        ("ok", False),
    ]


@pytest.mark.parametrize("tokens", [0, -1])
def test_sample_trajectory_second_chance_of_no_tokens_is_refused(tokens: int) -> None:
    with pytest.raises(ValidationError, match="second_chance_tokens"):
        SampleTrajectoryParams(second_chance_tokens=tokens)


@pytest.mark.parametrize(
    "reply", [Reply(f"6 {HALF}"), Reply("6", reasoning=HALF)], ids=["text", "reasoning"]
)
def test_sample_trajectory_text_that_no_file_can_hold_does_not_end_the_run(reply: Reply) -> None:
    record, _ = _sample(reply)
    assert record.outcome in ("accepted", "failed")
    for call in record.calls:
        (call.text + call.reasoning + call.error).encode()


@pytest.mark.parametrize(
    ("reply", "reasoning", "final_part"),
    [
        (Reply("So 6.", reasoning="Hm."), "Hm.", "So 6."),
        (Reply("<think>Hm.</think>\n\nSo 6."), "Hm.", "So 6."),
        (Reply("Hm.</think>\n\nSo 6."), "Hm.", "So 6."),
        (Reply("So 6."), "", "So 6."),
        (Reply("x\x00\u2028</think>\x006"), "x\x00", "\x006"),
        (Reply("</think>So 6.", reasoning="Hm."), "Hm.", "So 6."),
    ],
    ids=["apart", "tags", "no_opening", "plain", "control", "both"],
)
def test_sample_trajectory_whole_reply_is_split(
    reply: Reply, reasoning: str, final_part: str
) -> None:
    (trajectory,) = rows_of(_sample(reply)[0], Trajectory)
    assert trajectory == Trajectory(
        **ROLLOUT.model_dump(), reasoning=reasoning, final_part=final_part, finish_reason="stop"
    )


def test_sample_trajectory_solver_gets_the_bare_problem_as_the_one_user_message() -> None:
    _, solver = _sample("6")
    (request,) = solver.requests
    assert solver.prompts == [ROLLOUT.problem]
    assert request.schema is None


def test_sample_trajectory_attempts_at_one_problem_draw_their_own_seeds() -> None:
    seeds = set()
    for index in range(4):
        solver = ScriptedModel("6")
        row = ROLLOUT.model_copy(update={"rollout_index": index})
        perform_on("sample_trajectory", row, {"solver": solver})
        seeds.add(solver.requests[0].seed)
    assert len(seeds) == 4


@pytest.mark.parametrize(
    "reply",
    [
        Reply("So 6.", reasoning="Hm."),
        Reply("<think>Hm.</think>So 6."),
        Reply("Hm.</think>So 6.", reasoning=""),
    ],
    ids=["apart", "tags", "empty_reasoning"],
)
def test_sample_trajectory_replayed_reply_gives_the_same_row(reply: Reply) -> None:
    first, _ = _sample(reply)
    again, _ = _sample(earlier=first.calls)
    assert again.outputs == first.outputs
    assert [call.is_replayed for call in again.calls] == [True]
