"""What every request says besides its body: the key, and the headers and query of the model file.

What is secret is read from the environment of the process that makes the calls.
"""

import os
from collections.abc import Mapping

from chimera_ray.errors import EndpointError
from chimera_ray.model_config import OpenAIModel
from chimera_ray.request_values import RequestValue

_ALWAYS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "chimera-ray"}


def headers_of(config: OpenAIModel) -> dict[str, str]:
    """A configuration → the headers of every request, the key's among them.

    Raises:
        EndpointError: an environment variable that is to hold one is not set, or cannot be sent.
    """
    own = _held(config.headers, config)
    if config.api_key_env is not None:
        key = _value_of(config.api_key_env, config)
        name = config.api_key_header
        own |= {"Authorization": f"Bearer {key}"} if name is None else {name: key}
    told = {name.lower() for name in own}
    return {name: said for name, said in _ALWAYS.items() if name.lower() not in told} | own


def query_of(config: OpenAIModel) -> dict[str, str]:
    """A configuration → the query of every URL.

    Raises:
        EndpointError: an environment variable that is to hold a part is not set.
    """
    return _held(config.query, config)


def secrets_of(config: OpenAIModel) -> list[str]:
    """A configuration → the values of its secrets, as far as they are known here."""
    values = (os.environ.get(name, "").strip() for name in config.variables)
    return [value for value in values if value]


def _held(values: Mapping[str, RequestValue], config: OpenAIModel) -> dict[str, str]:
    return {
        name: value.value or "" if value.env is None else _value_of(value.env, config)
        for name, value in values.items()
    }


def _value_of(variable: str, config: OpenAIModel) -> str:
    """An environment variable's name → its value without the blanks around it."""
    what = config.variables[variable]
    value = os.environ.get(variable, "").strip()
    if not value:
        raise EndpointError(
            f"{config.name}: the environment variable {variable} is not set where the calls are "
            f"made; it is to hold {what}"
        )
    if not (value.isascii() and value.isprintable()):
        raise EndpointError(
            f"{config.name}: the environment variable {variable}, which is to hold {what}, has "
            "characters that cannot be sent: give it one line of ASCII"
        )
    return value
