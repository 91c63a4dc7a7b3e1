"""Which Ray cluster a run joins: judged before anybody is asked; imports no Ray."""

import os

from chimera_ray.config import Runtime, cluster_address
from chimera_ray.errors import ConfigError


def address_of(runtime: Runtime) -> str:
    """A runtime and this environment → the address of the cluster's head.

    Raises:
        ConfigError: what RAY_ADDRESS holds is none.
    """
    try:
        return runtime.ray_address or cluster_address(os.environ.get("RAY_ADDRESS") or "auto")
    except ValueError as exc:
        raise ConfigError(f"the environment variable RAY_ADDRESS {exc}") from None
