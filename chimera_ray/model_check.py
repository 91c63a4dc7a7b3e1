"""Whether a model works on the machines that are to serve it: loading, an answer, a burst of calls.

No stage and no ledger: what is asked here belongs to no run, and nothing of it is kept.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from chimera_ray.backends.engines import EnginePool, Vllm
from chimera_ray.backends.partials import partial_name
from chimera_ray.config import Config
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Message, Reply, Request, Usage, prompt_id_of
from chimera_ray.metrics.answers.match import equal_by_rule
from chimera_ray.model_config import VllmModel
from chimera_ray.prompts import render
from chimera_ray.runners import Engines
from chimera_ray.runners.stored_partials import StoredPartials
from chimera_ray.text.final_answer import final_answer
from chimera_ray.text.reasoning import split_reasoning

PROBLEM = "What is the sum of the first 100 positive integers?"
ANSWER = "5050"
BURST_TOKENS = 256
"""output tokens of a call of the burst, at most"""
TICK_S = 1.0
NOTED_S = 15.0
"""until an engine that is up has said so"""


class Started(NamedTuple):
    """An engine that is up."""

    cache_tokens: int
    """that its KV cache holds; 0: it does not say"""
    load_s: float


class Answer(NamedTuple):
    """What came of one problem."""

    finish_reason: str
    usage: Usage
    first_token_s: float
    tokens_per_s: float | None
    """of this sequence alone; None: it has too few tokens"""
    final_part: str
    final_answer: str | None

    @property
    def is_right(self) -> bool:
        """Whether it is the known answer."""
        if self.final_answer is None:
            return False
        match = equal_by_rule(ANSWER, self.final_answer)
        return match is not None and match.is_equal


class Burst(NamedTuple):
    """What came of as many calls at once as one engine decodes."""

    num_calls: int
    tokens: int
    """of output, over all calls"""
    seconds: float
    """from the first call to the last reply"""
    calls_s: float
    """of each call from its start to its reply, summed up"""
    max_tokens: int = BURST_TOKENS
    """of one call"""

    @property
    def tokens_per_s(self) -> float:
        """Of the engine."""
        return self.tokens / self.seconds

    @property
    def call_tokens_per_s(self) -> float:
        """Of one call among the others."""
        return self.tokens / self.calls_s

    @property
    def mean_at_once(self) -> float:
        """Calls in flight, on average: less than all, where replies end early."""
        return self.calls_s / self.seconds


Part = Started | Answer | Burst
Watch = Callable[[Sequence[Mapping[str, Any]]], None]


def check(
    config: Config,
    model: VllmModel,
    engines: Engines,
    watch: Watch,
    shown: Callable[[Part], None],
) -> tuple[Started, Answer, Burst]:
    """A model → what one engine of it did; the engine has ended, and nothing of it is left.

    Args:
        config: says where unfinished output is written down meanwhile.
        model: with the sampling to be used.
        engines: bring it up; closed at the end.
        watch: told every second how the engine stands.
        shown: told of each part as soon as it is measured.

    Raises:
        ChimeraError: the engine did not come up, or a call had no reply.
    """
    single = model.model_copy(update={"replicas": 1})
    prompt_id = prompt_id_of(_messages())
    names = [partial_name(prompt_id, seed) for seed in range(model.max_num_seqs + 1)]
    partials = StoredPartials(Store(config.output_dir))
    partials.delete(names)  # of a check that was killed: what is measured here begins anew
    try:
        return asyncio.run(_measure(single, engines, watch, shown))
    finally:
        engines.close()
        partials.delete(names)


@dataclass
class _Seen:
    """What an engine said of itself so far."""

    began: float = field(default_factory=time.time)
    note: Mapping[str, Any] = field(default_factory=dict)

    def take(self, notes: Sequence[Mapping[str, Any]]) -> None:
        if not notes:
            return
        self.note = notes[0]
        if self.note["state"] == "loading":
            self.began = self.note["since"]

    async def started(self) -> Started:
        """Waits for the engine's own word, and not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(NOTED_S):
                while self.note.get("state") != "up":
                    await asyncio.sleep(TICK_S / 4)
        up_since = self.note["since"] if self.note.get("state") == "up" else time.time()
        return Started(int(self.note.get("cache_tokens", 0)), max(up_since - self.began, 0.0))


async def _measure(
    model: VllmModel, engines: Engines, watch: Watch, shown: Callable[[Part], None]
) -> tuple[Started, Answer, Burst]:
    seen = _Seen()
    watching = asyncio.create_task(_watch(engines, seen, watch))
    pool: EnginePool | None = None
    try:
        pool = engines.pool(model)
        async with pool.place(""):
            pass  # it is up
        shown(started := await seen.started())
        vllm = Vllm(model, pool)
        shown(answer := _answer(await vllm.complete(Request(_messages(), None, seed=0))))
        shown(burst := await _burst(vllm, model))
        return started, answer, burst
    finally:
        watching.cancel()
        if pool is not None:
            pool.close()


async def _watch(engines: Engines, seen: _Seen, watch: Watch) -> None:
    while True:
        notes = await asyncio.to_thread(engines.notes)
        seen.take(notes)
        watch(notes)
        await asyncio.sleep(TICK_S)


async def _burst(vllm: Vllm, model: VllmModel) -> Burst:
    """As many calls at once as the engine decodes, each with a seed of its own."""
    most = min(BURST_TOKENS, model.sampling.max_tokens or BURST_TOKENS)
    spent: list[float] = []

    async def call(seed: int) -> int:
        began = time.perf_counter()
        reply = await vllm.complete(Request(_messages(), None, seed, max_tokens=most))
        spent.append(time.perf_counter() - began)
        return _num_fresh(reply)

    began = time.perf_counter()
    counts = await asyncio.gather(*(call(seed) for seed in range(1, model.max_num_seqs + 1)))
    return Burst(len(counts), sum(counts), time.perf_counter() - began, sum(spent), most)


def _answer(reply: Reply) -> Answer:
    """A reply → what is to be said of it, its text split as the stage splits it."""
    final_part = split_reasoning(reply.text)[1]
    num_timed = _num_fresh(reply) - 1
    return Answer(
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        first_token_s=reply.first_token_s,
        tokens_per_s=num_timed / reply.decode_s if num_timed > 0 and reply.decode_s else None,
        final_part=final_part,
        final_answer=final_answer(final_part),
    )


def _num_fresh(reply: Reply) -> int:
    """Output tokens that were generated now."""
    return reply.usage.output_tokens - reply.resumed_tokens


def _messages() -> tuple[Message, ...]:
    return (Message("user", render("sample_trajectory", problem=PROBLEM)),)
