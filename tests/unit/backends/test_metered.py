"""What a call may cost before it is made, and what counts as spent, however it ends."""

import asyncio
import time
from collections import deque
from collections.abc import Callable

import pytest
from virtual_time import run_virtually

from chimera_ray.backends.budget import Budget, in_process
from chimera_ray.backends.budget_messages import Spend
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.metered import ATTEMPTS, DOUBT, LONGEST_REPLY, Metered, Work
from chimera_ray.backends.purse import Purse
from chimera_ray.errors import (
    BudgetError,
    EndpointError,
    ProviderError,
    StopError,
    TransientProviderError,
)
from chimera_ray.llm import LostAttempt, Message, Reply, ReplySchema, Request, Usage
from chimera_ray.model_config import OpenAIModel, Prices, Sampling, VllmModel

REQUEST = Request((Message("user", "x" * 400),), None, 1)
SOLVE = Work("sample_trajectory.solver")
LOST = LostAttempt(1, "cut", usage=Usage(5, 0, 20))


class Priced:
    """A model whose calls come to what they are told to, at 100 USD for a million tokens."""

    name, trouble = "priced", ""

    def __init__(self, *script: Reply | Exception) -> None:
        self._script = deque(script)

    async def complete(self, request: Request) -> Reply:
        await asyncio.sleep(1)
        said = self._script.popleft()
        if isinstance(said, Exception):
            raise said
        return said

    def cost_usd(self, usage: Usage) -> float:
        return (usage.input_tokens + usage.output_tokens) / 1e4

    async def close(self) -> None:
        return


def _reply(num_tokens: int, *lost: LostAttempt) -> Reply:
    return Reply("text", usage=Usage(5, 0, num_tokens), lost=lost)


def _spent(model: Priced, act: Callable[[Metered], object] | None = None) -> Spend:
    """A model and what is done with it → what its budget counts in the end."""

    async def work() -> Spend:
        budget, halt = Budget(1e4, None, Spend()), Halt()
        purse = Purse(in_process(budget, time.monotonic), "a")
        halt.listen(purse.refuse)
        metered = Metered(model, halt, purse, SOLVE._replace(max_tokens=1_000))
        call = asyncio.create_task(metered.complete(REQUEST))
        await asyncio.sleep(0.5)
        if act is not None:
            act(metered)
            call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await purse.close()
        return budget.spent

    return run_virtually(work())


# ---- what counts as spent -------------------------------------------------------------------


def _failed(error: ProviderError, *lost: LostAttempt) -> ProviderError:
    error.lost = lost
    return error


ENDS: dict[str, tuple[Reply | Exception, int]] = {
    "reply": (_reply(50), 55),
    "reply_after_lost_attempts": (_reply(50, LOST, LOST), 105),
    "failed": (TransientProviderError("503"), 0),
    "failed_with_lost_attempts": (_failed(TransientProviderError("cut"), LOST, LOST), 50),
    "refused_for_good": (_failed(ProviderError("not a reply"), LOST), 25),
    "stopped": (EndpointError("bad key"), 0),
}


@pytest.mark.parametrize(("end", "tokens"), ENDS.values(), ids=ENDS)
def test_metered_pays_for_replies_and_lost_attempts_and_nothing_else(
    end: Reply | Exception, tokens: int
) -> None:
    assert _spent(Priced(end)) == pytest.approx(Spend(tokens / 1e4, tokens))


@pytest.mark.parametrize("error", [ValueError("a bug"), None], ids=["bug", "cancelled"])
def test_metered_call_whose_end_nobody_sees_costs_what_was_reserved(
    error: Exception | None,
) -> None:
    spent = _spent(Priced(error or _reply(1)), None if error else lambda _: None)
    assert spent.tokens >= 1_400  # its limit, and its prompt at a token a byte


def test_metered_lost_attempt_counts_before_the_next_one_starts() -> None:
    """A cap for two attempts, and an endpoint that loses every one: no third is made."""

    class Retrying(Priced):
        num_attempts = 0

        async def complete(self, request: Request) -> Reply:
            attempts = ATTEMPTS.get()
            assert attempts is not None
            while True:
                self.num_attempts += 1
                await asyncio.sleep(1)
                await attempts.again(
                    [LostAttempt(self.num_attempts, "cut", usage=Usage(0, 0, 1_000))]
                )

    async def work() -> tuple[int, Spend]:
        budget = Budget(0.25, None, Spend())
        purse, model = Purse(in_process(budget, time.monotonic), "a"), Retrying()
        with pytest.raises(BudgetError):
            await Metered(model, Halt(), purse, SOLVE._replace(max_tokens=1_000)).complete(REQUEST)
        await purse.close()
        return model.num_attempts, budget.spent

    num_attempts, spent = run_virtually(work())
    assert num_attempts == 2
    assert spent == pytest.approx(Spend(0.2, 2_000))


def test_metered_attempt_told_before_is_not_paid_for_again_with_the_reply() -> None:
    class Retrying(Priced):
        async def complete(self, request: Request) -> Reply:
            attempts = ATTEMPTS.get()
            assert attempts is not None
            await attempts.again([LOST])
            return _reply(50, LOST)

    assert _spent(Retrying()).tokens == 25 + 55


@pytest.mark.parametrize("reason", [EndpointError("bad key"), BudgetError("spent")], ids=str)
def test_metered_halted_asks_for_nothing(reason: StopError) -> None:
    async def work(has_purse: bool) -> None:
        halt = Halt()
        halt.stop(reason)
        purse = Purse(in_process(Budget(1.0, None, Spend()), time.monotonic), "a")
        await Metered(Priced(), halt, purse if has_purse else None, SOLVE).complete(REQUEST)

    for has_purse in (True, False):
        with pytest.raises(type(reason), match=str(reason)):
            run_virtually(work(has_purse))


# ---- what a call may cost -------------------------------------------------------------------


def _metered(work: Work, model: Priced | None = None) -> Metered:
    return Metered(model or Priced(), Halt(), None, work)


LIMITS: dict[str, tuple[Work, int | None, int | None]] = {
    "none": (SOLVE, None, None),
    "of_the_model": (SOLVE._replace(max_tokens=8_000), None, 8_000),
    "of_the_request": (SOLVE._replace(max_tokens=8_000), 90_000, 90_000),
    "of_the_context": (SOLVE._replace(context=4_000), None, 4_000),
    "context_below_the_request": (SOLVE._replace(max_tokens=800, context=4_000), 90_000, 4_000),
}


@pytest.mark.parametrize(("work", "own", "limit"), LIMITS.values(), ids=LIMITS)
def test_metered_call_may_cost_what_its_limit_allows(
    work: Work, own: int | None, limit: int | None
) -> None:
    wanted = _metered(work).wanted(REQUEST._replace(max_tokens=own))
    if limit is None:
        assert wanted.most is None
        assert wanted.longest.tokens == LONGEST_REPLY
    else:
        assert wanted.most is not None
        assert wanted.longest.tokens == limit
        assert limit <= wanted.most.tokens <= (work.context or limit + 2_000)


@pytest.mark.parametrize("text", ["x" * 1_000, "漢" * 1_000, "😀" * 1_000, "\ud800" * 9], ids=ascii)
def test_metered_prompt_has_no_more_tokens_than_bytes(text: str) -> None:
    request = Request((Message("user", text),), None, 1)
    most = _metered(SOLVE._replace(max_tokens=10)).wanted(request).most
    assert most is not None
    assert most.tokens >= 10 + len(text.encode("utf-8", "replace"))


def test_metered_schema_is_part_of_the_prompt() -> None:
    schema = ReplySchema("draft", {"properties": {f"field_{n}": {} for n in range(500)}})
    metered = _metered(SOLVE._replace(max_tokens=10))
    most = metered.wanted(REQUEST._replace(schema=schema)).most
    assert most is not None
    assert most.tokens > 7_000


def test_metered_call_may_be_of_the_dearest_tokens() -> None:
    prices = Prices(input_usd=1, cached_usd=0.1, output_usd=10, reasoning_usd=40)
    config = OpenAIModel(backend="openai", name="m", prices=prices)
    model = Priced()
    model.cost_usd = config.cost_usd  # type: ignore[method-assign]
    most = _metered(SOLVE._replace(max_tokens=1_000), model).wanted(REQUEST).most
    assert most is not None
    assert most.usd >= config.cost_usd(Usage(400, 0, 1_000, 1_000))


@pytest.mark.parametrize(
    ("planned", "assumed"),
    [(None, LONGEST_REPLY), (2_000, DOUBT * 2_000), (1e6, LONGEST_REPLY)],
    ids=["no_plan", "plan", "plan_beyond_all_replies"],
)
def test_metered_call_is_assumed_to_be_as_the_plan_says_and_more(
    planned: float | None, assumed: float
) -> None:
    assert _metered(SOLVE._replace(planned=planned)).wanted(REQUEST).assumed.tokens == assumed


def test_metered_calls_under_different_limits_are_of_different_kinds() -> None:
    metered = _metered(SOLVE._replace(max_tokens=8_000))
    kinds = {metered.wanted(REQUEST._replace(max_tokens=own)).kind for own in (None, 8_000, 9_000)}
    assert len(kinds) == 2


CONFIGURED: dict[str, tuple[dict[str, object], int | None]] = {
    "none": ({}, None),
    "sampling": ({"sampling": Sampling(max_tokens=500)}, 500),
    "extra_body_wins": (
        {"sampling": Sampling(max_tokens=500), "extra_body": {"max_completion_tokens": 90}},
        90,
    ),
    "extra_body_alone": ({"extra_body": {"max_tokens": 90}}, 90),
    "two_names": ({"sampling": Sampling(max_tokens=500), "extra_body": {"max_tokens": 90}}, 500),
    "no_number": ({"extra_body": {"max_tokens": "lots"}}, None),
}


@pytest.mark.parametrize(("said", "limit"), CONFIGURED.values(), ids=CONFIGURED)
def test_model_says_what_its_calls_are_limited_to(
    said: dict[str, object], limit: int | None
) -> None:
    model = OpenAIModel.model_validate({"backend": "openai", "name": "m", **said})
    assert model.max_output == limit


@pytest.mark.parametrize(
    ("said", "context"),
    [
        ({}, None),
        ({"max_model_len": 4_096}, 4_096),
        ({"max_model_len": 4_096, "engine_args": {"max_model_len": 2_048}}, 2_048),
        ({"engine_args": {"max_model_len": "auto"}}, None),
    ],
    ids=["unknown", "set", "engine_args_win", "no_number"],
)
def test_model_on_own_engines_says_what_its_context_is(
    said: dict[str, object], context: int | None
) -> None:
    model = VllmModel.model_validate({"backend": "vllm", "name": "m", **said})
    assert model.context == context
