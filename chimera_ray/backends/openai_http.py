"""One endpoint over HTTP: a request's body → the whole answer, or an open response to stream from.

Straight on aiohttp: the SDK's client takes as much CPU again as the call itself. Judges nothing.
Connections are kept alive by TCP, since a gateway forgets one that has been silent for minutes, as
a reasoning model is.
"""

import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.errors import EndpointError, ProviderError
from chimera_ray.model_config import OpenAIModel

PROVIDER_URL = "https://api.openai.com/v1"
FAILURES = (aiohttp.ClientError, OSError, ValueError)
"""what `post` and `open` raise when there is no answer; ValueError: what came is no HTTP"""
MAX_ANSWER_BYTES = 64 << 20
"""unpacked; the longest trajectory that a row holds has 2 million characters"""
TOLD = frozenset({b"content-type", b"x-request-id", b"retry-after", b"retry-after-ms"})
"""response headers that are passed on, besides x-ratelimit-*"""
KEEPALIVE_S = 60
"""of silence until TCP asks whether the other side is still there, and between two questions"""
IDLE_S = 30.0
"""an unused connection is closed after that; servers close theirs at 60 and more"""


class Http:
    """The way to one endpoint; made and used inside one event loop."""

    def __init__(self, config: OpenAIModel, max_connections: int) -> None:
        """A configuration → the way; nothing is opened yet.

        Args:
            config: the model and how it is reached.
            max_connections: the pool's size.

        Raises:
            EndpointError: the environment variable that is to hold the key is not set here.
        """
        self._name, self._max_connections = config.name, max_connections
        self._base = (config.base_url or PROVIDER_URL).rstrip("/")
        self._headers = _headers_for(config)
        times = config.timeouts
        self._timeout = aiohttp.ClientTimeout(  # of the whole call: its caller's
            sock_connect=times.connect_s, sock_read=times.first_byte_s
        )
        self._urls: dict[str, URL] = {}
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: bytes, key: str) -> Answer:
        """A request's body → the whole answer, whatever its status.

        Args:
            path: below the base URL, as `chat/completions`.
            body: JSON.
            key: the call's idempotency key.

        Raises:
            one of FAILURES: there is no answer.
            ProviderError: the answer is too long to be one.
        """
        async with self.open(path, body, key) as response:
            return await self.whole(response)

    @asynccontextmanager
    async def open(self, path: str, body: bytes, key: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request's body → the response, of which the head has arrived.

        It ends with the block, and what is unread then costs the connection.

        Raises:
            one of FAILURES: there is no answer, or reading it failed.
        """
        session = self._session or self._open()
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(f"{self._base}/{path}")
        async with session.post(
            url,
            data=body,
            headers={**self._headers, "Idempotency-Key": key},
            timeout=self._timeout,
            allow_redirects=False,  # another host is not to have the key
        ) as response:
            yield response

    async def whole(self, response: aiohttp.ClientResponse) -> Answer:
        """An open response → the answer, read to its end.

        Raises:
            one of FAILURES: reading failed.
            ProviderError: it is too long to be an answer.
        """
        blocks, num_bytes = [], 0
        while block := await response.content.readany():
            blocks.append(block)
            num_bytes += len(block)
            if num_bytes > MAX_ANSWER_BYTES:
                raise ProviderError(
                    f"{self._name}: HTTP {response.status}, and the answer is longer than "
                    f"{MAX_ANSWER_BYTES >> 20} MiB: not read to its end"
                )
        return Answer(response.status, told_by(response), b"".join(blocks))

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._max_connections, keepalive_timeout=IDLE_S, socket_factory=_kept_alive
        )
        # The key is not among the session's own headers: those are sent to a proxy, too.
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self._session


def told_by(response: aiohttp.ClientResponse) -> Mapping[str, str]:
    """A response → its headers that somebody reads, their names in lower case."""
    told = ((name.lower(), value) for name, value in response.raw_headers)
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in told
        if name in TOLD or name.startswith(b"x-ratelimit-")
    }


def key_of(config: OpenAIModel) -> str | None:
    """A configuration → the key, from the environment of this process; None if it takes none.

    Raises:
        EndpointError: the environment variable is not set.
    """
    if config.api_key_env is None:
        return None
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise EndpointError(
            f"{config.name}: the environment variable {config.api_key_env} is not set where the "
            "calls are made; it is to hold the endpoint's key"
        )
    return key


def _headers_for(config: OpenAIModel) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "gzip",
        "Content-Type": "application/json",
        "User-Agent": "chimera-ray",
    }
    key = key_of(config)
    return headers if key is None else {**headers, "Authorization": f"Bearer {key}"}


def _kept_alive(address: tuple[Any, ...]) -> socket.socket:
    """An address as aiohttp resolved it → a socket on which TCP itself notices a lost peer."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", KEEPALIVE_S), ("TCP_KEEPINTVL", KEEPALIVE_S)):
        if hasattr(socket, name):  # not everywhere by this name
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return made
