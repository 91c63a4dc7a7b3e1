"""The one retry policy: what is tried again, when, and until when.

An attempt holds its row's slot and a place at the endpoint; while a call waits for its next attempt
it holds neither. Knows no vendor: a backend raises `TransientProviderError` for what may pass.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from random import Random
from typing import Protocol, TypeVar

from chimera_ray.backends.gate import Gate
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Learnt
from chimera_ray.backends.metered import ATTEMPTS
from chimera_ray.errors import ChimeraError, ProviderError, TransientProviderError
from chimera_ray.llm import LostAttempt, Reply
from chimera_ray.model_config import Retry

MAX_LOST = 4
"""attempts of one call that were paid for and gave nothing: a further one would be no better"""
FIRST_TURN_S = 0.25
"""a limiter has so long to answer a call's first attempt, however short its deadline is"""
_RANDOM = Random()
_E = TypeVar("_E", bound=ChimeraError)


class Slot(Protocol):
    """A row's right to be worked on."""

    def lend(self) -> AbstractAsyncContextManager[None]:
        """Gives the right to another row meanwhile."""
        ...


SLOT: ContextVar[Slot | None] = ContextVar("SLOT", default=None)
"""the slot of the row that the running task works on"""

Told = Callable[[], Learnt | None]
"""what the endpoint's last answer told of its limits"""


async def persist(
    attempt: Callable[[], Awaitable[Reply]],
    gate: Gate,
    halt: Halt,
    retry: Retry,
    estimated: int,
    told: Told = lambda: None,
) -> Reply:
    """One attempt after the other → the first reply, within the deadline.

    Args:
        attempt: makes one attempt.
        gate: where each attempt waits for its turn at the endpoint.
        halt: stops every waiting.
        retry: how long to wait, and how long in all.
        estimated: tokens that the call will use, about.
        told: what the endpoint told of its limits.

    Raises:
        ProviderError: none of the attempts that the deadline left room for had a reply.
        StopError: the run is to stop.
        ChimeraError: what the attempt raised, if trying again is no use.
    """
    began, num_attempts = time.monotonic(), 0
    lost: list[LostAttempt] = []
    last: ChimeraError | None = None
    try:
        while True:
            halt.check()
            left_s = began + retry.deadline_s - time.monotonic()
            if not await _has_turn(gate, estimated, left_s, is_first=last is None):
                raise _given_up("the endpoint's limits left no turn", num_attempts, began, last)
            num_attempts += 1
            used, is_limited, pause_s = 0, False, 0.0
            try:
                reply = await attempt()
                used = reply.usage.input_tokens + reply.usage.output_tokens
                if num_attempts == 1:
                    return reply
                return replace(reply, attempts=num_attempts, lost=tuple(lost))
            except ChimeraError as exc:
                newly_lost = numbered(exc, num_attempts)
                lost += newly_lost
                if not isinstance(exc, TransientProviderError):
                    raise
                is_limited, pause_s = exc.is_limited, exc.retry_after_s or 0.0
                last, wait_s = exc, _wait_s(retry, num_attempts, exc.retry_after_s)
            finally:
                gate.leave(estimated, used, is_limited=is_limited, pause_s=pause_s, learnt=told())
            if len(lost) >= MAX_LOST:
                why = f"{len(lost)} of them may have been paid for and gave nothing"
                raise _given_up(why, num_attempts, began, last)
            if time.monotonic() - began + wait_s > retry.deadline_s:
                why = f"the next one, in {wait_s:.0f} s, would be past the deadline"
                raise _given_up(why, num_attempts, began, last)
            await _pause(halt, wait_s, newly_lost)
    except ChimeraError as exc:
        with_lost(exc, lost, num_attempts)
        raise


def numbered(error: ChimeraError, num_attempts: int) -> list[LostAttempt]:
    """What an attempt raised → what has to be paid of it, by which attempt it was."""
    lost = (each for each in error.lost if isinstance(each, LostAttempt))
    return [each._replace(attempt=num_attempts) for each in lost]


def with_lost(error: _E, lost: Iterable[LostAttempt], num_attempts: int) -> _E:
    """The error that a call ended with → the same, with what has to be paid of its attempts."""
    error.lost, error.attempts = tuple(lost), max(num_attempts, 1)
    return error


async def _has_turn(gate: Gate, estimated: int, left_s: float, *, is_first: bool) -> bool:
    """Waits for a turn at the endpoint → whether there was one before the deadline."""
    left_s = max(left_s, FIRST_TURN_S) if is_first else left_s
    if left_s <= 0:
        return False
    if gate.enter_at_once():
        return True
    try:
        async with asyncio.timeout(left_s):
            await gate.enter(estimated)
    except TimeoutError:
        return False
    return True


async def _pause(halt: Halt, wait_s: float, lost: Sequence[LostAttempt]) -> None:
    """Waits, with the slot lent to another row; after what was lost, for the budget too."""
    slot = SLOT.get()
    async with nullcontext() if slot is None else slot.lend():
        await halt.sleep(wait_s)
    budgeted = ATTEMPTS.get()
    if lost and budgeted is not None:
        await budgeted.again(lost)


def _wait_s(retry: Retry, num_attempts: int, asked_s: float | None) -> float:
    """Seconds until the next attempt: doubled each time, jittered, never before what was asked."""
    own_s = min(retry.first_wait_s * 2.0 ** min(num_attempts - 1, 30), retry.max_wait_s)
    spread = _RANDOM.uniform(0.5, 1.0) * own_s
    # Those who were all told the same moment do not come back in the same moment.
    return spread if asked_s is None else asked_s + min(0.1 * asked_s, 1.0) * _RANDOM.random()


def _given_up(
    why: str, num_attempts: int, began: float, last: ChimeraError | None
) -> ProviderError:
    tried = f"no reply in {num_attempts} attempts and {time.monotonic() - began:.0f} s, and {why}"
    return TransientProviderError(tried if last is None else f"{tried}; the last: {last}")
