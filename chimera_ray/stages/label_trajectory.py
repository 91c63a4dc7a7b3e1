"""Module C of the paper: is the trajectory's answer the reference answer?"""

from collections.abc import AsyncIterator
from functools import partial

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from chimera_ray.llm import ReplySchema, ask
from chimera_ray.metrics.answers.match import match_answer
from chimera_ray.prompts import render
from chimera_ray.schemas import Example, GraderVerdict, Trajectory
from chimera_ray.stage import AskingParams, Models, Reject, stage
from chimera_ray.text.final_answer import final_answer
from chimera_ray.text.json_reply import fields

TAIL_CHARS = 4000


class LabelTrajectoryParams(AskingParams):
    """Who may decide."""

    use_rules: bool = True
    """rules may accept an answer without a grader; False is the paper's way, the grader alone"""


class Comparison(BaseModel):
    """The reply."""

    model_config = ConfigDict(extra="forbid")
    extracted_answer: str | None
    comparison: str
    is_correct: bool
    confidence: int = Field(ge=0, le=100)

    @field_validator("extracted_answer")
    @classmethod
    def _no_answer_is_none(cls, answer: str | None) -> str | None:
        said = (answer or "").strip()
        return None if said.casefold() in {"", "none", "null", "n/a"} else said

    @model_validator(mode="after")
    def _nothing_is_not_correct(self) -> "Comparison":
        if self.is_correct and self.extracted_answer is None:
            raise ValueError("is_correct is true, but no answer was extracted")
        return self


SCHEMA = ReplySchema("label_trajectory", Comparison.model_json_schema())


@stage(takes=Trajectory, gives=Example, params=LabelTrajectoryParams, roles=("grader",), revision=2)
async def label_trajectory(
    row: Trajectory, models: Models, params: LabelTrajectoryParams
) -> AsyncIterator[Example | Reject]:
    """Trajectory → the same with its label; the wrong ones are kept.

    Rules may accept, never reject; the grader decides all that they leave open. It sees
    the final part, or the end of the thinking where there is no final part.

    Source:
        paper section 2.3, module C, with the four fields of its Table 6. Deviation: the rules.
    """
    predicted = final_answer(row.final_part)
    rule = left_open_by = None
    if params.use_rules and predicted is not None:
        match = await match_answer(row.reference_answer, predicted)
        rule, left_open_by = (match.rule, None) if match.is_equal else (None, match.rule)
    verdict = None if rule else await _graded(row, models)
    if verdict is not None and predicted is None:
        predicted = verdict.extracted_answer
    yield Example(
        **row.model_dump(),
        predicted_answer=predicted,
        is_correct=verdict is None or verdict.is_correct,
        decided_by="rule" if verdict is None else "grader",
        rule=rule,
        left_open_by=left_open_by,
        grader=verdict,
    )


async def _graded(row: Trajectory, models: Models) -> GraderVerdict:
    prompt = render(
        "label_trajectory",
        problem=row.problem,
        reference_answer=row.reference_answer,
        response=row.final_part.strip() or row.reasoning[-TAIL_CHARS:],
    )
    reply = await ask(models["grader"], prompt, partial(fields, shape=Comparison), SCHEMA)
    return GraderVerdict(**reply.model_dump())
