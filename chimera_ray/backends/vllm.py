"""One vLLM engine that is up: asked, watched, survived.

Lives inside one event loop. What it generates is written down every few thousand tokens, so that
whoever asks for the same call again, after whatever death, goes on from there.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import TemplateError

from chimera_ray.backends.engines import Ask
from chimera_ray.backends.partials import Partials, packed, unpacked
from chimera_ray.backends.vllm_prompt import Prompts
from chimera_ray.backends.vllm_thinking import Thinking
from chimera_ray.errors import ContextError, EngineLostError, ProviderError
from chimera_ray.llm import Reply, Usage
from chimera_ray.model_config import VllmModel
from chimera_ray.schemas import FinishReason

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "repetition": "repetition",
}
"""anything else is an abort"""
DIED = "vLLM's engine process died"


class Loaded(NamedTuple):
    """What an engine says of itself once it is up."""

    cache_tokens: int
    """that its KV cache holds, over all its data-parallel parts; 0: it does not say"""
    max_model_len: int
    load_s: float
    version: str
    """of vLLM"""


@dataclass
class _Output:
    """What a call has so far."""

    ids: list[int]
    num_resumed: int
    """of these: taken up from what was written down"""
    request_id: str = ""
    num_stored: int = 0
    finish_reason: FinishReason = "abort"
    cached: int = 0
    first_s: float = 0.0
    last_s: float = 0.0

    def __post_init__(self) -> None:
        self.num_stored = self.num_resumed


class Engine:
    """vLLM's `AsyncLLM`, as `vllm_start` made it."""

    def __init__(
        self,
        config: VllmModel,
        llm: Any,  # noqa: ANN401 - vLLM's, which is not installed where types are checked
        partials: Partials,
        every_tokens: int,
        loaded: Loaded,
    ) -> None:
        """Takes the engine that is up.

        Args:
            config: the model.
            llm: vLLM's `AsyncLLM`.
            partials: where unfinished output is written down.
            every_tokens: how often.
            loaded: what the engine says of itself.
        """
        self.loaded = loaded
        self._num_given = 0
        self._config, self._llm, self._partials, self._every = config, llm, partials, every_tokens
        tokenizer = llm.get_tokenizer()
        self._vocab_size = int(llm.model_config.get_vocab_size())
        self._prompts = Prompts(tokenizer)
        self._thinking = Thinking(tokenizer, self._prompts.special_ids)
        self._probation = asyncio.Lock()
        self._on_probation: str | None = None
        self._running: dict[str, asyncio.Task[Reply]] = {}
        self._count = 0

    @property
    def running(self) -> frozenset[str]:
        """The names of the calls that it works on."""
        return frozenset(self._running)

    @property
    def num_generated(self) -> int:
        """Tokens since it came up, those that vLLM has not handed out yet included."""
        if self._llm is None:
            return self._num_given
        states = self._llm.output_processor.request_states.values()
        held = [
            state.detokenizer.num_output_tokens() - state.sent_tokens_offset for state in states
        ]
        return self._num_given + int(sum(held))

    @property
    def is_dead(self) -> bool:
        """Whether vLLM has given it up."""
        return self._llm is None or bool(self._llm.errored)

    async def generate(self, ask: Ask) -> Reply:
        """A call → its reply; a call that is under way already is joined.

        Raises:
            ContextError: the prompt leaves no room for a reply.
            ProviderError: vLLM refused the request.
            EngineLostError: the engine died, with what it knows of who was the cause.
        """
        task = self._running.get(ask.name)
        if task is None:
            if self.is_dead:
                raise EngineLostError(DIED)
            task = self._running[ask.name] = asyncio.create_task(self._generate(ask))
            task.add_done_callback(lambda _: self._running.pop(ask.name, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Ends the engine and gives its memory back."""
        llm, self._llm = self._llm, None
        if llm is None:
            return
        if llm.output_handler is not None:
            llm.output_handler.cancel()  # or it reports the end as a death
        await asyncio.to_thread(llm.shutdown)
        llm.shutdown = lambda: None  # its `__del__` asks again, when the modules may be gone

    async def _generate(self, ask: Ask) -> Reply:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            if ask.num_deaths == 0:
                return await self._run(ask, asyncio.Event())
            return await self._run_suspect(ask)
        except (EngineDeadError, EngineGenerateError) as exc:
            if not self.is_dead:
                raise ProviderError(f"{self._config.name}: vLLM gave up this call: {exc}") from None
            lost = EngineLostError(DIED)
            lost.is_pinned = self._on_probation == ask.name
            raise lost from None
        except (VLLMClientError, TemplateError, ValueError, TypeError) as exc:
            raise ProviderError(f"{self._config.name}: vLLM refused this call: {exc}") from None

    async def _run_suspect(self, ask: Ask) -> Reply:
        """A call that was in flight when an engine died, and so may kill this one too.

        Suspects are let in one at a time, until their first token has come; at their third engine,
        until they have passed what must have been the deadly place. If the engine dies meanwhile,
        the death is pinned on the suspect, and nobody else suffers for it.
        """
        async with self._probation:
            if self.is_dead:  # of the suspect before it: this one has not even been let in
                lost = EngineLostError(DIED)
                lost.is_counted = False
                raise lost
            self._on_probation = ask.name
            passed = asyncio.Event()
            running = asyncio.create_task(self._run(ask, passed))
            waiting = asyncio.create_task(passed.wait())
            await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if running.done() and running.exception() is not None:
                return running.result()  # raises, with the suspect still on probation
            self._on_probation = None
        return await running

    async def _run(self, ask: Ask, passed: asyncio.Event) -> Reply:
        """A call → its reply, from the first token or from where its partial output ends."""
        prompt = self._prompt(ask)
        continued = await self._stored(ask.continues) if ask.continues else []
        own = await self._stored(ask.name)
        start = own or continued
        room = self.loaded.max_model_len - len(prompt)
        most = min(ask.max_tokens or ask.sampling.max_tokens or room, room)
        if room < 1:
            raise ContextError(
                f"{self._config.name}: the prompt has {len(prompt)} tokens, and max_model_len is "
                f"{self.loaded.max_model_len}"
            )
        continued = continued[:most]
        output = _Output(start[:most], len(start[:most]))
        if len(output.ids) < most:
            await self._decode(ask, prompt, most, output, passed)
        else:
            output.finish_reason = "length"
        if output.finish_reason == "length" and self._may_resume(ask, prompt, output):
            await self._store(ask.name, output.ids)  # a second chance goes on from here
        return self._reply(ask, prompt, output, len(continued))

    async def _decode(
        self, ask: Ask, prompt: list[int], most: int, output: "_Output", passed: asyncio.Event
    ) -> None:
        params = self._params(ask, most - len(output.ids), len(output.ids))
        began = time.perf_counter()
        self._count += 1
        least = self._every if ask.num_deaths > 1 else 1
        output.request_id = f"{ask.name}-{self._count}"
        inputs = {"prompt_token_ids": prompt + output.ids}
        async for given in self._llm.generate(inputs, params, output.request_id):
            now = time.perf_counter()
            said = given.outputs[0]
            output.first_s = output.first_s or now - began
            output.last_s = now - began
            output.cached = min(given.num_cached_tokens or 0, len(prompt))
            output.ids.extend(said.token_ids)
            self._num_given += len(said.token_ids)
            if len(output.ids) - output.num_resumed >= least:
                passed.set()
            if said.finish_reason is not None:
                output.finish_reason = FINISH_REASONS.get(said.finish_reason, "abort")
            elif len(output.ids) - output.num_stored >= self._every and self._may_resume(
                ask, prompt, output
            ):
                await self._store(ask.name, output.ids)
                output.num_stored = len(output.ids)

    def _may_resume(self, ask: Ask, prompt: list[int], output: "_Output") -> bool:
        """Fields are asked for by a grammar that cannot begin midway: only thinking goes on."""
        return not ask.schema or self._thinking.is_open(prompt, output.ids)

    def _prompt(self, ask: Ask) -> list[int]:
        effort = ask.sampling.reasoning_effort
        args = {} if effort is None else {"reasoning_effort": effort}
        return self._prompts.ids_of(ask.messages, {**args, **ask.template_args})

    def _params(self, ask: Ask, max_tokens: int, num_before: int) -> Any:  # noqa: ANN401 - vLLM's
        from vllm.sampling_params import (
            RepetitionDetectionParams,
            RequestOutputKind,
            SamplingParams,
            StructuredOutputsParams,
        )

        drawn = ask.sampling.model_dump(
            include={"temperature", "top_p", "top_k", "min_p", "presence_penalty"},
            exclude_none=True,
        )
        loops = ask.repetition
        return SamplingParams(
            **drawn,
            n=1,  # another attempt is a row of its own, with a seed and an outcome of its own
            # The noise that the first tokens were drawn with is not used a second time.
            seed=(ask.seed + num_before) % (1 << 31),
            max_tokens=max_tokens,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
            stream_interval=self._every,
            structured_outputs=StructuredOutputsParams(json=ask.schema) if ask.schema else None,
            repetition_detection=None
            if loops is None
            else RepetitionDetectionParams(
                max_pattern_size=loops.max_pattern_tokens,
                min_pattern_size=loops.min_pattern_tokens,
                min_count=loops.min_count,
            ),
        )

    def _reply(self, ask: Ask, prompt: list[int], output: "_Output", num_continued: int) -> Reply:
        said = self._thinking.split(prompt, output.ids, at_first=bool(ask.schema))
        text = said.final_part
        if ask.schema:  # in JSON it can only stand in a string, where this says the same
            text = text.replace("</think>", r"<\/think>")
        return Reply(
            text=text,
            reasoning=said.reasoning,
            finish_reason=output.finish_reason,
            usage=Usage(
                input_tokens=len(prompt),
                cached_tokens=output.cached,
                output_tokens=len(output.ids) - num_continued,
                reasoning_tokens=max(said.num_reasoning_tokens - num_continued, 0),
            ),
            request_id=output.request_id,
            resumed_tokens=output.num_resumed - num_continued,
            first_token_s=output.first_s,
            decode_s=output.last_s - output.first_s,
        )

    async def _stored(self, name: str) -> list[int]:
        content = await asyncio.to_thread(self._partials.read, name)
        return unpacked(content, self._vocab_size)

    async def _store(self, name: str, ids: Sequence[int]) -> None:
        await asyncio.to_thread(self._partials.write, name, packed(ids))
