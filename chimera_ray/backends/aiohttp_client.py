"""The SDK's HTTP client, straight on aiohttp: one request → one whole response.

The SDK's own way to aiohttp goes through all of httpx (mounts, auth, redirects, cookies, streams),
which takes as much CPU again as the call itself; at 500 calls a second that fills a core. Only what
the SDK calls is here. Connections are kept alive by TCP, since a gateway forgets one that has been
silent for minutes, as a reasoning model is.
"""

import socket
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2

TOLD = frozenset({b"content-type", b"x-request-id", b"retry-after", b"retry-after-ms"})
"""response headers that are passed on, besides x-ratelimit-*"""
KEEPALIVE_S = 60
"""of silence until TCP asks whether the other side is still there, and between two questions"""
IDLE_S = 30.0
"""an unused connection is closed after that; servers close theirs at 60 and more"""


class AiohttpClient(httpx2.AsyncClient):
    """For `openai.AsyncOpenAI(http_client=...)`; made and used inside one event loop."""

    def __init__(self, max_connections: int, timeout: httpx2.Timeout) -> None:
        """Opens nothing yet.

        Args:
            max_connections: the pool's size.
            timeout: connect, read and pool hold for each request that says nothing else.
        """
        # No transport of httpx is used, and making one takes a tenth of a second.
        super().__init__(timeout=timeout, transport=httpx2.AsyncBaseTransport(), trust_env=False)
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, httpx2.URL] = {}
        self._proxies: dict[tuple[str, str], str | None] = {}
        self._timeouts: dict[tuple[Any, ...], aiohttp.ClientTimeout] = {}

    def build_request(  # type: ignore[override]  # of all the ways to give a request, the SDK's
        self,
        method: str,
        url: str,
        *,
        timeout: httpx2.Timeout,
        **given: Any,  # noqa: ANN401 - as httpx takes them
    ) -> httpx2.Request:
        """What the SDK wants sent → the request; URLs are parsed once."""
        parsed = self._urls.get(url)
        if parsed is None:
            parsed = self._urls[url] = httpx2.URL(url)
        # Told, it is not guessed anew from all headers at every look-up.
        given["headers"] = httpx2.Headers(given["headers"], encoding="ascii")
        return httpx2.Request(method, parsed, extensions={"timeout": timeout.as_dict()}, **given)

    async def send(
        self,
        request: httpx2.Request,
        **unused: Any,  # noqa: ANN401 - as httpx takes them
    ) -> httpx2.Response:
        """Request → its response, whole.

        Raises:
            httpx2.TimeoutException, httpx2.TransportError: there is none.
        """
        session = self._session or self._open()
        try:
            async with session.request(
                request.method,
                str(request.url),
                headers=request.headers.multi_items(),
                data=await request.aread() or None,
                timeout=self._seconds(request.extensions["timeout"]),
                proxy=self._proxy(request.url),
                allow_redirects=False,
            ) as answer:
                content = await answer.read()
        except (aiohttp.ConnectionTimeoutError, aiohttp.SocketTimeoutError, TimeoutError) as exc:
            raise httpx2.ReadTimeout(str(exc), request=request) from exc
        except aiohttp.ClientConnectorError as exc:
            raise httpx2.ConnectError(str(exc), request=request) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise httpx2.ReadError(str(exc), request=request) from exc
        # Only what is read: each look-up goes through all of them.
        told = ((name.lower(), value) for name, value in answer.raw_headers)
        kept = [pair for pair in told if pair[0] in TOLD or pair[0].startswith(b"x-ratelimit-")]
        headers = httpx2.Headers(kept, encoding="latin-1")
        return httpx2.Response(answer.status, headers=headers, content=content, request=request)

    async def aclose(self) -> None:
        """Closes the connections."""
        await super().aclose()
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._max_connections, keepalive_timeout=IDLE_S, socket_factory=_kept_alive
        )
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        )
        return self._session

    def _proxy(self, url: httpx2.URL) -> str | None:
        """The environment's proxy; aiohttp would look for it anew, in a thread, at every call."""
        origin = (url.scheme, url.host)
        if origin not in self._proxies:
            found = None if proxy_bypass(url.host) else getproxies().get(url.scheme)
            self._proxies[origin] = found
        return self._proxies[origin]

    def _seconds(self, said: dict[str, float | None]) -> aiohttp.ClientTimeout:
        key = tuple(said.values())
        if key not in self._timeouts:
            self._timeouts[key] = aiohttp.ClientTimeout(
                total=None,
                connect=said["pool"],
                sock_connect=said["connect"],
                sock_read=said["read"],
            )
        return self._timeouts[key]


def _kept_alive(address: tuple[Any, ...]) -> socket.socket:
    """An address as aiohttp resolved it → a socket on which TCP itself notices a lost peer."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", KEEPALIVE_S), ("TCP_KEEPINTVL", KEEPALIVE_S)):
        if hasattr(socket, name):  # not everywhere by this name
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return made
