"""A pool of engines as one process sees it, and `Vllm`, the model that asks them.

Knows neither vLLM nor Ray: an engine is whatever answers an `Ask`. A call waits here, not inside an
engine, so that an engine that comes up late finds work.
"""

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from chimera_ray.backends.partials import partial_name
from chimera_ray.errors import ChimeraError, EngineDeathError, EngineLostError
from chimera_ray.llm import Message, Reply, Request, Usage, prompt_id_of
from chimera_ray.model_config import Repetition, Sampling, VllmModel

SPARE = 1.1
"""calls handed to an engine for each sequence that it decodes at once: the next is there already"""
AGAIN_S = 2.0
"""before a call is made again whose engine could not be reached; there it is joined"""
MAX_DEATHS = 8
"""of engines that held the same row, when none of them can be pinned on it alone"""


class Ask(NamedTuple):
    """What crosses to an engine: texts and numbers, never token ids."""

    name: str
    """of the partial output; the same in every try of the same call"""
    messages: tuple[Message, ...]
    schema: str
    """JSON schema that the final part is to follow; empty: none"""
    sampling: Sampling
    repetition: Repetition | None
    template_args: Mapping[str, object]
    seed: int
    max_tokens: int | None
    """None: as `sampling` says"""
    continues: str
    """name of the partial output of an earlier call, to be gone on from; empty: none"""
    num_deaths: int
    """engines that died with this call in flight"""


Generate = Callable[[Ask], Awaitable[Reply]]


@dataclass
class _Line:
    """One engine, as this process calls it."""

    generate: Generate
    num_calls: int = 0
    names: Set[str] = field(default_factory=frozenset)
    """calls that it works on already, of a process that died"""


class EnginePool:
    """The engines of one model that are up, each with room for so many calls of this process."""

    def __init__(self, max_num_seqs: int) -> None:
        """None is up yet."""
        self._room = math.ceil(max_num_seqs * SPARE)
        self._lines: dict[str, _Line] = {}
        self._dropped: set[str] = set()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._failure: ChimeraError | None = None
        self._on_close: list[Callable[[], object]] = []

    def knows(self, key: str) -> bool:
        """Whether an engine of that name is up, or was until it was dropped."""
        return key in self._lines or key in self._dropped

    def add(self, key: str, generate: Generate, names: Set[str] = frozenset()) -> None:
        """An engine is up, and works on these calls already."""
        self._lines[key] = _Line(generate, names=names)
        self._wake()

    def drop(self, key: str) -> None:
        """An engine is no longer up, and will not be again under this name."""
        self._dropped.add(key)
        self._lines.pop(key, None)

    def set(self, engines: Mapping[str, Generate], failure: ChimeraError | None) -> None:
        """These engines are up and no others; and no further one will be, if there is a failure."""
        self.keep(engines.keys())
        for key, generate in engines.items():
            if not self.knows(key):
                self.add(key, generate)
        if failure is not None:
            self.fail(failure)

    def keep(self, keys: Set[str]) -> None:
        """Drops every engine but these."""
        for key in [key for key in self._lines if key not in keys]:
            self.drop(key)

    def fail(self, reason: ChimeraError) -> None:
        """No engine will come up: whoever waits, now or later, gets the reason."""
        self._failure = self._failure or reason
        self._wake()

    def on_close(self, do: Callable[[], object]) -> None:
        """Something to be done when nobody asks here any more."""
        self._on_close.append(do)

    def close(self) -> None:
        """Nobody asks here any more; the engines stay up."""
        for do in self._on_close:
            do()

    @asynccontextmanager
    async def place(self, name: str) -> AsyncIterator[tuple[str, Generate]]:
        """A call's name → an engine with room for it, held meanwhile; waits until there is one.

        Raises:
            ChimeraError: no engine will come up.
        """
        while (key := self._free(name)) is None:
            if self._failure is not None:
                raise type(self._failure)(str(self._failure))
            await self._turn()
        line = self._lines[key]
        line.num_calls += 1
        try:
            yield key, line.generate
        finally:
            line.num_calls -= 1
            self._wake_one()

    async def _turn(self) -> None:
        """Waits until there may be room; a turn that comes too late goes to the next who waits."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled():
                self._wake_one()
            raise

    def _free(self, name: str) -> str | None:
        if self._failure is not None:
            return None
        for key, line in self._lines.items():
            if name in line.names:
                return key
        least = min(self._lines, key=lambda key: self._lines[key].num_calls, default=None)
        return None if least is None or self._lines[least].num_calls >= self._room else least

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _wake(self) -> None:
        while self._waiters:
            self._wake_one()


class Vllm:
    """A model whose calls go to a pool of engines, and on to another one when theirs dies."""

    trouble = ""
    """the display shows the engines themselves"""

    def __init__(self, config: VllmModel, pool: EnginePool) -> None:
        """The pool may be shared with other roles, and with other sampling."""
        self.name = config.name
        self._config, self._pool = config, pool

    async def complete(self, request: Request) -> Reply:
        """Request → reply; a call whose engine dies goes on elsewhere from what was durable.

        Raises:
            EngineDeathError: the call was in flight at two engine deaths, and alone under suspicion
                at the second; or at so many that it does not matter.
            ContextError: the prompt leaves no room for a reply.
            ProviderError: the engine refused the request.
            ChimeraError: no engine will come up.
        """
        ask = self._ask(request)
        while True:
            async with self._pool.place(ask.name) as (key, generate):
                try:
                    return await generate(ask)
                except EngineLostError as exc:
                    lost = exc
            if lost.is_gone:
                self._pool.drop(key)
                ask = self._after(ask, lost)
            else:
                await asyncio.sleep(AGAIN_S)

    def cost_usd(self, usage: Usage) -> float:
        """Tokens of one call → US dollars, by the configured prices; GPU hours come on top."""
        return self._config.cost_usd(usage)

    async def close(self) -> None:
        """Nothing to give back: the engines outlive the stages that ask them."""

    def _ask(self, request: Request) -> Ask:
        prompt_id, continues = prompt_id_of(request.messages), request.continues
        return Ask(
            name=partial_name(prompt_id, request.seed),
            messages=request.messages,
            schema="" if request.schema is None else json.dumps(request.schema.json_schema),
            sampling=self._config.sampling,
            repetition=self._config.repetition,
            template_args=dict(self._config.chat_template_args),
            seed=request.seed,
            max_tokens=request.max_tokens,
            continues="" if continues is None else partial_name(prompt_id, continues),
            num_deaths=0,
        )

    def _after(self, ask: Ask, lost: EngineLostError) -> Ask:
        """A call and the death of its engine → the same call, to be tried again.

        Raises:
            EngineDeathError: it has been tried often enough.
        """
        if not lost.is_counted:
            return ask
        num_deaths = ask.num_deaths + 1
        if (lost.is_pinned and ask.num_deaths > 0) or num_deaths >= MAX_DEATHS:
            raise EngineDeathError(
                f"{self.name}: {num_deaths} engines died with this row in flight"
                f"{', the last with it alone under suspicion' if lost.is_pinned else ''}: {lost}"
            )
        return ask._replace(num_deaths=num_deaths)
