"""One chat call over HTTP, by either API, streamed or not → its answer.

Judges nothing but how the call is to be made; what the answer says is for `openai_replies`.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from chimera_ray.backends import openai_responses
from chimera_ray.backends.delivered import Delivered
from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_errors import kind_of
from chimera_ray.backends.openai_http import FAILURES, Http
from chimera_ray.backends.openai_stream_reader import StreamReader
from chimera_ray.backends.openai_streaming import Streaming, Way, demands_stream, fields_of
from chimera_ray.errors import EndpointError, TransientProviderError
from chimera_ray.model_config import OpenAIModel
from chimera_ray.schemas import digest

CHAT_PATH = "chat/completions"


class Calls:
    """A model's calls; made and used inside one event loop."""

    def __init__(self, config: OpenAIModel, http: Http, delivered: Delivered) -> None:
        """A configuration and the way to its endpoint → what makes calls there."""
        self._config, self._http, self._delivered = config, http, delivered
        self._streaming = Streaming(config)
        is_chat = config.api == "chat"
        self._path = CHAT_PATH if is_chat else openai_responses.PATH
        self._chunk_of = None if is_chat else openai_responses.chat_chunk

    async def make(self, chat: Mapping[str, Any], key: str) -> Answer:
        """A chat call's body and its idempotency key → the answer.

        If the server refuses how the call is made, it is made in another way, at most twice.

        Raises:
            one of FAILURES: there is no answer.
            TransientProviderError: there is none in time.
            ProviderError: it is too long to be one.
            EndpointError: the server answers by streams alone, and none are to be asked for.
        """
        first = way = self._streaming.way
        tried, refusal = {first}, await self._send(chat, key, first)
        answer = refusal
        while (other := self._streaming.other(way, answer)) is not None and other not in tried:
            way = other
            tried.add(way)
            answer = await self._send(chat, key, way)
        if self._config.stream == "never" and demands_stream(answer):
            where = f"{self._config.name} at {self._config.base_url or 'the provider'}"
            raise EndpointError(f"{where} answers by streams alone: set stream: auto")
        return answer if self._streaming.settle(first, way, answer) else refusal

    async def _send(self, chat: Mapping[str, Any], key: str, way: Way) -> Answer:
        body: Mapping[str, Any] = {**chat, **fields_of(way, self._config.api)}
        if self._config.api == "responses":
            body = openai_responses.request_body(body)
        if way != "whole":  # another body is another call
            key = digest(key, way)
        content, is_streamed = json.dumps(body).encode(), way != "whole"
        times = self._config.timeouts
        reader = StreamReader(self._config.name, self._chunk_of, self._delivered, times.idle_s)
        clock, total_s = asyncio.get_running_loop().time, times.total_s
        began = clock()
        try:
            async with (
                asyncio.timeout(total_s) as limit,
                self._http.open(self._path, content, key) as response,
            ):
                if is_streamed and response.status == 200:
                    return await reader.read(response, self._http)
                answer = await self._http.whole(response)
        except FAILURES as exc:
            why = f"no whole reply within {total_s:g} s" if limit.expired() else kind_of(exc)
            if reader.is_begun:
                return reader.answer(why)
            if limit.expired():
                raise TransientProviderError(f"{self._config.name}: {why}") from None
            if not is_streamed:
                self._streaming.lost(clock() - began)
            raise
        if not is_streamed:
            self._streaming.heed(answer, clock() - began)
        return answer
