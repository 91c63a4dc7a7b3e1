"""How connections to an endpoint are made: through which proxy, trusting whom, kept alive how long.

By the environment of the process that makes the calls, as curl and requests read it; nothing else
there changes where a call goes. Connections are kept alive by TCP, since a gateway forgets one that
has been silent for minutes, as a reasoning model is.
"""

import os
import socket
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from chimera_ray.backends.proxies import proxy_for
from chimera_ray.backends.socks import connector_class
from chimera_ray.errors import EndpointError

KEEPALIVE_S = 60
"""of silence until TCP asks whether the other side is still there, and between two questions"""
IDLE_S = 30.0
"""an unused connection is closed after that; servers close theirs at 60 and more"""


def session_for(url: str, max_connections: int) -> Callable[[], aiohttp.ClientSession]:
    """An endpoint's URL → what opens its session, to be called inside the event loop.

    Args:
        url: the endpoint's.
        max_connections: the pool's size.

    Raises:
        EndpointError: the environment names a proxy or certificates that cannot be used.
    """
    proxy = proxy_for(url, os.environ)
    fields: dict[str, Any] = {"limit": max_connections, "keepalive_timeout": IDLE_S}
    if "https" in (urlsplit(url).scheme, urlsplit(proxy or "").scheme):
        fields["ssl"] = _trusting()
    connector: type[aiohttp.TCPConnector] = aiohttp.TCPConnector
    if proxy is not None and proxy.startswith("socks"):
        connector, own = connector_class(proxy)
        fields, proxy = fields | own, None
    else:
        fields["socket_factory"] = _kept_alive

    def open_session() -> aiohttp.ClientSession:
        # The key is not among the session's own headers: those are sent to a proxy, too.
        return aiohttp.ClientSession(
            connector=connector(**fields), proxy=proxy, cookie_jar=aiohttp.DummyCookieJar()
        )

    return open_session


def _trusting() -> ssl.SSLContext:
    """A context that trusts whom the system trusts, by way of SSL_CERT_FILE and SSL_CERT_DIR.

    Raises:
        EndpointError: SSL_CERT_FILE names no such file; by itself OpenSSL would not say so.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if file := os.environ.get("SSL_CERT_FILE"):
        try:
            context.load_verify_locations(file)
        except OSError as exc:  # an ssl.SSLError is one
            raise EndpointError(
                "the environment variable SSL_CERT_FILE names no file that holds certificates in "
                f"PEM ({type(exc).__name__})"
            ) from None
    return context


def _kept_alive(address: tuple[Any, ...]) -> socket.socket:
    """An address as aiohttp resolved it → a socket on which TCP itself notices a lost peer."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", KEEPALIVE_S), ("TCP_KEEPINTVL", KEEPALIVE_S)):
        if hasattr(socket, name):  # not everywhere by this name
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return made
