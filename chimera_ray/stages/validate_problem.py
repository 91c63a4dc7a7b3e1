"""Module V of the paper: two independent verifiers, four checks each."""

import json
from collections.abc import AsyncIterator
from functools import partial

from pydantic import BaseModel, ConfigDict, Field

from chimera_ray.llm import ReplySchema, ask_each
from chimera_ray.prompts import render
from chimera_ray.schemas import Check, Problem, ValidProblem, Verdict
from chimera_ray.stage import AskingParams, Models, Reject, stage
from chimera_ray.text.json_reply import fields

REASON_CHARS = 300
DECLINED = "verifiers_declined"
"""the reason whose detail is the JSON of each verifier's failed checks"""


class ValidateProblemParams(AskingParams):
    """How strict the panel is."""

    min_accepting_verifiers: int = Field(default=2, ge=1, le=2)
    """the paper asks for both"""


class Checks(BaseModel):
    """The reply: four checks."""

    model_config = ConfigDict(extra="forbid")
    is_on_topic: Check
    is_clear: Check
    is_verifiable: Check
    is_answer_correct: Check


SCHEMA = ReplySchema("validate_problem", Checks.model_json_schema())


@stage(
    takes=Problem,
    gives=ValidProblem,
    params=ValidateProblemParams,
    roles=("verifier_a", "verifier_b"),
)
async def validate_problem(
    row: Problem, models: Models, params: ValidateProblemParams
) -> AsyncIterator[ValidProblem | Reject]:
    """Problem → the same problem with its verdicts, if enough verifiers accept it.

    A verifier accepts if all four of its checks pass. They see topic, problem and answer only.

    Rejects:
        verifiers_declined: the detail holds, as JSON, each verifier's failed checks and reasons.

    Source:
        paper section 2.3, module V. Deviation: a verdict and a reason for each check.
    """
    prompt = render(
        "validate_problem",
        subject=row.subject,
        topic=row.topic,
        problem=row.problem,
        answer=row.reference_answer,
    )
    replies = await ask_each(models, prompt, partial(fields, shape=Checks), SCHEMA)
    verdicts = tuple(
        Verdict(verifier=role, **dict(reply)) for role, reply in zip(models, replies, strict=True)
    )
    if sum(verdict.is_valid for verdict in verdicts) < params.min_accepting_verifiers:
        yield Reject(DECLINED, _why(verdicts))
    else:
        yield ValidProblem(**row.model_dump(), verdicts=verdicts)


def _why(verdicts: tuple[Verdict, ...]) -> str:
    return json.dumps(
        {
            verdict.verifier: {
                name: getattr(verdict, name).reason[:REASON_CHARS] for name in verdict.failed_checks
            }
            for verdict in verdicts
        },
        ensure_ascii=False,
    )
