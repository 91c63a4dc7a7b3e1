"""The nouns that flow: one frozen type per row, and what the ledger says of a row's work.

A row holds meaning only. Ids are computed from what a row says, never drawn, so the same row has
the same name in every run; the bookkeeping lives in `Record`, beside the payload.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Outcome = Literal["accepted", "rejected", "failed"]
Recorded = Outcome | Literal["open"]
"""open: begun and not ended, written down so that the replies so far are not lost"""
FinishReason = Literal["stop", "length", "refusal", "repetition", "abort"]
CallStatus = Literal["ok", "unparsable", "refused", "truncated", "error"]


MAX_TRAJECTORY_CHARS = 2_000_000
"""of a trajectory's thinking and final part together; the longest that vLLM can write has fewer"""


class Row(BaseModel):
    """Anything that a stage takes or gives."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest(*parts: str) -> str:
    """Texts → 32 hex digits that name them; the split between the texts counts."""
    whole = "".join(parts)
    if whole.isascii():  # nearly all are, and then characters are bytes
        said = f"{','.join(map(str, map(len, parts)))}:{whole}".encode()
    else:
        texts = [part.encode("utf-8", "surrogatepass") for part in parts]
        lengths = ",".join([str(len(text)) for text in texts]).encode()
        said = b":".join((lengths, b"".join(texts)))
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def row_id(row_type: str, payload: str) -> str:
    """A row type's name and a row's JSON → the row's id."""
    return digest("row", row_type, payload)


def work_id(fingerprint: str, input_id: str) -> str:
    """A stage fingerprint and its input row's id → the id of that piece of work."""
    return digest("work", fingerprint, input_id)


def work_ids(fingerprint: str, input_ids: Iterable[bytes]) -> Iterator[bytes]:
    """A stage fingerprint and ids of its input rows → `work_id` of each, as 16 bytes.

    What all of them have in common is read once.
    """
    begun = hashlib.blake2b(f"4,{len(fingerprint)},32:work{fingerprint}".encode(), digest_size=16)
    for input_id in input_ids:
        hashed = begun.copy()
        hashed.update(input_id)
        yield hashed.digest()


class Subject(Row):
    """One expansion of a subject: what the paper's module E is asked for."""

    subject: str
    target_topics: int
    """topics asked of this expansion, at least 1"""
    expansion_index: int
    """tells independent expansions of the same subject apart"""


class Topic(Row):
    """One topic as an expansion listed it, before or after deduplication."""

    subject: str
    area: str
    topic: str
    expansion_index: int
    topic_index: int
    """place in its expansion's list; equal names differ by it, so that none merges unseen"""


class NominatedTopic(Topic):
    """A topic and the earlier topics of its subject that its name resembles."""

    candidates: tuple[str, ...]


class Draft(Row):
    """One problem to be written: a topic, and the facet that sets it apart from its siblings."""

    subject: str
    area: str
    topic: str
    draft_index: int
    facet: str


class Problem(Draft):
    """A drafted problem with its one verifiable answer."""

    problem: str
    reference_answer: str
    draft_reasoning: str
    draft_solution: str
    """the drafter's own worked solution, kept apart from any trajectory"""


class Check(Row):
    """One of a verifier's four checks; why comes before what, so that it is written first."""

    reason: str
    is_passed: bool


class Verdict(Row):
    """One verifier's judgement of a (problem, reference answer) pair."""

    verifier: str
    """the role that judged"""
    is_on_topic: Check
    """fits the topic, at PhD level or above"""
    is_clear: Check
    """self-contained and unambiguous"""
    is_verifiable: Check
    """exactly one objectively verifiable answer"""
    is_answer_correct: Check
    own_answer: str | None = None
    """the answer that the verifier found itself; None: it found none, or was not asked for it (as
    before 0.4.0)"""
    is_backed: bool | None = None
    """whether that answer is the reference answer; None: not compared, as where a check failed"""
    backed_by: str | None = None
    """the rule that found the two equal, or "comparison": the verifier was shown both"""

    @property
    def is_valid(self) -> bool:
        """Whether all four checks passed, and its own answer is no other one."""
        return not self.failed_checks

    @property
    def failed_checks(self) -> tuple[str, ...]:
        """The names of the checks that did not pass, in their order; own_answer if it differs."""
        failed = tuple(name for name in CHECKS if not getattr(self, name).is_passed)
        return (*failed, "own_answer") if self.is_backed is False else failed


CHECKS = ("is_on_topic", "is_clear", "is_verifiable", "is_answer_correct")


class ValidProblem(Problem):
    """A problem that enough verifiers accepted, with every verdict."""

    verdicts: tuple[Verdict, ...]


class Rollout(Row):
    """One attempt to be made at a problem; silent on verdicts, so that they cost no new attempt."""

    subject: str
    area: str
    topic: str
    problem: str
    reference_answer: str
    rollout_index: int


class Trajectory(Rollout):
    """The solver's full response, split into its thinking and its final part."""

    reasoning: str = Field(max_length=MAX_TRAJECTORY_CHARS)
    final_part: str = Field(max_length=MAX_TRAJECTORY_CHARS)
    finish_reason: FinishReason


class GraderVerdict(Row):
    """A grader's comparison of a trajectory with the reference answer."""

    extracted_answer: str | None
    comparison: str
    is_correct: bool
    confidence: int = Field(ge=0, le=100)
    """percent"""


class Example(Trajectory):
    """A labelled trajectory; wrong ones are kept."""

    predicted_answer: str | None
    is_correct: bool
    decided_by: Literal["rule", "grader"]
    rule: str | None
    """the rule that found the answers equal; None: the rules left it open, or were not asked"""
    left_open_by: str | None
    """why the rules left it open; None: they accepted, or were not asked"""
    grader: GraderVerdict | None
    """None: the grader was not asked, because a rule had accepted"""


class Call(NamedTuple):
    """One model call as the ledger keeps it."""

    role: str
    model: str
    prompt_id: str
    """digest of the messages that were sent"""
    seed: int
    status: CallStatus
    error: str
    finish_reason: FinishReason
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    is_usage_estimated: bool
    """counted from the texts' lengths, since the server did not say"""
    cost_usd: float
    latency_s: float
    attempts: int
    resumed_tokens: int
    """of the output: generated by an earlier try that was cut off, and taken up again; 0: none"""
    first_token_s: float
    """seconds until the first token; 0: not known"""
    decode_s: float
    """seconds from the first token to the last that this call itself generated; 0: not known"""
    request_id: str
    is_replayed: bool
    """taken over from an earlier record of the same work: paid for there, not again here"""
    text: str
    reasoning: str


class Output(NamedTuple):
    """One row that a piece of work gave."""

    row_id: str
    payload: str
    """the row as JSON"""


class Record(NamedTuple):
    """What became of one input row at one stage: the ledger's unit."""

    work_id: str
    input_id: str
    outcome: Recorded
    reason: str
    """empty for accepted and open"""
    detail: str
    outputs: tuple[Output, ...]
    calls: tuple[Call, ...]
    run_id: str
    """the execution that did it"""
    finished_at: float
    """seconds since the epoch"""
