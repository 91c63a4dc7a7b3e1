"""The simulated teacher: a model that plays every role offline, over the same text protocol.

It sees a request and its own configuration, nothing else: no row, no role, no memory. The same two
give the same reply in any process, so a run with it can be repeated and resumed like any other.
"""

import asyncio
import math
from random import Random

from chimera_ray.backends.simulated_faults import cut, damaged, looped, written
from chimera_ray.backends.simulated_prompts import Ask, Solve, read_prompt
from chimera_ray.backends.simulated_replies import compose
from chimera_ray.errors import TransientProviderError
from chimera_ray.llm import Reply, Request, Usage
from chimera_ray.model_config import Latency, SimulatedModel
from chimera_ray.schemas import FinishReason, digest

_CHARS_PER_TOKEN = 4
_REFUSAL = "I am sorry, but I cannot help with that."


class Simulated:
    """A model that errs at the configured rates, and only there."""

    trouble = ""

    def __init__(self, config: SimulatedModel) -> None:
        """A configuration → the model; nothing is loaded yet."""
        self.name = config.name
        self._config = config

    async def complete(self, request: Request) -> Reply:
        """Request → its reply, always the same one, after the configured waiting time.

        Raises:
            TransientProviderError: at `transient_error_rate`; the same request fails again.
        """
        said = [text for message in request.messages for text in message]
        asked = digest("simulated", str(self._config.seed), str(request.seed), *said)
        rng = Random(int(asked, 16))
        fault = self._fault(rng)
        reply = None if fault == "transient" else self._reply(request, fault, asked, rng)
        if self._config.latency.mean_s > 0:
            await asyncio.sleep(self.latency_s(request))
        if reply is None:
            raise TransientProviderError(f"the simulated provider failed to answer {asked[:8]}")
        return reply

    def latency_s(self, request: Request) -> float:
        """Request → the seconds that its call waits; always the same, and no part of its reply."""
        asked = digest("waiting", str(self._config.seed), str(request.seed))
        return waiting_s(self._config.latency, Random(int(asked, 16)))

    def cost_usd(self, usage: Usage) -> float:
        """Tokens of one call → US dollars, by the configured prices."""
        return self._config.cost_usd(usage)

    async def close(self) -> None:
        """Nothing to give back."""

    def _fault(self, rng: Random) -> str:
        config = self._config
        rates = {
            "transient": config.transient_error_rate,
            "refusal": config.refusal_rate,
            "truncation": config.truncation_rate,
            "malformed": config.malformed_rate,
            "looping": config.looping_rate,
        }
        # One draw for each, hit or not, so that a rate does not change the replies that it spares.
        hits = [name for name, rate in rates.items() if rng.random() < rate]
        return hits[0] if hits else ""

    def _reply(self, request: Request, fault: str, asked: str, rng: Random) -> Reply:
        prompt = request.messages[-1].content if request.messages else ""
        ask = read_prompt(prompt)
        content = compose(ask, rng, self._config)
        finish_reason: FinishReason = "stop"
        match fault:
            case "refusal":
                text, finish_reason = _REFUSAL, "refusal"
            case "truncation":
                text, finish_reason = cut(written(content), rng), "length"
            case "malformed":
                text = damaged(content, rng)
            case "looping":
                text, finish_reason = looped(content, rng)
            case _:
                text = written(content)
        return Reply(
            text=text,
            finish_reason=finish_reason,
            usage=_usage(request, ask, text, finish_reason),
            request_id=f"simulated-{asked[:16]}",
        )


def waiting_s(latency: Latency, rng: Random) -> float:
    """A latency with a positive mean → one waiting time in seconds."""
    # exp(mu + sigma^2 / 2) is the mean of a log-normal, exp(mu) its median.
    return rng.lognormvariate(math.log(latency.mean_s) - latency.sigma**2 / 2, latency.sigma)


def _usage(request: Request, ask: Ask, text: str, finish_reason: FinishReason) -> Usage:
    thinking, tag, _ = text.partition("</think>")
    is_thought = isinstance(ask, Solve) and (bool(tag) or finish_reason == "length")
    return Usage(
        input_tokens=sum(_num_tokens(message.content) for message in request.messages),
        output_tokens=_num_tokens(text),
        reasoning_tokens=_num_tokens(thinking) if is_thought else 0,
    )


def _num_tokens(text: str) -> int:
    return -(-len(text) // _CHARS_PER_TOKEN)
