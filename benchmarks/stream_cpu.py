"""CPU of a streamed call: the least that any reader needs, and ours.

    python benchmarks/stream_cpu.py --calls 400 --events 1000

Against the stub server in a process of its own, whose replies come in so many events of four
characters over half of their time. CPU is this process's, per call, start-up aside; `bytes` reads
and throws away, `events` parses the JSON of each event as it comes, as a simple client does.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable

import aiohttp
from remote_setup import CONSOLE, load, new_table
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.openai import OpenAI
from chimera_ray.llm import Message, Request
from chimera_ray.model_config import OpenAIModel

LATENCY_S = 4.0
EVENT_CHARS = 4
PROMPT = "Why? " * 200
Call = Callable[[int], Awaitable[object]]


async def measured(call: Call, calls: int, slots: int) -> tuple[float, float]:
    """A call by its number → CPU milliseconds of each, and the seconds of all."""
    slot = asyncio.Semaphore(slots)

    async def one(number: int) -> None:
        async with slot:
            await call(number)

    await one(-1)  # the connections' and the code's first time
    cpu_s, began = time.process_time(), time.monotonic()
    await asyncio.gather(*map(one, range(calls)))
    return (time.process_time() - cpu_s) / calls * 1000, time.monotonic() - began


async def bare(url: str, is_parsed: bool, calls: int, slots: int) -> tuple[float, float]:
    """One session and a loop over what comes."""
    said = {"model": "m", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=slots)) as session:

        async def call(number: int) -> str:
            pieces = []
            body = json.dumps({**said, "seed": number})
            async with session.post(f"{url}/chat/completions", data=body) as answer:
                if not is_parsed:
                    while await answer.content.readany():
                        pass
                    return ""
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        for choice in json.loads(line[6:])["choices"]:
                            pieces.append(choice["delta"].get("content") or "")
            return "".join(pieces)

        return await measured(call, calls, slots)


async def ours(url: str, stream: str, calls: int, slots: int) -> tuple[float, float]:
    """The backend: limiter, retry policy, reader, reply."""
    config = OpenAIModel.model_validate(
        {
            "backend": "openai",
            "name": "m",
            "base_url": url,
            "api_key_env": None,
            "stream": stream,
            "limits": {"is_adaptive": False},
        }
    )
    gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "bench")
    model = OpenAI(config, gate, Halt(), slots)
    try:
        return await measured(
            lambda number: model.complete(Request((Message("user", PROMPT),), None, number + 1)),
            calls,
            slots,
        )
    finally:
        await model.close()
        await gate.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--events", type=int, default=1_000)
    wanted = parser.parse_args()
    behaviour = Behaviour(
        mode="fixed",
        reply_chars=wanted.events * EVENT_CHARS,
        event_chars=EVENT_CHARS,
        latency_mean_s=LATENCY_S,
        stream_share=0.5,
    )
    heads = "read by", "CPU ms a call", "s"
    table = new_table(f"{wanted.calls} calls, {wanted.events:,} events each; {load()}", *heads)
    with StubServer(behaviour) as server:
        size = server.url, wanted.calls, wanted.slots
        for name, run in {
            "bare, bytes": lambda url, *rest: bare(url, False, *rest),
            "bare, events": lambda url, *rest: bare(url, True, *rest),
            "ours, streamed": lambda url, *rest: ours(url, "always", *rest),
            "ours, whole": lambda url, *rest: ours(url, "never", *rest),
        }.items():
            cpu_ms, took_s = asyncio.run(run(*size))
            table.add_row(name, f"{cpu_ms:.2f}", f"{took_s:.1f}")
    CONSOLE.print(table)


if __name__ == "__main__":
    main()
