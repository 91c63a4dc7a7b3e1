"""Calls through a server's batches, in this process or in one that is killed at a named moment.

As a program: the calls of one process, which says what it writes down and stops short of, or after,
writing a name that ends as it is told, until it is killed.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from aiohttp import ClientSession, web
from stub_server import StubServer

from chimera_ray.backends import build_model
from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.openai_batch_journal import Journal
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Message, Model, Reply, Request
from chimera_ray.model_config import OpenAIModel
from chimera_ray.prompts import render
from chimera_ray.runners.journal import StoredJournal

T = TypeVar("T")
PROMPT = render(
    "draft_problem",
    language="English",
    subject="Mathematics",
    area="Algebra",
    topic="Groups",
    facet="a count",
)
BATCH = {"gather_s": 0.03, "poll_s": 0.01}
RETRY = {"first_wait_s": 0.01, "max_wait_s": 0.02, "deadline_s": 20.0, "unreachable_s": 5.0}


class Memory:
    """A journal that lasts as long as the test."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def names(self) -> list[str]:
        return sorted(self.texts)

    def read(self, name: str) -> str:
        return self.texts[name]

    def write(self, name: str, text: str) -> None:
        self.texts[name] = text


class Stopping:
    """A journal that tells of each name, and stops at one."""

    def __init__(self, journal: Journal, ending: str, is_before: bool) -> None:
        self._journal, self._ending, self._is_before = journal, ending, is_before
        self.names, self.read = journal.names, journal.read

    def write(self, name: str, text: str) -> None:
        is_it = name.endswith(self._ending)
        if not (is_it and self._is_before):
            self._journal.write(name, text)
        if is_it:
            print(name, flush=True)
            threading.Event().wait()  # for the kill


def config_at(url: str, batch: dict[str, Any] | None = None, **changes: Any) -> OpenAIModel:
    """A server's URL → a quick model there, in batches; `batch` sets some fields of those."""
    fields = {"name": "simulated-drafter", "api_key_env": None, "retry": RETRY, **changes}
    said = {"batch": BATCH | (batch or {}), **fields}
    return OpenAIModel.model_validate({"backend": "openai", "base_url": url, **said})


def requests_of(count: int, start: int = 0) -> list[Request]:
    """So many different requests."""
    return [Request((Message("user", PROMPT),), None, start + at) for at in range(count)]


def with_model(
    config: OpenAIModel,
    journal: Journal,
    use: Callable[[Model], Awaitable[T]],
    halt: Halt | None = None,
) -> T:
    """What a use of the model gives, in an event loop of its own."""

    async def run() -> T:
        limiter = Limiter(config.limits, 0.0)
        gate = Gate(in_process(limiter, time.monotonic), "test")
        model = build_model(config, lambda _: gate, halt or Halt(), 8, lambda _: journal)
        try:
            return await use(model)
        finally:
            await model.close()
            await gate.close()

    return asyncio.run(run())


async def ask_all(model: Model, requests: Sequence[Request]) -> list[Any]:
    """Requests, asked at once → their replies or errors."""
    asked = (model.complete(request) for request in requests)
    return await asyncio.gather(*asked, return_exceptions=True)


def asked(config: OpenAIModel, journal: Journal, requests: Sequence[Request]) -> list[Any]:
    """The same, from outside of any event loop."""
    return with_model(config, journal, lambda model: ask_all(model, requests))


def said(replies: Sequence[Any]) -> list[Any]:
    """Replies → what the model said and used, however it came here; errors stay as they are."""
    return [
        (reply.text, reply.finish_reason, reply.reasoning, reply.usage)
        if isinstance(reply, Reply)
        else reply
        for reply in replies
    ]


class Counting:
    """How many batches a server has had since."""

    def __init__(self, server: StubServer) -> None:
        self._server = server
        self._before: int = server.counts()["batches"]

    @property
    def num_batches(self) -> int:
        num_batches: int = self._server.counts()["batches"]
        return num_batches - self._before

    def finished(self) -> list[int]:
        """How often each call was answered, and so paid for."""
        return sorted(count.finished for count in self._server.keys().values() if count.finished)


def one_by_one(server: StubServer, requests: Sequence[Request]) -> list[Any]:
    """The same requests without batches → what the model said."""
    config = config_at(server.url).model_copy(update={"batch": None})
    return said(asked(config, Memory(), requests))


class Unsteady:
    """A way to the server on which each kind of call fails once, in a way of its own."""

    def __init__(self, url: str, faults: dict[str, str]) -> None:
        """Faults by "METHOD path/with/*": a status, `lost` (the answer), `half` (of it), a web
        `page`, `garbled` lines, or JSON whose fields take the place of the answer's."""
        self._url, self._faults = url.removesuffix("/v1"), dict(faults)
        self.num_asked: dict[str, int] = {}

    async def __aenter__(self) -> str:
        self._session = ClientSession()
        self._runner = web.AppRunner(web.Application(client_max_size=1 << 30))
        self._runner.app.router.add_route("*", "/{path:.*}", self._pass_on)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        return f"http://127.0.0.1:{port}/v1"

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        parts = request.path.split("/")[2:]
        kind = f"{request.method} {'/'.join([parts[0], *('*' for _ in parts[1:2]), *parts[2:]])}"
        self.num_asked[kind] = self.num_asked.get(kind, 0) + 1
        fault = self._faults.pop(kind, "")
        if fault.isdigit():
            return web.Response(status=int(fault), headers={"retry-after": "0.05"})
        url, content = f"{self._url}{request.path_qs}", await request.read()
        headers = {"content-type": request.headers.get("content-type", "")}
        async with self._session.request(
            request.method, url, data=content, headers=headers
        ) as answer:
            body = await answer.read()
        if fault == "page":
            return web.Response(text="<html>sign in</html>", content_type="text/html")
        if fault == "garbled":
            return web.Response(body=garbled(body))
        if fault.startswith("{"):
            return web.json_response({**json.loads(body), **json.loads(fault)})
        response = web.StreamResponse(
            status=answer.status, headers={"content-length": str(len(body))}
        )
        response.content_type = answer.content_type
        if fault != "lost":
            await response.prepare(request)
            await response.write(body[: len(body) // 2] if fault == "half" else body)
        if fault and request.transport is not None:
            request.transport.close()
        return response


def garbled(lines: bytes) -> bytes:
    """A file's lines → the same, the first of them cut, among others that nobody asked for."""
    first, rest = lines.split(b"\n", 1)
    junk = [b"\xff\xfe", b"null", b"[1]", b"[" * 100_000, b'{"custom_id": 3}', b"", b'{"custom_id']
    values: list[Any] = [1, [], {}]
    odd = [json.dumps({"custom_id": "odd", "response": value}).encode() for value in values]
    return b"\n".join([first[: len(first) // 2], *junk, *odd, rest])


def main() -> None:
    """The calls of one process: URL, folder, how many, where it stops, and on which side."""
    url, folder, count, ending, side = sys.argv[1:]
    config = config_at(url)
    journal = Stopping(StoredJournal(Store(folder), config), ending, side == "before")
    replies = asked(config, journal, requests_of(int(count)))
    print(json.dumps([str(reply) for reply in replies]))


if __name__ == "__main__":
    main()
