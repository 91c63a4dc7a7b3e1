"""A server that echoes the key: it is in no message and no record of a call, in whatever shape.

Each such answer of `data/endpoints` goes through the backend and `llm.complete`.
"""

import asyncio
import time

import endpoint_answers
import pytest
from endpoint_answers import KEY, Told, answer_of

from chimera_ray.backends.gate import Gate, in_process
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.limiter import Limiter
from chimera_ray.backends.openai import OpenAI
from chimera_ray.call_log import CallLog
from chimera_ray.errors import ChimeraError
from chimera_ray.llm import BoundModel, complete
from chimera_ray.model_config import OpenAIModel

pytestmark = pytest.mark.process

ECHOES = [row for row in endpoint_answers.told() if "$KEY" in row.body]
QUICK = {"first_wait_s": 0.001, "max_wait_s": 0.002, "deadline_s": 0.05, "unreachable_s": 20.0}


@pytest.mark.parametrize("name", ["RELAY_API_KEY", "MY_RELAY"])
@pytest.mark.parametrize("row", ECHOES, ids=lambda row: row.id)
def test_echoed_key_is_in_no_message_and_no_record(
    row: Told, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, KEY)
    log = CallLog("work", ())
    said = asyncio.run(_asked(row, name, log))
    assert said or log.calls
    assert KEY not in said
    assert KEY not in repr(log.calls)


async def _asked(row: Told, name: str, log: CallLog) -> str:
    """An answer that a server gives whatever it is asked → what a call says of it."""
    answer = answer_of(row)
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    head = f"HTTP/1.1 {answer.status} X\r\n{headers}content-length: {len(answer.body)}\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + answer.body)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = OpenAIModel(
        backend="openai",
        name="m",
        base_url=f"http://127.0.0.1:{port}/v1",
        api_key_env=name,
        retry=QUICK,
    )
    gate = Gate(in_process(Limiter(config.limits, time.monotonic()), time.monotonic), "test")
    model = OpenAI(config, gate, Halt(), 1)
    async with server:
        try:
            reply = await complete(BoundModel("drafter", model, log), "Why?", lambda got: got)
        except ChimeraError as exc:
            return repr(exc)
        finally:
            await model.close()
            await gate.close()
    return repr(reply)
