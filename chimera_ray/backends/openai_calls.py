"""One chat call over HTTP, by either API, streamed or not → its answer.

Judges nothing but how the call is to be made; what the answer says is for `openai_replies`.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeVar

import aiohttp

from chimera_ray.backends import openai_responses
from chimera_ray.backends.delivered import Delivered
from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_errors import kind_of
from chimera_ray.backends.openai_http import FAILURES, MAX_ANSWER_BYTES, UNREACHED, Http, told_by
from chimera_ray.backends.openai_replies import cut_off
from chimera_ray.backends.openai_stream_reader import StreamReader
from chimera_ray.backends.openai_streaming import Streaming, Way, demands_stream, fields_of
from chimera_ray.errors import EndpointError, ProviderError, TransientProviderError
from chimera_ray.llm import Message, Request
from chimera_ray.model_config import OpenAIModel
from chimera_ray.schemas import digest

CHAT_PATH = "chat/completions"
_E = TypeVar("_E", bound=ProviderError)


class Calls:
    """A model's calls; made and used inside one event loop."""

    def __init__(self, config: OpenAIModel, http: Http, delivered: Delivered) -> None:
        """A configuration and the way to its endpoint → what makes calls there."""
        self._config, self._http, self._delivered = config, http, delivered
        self._streaming = Streaming(config)
        self._is_chat = config.api == "chat"
        self._path = CHAT_PATH if self._is_chat else openai_responses.PATH
        self._chunk_of = None if self._is_chat else openai_responses.chat_chunk
        self._clock = asyncio.get_running_loop().time
        self._late = f"no whole reply within {config.timeouts.total_s:g} s"

    async def make(self, chat: Mapping[str, Any], key: str) -> Answer:
        """A chat call's body and its idempotency key → the answer.

        If the server refuses how the call is made, it is made in another way, at most twice.

        Raises:
            one of FAILURES: there is no answer.
            TransientProviderError: there is none in time, or a 200 broke off.
            ProviderError: it is too long to be one.
            EndpointError: the server answers by streams alone, and none are to be asked for.
        """
        request = _request_in(chat)
        first = way = self._streaming.way
        tried, refusal = {first}, await self._send(chat, key, first)
        answer = refusal
        while (other := self._streaming.other(way, answer, request)) and other not in tried:
            way = other
            tried.add(way)
            answer = await self._send(chat, key, way)
        if self._config.stream == "never" and demands_stream(answer, request):
            where = f"{self._config.name} at {self._config.base_url or 'the provider'}"
            raise EndpointError(f"{where} answers by streams alone: set stream: auto")
        return answer if self._streaming.settle(first, way, answer) else refusal

    async def _send(self, chat: Mapping[str, Any], key: str, way: Way) -> Answer:
        body: Mapping[str, Any] = {**chat, **fields_of(way, self._config.api)}
        if not self._is_chat:
            body = openai_responses.request_body(body)
        content, came = json.dumps(body).encode(), _Came()
        try:
            if way == "whole":
                answer = await self._whole(content, key, came)
            else:  # another body is another call
                answer = await self._streamed(content, digest(key, way), came)
        except FAILURES as exc:
            if not came.is_paid:
                raise
            trouble = f"the answer was cut ({kind_of(exc)})"
            error = TransientProviderError(f"{self._config.name}: {trouble}")
            raise self._paid(error, came, chat) from None
        except ProviderError as exc:
            raise self._paid(exc, came, chat) from None
        if not self._is_chat and answer.status >= 300:
            return answer._replace(body=openai_responses.chat_error(answer.body))
        return answer

    async def _whole(self, content: bytes, key: str, came: "_Came") -> Answer:
        """A call that is silent until its reply is whole; what that teaches is heeded."""
        total_s, began = self._config.timeouts.total_s, self._clock()
        try:
            async with (
                asyncio.timeout(total_s) as limit,
                self._http.open(self._path, content, key) as response,
            ):
                came.begin(response)
                answer = await self._http.whole(response, came.body)
        except FAILURES as exc:
            if limit.expired():
                raise self._too_late() from None
            if not isinstance(exc, UNREACHED):
                self._streaming.lost(self._clock() - began)
            raise
        self._streaming.heed(answer, self._clock() - began)
        return answer

    async def _streamed(self, content: bytes, key: str, came: "_Came") -> Answer:
        """A call whose reply comes event by event; what came before it broke off is an answer."""
        times = self._config.timeouts
        reader = StreamReader(self._config.name, self._chunk_of, self._delivered, times.idle_s)
        try:
            async with (
                asyncio.timeout(times.total_s) as limit,
                self._http.open(self._path, content, key) as response,
            ):
                came.begin(response)
                if response.status == 200:
                    return await reader.read(response, self._http, came.body)
                return await self._http.whole(response, came.body)
        except FAILURES as exc:
            if reader.is_begun:
                return reader.answer(self._late if limit.expired() else kind_of(exc))
            if limit.expired():
                raise self._too_late() from None
            raise

    def _too_late(self) -> TransientProviderError:
        return TransientProviderError(f"{self._config.name}: {self._late}")

    def _paid(self, error: _E, came: "_Came", chat: Mapping[str, Any]) -> _E:
        """Why an answer broke off → the same with what may have to be paid, if it was a 200."""
        if came.is_paid:
            is_reply = len(came.body) <= MAX_ANSWER_BYTES
            part = Answer(came.status, came.headers, bytes(came.body) if is_reply else b"")
            error.lost = (cut_off(str(error), part, self._config, _request_in(chat)),)
        return error


class _Came:
    """What came of an answer until it broke off."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body = bytearray()

    @property
    def is_paid(self) -> bool:
        return 200 <= self.status < 300

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """The head is there."""
        self.status, self.headers = response.status, told_by(response.raw_headers)


def _request_in(chat: Mapping[str, Any]) -> Request:
    """A chat call's body → what is asked in it."""
    return Request(tuple(Message(**message) for message in chat["messages"]), None, 0)
