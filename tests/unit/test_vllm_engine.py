"""An engine beside a pretended vLLM: what it asks, what it writes down, how it survives.

The pretended one says a fixed text to each prompt, token by token, and dies where it is told to.
Real vLLM has tests of its own; here neither weights nor a GPU are needed.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from chimera_ray.backends.engines import Ask, EnginePool, Vllm
from chimera_ray.backends.partials import packed, unpacked
from chimera_ray.backends.vllm import Engine, Loaded
from chimera_ray.errors import (
    ContextError,
    EngineDeathError,
    EngineLostError,
    ProviderError,
)
from chimera_ray.llm import Message, Reply, Request
from chimera_ray.model_config import Repetition, Sampling, VllmModel

EVERY = 10
MAX_LEN = 400
VOCAB = 256
OPEN_ID, CLOSE_ID = 1, 2
THOUGHT = "Six times seven is what I am asked for. "
FINAL = "It is 42."
WHOLE = f"{THOUGHT}</think>{FINAL}"
NUM_WHOLE = len(THOUGHT) + 1 + len(FINAL)
SCHEMA = '{"type": "object"}'


# ---- what stands in vLLM's place ------------------------------------------------------------


class _ClientError(Exception):
    """vllm.exceptions.VLLMClientError."""


class _DeadError(Exception):
    """vllm.v1.engine.exceptions.EngineDeadError."""


class _GenerateError(Exception):
    """vllm.v1.engine.exceptions.EngineGenerateError."""


class _Kind(Enum):
    DELTA = 1


class _Params(SimpleNamespace):
    """Any of vLLM's classes of parameters."""


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The modules that the engine imports of vLLM, with what it takes from them."""
    said: dict[str, dict[str, object]] = {
        "vllm": {},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.exceptions": {"VLLMClientError": _ClientError},
        "vllm.v1.engine.exceptions": {
            "EngineDeadError": _DeadError,
            "EngineGenerateError": _GenerateError,
        },
        "vllm.sampling_params": {
            "SamplingParams": _Params,
            "StructuredOutputsParams": _Params,
            "RepetitionDetectionParams": _Params,
            "RequestOutputKind": _Kind,
        },
    }
    for name, members in said.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


class _Tokenizer:
    """One token for each letter, and one for each tag; its template opens the thinking."""

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        tags = {"<think>": [OPEN_ID], "</think>": [CLOSE_ID]}
        parts = re.split("(</?think>)", text)
        return [token for part in parts for token in tags.get(part) or map(ord, part)]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        tags = {OPEN_ID: "<think>", CLOSE_ID: "</think>"}
        return "".join(tags.get(token) or chr(token) for token in ids)

    def apply_chat_template(
        self, messages: Sequence[Mapping[str, str]], enable_thinking: bool = True, **_: Any
    ) -> list[int]:
        start = "<think>\n" if enable_thinking else "<think>\n\n</think>\n\n"
        return self.encode(f"|{messages[-1]['content']}|{start}")


@dataclass
class _Output:
    token_ids: list[int]
    finish_reason: str | None


@dataclass
class _Given:
    outputs: list[_Output]
    num_cached_tokens: int | None = 0


@dataclass
class _Llm:
    """vLLM's `AsyncLLM`."""

    replies: Mapping[str, str] = field(default_factory=dict)
    """user's text → what is said; WHOLE if it is not here"""
    deadly: Mapping[str, int] = field(default_factory=dict)
    """user's text → the place of its reply where the engine dies"""
    raises: Exception | None = None
    end: str = "stop"
    cached: int | None = 0
    errored: bool = False
    is_shut: bool = False
    given: list[tuple[str, list[int], Any, str]] = field(default_factory=list)
    """user's text, prompt's ids, parameters, id of each request"""
    gate: asyncio.Event | None = None
    """nothing is said before it is open"""
    output_handler: Any = None
    model_config: Any = field(default_factory=lambda: SimpleNamespace(get_vocab_size=lambda: VOCAB))
    output_processor: Any = field(default_factory=lambda: SimpleNamespace(request_states={}))

    def get_tokenizer(self) -> _Tokenizer:
        return _Tokenizer()

    def shutdown(self) -> None:
        self.is_shut = True

    async def generate(
        self, inputs: Mapping[str, list[int]], params: Any, request_id: str
    ) -> AsyncIterator[_Given]:
        ids = inputs["prompt_token_ids"]
        text = _Tokenizer().decode(ids)
        user = text.split("|")[1]
        said = _Tokenizer().encode(self.replies.get(user, WHOLE))
        start = len(ids) - len(_Tokenizer().encode(text[: text.rindex("|") + 1])) - 2
        if text.endswith("</think>\n\n"):
            start = 0
        self.given.append((user, ids, params, request_id))
        if self.raises is not None:
            raise self.raises
        if self.gate is not None:
            await self.gate.wait()
        held: list[int] = []
        end = min(start + params.max_tokens, len(said))
        for place in range(start, end):
            await asyncio.sleep(0)
            self.errored = self.errored or self.deadly.get(user) == place
            if self.errored:
                raise _DeadError("EngineCore encountered an issue")
            held.append(said[place])
            is_last = place + 1 == end
            if is_last or place == start or len(held) == params.stream_interval:
                reason = None
                if is_last:
                    reason = self.end if end == len(said) else "length"
                yield _Given([_Output(held, reason)], self.cached)
                held = []


class _Memory:
    """Partial outputs that outlive their engine, and every write of them."""

    def __init__(self, **ids: Sequence[int]) -> None:
        self.files = {name: packed(said) for name, said in ids.items()}
        self.writes: list[tuple[str, int]] = []

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def write(self, name: str, content: bytes) -> None:
        self.files[name] = content
        self.writes.append((name, len(unpacked(content, VOCAB))))


def _config(**settings: Any) -> VllmModel:
    return VllmModel.model_validate({"backend": "vllm", "name": "served"} | settings)


def _engine(
    llm: _Llm | None = None,
    partials: _Memory | None = None,
    every: int = EVERY,
    max_len: int = MAX_LEN,
) -> Engine:
    loaded = Loaded(4_096, max_len, 1.0, "fake")
    return Engine(_config(), llm or _Llm(), partials or _Memory(), every, loaded)


def _ask(text: str = "6*7?", **changes: Any) -> Ask:
    ask = Ask(
        name="call",
        messages=(Message("user", text),),
        schema="",
        sampling=Sampling(),
        repetition=None,
        template_args={},
        seed=1_000,
        max_tokens=None,
        continues="",
        num_deaths=0,
    )
    return ask._replace(**changes)


def _ids(text: str, count: int | None = None) -> list[int]:
    return _Tokenizer().encode(text)[:count]


PROMPT_LEN = len(_ids("|6*7?|<think>\n"))


# ---- a reply --------------------------------------------------------------------------------


def test_engine_reply_has_thinking_and_final_part_apart_and_counts_both() -> None:
    llm = _Llm(cached=5)
    reply = asyncio.run(_engine(llm).generate(_ask()))
    assert (reply.reasoning, reply.text) == (THOUGHT.strip(), FINAL)
    assert (reply.finish_reason, reply.resumed_tokens) == ("stop", 0)
    assert reply.usage == (PROMPT_LEN, 5, NUM_WHOLE, len(THOUGHT) + 1)
    assert reply.first_token_s > 0
    assert reply.decode_s > 0


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("repetition", "repetition"),
        ("abort", "abort"),
        ("error", "abort"),
        ("something new", "abort"),
    ],
)
def test_engine_finish_reason_is_one_that_the_ledger_knows(theirs: str, ours: str) -> None:
    assert asyncio.run(_engine(_Llm(end=theirs)).generate(_ask())).finish_reason == ours


def test_engine_without_thinking_gives_all_as_the_final_part() -> None:
    llm = _Llm({"6*7?": FINAL})
    reply = asyncio.run(_engine(llm).generate(_ask(template_args={"enable_thinking": False})))
    assert (reply.reasoning, reply.text, reply.usage.reasoning_tokens) == (None, FINAL, 0)


def test_engine_sampling_is_that_of_the_call_and_nothing_else_is_set() -> None:
    llm = _Llm()
    sampling = Sampling(temperature=0.6, top_p=0.95, top_k=20, max_tokens=300)
    loops = Repetition(max_pattern_tokens=50, min_pattern_tokens=2, min_count=9)
    ask = _ask(sampling=sampling, repetition=loops, schema=SCHEMA, seed=2**31 - 1)
    asyncio.run(_engine(llm).generate(ask))
    params = llm.given[0][2]
    assert (params.temperature, params.top_p, params.top_k) == (0.6, 0.95, 20)
    assert not hasattr(params, "min_p")
    assert (params.max_tokens, params.seed) == (300, 2**31 - 1)
    assert params.structured_outputs.json == SCHEMA
    found = params.repetition_detection
    assert (found.max_pattern_size, found.min_pattern_size, found.min_count) == (50, 2, 9)


# ---- how long it may be ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "sampled", "limit"),
    [
        (None, None, MAX_LEN - PROMPT_LEN),
        (None, 30, 30),
        (50, 30, 50),
        (20, 30, 20),
        (10_000, 30, MAX_LEN - PROMPT_LEN),
        (None, 10_000, MAX_LEN - PROMPT_LEN),
    ],
)
def test_engine_limit_is_the_call_s_or_the_model_s_and_what_the_context_leaves(
    asked: int | None, sampled: int | None, limit: int
) -> None:
    llm = _Llm()
    ask = _ask(max_tokens=asked, sampling=Sampling(max_tokens=sampled))
    reply = asyncio.run(_engine(llm).generate(ask))
    assert llm.given[0][2].max_tokens == limit
    assert reply.usage.output_tokens == min(limit, NUM_WHOLE)


def test_engine_prompt_that_leaves_no_room_is_refused_before_vllm_is_asked() -> None:
    llm = _Llm()
    with pytest.raises(ContextError, match=f"{PROMPT_LEN} tokens"):
        asyncio.run(_engine(llm, max_len=PROMPT_LEN).generate(_ask()))
    assert llm.given == []


def test_engine_prompt_that_leaves_room_for_one_token_gets_one() -> None:
    reply = asyncio.run(_engine(max_len=PROMPT_LEN + 1).generate(_ask()))
    assert (reply.usage.output_tokens, reply.finish_reason) == (1, "length")


# ---- what is written down, and gone on from -------------------------------------------------


def test_engine_writes_down_what_it_has_each_so_many_tokens() -> None:
    partials = _Memory()
    asyncio.run(_engine(partials=partials).generate(_ask()))
    counts = [count for _, count in partials.writes]
    steps = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert len(counts) >= NUM_WHOLE // EVERY - 1
    assert all(EVERY <= step <= EVERY + 1 for step in steps)
    assert unpacked(partials.files["call"], VOCAB) == _ids(WHOLE, counts[-1])


def test_engine_short_reply_writes_nothing() -> None:
    partials = _Memory()
    asyncio.run(_engine(partials=partials, every=NUM_WHOLE + 1).generate(_ask()))
    assert partials.writes == []


@pytest.mark.parametrize("num_stored", [1, 17, len(THOUGHT) + 3, NUM_WHOLE - 1])
def test_engine_goes_on_from_what_was_written_down_and_the_reply_is_the_same(
    num_stored: int,
) -> None:
    llm, partials = _Llm(), _Memory(call=_ids(WHOLE, num_stored))
    reply = asyncio.run(_engine(llm, partials).generate(_ask()))
    assert (reply.reasoning, reply.text) == (THOUGHT.strip(), FINAL)
    assert reply.usage.output_tokens == NUM_WHOLE
    assert reply.resumed_tokens == num_stored
    _, ids, params, _ = llm.given[0]
    assert len(ids) == PROMPT_LEN + num_stored
    assert params.max_tokens == MAX_LEN - len(ids)


def test_engine_that_goes_on_draws_with_another_seed() -> None:
    seeds = []
    for num_stored in (0, 1, 20):
        llm, partials = _Llm(), _Memory(call=_ids(WHOLE, num_stored))
        asyncio.run(_engine(llm, partials).generate(_ask(seed=2**31 - 1)))
        seeds.append(llm.given[0][2].seed)
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_engine_that_goes_on_writes_again_only_after_as_many_new_tokens() -> None:
    partials = _Memory(call=_ids(WHOLE, 17))
    asyncio.run(_engine(partials=partials).generate(_ask()))
    assert partials.writes[0][1] >= 17 + EVERY


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", packed([VOCAB]), packed([1, 2])[:-1]], ids=len
)
def test_engine_begins_anew_where_what_was_written_down_is_of_no_use(content: bytes) -> None:
    partials = _Memory()
    partials.files["call"] = content
    reply = asyncio.run(_engine(partials=partials).generate(_ask()))
    assert (reply.text, reply.resumed_tokens) == (FINAL, 0)


def test_engine_reply_that_was_whole_up_to_its_limit_already_asks_vllm_for_nothing() -> None:
    llm, partials = _Llm(), _Memory(call=_ids(WHOLE, 30))
    reply = asyncio.run(_engine(llm, partials).generate(_ask(max_tokens=30)))
    assert (reply.finish_reason, reply.usage.output_tokens) == ("length", 30)
    assert reply.resumed_tokens == 30
    assert llm.given == []


# ---- second chances -------------------------------------------------------------------------


def test_engine_second_chance_goes_on_where_the_first_was_cut_and_pays_for_the_rest_alone() -> None:
    llm, partials = _Llm(), _Memory()
    engine = _engine(llm, partials, every=1_000)

    async def work() -> tuple[Reply, Reply]:
        cut = await engine.generate(_ask(name="first", max_tokens=25))
        second = _ask(name="second", continues="first", max_tokens=200, seed=2_000)
        return cut, await engine.generate(second)

    cut, second = asyncio.run(work())
    assert (cut.finish_reason, cut.usage.output_tokens) == ("length", 25)
    assert (second.reasoning, second.text, second.finish_reason) == (
        THOUGHT.strip(),
        FINAL,
        "stop",
    )
    assert second.usage.output_tokens == NUM_WHOLE - 25
    assert second.usage.reasoning_tokens == len(THOUGHT) + 1 - 25
    assert second.resumed_tokens == 0
    assert llm.given[1][2].max_tokens == 200 - 25


def test_engine_second_chance_that_was_killed_goes_on_from_its_own_tokens() -> None:
    partials = _Memory(first=_ids(WHOLE, 25), second=_ids(WHOLE, 37))
    ask = _ask(name="second", continues="first", max_tokens=200)
    reply = asyncio.run(_engine(partials=partials).generate(ask))
    assert reply.text == FINAL
    assert (reply.usage.output_tokens, reply.resumed_tokens) == (NUM_WHOLE - 25, 12)


def test_engine_second_chance_of_what_is_gone_begins_anew() -> None:
    reply = asyncio.run(_engine().generate(_ask(name="second", continues="first")))
    assert (reply.text, reply.usage.output_tokens) == (FINAL, NUM_WHOLE)


def test_engine_second_chance_that_is_smaller_than_the_first_counts_no_tokens_below_zero() -> None:
    partials = _Memory(first=_ids(WHOLE, 30))
    ask = _ask(name="second", continues="first", max_tokens=20)
    reply = asyncio.run(_engine(partials=partials).generate(ask))
    assert reply.usage.output_tokens >= 0
    assert reply.resumed_tokens >= 0


# ---- fields ---------------------------------------------------------------------------------

OBJECT = '{"answer": "forty-two", "unit": "none at all, it is a number"}'


def test_engine_with_fields_writes_down_the_thinking_and_nothing_of_the_fields() -> None:
    llm, partials = _Llm({"6*7?": f"{THOUGHT}</think>{OBJECT}"}), _Memory()
    reply = asyncio.run(_engine(llm, partials).generate(_ask(schema=SCHEMA)))
    assert reply.text == OBJECT
    assert [count for _, count in partials.writes]
    assert max(count for _, count in partials.writes) <= len(THOUGHT)


def test_engine_with_fields_that_are_asked_for_at_once_writes_nothing() -> None:
    llm, partials = _Llm({"6*7?": OBJECT}), _Memory()
    ask = _ask(schema=SCHEMA, template_args={"enable_thinking": False})
    assert asyncio.run(_engine(llm, partials).generate(ask)).text == OBJECT
    assert partials.writes == []


def test_engine_with_fields_keeps_a_tag_inside_of_them_as_the_text_that_it_is() -> None:
    said = '{"answer": "say </think> here"}'
    llm = _Llm({"6*7?": f"{THOUGHT}</think>{said}"})
    reply = asyncio.run(_engine(llm).generate(_ask(schema=SCHEMA)))
    assert reply.reasoning == THOUGHT.strip()
    assert reply.text == said.replace("</think>", r"<\/think>")


def test_engine_with_fields_that_are_cut_writes_nothing_of_the_fields() -> None:
    llm, partials = _Llm({"6*7?": f"{THOUGHT}</think>{OBJECT}"}), _Memory()
    ask = _ask(schema=SCHEMA, max_tokens=len(THOUGHT) + 20)
    assert asyncio.run(_engine(llm, partials).generate(ask)).finish_reason == "length"
    assert max(count for _, count in partials.writes) <= len(THOUGHT)


# ---- several at once ------------------------------------------------------------------------


def test_engine_call_that_is_under_way_is_joined() -> None:
    llm = _Llm()
    engine = _engine(llm)

    async def work() -> list[Reply]:
        return await asyncio.gather(*(engine.generate(_ask()) for _ in range(3)))

    replies = asyncio.run(work())
    assert len(llm.given) == 1
    assert [reply.text for reply in replies] == [FINAL] * 3
    assert engine.running == frozenset()
    assert engine.num_generated == NUM_WHOLE


def test_engine_call_goes_on_when_one_of_those_who_asked_goes_away() -> None:
    llm = _Llm()

    async def work() -> Reply:
        engine, llm.gate = _engine(llm), asyncio.Event()
        first = asyncio.create_task(engine.generate(_ask()))
        while not llm.given:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert engine.running == {"call"}
        llm.gate.set()
        return await engine.generate(_ask())

    assert asyncio.run(work()).text == FINAL
    assert len(llm.given) == 1


def test_engine_reply_names_the_request_that_vllm_knows() -> None:
    llm = _Llm({"short": f"</think>{FINAL}"})
    engine = _engine(llm)

    async def work() -> list[Reply]:
        asks = [_ask(name="a"), _ask("short", name="b")]
        return await asyncio.gather(*map(engine.generate, asks))

    replies = asyncio.run(work())
    assert {reply.request_id for reply in replies} == {given[3] for given in llm.given}


# ---- refusals and deaths --------------------------------------------------------------------


@pytest.mark.parametrize(
    "exc", [_ClientError("bad grammar"), ValueError("no such token"), _GenerateError("odd")]
)
def test_engine_request_that_vllm_refuses_fails_that_call_alone(exc: Exception) -> None:
    llm = _Llm(raises=exc)
    engine = _engine(llm)
    with pytest.raises(ProviderError, match=str(exc)):
        asyncio.run(engine.generate(_ask()))
    assert not engine.is_dead


def test_engine_that_dies_loses_its_calls_and_says_that_nobody_is_known_to_be_the_cause() -> None:
    llm = _Llm(deadly={"deadly": 30})
    engine = _engine(llm)

    async def work() -> list[Reply | BaseException]:
        asks = [_ask(name="a"), _ask("deadly", name="b"), _ask("other", name="c")]
        return await asyncio.gather(*map(engine.generate, asks), return_exceptions=True)

    found = asyncio.run(work())
    assert engine.is_dead
    assert [type(exc) for exc in found] == [EngineLostError] * 3
    assert not [exc for exc in found if exc.is_pinned or not exc.is_gone]  # type: ignore[union-attr]


def _lone_death(num_deaths: int, place: int, others: int = 3) -> tuple[list[Any], _Llm]:
    """Suspects at an engine that one of them kills → what they are told."""
    llm = _Llm(deadly={"deadly": place})
    engine = _engine(llm)

    async def work() -> list[Any]:
        asks = [_ask("deadly", name="deadly", num_deaths=num_deaths)]
        asks += [_ask(f"{n}", name=f"{n}", num_deaths=num_deaths) for n in range(others)]
        return await asyncio.gather(*map(engine.generate, asks), return_exceptions=True)

    return asyncio.run(work()), llm


def test_engine_suspect_that_kills_at_its_first_token_is_alone_and_it_is_pinned_on_it() -> None:
    found, llm = _lone_death(num_deaths=1, place=0)
    assert [exc.is_pinned for exc in found] == [True, False, False, False]
    assert [given[0] for given in llm.given] == ["deadly"]


def test_engine_suspect_that_has_passed_its_first_token_is_one_among_others() -> None:
    found, llm = _lone_death(num_deaths=1, place=30)
    assert not found[0].is_pinned
    assert len(llm.given) > 1


def test_engine_suspect_at_its_third_engine_is_alone_until_it_must_have_passed_the_place() -> None:
    found, llm = _lone_death(num_deaths=2, place=EVERY - 2)
    assert [exc.is_pinned for exc in found] == [True, False, False, False]
    assert [given[0] for given in llm.given] == ["deadly"]


def test_engine_suspects_that_kill_nobody_all_get_their_replies() -> None:
    llm = _Llm()
    engine = _engine(llm)

    async def work() -> list[Reply]:
        asks = [_ask(name=f"{n}", num_deaths=1 + n % 3) for n in range(12)]
        return await asyncio.gather(*map(engine.generate, asks))

    assert [reply.text for reply in asyncio.run(work())] == [FINAL] * 12


def test_engine_suspect_that_is_refused_lets_the_next_one_in() -> None:
    engine = _engine(max_len=PROMPT_LEN + 10)

    async def work() -> list[Reply | BaseException]:
        asks = [_ask("x" * 50, name="long", num_deaths=1), _ask(name="short", num_deaths=1)]
        return await asyncio.gather(*map(engine.generate, asks), return_exceptions=True)

    found = asyncio.run(work())
    assert [type(said) for said in found] == [ContextError, Reply]


def test_engine_that_is_closed_lets_vllm_go() -> None:
    llm = _Llm()
    engine = _engine(llm)

    async def work() -> None:
        await engine.close()
        await engine.close()

    asyncio.run(work())
    assert llm.is_shut
    assert engine.is_dead


# ---- engines that follow one another --------------------------------------------------------


def _through_deaths(
    texts: Sequence[str], *deadly: Mapping[str, int]
) -> tuple[list[Reply | BaseException], list[_Llm]]:
    """Calls at one engine after another, each up as soon as the one before has died.

    What kills the engines is given for each of them; the last holds for all that follow.
    """
    llms: list[_Llm] = []

    async def work() -> list[Reply | BaseException]:
        pool, partials = EnginePool(100), _Memory()

        def add() -> None:
            llm = _Llm(deadly=deadly[min(len(llms), len(deadly) - 1)])
            engine = _engine(llm, partials)
            llms.append(llm)

            async def generate(ask: Ask) -> Reply:
                try:
                    return await engine.generate(ask)
                finally:
                    if llm.errored and llm is llms[-1]:
                        add()

            pool.add(f"{len(llms)}", generate)

        add()
        model = Vllm(_config(), pool)
        asked = [
            model.complete(Request((Message("user", text),), None, seed=place))
            for place, text in enumerate(texts)
        ]
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 60)

    return asyncio.run(work()), llms


@pytest.mark.parametrize(
    ("place", "num_beside"), [(0, 0), (5, 1), (35, 1)], ids=["at_once", "early", "late"]
)
def test_engines_row_that_kills_them_is_failed_and_all_but_one_beside_it_get_their_replies(
    place: int, num_beside: int
) -> None:
    """One that kills past its first token takes with it the one that is on probation then."""
    texts = [*(f"{n}" for n in range(6)), "deadly", *(f"{n}" for n in range(6, 12))]
    found, _ = _through_deaths(texts, {"deadly": place})
    failed = [text for text, said in zip(texts, found, strict=True) if isinstance(said, Exception)]
    assert "deadly" in failed
    assert len(failed) <= 1 + num_beside
    assert isinstance(found[6], EngineDeathError)


def test_engines_several_rows_that_kill_them_do_not_take_others_with_them() -> None:
    deadly = {f"deadly {n}": 0 for n in range(5)}
    texts = [*deadly, *(f"{n}" for n in range(5))]
    found, _ = _through_deaths(texts, deadly)
    assert [type(said) for said in found] == [EngineDeathError] * 5 + [Reply] * 5


def test_engines_call_that_outlives_two_of_them_pays_for_no_durable_token_twice() -> None:
    (reply,), llms = _through_deaths(["6*7?"], {"6*7?": 15}, {"6*7?": 35}, {})
    assert isinstance(reply, Reply)
    assert (reply.text, reply.reasoning) == (FINAL, THOUGHT.strip())
    begun = [len(llm.given[0][1]) - PROMPT_LEN for llm in llms]
    assert begun == sorted(begun)
    assert 0 == begun[0] < 15 - EVERY <= begun[1] <= 15 < 35 - EVERY <= begun[2] <= 35
    assert reply.resumed_tokens == begun[2]
