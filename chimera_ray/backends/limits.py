"""The one retry policy: what is tried again, when, and until when.

An attempt holds its row's slot and a place at the endpoint; while a call waits for its next attempt
it holds neither. Knows no vendor: a backend raises `TransientProviderError` for what may pass.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from random import Random
from typing import Protocol

from chimera_ray.backends.gate import Gate
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Learnt
from chimera_ray.errors import ProviderError, TransientProviderError
from chimera_ray.llm import Reply
from chimera_ray.model_config import Retry

_RANDOM = Random()


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
    while True:
        halt.check()
        await gate.enter(estimated)
        num_attempts += 1
        used, is_limited, pause_s = 0, False, 0.0
        try:
            reply = await attempt()
            used = reply.usage.input_tokens + reply.usage.output_tokens
            return replace(reply, attempts=num_attempts)
        except TransientProviderError as exc:
            is_limited, pause_s = exc.is_limited, exc.retry_after_s or 0.0
            trouble = exc
        finally:
            gate.leave(estimated, used, is_limited=is_limited, pause_s=pause_s, learnt=told())
        wait_s = _wait_s(retry, num_attempts, trouble.retry_after_s)
        if time.monotonic() - began + wait_s > retry.deadline_s:
            raise _given_up(trouble, num_attempts, time.monotonic() - began, wait_s)
        slot = SLOT.get()
        async with nullcontext() if slot is None else slot.lend():
            await halt.sleep(wait_s)


def _wait_s(retry: Retry, num_attempts: int, asked_s: float | None) -> float:
    """Seconds until the next attempt: doubled each time, jittered, never before what was asked."""
    own_s = min(retry.first_wait_s * 2.0 ** min(num_attempts - 1, 30), retry.max_wait_s)
    spread = _RANDOM.uniform(0.5, 1.0) * own_s
    # Those who were all told the same moment do not come back in the same moment.
    return spread if asked_s is None else asked_s + min(0.1 * asked_s, 1.0) * _RANDOM.random()


def _given_up(
    trouble: TransientProviderError, num_attempts: int, passed_s: float, wait_s: float
) -> ProviderError:
    return TransientProviderError(
        f"no reply in {num_attempts} attempts and {passed_s:.0f} s, and the next one, in "
        f"{wait_s:.0f} s, would be past the deadline; the last: {trouble}"
    )
