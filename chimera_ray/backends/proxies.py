"""Which proxy a URL is reached through, by the variables that curl and requests read."""

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from yarl import URL

from chimera_ray.errors import EndpointError

SCHEMES = frozenset({"http", "https", "socks", "socks4", "socks4a", "socks5", "socks5h"})
_PORTS = {"http": 80, "https": 443}
_ENTRY = re.compile(
    r"\[([0-9a-f:.%]+)\](?::(\d{1,5}))?|([^:\[\]]+)(?::(\d{1,5}))?|([0-9a-f:.%]+)", re.I
)
"""of NO_PROXY: [IPv6] or another host, each with or without a port; IPv6 as it is"""
_BLANK = re.compile(r"[\s\x00-\x1f]")


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """A URL and an environment → the proxy's URL, credentials included; None: none is used.

    HTTP_PROXY or HTTPS_PROXY by the URL's scheme, else ALL_PROXY; small letters go first.

    Raises:
        EndpointError: the variable holds no proxy's address; names it, without the value.
    """
    parts = urlsplit(url)
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        found, said = _held(name, environ)
        if said:
            return None if _is_direct(parts, _held("no_proxy", environ)[1]) else _read(found, said)
    return None


def _held(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """A variable's name in small letters → the name under which it is set, and its value."""
    found = name if name in environ else name.upper()
    return found, environ.get(found, "").strip()


def _read(name: str, said: str) -> str:
    address = said if "://" in said else f"http://{said}"
    if not _is_proxy(address):
        raise EndpointError(
            f"the environment variable {name} holds no address of a proxy: give one as "
            "http://host:port or socks5h://host:port, with user:password@ before the host if it "
            "asks for them"
        )
    return address


def _is_proxy(address: str) -> bool:
    try:
        parts = urlsplit(address)
        has_host = bool(parts.hostname) and bool(URL(address).host) and parts.port != 0
    except ValueError:
        return False
    has_more = parts.path.strip("/") or parts.query or parts.fragment or _BLANK.search(address)
    return parts.scheme in SCHEMES and has_host and not has_more


def _is_direct(url: SplitResult, no_proxy: str) -> bool:
    """Whether an entry of NO_PROXY names the URL's host, its domain, its network or all."""
    host, port = _plain(url.hostname or ""), url.port or _PORTS.get(url.scheme)
    return any(_names(entry, host, port) for entry in re.split(r"[\s,]+", no_proxy) if entry)


def _names(entry: str, host: str, port: int | None) -> bool:
    address = _address(host)
    if "/" in entry:
        try:
            network = ipaddress.ip_network(entry.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            return False
        return address is not None and address in network
    found = _ENTRY.fullmatch(entry)
    if found is None:
        return False
    wanted_port = found[2] or found[4]
    if wanted_port and int(wanted_port) != port:
        return False
    named = _plain(found[1] or found[3] or found[5])
    if named == "*":
        return True
    if address is not None:
        return _address(named) == address or (named == "localhost" and address.is_loopback)
    domain = named.removeprefix("*").lstrip(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _plain(host: str) -> str:
    return host.rstrip(".").lower()


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A host → the address that it is, an IPv4 one inside IPv6 as IPv4; None if it is a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
