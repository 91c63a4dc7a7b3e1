"""What answers at an address is the head of a cluster, another program, or nobody."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import ray

from chimera_ray.errors import RunnerError
from chimera_ray.runners import ray_cluster
from chimera_ray.runners.ray_cluster import require_answer

pytestmark = pytest.mark.ray


@pytest.fixture
def web_port() -> Iterator[int]:
    """The port of a program that speaks HTTP."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_head_of_a_cluster_is_taken_for_one() -> None:
    require_answer(ray.get_runtime_context().gcs_address)


def test_another_program_is_told_from_a_head(web_port: int) -> None:
    with pytest.raises(RunnerError, match=f"another program than Ray answers at .*:{web_port}"):
        require_answer(f"127.0.0.1:{web_port}")


def test_program_that_says_nothing_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_answer(f"127.0.0.1:{server.getsockname()[1]}")


def test_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "REACH_S", 0.0)
    monkeypatch.setattr(ray_cluster, "PROBE_S", 0.01)
    with pytest.raises(RunnerError, match=r"^no Ray cluster answers at 127\.0\.0\.1:9: "):
        require_answer("127.0.0.1:9")
