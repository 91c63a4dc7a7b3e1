"""What every request says besides its body: the key, and the headers that the model file sets.

What is secret is read from the environment of the process that makes the calls.
"""

import os

from chimera_ray.errors import EndpointError
from chimera_ray.model_config import OpenAIModel

_ALWAYS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
    "User-Agent": "chimera-ray",
}


def headers_for(config: OpenAIModel) -> dict[str, str]:
    """A configuration → the headers of a request whose body is JSON.

    Raises:
        EndpointError: an environment variable that is to hold one is not set, or holds none.
    """
    own = own_headers(config)
    told = {name.lower() for name in own}
    return {name: said for name, said in _ALWAYS.items() if name.lower() not in told} | own


def own_headers(config: OpenAIModel) -> dict[str, str]:
    """A configuration → the headers that it sets, the key's among them.

    Raises:
        EndpointError: an environment variable that is to hold one is not set, or holds none.
    """
    own = {}
    for name, said in config.headers.items():
        own[name] = said.value or "" if said.env is None else _held(said.env, config, f"{name}")
    if config.api_key_env is not None:
        key = _held(config.api_key_env, config, "the endpoint's key")
        own |= {config.api_key_header: key} if config.api_key_header else _bearer(key)
    return own


def secrets_of(config: OpenAIModel) -> list[str]:
    """A configuration → the values of its secrets, as far as they are known here."""
    names = [config.api_key_env, *(said.env for said in config.headers.values())]
    values = (os.environ.get(name, "").strip() for name in names if name)
    return [value for value in values if value]


def _held(variable: str, config: OpenAIModel, what: str) -> str:
    value = os.environ.get(variable, "").strip()
    if not value:
        raise EndpointError(
            f"{config.name}: the environment variable {variable} is not set where the "
            f"calls are made; it is to hold {what}"
        )
    if not (value.isascii() and value.isprintable()):
        raise EndpointError(
            f"{config.name}: the environment variable {variable} is to hold {what}, but has "
            "characters that no header can: give it one line of ASCII"
        )
    return value


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
