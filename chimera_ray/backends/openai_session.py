"""How connections to an endpoint are made: through which proxy, trusting whom, kept alive how long.

By the environment of the process that makes the calls, as curl and requests read it; nothing else
there changes where a call goes. Connections are kept alive by TCP, since a gateway forgets one that
has been silent for minutes, as a reasoning model is.
"""

import os
import socket
import ssl
from collections.abc import Callable, Mapping
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


def session_for(
    url: str, max_connections: int, environ: Mapping[str, str] = os.environ
) -> Callable[[], aiohttp.ClientSession]:
    """An endpoint's URL → what opens its session, to be called inside the event loop.

    Args:
        url: the endpoint's.
        max_connections: the pool's size.
        environ: holds proxies, and names the authorities that are trusted.

    Raises:
        EndpointError: the environment says what cannot be followed.
    """
    proxy = proxy_for(url, environ)
    fields: dict[str, Any] = {"limit": max_connections, "keepalive_timeout": IDLE_S}
    if "https" in (urlsplit(url).scheme, urlsplit(proxy or "").scheme):
        fields["ssl"] = _trusting(environ)
    if proxy is not None and proxy.startswith("socks"):
        connector, own = connector_class(proxy)
        fields, proxy = fields | own, None
    else:
        connector, fields["socket_factory"] = aiohttp.TCPConnector, _kept_alive

    def open_session() -> aiohttp.ClientSession:
        # The key is not among the session's own headers: those are sent to a proxy, too.
        return aiohttp.ClientSession(
            connector=connector(**fields), proxy=proxy, cookie_jar=aiohttp.DummyCookieJar()
        )

    return open_session


def _trusting(environ: Mapping[str, str]) -> ssl.SSLContext:
    """An environment → a context that trusts the authorities in SSL_CERT_FILE and SSL_CERT_DIR.

    In place of the system's, if one of them is set.
    """
    file, folder = (environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    for name, path, is_there in (
        ("SSL_CERT_FILE", file, os.path.isfile),
        ("SSL_CERT_DIR", folder, os.path.isdir),
    ):
        if path is not None and not is_there(path):
            raise EndpointError(f"the environment variable {name} names nothing that is there")
    try:
        return ssl.create_default_context(cafile=file, capath=folder)
    except OSError as exc:  # an ssl.SSLError is one
        raise EndpointError(
            "the environment variable SSL_CERT_FILE names a file that holds no certificate in PEM "
            f"({type(exc).__name__})"
        ) from None


def _kept_alive(address: tuple[Any, ...]) -> socket.socket:
    """An address as aiohttp resolved it → a socket on which TCP itself notices a lost peer."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", KEEPALIVE_S), ("TCP_KEEPINTVL", KEEPALIVE_S)):
        if hasattr(socket, name):  # not everywhere by this name
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return made
