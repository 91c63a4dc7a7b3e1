"""The few calls on files and batches, each tried until it is answered or the run has to stop.

They are not the limiter's: a batch has limits of its own. No word of the server's is shown, since
it may quote any of the prompts.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from itertools import count
from random import Random
from typing import IO, Any, TypeVar
from urllib.parse import quote

import aiohttp

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_batch_errors import error_of_answer
from chimera_ray.backends.openai_batch_journal import Entry
from chimera_ray.backends.openai_batch_state import BatchState, batch_state
from chimera_ray.backends.openai_errors import transport_error
from chimera_ray.backends.openai_http import Http
from chimera_ray.errors import ChimeraError, EndpointError, TransientProviderError
from chimera_ray.model_config import OpenAIModel

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]
"""waits; one that the run's halt ends raises what ended it"""
QUICK_S = 120.0
"""of a call that moves no file"""
MAX_LISTED, PAGE = 20_000, 100
CHUNK_BYTES = 1 << 20
MAX_CONNECTIONS = 16
FAILURES = (aiohttp.ClientError, ConnectionError, TimeoutError, ValueError)
"""what is raised when there is no answer; not what the disk raises that one is written to"""
_RANDOM = Random()


class BatchCalls:
    """An endpoint's files and batches; made and used inside one event loop."""

    def __init__(self, config: OpenAIModel) -> None:
        """Opens nothing yet.

        Raises:
            EndpointError: an environment variable is not set here, or says what cannot be done.
        """
        self._config = config
        self._http = Http(config, MAX_CONNECTIONS)
        self._quick_s = min(QUICK_S, config.timeouts.total_s)
        self._is_reached = False

    async def upload(self, content: bytes, sleep: Sleep) -> str:
        """An input file's content → the file's id."""

        async def attempt() -> str:
            answer = await self._http.upload("files", {"purpose": "batch"}, content)
            return self._id(self._read(answer).get("id"))

        return await self._steady(attempt, self._config.timeouts.total_s, sleep)

    async def create(self, entry: Entry, sleep: Sleep) -> str:
        """An intent → its batch's id; created once, even if the first answer is lost."""
        is_first = True
        said = {
            "input_file_id": entry.input_file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": {"made_by": "chimera-ray", "intent": entry.stem},
        }

        async def attempt() -> str:
            nonlocal is_first
            found = None if is_first else await self._found(entry)
            is_first = False
            if found is not None:
                return found
            answer = await self._http.post("batches", json.dumps(said).encode(), entry.stem)
            return self._id(self._read(answer).get("id"))

        return await self._steady(attempt, self._quick_s, sleep)

    async def find(self, entry: Entry, sleep: Sleep) -> str | None:
        """An intent → the id of the batch that was created for it, if one was."""
        return await self._steady(lambda: self._found(entry), self._quick_s, sleep)

    async def retrieve(self, batch_id: str, sleep: Sleep) -> BatchState | None:
        """A batch's id → how it stands; None: the endpoint does not know it (any more)."""

        async def attempt() -> BatchState | None:
            answer = await self._http.get(f"batches/{quote(batch_id, safe='')}")
            if answer.status in (400, 404):
                return None
            state = batch_state(self._read(answer))
            if state is None:
                raise self._no_batch()
            return state

        return await self._steady(attempt, self._quick_s, sleep)

    async def download(self, file_id: str, sink: IO[bytes], sleep: Sleep) -> None:
        """A file's id → its content at the end of the sink; nothing if it is there no more."""
        start = sink.tell()

        async def attempt() -> None:
            sink.seek(start)
            sink.truncate()
            path = f"files/{quote(file_id, safe='')}/content"
            async with self._http.open_file(path) as response:
                if response.status != 200:
                    answer = await self._http.whole(response)
                    if answer.status != 404:
                        raise self._refusal(answer)
                    return
                async for chunk in response.content.iter_chunked(CHUNK_BYTES):
                    sink.write(chunk)

        await self._steady(attempt, self._config.timeouts.total_s, sleep)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()

    async def _found(self, entry: Entry) -> str | None:
        page = {"limit": str(PAGE)}
        for _ in range(MAX_LISTED // PAGE):
            said = self._read(await self._http.get("batches", page))
            listed = said.get("data")
            states = [batch_state(each) for each in listed] if isinstance(listed, list) else []
            known = [state for state in states if state is not None]
            for state in known:
                if state.input_file_id == entry.input_file_id:
                    return state.batch_id
            if not known or said.get("has_more") is False:
                break
            page["after"] = known[-1].batch_id
        return None

    async def _steady(
        self, attempt: Callable[[], Awaitable[T]], timeout_s: float, sleep: Sleep
    ) -> T:
        """One attempt after the other → what the first answered one gave.

        Raises:
            EndpointError: the endpoint refuses, or has not answered for too long: its batches go
                on, and the next run takes their answers.
            ProviderError: what was sent was refused.
        """
        retry, began = self._config.retry, time.monotonic()
        for num in count():
            try:
                async with asyncio.timeout(timeout_s):
                    value = await attempt()
            except FAILURES as exc:
                trouble = transport_error(exc, self._config)
            except TransientProviderError as exc:
                trouble = exc
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

    def _read(self, answer: Answer) -> dict[str, Any]:
        """An answer → its JSON.

        Raises:
            TransientProviderError: it is none: a proxy's page.
            ChimeraError: it is a refusal.
        """
        if not 200 <= answer.status < 300:
            raise self._refusal(answer)
        try:
            said = json.loads(answer.body)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise self._no_batch()
        return said

    def _refusal(self, answer: Answer) -> ChimeraError:
        self._is_reached = True
        if answer.status in (404, 405):
            where = f"{self._config.name} at {self._config.base_url or 'the provider'}"
            return EndpointError(
                f"{where} answers HTTP {answer.status} for files or batches: if it has no batch "
                "endpoint, set the model's batch to null"
            )
        return error_of_answer(answer, self._config)

    def _id(self, said: object) -> str:
        """A field that is to be an id → the same.

        Raises:
            TransientProviderError: it is none, so that the answer is none.
        """
        if not isinstance(said, str) or not said:
            raise self._no_batch()
        return said

    def _no_batch(self) -> TransientProviderError:
        return TransientProviderError(f"{self._config.name}: the answer holds no id")
