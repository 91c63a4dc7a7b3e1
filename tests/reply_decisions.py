"""One recorded reply of a real model → what its stage makes of it, by the code as it is.

What `tests/data/replies/*.jsonl` is held to, and what `benchmarks/real_replies.py` writes there
for somebody to look at.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from fakes import ScriptedModel, perform_on

from chimera_ray.errors import ProviderError
from chimera_ray.llm import Reply
from chimera_ray.schemas import CHECKS, CallStatus, Record
from chimera_ray.stages import STAGES
from chimera_ray.stages.validate_problem import Checks
from chimera_ray.text.final_answer import final_answer
from chimera_ray.text.json_reply import fields

PARAMS: Mapping[str, Mapping[str, Any]] = {
    "expand_topics": {"max_rounds": 1},
    "label_trajectory": {"use_rules": False},
}
"""stage → the parameters by which its model is asked just this once, and surely"""


class Decision(NamedTuple):
    """What a reply came to."""

    status: CallStatus
    value: Any
    """what was read, as JSON; None where nothing was"""


def decide(stage: str, role: str, row: Mapping[str, Any], reply: Reply) -> Decision:
    """A stage's name, a role, what the row says and the reply to it → the decision.

    Where the stage asks another role beside it, that one cannot be had: a reply is judged alone.
    """
    of_stage: Any = STAGES[stage]
    models = {name: ScriptedModel(ProviderError("is not asked here")) for name in of_stage.roles}
    models[role] = ScriptedModel(reply)
    params = PARAMS.get(stage, {})
    record = perform_on(stage, of_stage.takes.model_validate(row), models, **params)
    (call,) = (call for call in record.calls if call.role == role)
    return Decision(call.status, _value(stage, reply, record) if call.status == "ok" else None)


def _value(stage: str, reply: Reply, record: Record) -> Any:
    if stage == "validate_problem":
        checks = fields(reply.text, Checks)
        passed = {name: getattr(checks, name).is_passed for name in CHECKS}
        return {**passed, "own_answer": checks.own_answer}
    if record.outcome != "accepted":
        return {record.outcome: record.reason}
    given = [json.loads(output.payload) for output in record.outputs]
    if stage == "expand_topics":
        return [[row["area"], row["topic"]] for row in given]
    if stage == "draft_problem":
        return {name: given[0][name] for name in ("problem", "reference_answer")}
    if stage == "sample_trajectory":
        return {"final_answer": final_answer(given[0]["final_part"])}
    if stage == "label_trajectory":
        grader = given[0]["grader"]
        return {name: grader[name] for name in ("extracted_answer", "is_correct", "confidence")}
    return {"passed": given[0]["topic"]}
