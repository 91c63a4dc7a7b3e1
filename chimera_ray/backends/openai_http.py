"""One endpoint over HTTP: a request's body → the whole answer, or an open response to stream from.

Straight on aiohttp: the SDK's client takes as much CPU again as the call itself, and lets variables
of its own change where a call goes. Judges nothing.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
from yarl import URL

from chimera_ray.backends.openai_answer import Answer
from chimera_ray.backends.openai_headers import headers_of, query_of
from chimera_ray.backends.openai_session import session_for
from chimera_ray.backends.rate_headers import WAITS
from chimera_ray.errors import ProviderError
from chimera_ray.model_config import OpenAIModel

PROVIDER_URL = "https://api.openai.com/v1"
FAILURES = (aiohttp.ClientError, OSError, ValueError)
"""what is raised when there is no answer; ValueError: what came is no HTTP"""
MAX_ANSWER_BYTES = 64 << 20
"""unpacked; the longest trajectory that a row holds has 2 million characters"""
UNREACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""FAILURES before which nothing was sent"""
TOLD = frozenset({"content-type", "x-request-id", *WAITS})
"""response headers that are passed on, besides x-ratelimit-*"""
MOVED = frozenset({301, 302, 303, 307, 308})
MAX_HOPS = 5


class Http:
    """The way to one endpoint; made and used inside one event loop."""

    def __init__(self, config: OpenAIModel, max_connections: int) -> None:
        """A configuration → the way; nothing is opened yet.

        Args:
            config: the model and how it is reached.
            max_connections: the pool's size.

        Raises:
            EndpointError: an environment variable is not set here, or says what cannot be done.
        """
        self._name = config.name
        self._base = (config.base_url or PROVIDER_URL).rstrip("/")
        self._query, self._headers = query_of(config), headers_of(config)
        self._json_headers = {**self._headers, "Content-Type": "application/json"}
        self._open = session_for(self._base, max_connections)
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

    def open(
        self, path: str, body: bytes, key: str
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """A request's body → the response, of which the head has arrived.

        It ends with the block, and what is unread then costs the connection.

        Raises:
            one of FAILURES: there is no answer, or reading it failed.
        """
        headers = {**self._json_headers, "Idempotency-Key": key}
        return self._opened().post(
            self._url(path),
            data=body,
            headers=headers,
            timeout=self._timeout,
            allow_redirects=False,  # another host is not to have the key
        )

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """A path below the base URL → the whole answer; fails as `post` does."""
        url = self._url(path).update_query(query or {})
        async with self._get(url, self._headers) as response:
            return await self.whole(response)

    async def upload(self, path: str, fields: Mapping[str, str], content: bytes) -> Answer:
        """A file of JSON lines, and fields beside it → the whole answer; fails as `post` does."""
        form = aiohttp.FormData(fields)
        form.add_field(
            "file", content, filename="batch.jsonl", content_type="application/octet-stream"
        )
        async with self._opened().post(
            self._url(path),
            data=form,
            headers=self._headers,
            timeout=self._timeout,
            allow_redirects=False,
        ) as response:
            return await self.whole(response)

    @asynccontextmanager
    async def open_file(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """A path below the base URL → the response, from wherever the endpoint keeps the file.

        A host of another name does not have the headers: the key is one of them.

        Raises:
            one of FAILURES: there is no answer, or reading it failed.
        """
        home = url = self._url(path)
        for hop in range(MAX_HOPS):
            headers = self._headers if url.origin() == home.origin() else {}
            async with self._get(url, headers) as response:
                target = response.headers.get("Location")
                if response.status not in MOVED or not target or hop + 1 == MAX_HOPS:
                    yield response
                    return
            url = url.join(URL(target))

    async def whole(
        self, response: aiohttp.ClientResponse, came: bytearray | None = None
    ) -> Answer:
        """An open response → the answer, read to its end.

        Args:
            response: of which nothing has been read but what is in `came`.
            came: takes in what comes, so that it is there if the rest does not come.

        Raises:
            one of FAILURES: reading failed.
            ProviderError: it is too long to be an answer.
        """
        body = bytearray() if came is None else came
        while True:
            if len(body) > MAX_ANSWER_BYTES:
                raise ProviderError(
                    f"{self._name}: HTTP {response.status}, and the answer is longer than "
                    f"{MAX_ANSWER_BYTES >> 20} MiB: not read to its end"
                )
            if not (block := await response.content.readany()):
                return Answer(response.status, told_by(response.raw_headers), bytes(body))
            body += block

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._open()
        return self._session

    def _url(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(f"{self._base}/{path}").with_query(self._query)
        return url

    def _get(
        self, url: URL, headers: Mapping[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._opened().get(
            url, headers=headers, timeout=self._timeout, allow_redirects=False
        )


def told_by(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """A response's headers → those that somebody reads, their names in lower case."""
    told = ((name.decode("latin-1").lower(), value) for name, value in headers)
    return {
        name: value.decode("latin-1")
        for name, value in told
        if name in TOLD or name.startswith("x-ratelimit-")
    }
