"""One local cluster for all Ray tests, whose processes have a planted key in their environment."""

import os
from collections.abc import Iterator

import pytest
import ray

os.environ["NODE_KEY"] = "sk-planted-in-the-nodes-0123456789"


@pytest.fixture(scope="session", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200_000_000,
    )
    yield
    ray.shutdown()
