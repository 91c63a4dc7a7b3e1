"""What one call costs this process: our backend beside a bare aiohttp loop, in turns.

    python benchmarks/call_cpu.py                          10,000 calls, 1,024 in flight, 3 rounds
    python benchmarks/call_cpu.py --calls 4000 --in-flight 256 --rounds 5
    python benchmarks/call_cpu.py --profile ours           where the time goes, by function

The stub server answers at once, in a process of its own, and its CPU is not counted. Both subjects
send the same bodies and read the same replies; ours has the limiter, the retry policy and all that
judges a reply, and is told that there are no limits.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp
from remote_setup import CONSOLE, load
from rich.table import Table
from stub_faults import Behaviour
from stub_server import StubServer

from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.openai import Bodies, OpenAI
from chimera_ray.llm import Message, Request
from chimera_ray.model_config import Limits, OpenAIModel

PROMPT_CHARS, REPLY_CHARS, NUM_WARM = 1_000, 1_000, 500
Subject = Callable[[OpenAIModel, list[Request], int], Awaitable[None]]


class Cost(NamedTuple):
    """Of one round."""

    calls_per_s: float
    cpu_ms: float
    """of each call"""


def requests_of(count: int) -> list[Request]:
    """So many requests that differ."""
    text = "Subtract the complex numbers. " * (PROMPT_CHARS // 30)
    return [Request((Message("user", f"{at} {text}"),), None, at) for at in range(count)]


async def bare(model: OpenAIModel, requests: list[Request], in_flight: int) -> None:
    """The least that any program needs: one session, a semaphore, each reply parsed."""
    bodies, slot = Bodies(model), asyncio.Semaphore(in_flight)
    address = f"{model.base_url}/chat/completions"
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def one(request: Request) -> str:
            body = json.dumps(bodies.of(request, "none")).encode()
            headers = {"Idempotency-Key": f"{request.seed}", "Content-Type": "application/json"}
            async with slot, session.post(address, data=body, headers=headers) as answer:
                said = json.loads(await answer.read())
            return str(said["choices"][0]["message"]["content"])

        await asyncio.gather(*map(one, requests))


async def ours(model: OpenAIModel, requests: list[Request], in_flight: int) -> None:
    """The backend: client, limiter, retry policy, reply; no rows, no ledger."""
    gate = Gate(in_process(Limiter(model.limits, time.monotonic()), time.monotonic), "bench")
    client, slot = OpenAI(model, gate, Halt(), in_flight), asyncio.Semaphore(in_flight)

    async def one(request: Request) -> str:
        async with slot:
            return (await client.complete(request)).text

    await asyncio.gather(*map(one, requests))
    await client.close()
    await gate.close()


SUBJECTS: dict[str, Subject] = {"bare": bare, "ours": ours}


def measure(subject: Subject, model: OpenAIModel, requests: list[Request], slots: int) -> Cost:
    """One round of a subject → what it cost."""
    began_s, cpu_s = time.perf_counter(), time.process_time()
    asyncio.run(subject(model, requests, slots))
    cpu_s, took_s = time.process_time() - cpu_s, time.perf_counter() - began_s
    return Cost(len(requests) / took_s, 1_000 * cpu_s / len(requests))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=1_024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--profile", choices=SUBJECTS)
    wanted = parser.parse_args()
    behaviour = Behaviour(mode="fixed", reply_chars=REPLY_CHARS, latency_mean_s=0.0)
    with StubServer(behaviour) as server:
        model = OpenAIModel(
            backend="openai",
            name="bench",
            base_url=server.url,
            api_key_env=None,
            limits=Limits(is_adaptive=False),
        )
        for subject in SUBJECTS.values():
            measure(subject, model, requests_of(NUM_WARM), wanted.in_flight)
        requests = requests_of(wanted.calls)
        if wanted.profile:
            profile = cProfile.Profile()
            profile.runcall(measure, SUBJECTS[wanted.profile], model, requests, wanted.in_flight)
            pstats.Stats(profile).sort_stats("tottime").print_stats(40)
            return
        table = Table(title=f"{wanted.calls:,} calls, {wanted.in_flight:,} in flight")
        for head in (
            "round",
            "bare calls/s",
            "ours calls/s",
            "ratio",
            "bare CPU ms",
            "ours CPU ms",
        ):
            table.add_column(head, justify="right")
        for at in range(wanted.rounds):
            turn = sorted(SUBJECTS, reverse=bool(at % 2))
            cost = {
                name: measure(SUBJECTS[name], model, requests, wanted.in_flight) for name in turn
            }
            a, b = cost["bare"], cost["ours"]
            ratio = f"{b.calls_per_s / a.calls_per_s:.2f}"
            rates = (f"{a.calls_per_s:,.0f}", f"{b.calls_per_s:,.0f}", ratio)
            table.add_row(str(at + 1), *rates, f"{a.cpu_ms:.2f}", f"{b.cpu_ms:.2f}")
    CONSOLE.print(table, load())


if __name__ == "__main__":
    main()
