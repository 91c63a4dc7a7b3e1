"""SOCKS, by the package aiohttp-socks, which is imported only where there is such a proxy."""

from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp

from chimera_ray.errors import EndpointError

PORT = 1080
_KINDS = {
    "socks4": ("SOCKS4", False),
    "socks4a": ("SOCKS4", True),
    "socks5": ("SOCKS5", False),
    "socks5h": ("SOCKS5", True),
    "socks": ("SOCKS5", True),
}
"""an address's scheme → the protocol, and whether the proxy looks up the name"""


def connector_class(proxy: str) -> tuple[type[aiohttp.TCPConnector], dict[str, Any]]:
    """A proxy's URL → the class of connector that goes through it, and its own arguments.

    Raises:
        EndpointError: the package is not installed.
    """
    try:
        from aiohttp_socks import ProxyConnectionError, ProxyConnector, ProxyError, ProxyType
        from aiohttp_socks import ProxyTimeoutError as NoAnswer
    except ModuleNotFoundError as exc:
        raise EndpointError(
            f"a SOCKS proxy is set in the environment, and the package {exc.name} is not "
            "installed: pip install '.[socks]'"
        ) from None

    # mypy takes the package for Any, as it is not installed everywhere, and refuses such a parent.
    class Connector(ProxyConnector):  # type: ignore[misc]
        """Raises what other connectors raise: the package's errors are no OSErrors."""

        async def connect(self, *args: object, **kwargs: object) -> object:
            try:
                connection: object = await super().connect(*args, **kwargs)
            except NoAnswer as exc:
                raise TimeoutError from exc
            except (ProxyError, ProxyConnectionError) as exc:
                raise ConnectionError from exc
            return connection

    parts = urlsplit(proxy)
    user, password = (part and unquote(part) for part in (parts.username, parts.password))
    kind, is_looked_up_there = _KINDS[parts.scheme]
    return Connector, {
        "host": parts.hostname,
        "port": parts.port or PORT,
        "proxy_type": ProxyType[kind],
        "username": user,
        "password": password,
        "rdns": is_looked_up_there,
    }
