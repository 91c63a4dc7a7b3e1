"""Module V of the paper: two independent verifiers, each with four checks and an own answer."""

import json
from collections.abc import AsyncIterator, Mapping

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from chimera_ray.errors import ParseError
from chimera_ray.llm import BoundModel, ReplySchema, ask, ask_each, gather_all, withdraw
from chimera_ray.metrics.answers.match import match_answer
from chimera_ray.prompts import render, repeats_prompt
from chimera_ray.schemas import CHECKS, Problem, ValidProblem, Verdict
from chimera_ray.stage import Models, PromptParams, Reject, stage
from chimera_ray.text.json_reply import fields
from chimera_ray.text.placeholders import is_placeholder, is_placeholder_answer
from chimera_ray.text.reply_types import Text

REASON_CHARS = 300
DECLINED = "verifiers_declined"
"""the reason whose detail is the JSON of each verifier's failed checks"""
COMPARE = "validate_problem.compare"


class ValidateProblemParams(PromptParams):
    """How strict the panel is."""

    min_accepting_verifiers: int = Field(default=2, ge=1, le=2)
    """the paper asks for both"""
    decline_contradicted: bool = False
    """what a yes is whose verifier found another answer itself. False: no verdict at all, so the
    row failed, and the next run asks that verifier anew; True: a no"""


class JudgedCheck(BaseModel):
    """One check of the reply: why, then whether it passed."""

    model_config = ConfigDict(extra="forbid")
    reason: str
    is_passed: StrictBool


class Checks(BaseModel):
    """The reply: four checks, and the verifier's own answer before the check that rests on it."""

    model_config = ConfigDict(extra="forbid")
    is_on_topic: JudgedCheck
    is_clear: JudgedCheck
    is_verifiable: JudgedCheck
    own_answer: Text | None
    is_answer_correct: JudgedCheck


class Sameness(BaseModel):
    """The reply to a comparison."""

    model_config = ConfigDict(extra="forbid")
    comparison: str
    is_same: StrictBool


SCHEMA = ReplySchema("validate_problem", Checks.model_json_schema())
COMPARE_SCHEMA = ReplySchema("compare_answers", Sameness.model_json_schema())


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

    A verifier accepts if all four of its checks pass and the answer that it found itself is the
    reference answer: by the rules that label trajectories, or, where these leave it open, by the
    verifier's own comparison of the two. It sees topic, problem and answer only. Where too few
    accept at first, nothing is compared.

    Rejects:
        verifiers_declined: the detail holds, as JSON, each verifier's failed checks and reasons.

    Source:
        paper section 2.3, module V. Deviations: a reason and a verdict for each check; the
        verifier's own answer has to back its yes.
    """
    prompt = render(
        "validate_problem",
        language=params.language,
        subject=row.subject,
        topic=row.topic,
        problem=row.problem,
        answer=row.reference_answer,
    )
    replies = await ask_each(models, prompt, _parse, SCHEMA)
    verdicts = {
        role: Verdict(verifier=role, **reply.model_dump())
        for role, reply in zip(models, replies, strict=True)
    }
    if _num_accepting(verdicts) >= params.min_accepting_verifiers:
        accepting = {role: models[role] for role, given in verdicts.items() if given.is_valid}
        compared = (_compared(row, verdicts[role], models[role], params) for role in accepting)
        verdicts |= zip(accepting, await gather_all(*compared), strict=True)
    if _num_accepting(verdicts) >= params.min_accepting_verifiers:
        yield ValidProblem(**row.model_dump(), verdicts=tuple(verdicts.values()))
        return
    if not params.decline_contradicted:
        _refuse_contradictions(verdicts, models, prompt)
    yield Reject(DECLINED, _why(verdicts))


def _parse(text: str) -> Checks:
    """A verifier's reply → its checks, if each is backed by a reason of its own."""
    reply = fields(text, Checks)
    for name in CHECKS:
        if _says_nothing("validate_problem", getattr(reply, name).reason):
            raise ParseError(f"{name}.reason says nothing of its own")
    own = reply.own_answer or ""
    if reply.is_answer_correct.is_passed and (
        is_placeholder_answer(own) or repeats_prompt("validate_problem", own)
    ):
        raise ParseError("is_answer_correct has passed without an own_answer")
    return reply


async def _compared(
    row: Problem, verdict: Verdict, model: BoundModel, params: ValidateProblemParams
) -> Verdict:
    """A yes → the same, with whether the verifier's own answer backs it."""
    own = verdict.own_answer or ""
    match = await match_answer(row.reference_answer, own)
    if match.is_equal:
        return verdict.model_copy(update={"is_backed": True, "backed_by": match.rule})
    prompt = render(
        COMPARE,
        language=params.language,
        problem=row.problem,
        reference_answer=row.reference_answer,
        own_answer=own,
    )
    reply = await ask(model, prompt, _parse_comparison, COMPARE_SCHEMA)
    return verdict.model_copy(update={"is_backed": reply.is_same, "backed_by": "comparison"})


def _parse_comparison(text: str) -> Sameness:
    reply = fields(text, Sameness)
    if _says_nothing(COMPARE, reply.comparison):
        raise ParseError("comparison says nothing of its own")
    return reply


def _says_nothing(prompt: str, reason: str) -> bool:
    return is_placeholder(reason) or repeats_prompt(prompt, reason)


def _num_accepting(verdicts: Mapping[str, Verdict]) -> int:
    return sum(verdict.is_valid for verdict in verdicts.values())


def _refuse_contradictions(verdicts: Mapping[str, Verdict], models: Models, prompt: str) -> None:
    """Raise ParseError if a verifier said yes beside another answer; its reply is used up."""
    contradicted = [role for role, verdict in verdicts.items() if verdict.is_backed is False]
    for role in contradicted:
        own = verdicts[role].own_answer or ""
        withdraw(models[role], prompt, f"it accepts the answer, and found another: {own[:80]}")
    if contradicted:
        raise ParseError(
            f"{' and '.join(contradicted)} accepted the answer, and found another one themselves"
        )


def _why(verdicts: Mapping[str, Verdict]) -> str:
    return json.dumps(
        {role: _failures(verdict) for role, verdict in verdicts.items()}, ensure_ascii=False
    )


def _failures(verdict: Verdict) -> dict[str, str]:
    """A verdict → its failed checks, each with the reason that was given."""
    failed = {
        name: check.reason for name in CHECKS if not (check := getattr(verdict, name)).is_passed
    }
    if verdict.is_backed is False:
        failed["own_answer"] = verdict.own_answer or ""
    return {name: reason[:REASON_CHARS] for name, reason in failed.items()}
