"""One batch that was handed in: watched while somebody waits for it, read when it has ended."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random

from chimera_ray.backends.openai_batch_answers import Answers, answers_of
from chimera_ray.backends.openai_batch_calls import BatchCalls
from chimera_ray.model_config import OpenAIModel

log = logging.getLogger(__name__)
ENDED = ("completed", "expired", "cancelled", "failed")
NUM_GONE = 3
"""answers in a row that the endpoint knows no such batch, before it is believed"""
STUCK_S = 3 * 86_400
"""since its creation; a batch is promised to end within a day"""
_RANDOM = Random()


class Handed:
    """A batch at the provider: this process's own, or one found in the journal."""

    def __init__(
        self,
        stem: str,
        batch_id: str,
        own_keys: Sequence[str],
        calls: BatchCalls,
        config: OpenAIModel,
        on_idle: Callable[["Handed"], None],
    ) -> None:
        """Watches nothing yet.

        Args:
            stem: its name in the journal.
            batch_id: its name at the provider.
            own_keys: its custom_ids in the input's order; empty if it was found in the journal.
            calls: the way to the provider.
            config: the model.
            on_idle: told when nobody waits for a batch of this process's own any more.
        """
        self.stem, self.is_adopted = stem, not own_keys
        self.num_calls = len(own_keys)
        self._batch_id, self._own_keys = batch_id, own_keys
        self._calls, self._config, self._on_idle = calls, config, on_idle
        self._num_waiting = 0
        self._watching: asyncio.Task[Answers] | None = None

    @property
    def is_ended(self) -> bool:
        """Whether its answers are here."""
        return self._watching is not None and self._watching.done()

    @asynccontextmanager
    async def answers(self) -> AsyncIterator[Answers]:
        """Waits for the batch's end, and holds its answers meanwhile.

        Raises:
            EndpointError: the endpoint does not let it be asked for.
        """
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        self._num_waiting += 1
        try:
            yield await asyncio.shield(self._watching)
        finally:
            self._num_waiting -= 1
            # The answers of an adopted batch stay on disk: its other calls may come later.
            if not self._num_waiting and not (self.is_adopted and self._has_answers()):
                self.close()
                self._on_idle(self)

    def close(self) -> None:
        """Stops watching, and gives back the disk."""
        watching, self._watching = self._watching, None
        if watching is None:
            return
        if not watching.done():
            watching.cancel()
        elif not watching.cancelled() and watching.exception() is None:
            watching.result().close()

    def _has_answers(self) -> bool:
        watching = self._watching
        is_ended = watching is not None and watching.done() and not watching.cancelled()
        return is_ended and watching is not None and watching.exception() is None

    async def _watch(self) -> Answers:
        """Polls until the end, also when the run is halted: what is in a batch is paid for."""
        poll_s = self._config.batch.poll_s if self._config.batch else 0.0
        num_gone = 0
        while True:
            batch = await self._calls.retrieve(self._batch_id, asyncio.sleep)
            num_gone = num_gone + 1 if batch is None else 0
            if batch is not None and (batch.status in ENDED or _is_stuck(batch.created_at)):
                break
            if num_gone == NUM_GONE:
                break
            await asyncio.sleep(poll_s * _RANDOM.uniform(0.9, 1.1))
        answers = answers_of(batch, self._own_keys, self._config)
        try:
            for file_id in batch.file_ids if batch else ():
                await self._calls.download(file_id, answers.file, asyncio.sleep)
            num_bad = await asyncio.to_thread(answers.index)
        except BaseException:
            answers.close()
            raise
        status = batch.status if batch else "unknown to the endpoint"
        log.info("%s: batch %s is %s", self._config.name, self._batch_id, status)
        if num_bad:
            log.warning("%s: %d lines of batch %s are none", self._config.name, num_bad, self.stem)
        return answers


def _is_stuck(created_at: int | None) -> bool:
    return created_at is not None and time.time() - created_at > STUCK_S
