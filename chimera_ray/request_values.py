"""What a model file may say of requests besides their bodies: URL, headers, query, variables."""

import re
from collections.abc import Mapping
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from chimera_ray.strict import Strict

Variable = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")]
"""an environment variable's name"""
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", max_length=100)]
_OWN = frozenset(
    {"accept-encoding", "connection", "content-encoding", "content-length", "content-type"}
    | {"expect", "host", "idempotency-key", "keep-alive", "te", "trailer", "transfer-encoding"}
    | {"upgrade"}
)
"""headers that say how a request is sent, so that no model file can"""


_URL = re.compile(r"https?://[^@?#\s\\]+")
_HOST = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)*[^\W_](?:[\w-]{0,61}[^\W_])?\.?")
"""names of at most 63 characters, parted by dots"""


def _address(said: str) -> str:
    """A URL that requests can begin with → itself."""
    parts = urlsplit(said)  # (raises ValueError, too: of half an IPv6 address, of a port)
    host = parts.hostname or ""
    is_host = "[" in parts.netloc or _HOST.fullmatch(host)
    is_port = parts.port != 0 and not parts.netloc.endswith(":")
    if not (_URL.fullmatch(said) and said.isprintable() and is_host and is_port):
        raise ValueError("must be http:// or https:// with a host")
    return said


Address = Annotated[str, AfterValidator(_address)]
"""where a server is asked"""


class RequestValue(Strict):
    """What a header or a field of the query says: a text, or what an environment variable holds."""

    env: Variable | None = None
    """for what is secret; it is read where the call is made"""
    value: Annotated[str, Field(pattern=r"^[ -~]*$", coerce_numbers_to_str=True)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, said: object) -> object:
        is_text = isinstance(said, str | int | float) and not isinstance(said, bool)
        return {"value": said} if is_text else said

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.env is None) == (self.value is None):
            raise ValueError("must be a text, or {env: NAME} for what is secret")
        return self


def require_headers(headers: Mapping[str, RequestValue], key_header: str | None) -> None:
    """Raises, unless a request can have these headers beside the one that holds the key, if any.

    Raises:
        ValueError: what is wrong, without a value.
    """
    names = [name.lower() for name in headers]
    key_name = (key_header or "").lower()
    if own := sorted({*names, key_name} & _OWN):
        raise ValueError(f"headers: {', '.join(own)} cannot be set")
    if len(set(names)) < len(names):
        raise ValueError("headers: one name twice, in small letters and in capitals")
    if key_name in names:
        raise ValueError(f"headers: {key_header} holds the key already; set api_key_env: null")
