"""Module C of the paper: is the trajectory's answer the reference answer?"""

from collections.abc import AsyncIterator

from pydantic import BaseModel, ConfigDict, StrictBool, model_validator

from chimera_ray.errors import ParseError
from chimera_ray.llm import ReplySchema, ask
from chimera_ray.metrics.answers.match import match_answer
from chimera_ray.prompts import render, repeats_prompt
from chimera_ray.schemas import Example, GraderVerdict, Trajectory
from chimera_ray.stage import Models, PromptParams, Reject, stage
from chimera_ray.text.final_answer import read_final_answer
from chimera_ray.text.json_reply import fields
from chimera_ray.text.placeholders import is_placeholder, is_placeholder_answer
from chimera_ray.text.reasoning import is_blank
from chimera_ray.text.reply_types import Percent, Text


class LabelTrajectoryParams(PromptParams):
    """Who may decide."""

    use_rules: bool = True
    """rules may accept an answer without a grader; False is the paper's way, the grader alone"""


class Comparison(BaseModel):
    """The reply."""

    model_config = ConfigDict(extra="forbid")
    extracted_answer: Text | None
    comparison: str
    is_correct: StrictBool
    confidence: Percent

    @model_validator(mode="after")
    def _correct_is_an_answer(self) -> "Comparison":
        if self.is_correct and not self.answer:
            raise ValueError("is_correct is true, but no answer was extracted")
        return self

    @property
    def answer(self) -> str | None:
        """The extracted answer; None if a placeholder stands for none.

        "None" is one, unless it is called correct: to the question how many, it is an answer.
        """
        said = (self.extracted_answer or "").strip()
        is_none = said.casefold() == "none" and not self.is_correct
        return None if is_none or is_placeholder_answer(said) else said


SCHEMA = ReplySchema("label_trajectory", Comparison.model_json_schema())


@stage(takes=Trajectory, gives=Example, params=LabelTrajectoryParams, roles=("grader",))
async def label_trajectory(
    row: Trajectory, models: Models, params: LabelTrajectoryParams
) -> AsyncIterator[Example | Reject]:
    """Trajectory → the same with its label; the wrong ones are kept.

    Rules may accept, never reject, and only what the final part commits to without doubt; the
    grader decides all else. It sees the final part.

    Rejects:
        no_final_part: the thinking alone commits to nothing.

    Source:
        paper section 2.3, module C, with the four fields of its Table 6. Deviation: the rules.
    """
    if is_blank(row.final_part):  # as an earlier release could let one pass
        yield Reject("no_final_part")
        return
    predicted, doubt = read_final_answer(row.final_part)
    rule = left_open_by = None
    if params.use_rules and predicted is not None:
        match = await match_answer(row.reference_answer, predicted)
        rule, left_open_by = (match.rule, None) if match.is_equal else (None, match.rule)
    elif params.use_rules:
        left_open_by = doubt
    verdict = None if rule else await _graded(row, models, params)
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


async def _graded(row: Trajectory, models: Models, params: LabelTrajectoryParams) -> GraderVerdict:
    prompt = render(
        "label_trajectory",
        language=params.language,
        problem=row.problem,
        reference_answer=row.reference_answer,
        response=row.final_part.strip(),
    )
    reply = await ask(models["grader"], prompt, _parse, SCHEMA)
    return GraderVerdict(**{**reply.model_dump(), "extracted_answer": reply.answer})


def _parse(text: str) -> Comparison:
    """The grader's reply → its comparison, if it says anything of its own.

    The extracted answer again compares nothing.
    """
    reply = fields(text, Comparison)
    said = reply.comparison
    is_repeated = _letters(said) == _letters(reply.extracted_answer or "")
    if is_repeated or is_placeholder(said) or repeats_prompt("label_trajectory", said):
        raise ParseError("comparison says nothing of its own")
    return reply


def _letters(text: str) -> str:
    """Text → its letters and digits, in one case."""
    return "".join(filter(str.isalnum, text.casefold()))
