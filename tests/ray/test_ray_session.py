"""A Ray that a process starts and ends; each test in a process of its own, beside no other Ray."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.process]

ONE_AFTER_THE_OTHER = """
import time
import ray
from chimera_ray.config import Runtime
from chimera_ray.runners.ray_session import TICK_S, RaySession

@ray.remote
def outlast(seconds):
    time.sleep(seconds)  # in which the first session would notice that its Ray has ended
    return "second"

runtime = Runtime(kind="local", num_cpus=1)
first = RaySession(runtime)
assert first.run(ray.is_initialized)
first.close()
assert not ray.is_initialized()
second = RaySession(runtime)
print(second.run(lambda: ray.get(outlast.remote(4 * TICK_S))))
second.close()
"""


def test_session_that_has_ended_leaves_the_next_one_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER], capture_output=True, text=True, timeout=200
    )
    assert (done.returncode, done.stdout) == (0, "second\n"), done.stderr
