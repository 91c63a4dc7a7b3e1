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
    if why := unfit(variable, config):
        raise EndpointError(f"{config.name}: {why}")
    return os.environ[variable].strip()


def unfit(variable: str, config: OpenAIModel) -> str:
    """An environment variable's name → why its value here cannot be sent; empty: it can."""
    value = os.environ.get(variable, "").strip()
    if not value:
        trouble = "is not set where the calls are made"
    elif not (value.isascii() and value.isprintable()):
        trouble = "has characters that cannot be sent, and must be one line of ASCII"
    else:
        return ""
    what = config.variables[variable]
    return f"the environment variable {variable} {trouble}; it is to hold {what}"
