"""An open response that streams → what it comes to, with its times; what came before a cut is kept.

Reads no oftener than the reply's length is worth: a model sends 50 events a second, and waking up
for each of them would cost more than all the rest of the call.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from chimera_ray.backends.delivered import Delivered
from chimera_ray.backends.forecast import CHARS_PER_TOKEN
from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_http import FAILURES, Http, told_by
from chimera_ray.backends.openai_stream import ChatStream, ChunkOf, is_event_stream

MAX_PAUSE_S, PAUSE_SHARE = 0.1, 0.03
"""between two readings, the latter of the time that the call has taken so far"""
LINGER_S = 5.0
"""after the finish reason, for a usage that may follow it"""
CLOSE_S = 0.2
"""after the mark of the end; a connection that is not at its end by then cannot be used again"""


class StreamReader:
    """One streamed attempt."""

    def __init__(
        self, model: str, chunk_of: ChunkOf | None, delivered: Delivered, idle_s: float
    ) -> None:
        """The request is sent now.

        Args:
            model: whose reply it is.
            chunk_of: an event's object → the chunk of a chat completion; None: it is one.
            delivered: is told of tokens as they come.
            idle_s: of silence, once the reply has begun, after which the stream is given up.
        """
        self.is_begun = False
        """events are on their way: whatever comes now, the attempt may have to be paid for"""
        self._model, self._delivered, self._idle_s = model, delivered, idle_s
        self._stream = ChatStream(chunk_of)
        self._clock = asyncio.get_running_loop().time
        self._sent_at = self._clock()
        self._first_at = self._last_at = 0.0
        self._num_told = 0
        self._headers: Mapping[str, str] = {}

    async def read(self, response: aiohttp.ClientResponse, http: Http, came: bytearray) -> Answer:
        """A response with status 200 → the answer; one that does not stream is read as it is.

        Raises:
            one of FAILURES: reading failed; what came until then is in `answer`, or in `came` of
                one that does not stream.
            ProviderError: one that does not stream is too long to be an answer.
        """
        self._headers = told_by(response.raw_headers)
        block = await response.content.readany()
        if not is_event_stream(Answer(response.status, self._headers, block)):
            came += block
            return await http.whole(response, came)
        self.is_begun = True
        while block:
            self._take(block)
            if self._stream.is_over:
                await _read_end(response)
                break
            await self._pause(response)
            limit_s = LINGER_S if self._stream.is_ended else self._idle_s
            try:
                async with asyncio.timeout(limit_s if self._first_at else None) as limit:
                    block = await response.content.readany()
            except TimeoutError:
                if not limit.expired():
                    raise
                return self.answer(f"nothing more came for {limit_s:g} s")
        return self.answer()

    def answer(self, trouble: str = "") -> Answer:
        """What came so far → the answer, with what kept the rest from coming."""
        result = self._stream.result()
        if self._first_at:
            first_s, decode_s = self._first_at - self._sent_at, self._last_at - self._first_at
            result = result._replace(first_token_s=first_s, decode_s=decode_s)
        result = result._replace(trouble=result.trouble or trouble, num_told=self._num_told)
        return Answer(200, self._headers, b"", result)

    def _take(self, block: bytes) -> None:
        before = self._stream.num_chars
        self._stream.feed(block)
        if self._stream.num_chars == before:
            return
        self._last_at = self._clock()
        self._first_at = self._first_at or self._last_at
        num_tokens = self._stream.num_chars // CHARS_PER_TOKEN
        self._delivered.add(self._model, num_tokens - self._num_told)
        self._num_told = num_tokens

    async def _pause(self, response: aiohttp.ClientResponse) -> None:
        """Lets events gather, once the first of them has come."""
        if self._first_at and not response.content.at_eof():
            passed_s = self._clock() - self._sent_at
            await asyncio.sleep(min(MAX_PAUSE_S, PAUSE_SHARE * passed_s))


async def _read_end(response: aiohttp.ClientResponse) -> None:
    """Reads what follows the end, so that the connection can be used again."""
    with suppress(*FAILURES):
        async with asyncio.timeout(CLOSE_S):
            while await response.content.readany():
                pass
