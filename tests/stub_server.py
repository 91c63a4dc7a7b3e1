"""An OpenAI-compatible server over the simulated teacher, in its own process, that counts.

`python tests/stub_server.py --port 0 --behaviour '{"rpm": 600}'` prints its port and pid as a line
of JSON and serves until it is killed; `StubServer` starts it from Python. What it can do is in
`stub_faults.Behaviour`, what it counts in `stub_counts.Tally`.
"""

import argparse
import asyncio
import gc
import json
import os
import socket
import subprocess
import sys
from http.client import HTTPConnection
from typing import Any, Self

from aiohttp import web
from pydantic import ValidationError
from stub_counts import KeyCount
from stub_faults import Behaviour
from stub_service import Stub

HOST = "127.0.0.1"
BACKLOG = 4096
SEND_BUFFER_BYTES = 1 << 20
START_S = 60.0


class StubServer:
    """The server as a child process, which ends with the block or with this process."""

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0) -> None:
        """A behaviour → the server, not started; port 0 is any that is free."""
        self.port = port
        self.pid = 0
        self._behaviour = behaviour or Behaviour()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        said = self._behaviour.model_dump_json(exclude_unset=True)
        command = [sys.executable, __file__, f"--port={self.port}", "--with-parent"]
        self._process = subprocess.Popen(
            [*command, "--behaviour", said], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.__exit__()
            raise RuntimeError("the stub server did not start; its error output says why")
        self.port, self.pid = (json.loads(line)[name] for name in ("port", "pid"))
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            with self._process:  # closes its pipes and waits for it
                self._process.kill()

    @property
    def url(self) -> str:
        """What a client takes as base_url."""
        return f"http://{HOST}:{self.port}/v1"

    def counts(self) -> dict[str, Any]:
        """The totals since the last reset, those of `Tally.said` and `Batches.counts`."""
        counts: dict[str, Any] = self._call("GET", "/_counts")
        return counts

    def keys(self) -> dict[str, KeyCount]:
        """What became of each idempotency key and each custom_id since the last reset."""
        return {key: KeyCount(**said) for key, said in self._call("GET", "/_keys").items()}

    def set(self, **changes: Any) -> None:
        """Changes some fields of the behaviour, from the next request on.

        Raises:
            ValueError: they do not make a behaviour.
        """
        self._call("POST", "/_control", changes)

    def reset(self) -> None:
        """Forgets all counts, also how often a key was seen; files and batches stay."""
        self._call("POST", "/_reset")

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = HTTPConnection(HOST, self.port, timeout=START_S)
        try:
            connection.request(method, path, json.dumps(body))
            response = connection.getresponse()
            said = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(said["error"]["message"])
        return said


async def serve(behaviour: Behaviour, port: int, with_parent: bool) -> None:
    """Serves until it is killed or, with its parent, until stdin ends."""
    loop = asyncio.get_running_loop()
    stub = Stub(behaviour)

    def request_of(
        message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        parts = (message, payload, protocol, writer, task)
        return web.BaseRequest(*parts, loop, client_max_size=0)  # 0: as large as it likes

    server = web.Server(
        stub.handle, request_factory=request_of, handler_cancellation=True, access_log=None
    )
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listening.bind((HOST, port))
    await loop.create_server(server, sock=listening, backlog=BACKLOG)
    gc.freeze()
    print(json.dumps({"port": listening.getsockname()[1], "pid": os.getpid()}), flush=True)
    if with_parent:
        await loop.run_in_executor(None, sys.stdin.buffer.read)
        os._exit(0)  # whatever is in flight
    await asyncio.Event().wait()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--behaviour", default="{}", help="JSON, the fields of Behaviour")
    parser.add_argument("--with-parent", action="store_true", help="end when stdin ends")
    options = parser.parse_args()
    try:
        behaviour = Behaviour.model_validate_json(options.behaviour)
    except ValidationError as exc:
        parser.error(str(exc))
    try:
        asyncio.run(serve(behaviour, options.port, options.with_parent))
    except (OSError, OverflowError) as exc:
        parser.exit(2, f"cannot listen on {HOST}:{options.port}: {exc}\n")


if __name__ == "__main__":
    main()
