"""A model under the run's budget: what each of its calls may cost, and what it then did cost."""

import json
import math
import time
from collections.abc import Sequence
from contextvars import ContextVar
from itertools import product
from typing import NamedTuple

from chimera_ray.backends.budget_messages import Ended, Spend, Wanted
from chimera_ray.backends.forecast import estimated_tokens
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.purse import Purse, Ticket
from chimera_ray.errors import ChimeraError
from chimera_ray.llm import LostAttempt, Model, Reply, Request, Usage

LONGEST_REPLY = 131_072
"""tokens: endpoints give no more in one reply, so it is assumed where nothing else is known"""
DOUBT = 4.0
"""times the plan's high end is assumed, until a call of that kind has ended"""
OVERHEAD_TOKENS = 512
"""of a request: the chat template, and what a server puts before it"""


class Work(NamedTuple):
    """What a model is asked for in one role of one stage."""

    kind: str
    """their names"""
    planned: float | None = None
    """output tokens of one call, at the high end of the plan; None: there is no plan"""
    max_tokens: int | None = None
    """output tokens of one call, unless its request says; None: no limit"""
    context: int | None = None
    """input and output tokens of one call; None: no limit"""

    def limit_of(self, max_tokens: int | None) -> int | None:
        """A request's own limit, if it has one → output tokens of its call; None: no limit."""
        limits = (max_tokens or self.max_tokens, self.context)
        return min((limit for limit in limits if limit is not None), default=None)

    def kind_of(self, max_tokens: int | None) -> str:
        """A request's own limit, if it has one → the kind of its call."""
        limit = self.limit_of(max_tokens)
        return self.kind if limit is None else f"{self.kind} up to {limit}"


class Attempts:
    """The attempts of one call. Whatever tries a call again asks here before it does."""

    def __init__(self, purse: Purse, wanted: Wanted, metered: "Metered") -> None:
        """Nothing has started."""
        self.num_told = 0
        self._ticket: Ticket | None = None
        self._purse, self._wanted, self._metered = purse, wanted, metered

    async def start(self) -> None:
        """Waits until an attempt may start.

        Raises:
            StopError: it may not, nor may any other.
        """
        self._ticket = await self._purse.enter(self._wanted)

    async def again(self, lost: Sequence[LostAttempt]) -> None:
        """What is to be paid of the attempt that failed → waits until another one may start.

        Raises:
            StopError: it may not.
        """
        self.num_told += len(lost)
        self.end(self._metered.spent(lost))
        await self.start()

    def end(self, spent: Spend | None, *, is_beyond: bool = False) -> None:
        """The attempt has ended and cost so much; None: nobody knows, so what was reserved."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        ended = None
        if spent is not None and spent.tokens:
            seconds = time.monotonic() - ticket.began
            output = spent.plus(self._wanted.input, -1)
            ended = Ended(self._wanted.kind, seconds, output, is_beyond)
        self._purse.leave(ticket, ticket.reserved if spent is None else spent, ended)


ATTEMPTS: ContextVar[Attempts | None] = ContextVar("ATTEMPTS", default=None)
"""those of the call that the running task makes, if there is a budget"""


class Metered:
    """A model under the run's budget and halt."""

    def __init__(self, model: Model, halt: Halt, purse: Purse | None, work: Work) -> None:
        """The model itself is told of neither."""
        self.name = model.name
        self._model, self._halt, self._purse, self._work = model, halt, purse, work
        self._schema_bytes: dict[str, int] = {}

    async def complete(self, request: Request) -> Reply:
        """Request → reply, if it may be asked for.

        A call that is cancelled is billed all the same, nobody knows how far: what was reserved for
        it counts as spent.

        Raises:
            StopError: nothing new may start.
            RowError: as the model says.
        """
        self._halt.check()
        if self._purse is None:
            return await self._model.complete(request)
        attempts = Attempts(self._purse, self.wanted(request), self)
        await attempts.start()
        bound = ATTEMPTS.set(attempts)
        spent, is_beyond = None, False
        try:
            reply = await self._model.complete(request)
            spent = self.spent(reply.lost[attempts.num_told :], reply.usage)
            is_beyond = self._is_beyond(request, reply)
            return reply
        except ChimeraError as exc:
            spent = self.spent(getattr(exc, "lost", ())[attempts.num_told :])
            raise
        finally:
            ATTEMPTS.reset(bound)
            attempts.end(spent, is_beyond=is_beyond)

    @property
    def trouble(self) -> str:
        """What keeps the model from answering; empty: nothing."""
        return self._model.trouble

    def cost_usd(self, usage: Usage) -> float:
        """Tokens of one call → US dollars."""
        return self._model.cost_usd(usage)

    async def close(self) -> None:
        """Closes the model."""
        await self._model.close()

    def spent(self, lost: Sequence[object], usage: Usage | None = None) -> Spend:
        """Attempts that gave nothing, and one that gave a reply → what they cost."""
        total = Spend() if usage is None else self._spend(usage)
        for attempt in lost:
            if isinstance(attempt, LostAttempt):
                total = total.plus(self._spend(attempt.usage))
        return total

    def wanted(self, request: Request) -> Wanted:
        """A request → what its call may cost."""
        limit = self._work.limit_of(request.max_tokens)
        num_chars = sum(len(message.content) for message in request.messages)
        longest = LONGEST_REPLY if limit is None else limit
        planned = self._work.planned
        assumed = longest if planned is None else min(math.ceil(DOUBT * planned), longest)
        most = None if limit is None else self._most(self._most_input(request), limit)
        return Wanted(
            kind=self._work.kind_of(request.max_tokens),
            input=self._spend(Usage(input_tokens=estimated_tokens(num_chars))),
            most=most,
            assumed=self._most(0, assumed),
            longest=self._most(0, longest),
        )

    def _most_input(self, request: Request) -> int:
        """The tokens that a prompt can have: none is shorter than a byte."""
        num_bytes = sum(len(m.content.encode(errors="replace")) for m in request.messages)
        if request.schema is not None:
            name = request.schema.name
            if name not in self._schema_bytes:
                said = json.dumps(dict(request.schema.json_schema))
                self._schema_bytes[name] = len(said)
            num_bytes += self._schema_bytes[name]
        most = num_bytes + OVERHEAD_TOKENS
        return most if self._work.context is None else min(most, self._work.context)

    def _most(self, num_input: int, num_output: int) -> Spend:
        """So many tokens, of whichever kinds cost most, within the model's context."""
        parts = product((0, num_input), (0, num_output))
        costs = [self.cost_usd(Usage(num_input, cached, num_output, own)) for cached, own in parts]
        total = num_input + num_output
        return Spend(max(costs), min(total, self._work.context or total))

    def _is_beyond(self, request: Request, reply: Reply) -> bool:
        limit = self._work.limit_of(request.max_tokens)
        return limit is not None and reply.usage.output_tokens > limit

    def _spend(self, usage: Usage) -> Spend:
        return Spend(self.cost_usd(usage), usage.input_tokens + usage.output_tokens)
