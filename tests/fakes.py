"""A model that says what it is told to say, and one row sent through one stage with it."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import pytest

from chimera_ray.errors import ProviderError, TransientProviderError
from chimera_ray.graph import Node
from chimera_ray.llm import Reply, Request, Usage
from chimera_ray.runners.perform import perform
from chimera_ray.schemas import Call, Draft, Problem, Record, Rollout, Row, Topic, digest, row_id
from chimera_ray.stages import STAGES

T = TypeVar("T", bound=Row)
Said = str | Mapping[str, Any] | Reply | Exception
FINGERPRINT = "a stage's fingerprint"
HALF = "\ud800"
"""half of a surrogate pair: what a JSON escape can smuggle into a text, and no file can hold"""

TOPIC = Topic(
    subject="Mathematics",
    area="Combinatorics",
    topic="Ramsey theory",
    expansion_index=0,
    topic_index=0,
)
DRAFT = Draft(
    subject="Mathematics",
    area="Combinatorics",
    topic="Ramsey theory",
    draft_index=0,
    facet="a count; the answer is an exact integer",
)
PROBLEM = Problem(
    **DRAFT.model_dump(),
    problem=r"Determine $\frac{R(3,3)}{1}$.",
    reference_answer="6",
    draft_reasoning="REASONING-OF-THE-DRAFTER",
    draft_solution="SOLUTION-OF-THE-DRAFTER",
)
ROLLOUT = Rollout(
    subject="Mathematics",
    area="Combinatorics",
    topic="Ramsey theory",
    problem=PROBLEM.problem,
    reference_answer="6",
    rollout_index=0,
)

FAULTS: dict[str, tuple[Said, str, str]] = {
    "refusal": (Reply("I cannot help with that.", "refusal"), "refused", "refused"),
    "unparsable": ("Certainly! Here you are.", "unparsable", "unparsable"),
    "empty": ("", "unparsable", "unparsable"),
    "wrong_shape": ('{"unexpected": [1, 2]}', "unparsable", "unparsable"),
    "half_a_surrogate": ('{"unexpected": "\\ud800"}', "unparsable", "unparsable"),
    "truncated": (Reply('{"', "length"), "truncated", "truncated"),
    "looping": (Reply('{"a a a a', "repetition"), "truncated", "truncated"),
    "aborted": (Reply("", "abort"), "provider_error", "error"),
    "provider_error": (ProviderError("no such model"), "provider_error", "error"),
    "transient_error": (TransientProviderError("503"), "transient_provider_error", "error"),
}
each_fault = pytest.mark.parametrize(("fault", "reason", "status"), FAULTS.values(), ids=FAULTS)
"""what can go wrong with a reply that is to be JSON; the row's reason; the call's status"""


class ScriptedModel:
    """Says its lines one after the other, raises those that are errors, and knows no others."""

    def __init__(self, *script: Said, name: str = "scripted") -> None:
        self.name = name
        self.trouble = ""
        self.requests: list[Request] = []
        self._script = list(script)

    async def complete(self, request: Request) -> Reply:
        await asyncio.sleep(0)
        self.requests.append(request)
        if not self._script:
            raise AssertionError("asked more often than the script foresees")
        said = self._script.pop(0)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, Reply):
            return said
        text = said if isinstance(said, str) else json.dumps(said)
        return Reply(text, usage=Usage(10, 4, 20, 15), request_id="r", attempts=2)

    def cost_usd(self, usage: Usage) -> float:
        return usage.output_tokens / 1000

    async def close(self) -> None:
        return

    @property
    def prompts(self) -> list[str]:
        """Every prompt so far, each of them the one user message of its request."""
        for request in self.requests:
            assert [message.role for message in request.messages] == ["user"]
        return [request.messages[0].content for request in self.requests]


def node_of(name: str, takes: type[Row] | None = None, **params: Any) -> Node:
    """A stage's name and parameters → its node, as if a recipe had named it."""
    stage = STAGES[name]
    return Node(stage, stage.params(**params), takes or stage.takes, FINGERPRINT)


def perform_on(
    name: str,
    row: Row,
    models: Mapping[str, ScriptedModel] | None = None,
    earlier: Sequence[Call] = (),
    **params: Any,
) -> Record:
    """A stage's name, a row and who plays the roles → the record of what became of the row."""
    node = node_of(name, type(row), **params)
    payload = row.model_dump_json()
    input_id = row_id(type(row).__name__, payload)
    return asyncio.run(perform(node, input_id, payload, models or {}, earlier, "run"))


def rows_of(record: Record, kind: type[T]) -> list[T]:
    """An accepted record → its rows, as the ledger keeps them."""
    assert (record.outcome, record.reason, record.detail) == ("accepted", "", "")
    return [kind.model_validate_json(output.payload) for output in record.outputs]


def require_failed(record: Record, reason: str, is_final: bool | None = None) -> None:
    """Holds the record to have failed for that reason, with nothing of the row let through.

    A cut reply is final, unless the recipe says otherwise: that row is rejected.
    """
    is_rejected = reason == "truncated" if is_final is None else is_final
    outcome = "rejected" if is_rejected else "failed"
    assert (record.outcome, record.reason, record.outputs) == (outcome, reason, ())
    assert record.detail


def call_of(text: str = "reply", role: str = "solver", **changes: Any) -> Call:
    """One call as the ledger keeps it."""
    call = Call(
        role=role,
        model="model",
        prompt_id=digest("prompt"),
        seed=2**31 - 1,
        status="ok",
        error="",
        finish_reason="stop",
        input_tokens=3,
        cached_tokens=1,
        output_tokens=5,
        reasoning_tokens=2,
        is_usage_estimated=False,
        cost_usd=0.25,
        latency_s=0.5,
        attempts=1,
        resumed_tokens=1,
        first_token_s=0.125,
        decode_s=0.25,
        request_id="r",
        is_replayed=False,
        text=text,
        reasoning="",
    )
    return call._replace(**changes)
