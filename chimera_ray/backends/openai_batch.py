"""An OpenAI-compatible endpoint's `/v1/batches` as a model: calls are gathered, handed in, awaited.

A call's custom_id is its idempotency key, the same before and after a kill, so the journal tells
which batch has its answer. The limiter's gate has no part in this: a batch has its own limits.
"""

import asyncio
import json
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limits import SLOT
from chimera_ray.backends.openai import Bodies, call_key
from chimera_ray.backends.openai_batch_answers import Answers, error_in, reply_in
from chimera_ray.backends.openai_batch_gather import Gathering
from chimera_ray.backends.openai_batch_handed import Handed
from chimera_ray.backends.openai_batch_journal import Journal
from chimera_ray.backends.openai_batch_placing import Item, Placing, copied
from chimera_ray.backends.openai_errors import refused_field, translated
from chimera_ray.errors import ChimeraError, TransientProviderError
from chimera_ray.llm import Reply, Request, Usage
from chimera_ray.model_config import Batch, OpenAIModel

MAX_WAIT_S = 3_600.0
"""between two batches of one call"""
_RANDOM = Random()


@dataclass(slots=True, eq=False)
class _Shared:
    """One call, and how many wait for it."""

    task: asyncio.Task[Reply]
    num_waiting: int = 0


class OpenAIBatch:
    """A model behind an endpoint's batches; made and used inside one event loop."""

    trouble = ""

    def __init__(self, config: OpenAIModel, batch: Batch, journal: Journal, halt: Halt) -> None:
        """A configuration → the model; nothing is opened yet.

        Args:
            config: the model and how it is reached.
            batch: how large batches are, and when they are handed in and asked for.
            journal: where batches are written down, for all processes that ask this endpoint.
            halt: ends the gathering; batches that were handed in go on.

        Raises:
            EndpointError: the environment variable that is to hold the key is not set here.
        """
        self.name = config.name
        self._config, self._batch, self._halt = config, batch, halt
        self._bodies = Bodies(config)
        self._identity, self._structured = config.identity(), str(config.structured_output)
        self._placing = Placing(config, batch, journal, halt)
        self._gathering = Gathering(batch, self._placing.place)
        self._under_way: dict[str, _Shared] = {}
        halt.listen(self._gathering.refuse)

    async def complete(self, request: Request) -> Reply:
        """Request → reply, from the batch that it joins or from one that it was in before a kill.

        Its row lends its slot meanwhile: a batch may have as many calls as the process has rows.

        Raises:
            ProviderError: the request was refused, or no batch had a reply.
            RefusalError: the endpoint declined to have it answered.
            StopError: the endpoint refuses whatever is asked, or nothing new may start.
        """
        key = call_key(self._identity, request)
        shared = self._under_way.get(key)
        if shared is None:
            self._halt.check()
            shared = _Shared(asyncio.create_task(self._answer(Item(key, request))))
            self._under_way[key] = shared
        shared.num_waiting += 1
        slot = SLOT.get()
        try:
            async with nullcontext() if slot is None else slot.lend():
                return await asyncio.shield(shared.task)
        except ChimeraError as exc:
            raise copied(exc) from None
        finally:
            shared.num_waiting -= 1
            if not shared.num_waiting:
                shared.task.cancel()
                if self._under_way.get(key) is shared:
                    del self._under_way[key]

    def cost_usd(self, usage: Usage) -> float:
        """Tokens of one call → US dollars, by the configured prices and the batch's factor."""
        return self._config.cost_usd(usage)

    async def close(self) -> None:
        """Stops waiting and closes the connections; batches that were handed in go on."""
        tasks = [shared.task for shared in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._gathering.close()
        await self._placing.close()

    async def _answer(self, item: Item) -> Reply:
        """One batch after the other → the first reply.

        The deadline counts from the end of its first batch: that may take its whole day, and a
        call that expired there is to have a second one.
        """
        first_ended: float | None = None
        for num in count(1):
            batch = await self._joined(item)
            async with batch.answers() as answers:
                said, is_queue_full = self._said(item, answers), answers.is_queue_full
            if isinstance(said, Reply):
                return replace(said, attempts=num)
            if batch.is_adopted:  # an error of another time, and free: asked again
                continue
            if not isinstance(said, TransientProviderError):
                raise said
            wait_s = min(self._batch.poll_s * 2.0 ** min(num - 1, 30), MAX_WAIT_S)
            wait_s *= _RANDOM.uniform(0.5, 1.0)
            if is_queue_full and not self._placing.num_live:
                self._gathering.shrink(batch.num_calls)
            if not is_queue_full or batch.num_calls == 1:
                first_ended = first_ended or time.monotonic()
                if time.monotonic() - first_ended + wait_s > self._config.retry.deadline_s:
                    raise TransientProviderError(f"no reply in {num} batches; the last: {said}")
            await self._halt.sleep(wait_s)
        raise AssertionError("the count has no end")

    async def _joined(self, item: Item) -> Handed:
        """A call → the batch that it is in, once that is handed in."""
        self._halt.check()
        item.structured = self._structured
        body = self._bodies.of(item.request, item.structured)
        said = {"custom_id": item.key, "method": "POST", "url": "/v1/chat/completions"}
        item.line = json.dumps({**said, "body": body}).encode() + b"\n"
        batch = await self._gathering.join(item)
        item.seen.add(batch.stem)
        return batch

    def _said(self, item: Item, answers: Answers) -> Reply | ChimeraError:
        """A call and an ended batch → its reply, or what became of it there."""
        line = answers.line(item.key)
        if line is None:
            return answers.failure_of(item.key)
        error = error_in(line)
        if error is None:
            try:
                return reply_in(line, self._config, item.request)
            except TransientProviderError as exc:
                return exc
        if refused_field(error) == "response_format" and item.structured != "none":
            if self._structured == item.structured:  # for all that come after it too
                self._structured = "json_object" if item.structured == "json_schema" else "none"
            return TransientProviderError(f"{self.name}: the way of asking for fields is not known")
        return translated(error, self._config, item.request)
