"""A Ray cluster that others started: whether anybody answers there, at first and later.

It is asked by plain connections: what Ray itself offers waits for minutes, or for ever.
"""

import socket
import time

import ray

from chimera_ray.errors import RunnerError

_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""how a client of gRPC, which the head speaks, begins"""
_TYPE_AT, _SETTINGS = 3, 4
"""where a frame has its type, and that of the frame with which a server of gRPC begins"""
REACH_S = 10.0
"""for an address to answer before it is joined"""
PROBE_S, EVERY_S = 1.0, 2.0
NODE_S = 5.0
"""without this machine's raylet, which nothing replaces"""
HEAD_S = 45.0
"""without the head, whose place another may take; Ray itself gives up after 60"""


def require_answer(address: str) -> None:
    """Raise RunnerError unless somebody answers at an address; Ray itself looks for "auto"."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    until = time.monotonic() + REACH_S
    while why := _silence(host, int(port)):
        if time.monotonic() > until:
            raise RunnerError(f"no Ray cluster answers at {address}: {why}")
        time.sleep(PROBE_S)
    if _is_another_program(host, int(port)):
        raise RunnerError(
            f"another program than Ray answers at {address}: give the port of the cluster's head, "
            "6379 by default, as runtime.ray_address or in RAY_ADDRESS"
        )


class Cluster:
    """The cluster that this process has joined."""

    def __init__(self) -> None:
        """Learns where its head is, and the raylet of this machine."""
        context = ray.get_runtime_context()
        here = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
        head_host, _, head_port = context.gcs_address.rpartition(":")
        self._parts = {
            "the cluster's head": _Part(head_host, int(head_port), HEAD_S),
            "this machine's raylet": _Part(
                here["NodeManagerAddress"], here["NodeManagerPort"], NODE_S
            ),
        }
        self._next_at = 0.0
        self.notice = ""
        """what does not answer just now; empty: all does"""

    def lost(self) -> str:
        """What has not answered for too long, in words; empty: nothing."""
        now = time.monotonic()
        if now < self._next_at:
            return ""
        self._next_at = now + EVERY_S
        self.notice = ""
        for name, part in self._parts.items():
            if not (why := _silence(part.host, part.port)):
                part.heard_at = time.monotonic()
                continue
            silent_s = time.monotonic() - part.heard_at
            said = f"{name} at {part.host}:{part.port} does not answer for {silent_s:.0f} s: {why}"
            if silent_s > part.limit_s:
                return said
            self.notice = said
        return ""


class _Part:
    """A process of the cluster that nothing goes on without."""

    def __init__(self, host: str, port: int, limit_s: float) -> None:
        self.host, self.port, self.limit_s = host.strip("[]"), port, limit_s
        self.heard_at = time.monotonic()


def _silence(host: str, port: int) -> str:
    """Why nobody answers there; empty: somebody does."""
    try:
        socket.create_connection((host.strip("[]"), port), PROBE_S).close()
    except (OSError, OverflowError) as exc:
        return f"{type(exc).__name__}: {exc}"
    return ""


def _is_another_program(host: str, port: int) -> bool:
    """Whether what answers there is surely no server of gRPC; one that says nothing may be one."""
    try:
        with socket.create_connection((host.strip("[]"), port), PROBE_S) as connection:
            connection.sendall(_GREETING)
            said = connection.recv(_TYPE_AT + 1)
    except OSError:
        return False
    return len(said) > _TYPE_AT and said[_TYPE_AT] != _SETTINGS
