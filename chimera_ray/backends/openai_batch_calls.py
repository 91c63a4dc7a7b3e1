"""The few calls on files and batches, each tried until it is answered or the run has to stop.

They are not the limiter's: a batch has limits of its own. No word of the server's is shown, since
it may quote any of the prompts.
"""

import time
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import IO, TypeVar

import httpx2
import openai
from openai.types import Batch

from chimera_ray.backends.openai_batch_journal import Entry
from chimera_ray.backends.openai_errors import translated
from chimera_ray.backends.openai_http import key_of
from chimera_ray.errors import ChimeraError, EndpointError, TransientProviderError
from chimera_ray.llm import Request
from chimera_ray.model_config import OpenAIModel

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
"""waits; one that the run's halt ends raises what ended it"""
QUICK_S = 120.0
"""of silence, in a call that moves no file"""
MAX_LISTED = 20_000
CHUNK_BYTES = 1 << 20
_NO_REQUEST = Request((), None, 0)
_RANDOM = Random()


class BatchCalls:
    """An endpoint's files and batches; made and used inside one event loop."""

    def __init__(self, config: OpenAIModel) -> None:
        """Opens nothing yet.

        Raises:
            EndpointError: the environment variable that is to hold the key is not set here.
        """
        self._config = config
        self._client = _client_for(config)
        quick_s = min(QUICK_S, config.timeouts.total_s)
        self._quick = self._client.with_options(timeout=quick_s)
        self._is_reached = False

    async def upload(self, content: bytes, sleep: Sleep) -> str:
        """An input file's content → the file's id."""

        async def attempt() -> str:
            file = await self._client.files.create(file=("batch.jsonl", content), purpose="batch")
            return self._id(getattr(file, "id", None))

        return await self._steady(attempt, sleep)

    async def create(self, entry: Entry, sleep: Sleep) -> str:
        """An intent → its batch's id; created once, even if the first answer is lost."""
        is_first = True

        async def attempt() -> str:
            nonlocal is_first
            found = None if is_first else await self._found(entry)
            is_first = False
            if found is not None:
                return found
            batch = await self._quick.batches.create(
                input_file_id=entry.input_file_id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={"made_by": "chimera-ray", "intent": entry.stem},
                extra_headers={"Idempotency-Key": entry.stem},
            )
            return self._id(getattr(batch, "id", None))

        return await self._steady(attempt, sleep)

    async def find(self, entry: Entry, sleep: Sleep) -> str | None:
        """An intent → the id of the batch that was created for it, if one was."""
        return await self._steady(lambda: self._found(entry), sleep)

    async def retrieve(self, batch_id: str, sleep: Sleep) -> Batch | None:
        """A batch's id → how it stands; None: the endpoint does not know it (any more)."""

        async def attempt() -> Batch | None:
            try:
                batch = await self._quick.batches.retrieve(batch_id)
            except (openai.NotFoundError, openai.BadRequestError):
                return None
            self._id(getattr(batch, "id", None))
            return batch

        return await self._steady(attempt, sleep)

    async def download(self, file_id: str, sink: IO[bytes], sleep: Sleep) -> None:
        """A file's id → its content at the end of the sink; nothing if it is there no more."""
        start = sink.tell()

        async def attempt() -> None:
            sink.seek(start)
            sink.truncate()
            content = self._client.files.with_streaming_response.content(file_id)
            try:
                async with content as response:
                    async for chunk in response.iter_bytes(CHUNK_BYTES):
                        sink.write(chunk)
            except openai.NotFoundError:
                return

        await self._steady(attempt, sleep)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def _found(self, entry: Entry) -> str | None:
        num_seen = 0
        async for batch in self._quick.batches.list(limit=100):
            if batch.input_file_id == entry.input_file_id:
                return self._id(batch.id)
            num_seen += 1
            if num_seen == MAX_LISTED:
                break
        return None

    async def _steady(self, attempt: Callable[[], Awaitable[T]], sleep: Sleep) -> T:
        """One attempt after the other → what the first answered one gave.

        Raises:
            EndpointError: the endpoint refuses, or has not answered for too long: its batches go
                on, and the next run takes their answers.
            ProviderError: what was sent was refused.
        """
        retry, began = self._config.retry, time.monotonic()
        for num in count():
            try:
                value = await attempt()
            except (openai.OpenAIError, httpx2.HTTPError, TransientProviderError) as exc:
                trouble = self._ours(exc)
            else:
                self._is_reached = True
                return value
            if not isinstance(trouble, TransientProviderError):
                raise trouble
            own_s = min(retry.first_wait_s * 2.0 ** min(num, 30), retry.max_wait_s)
            wait_s = max(own_s, trouble.retry_after_s or 0.0) * _RANDOM.uniform(1.0, 1.1)
            limit_s = retry.deadline_s if self._is_reached else retry.unreachable_s
            if time.monotonic() - began + wait_s > limit_s:
                raise EndpointError(f"no word of batches or files in {limit_s:g} s; {trouble}")
            await sleep(wait_s)
        raise AssertionError("the count has no end")

    def _ours(self, exc: Exception) -> ChimeraError:
        if isinstance(exc, TransientProviderError):
            return exc
        if not isinstance(exc, openai.OpenAIError):
            kind = type(exc).__name__
            return TransientProviderError(f"{self._config.name}: the connection failed ({kind})")
        if not isinstance(exc, openai.APIStatusError):
            return translated(exc, self._config, _NO_REQUEST)
        self._is_reached = True
        if exc.status_code in (404, 405):
            where = f"{self._config.name} at {self._config.base_url or 'the provider'}"
            return EndpointError(
                f"{where} answers HTTP {exc.status_code} for files or batches: if it has no batch "
                "endpoint, set the model's batch to null"
            )
        bare = {"code": exc.code, "type": exc.type}
        wordless = openai.APIStatusError("", response=exc.response, body=bare)
        return translated(wordless, self._config, _NO_REQUEST)

    def _id(self, said: object) -> str:
        """A field that is to be an id → the same.

        Raises:
            TransientProviderError: it is none, so that the answer is none: a proxy's page.
        """
        if not isinstance(said, str) or not said:
            raise TransientProviderError(f"{self._config.name}: the answer holds no id")
        return said


def _client_for(config: OpenAIModel) -> openai.AsyncOpenAI:
    """A configuration → the SDK's client on the SDK's HTTP, which takes files in parts."""
    times = config.timeouts
    timeout = httpx2.Timeout(times.total_s, connect=times.connect_s, read=times.first_byte_s)
    return openai.AsyncOpenAI(
        api_key=key_of(config) or "none",
        base_url=config.base_url,
        max_retries=0,
        timeout=timeout,
        http_client=openai.DefaultAioHttpClient(timeout=timeout),
    )
