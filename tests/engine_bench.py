"""A real engine in a loop of its own, with its partial outputs in memory, for tests."""

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")
EVERY = 100
"""tokens between two writes"""


class Bench:
    """An engine in a loop of its own, and what it wrote down."""

    def __init__(self, config: Any) -> None:
        from chimera_ray.backends.vllm_start import open_engine

        self.config = config
        self.partials: dict[str, bytes] = {}
        self.written: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.engine = self.run(asyncio.to_thread(open_engine, config, self, EVERY))

    def read(self, name: str) -> bytes | None:
        return self.partials.get(name)

    def write(self, name: str, content: bytes) -> None:
        self.partials[name] = content
        self.written.append(name)

    def run(self, awaitable: Awaitable[T]) -> T:
        async def wait() -> T:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(timeout=240)

    def ask(self, *asks: Any) -> list[Any]:
        """Calls, made at the same time → their replies, or what they raised."""

        async def gather() -> list[Any]:
            calls = (self.engine.generate(ask) for ask in asks)
            return await asyncio.gather(*calls, return_exceptions=True)

        return self.run(gather())

    def close(self) -> None:
        self.run(self.engine.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
