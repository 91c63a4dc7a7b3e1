"""One row at one stage → its record. The only place where a `RowError` ends."""

import time
from collections.abc import Callable, Mapping, Sequence

from chimera_ray.call_log import CallLog
from chimera_ray.errors import RowError, TruncatedError
from chimera_ray.graph import Node
from chimera_ray.llm import BoundModel, Model
from chimera_ray.schemas import Call, Outcome, Output, Record, Row, row_id, work_id
from chimera_ray.stage import AskingParams, Params, Reject, Stage

DETAIL_CHARS = 20_000
"""more than the JSON of two verifiers' reasons takes where each character is an escape of six"""


class StageBugError(Exception):
    """A stage broke its contract: the program is wrong, not the row."""


async def perform(
    node: Node,
    input_id: str,
    payload: str,
    models: Mapping[str, Model],
    earlier: Sequence[Call],
    run_id: str,
    on_open: Callable[[str, Callable[[], Record]], None] = lambda work, make: None,
) -> Record:
    """A row and its models, by role → the record of what became of it.

    Args:
        node: the stage, with its parameters and fingerprint.
        input_id: the row's id.
        payload: the row as JSON.
        models: one for each role that the stage asks for.
        earlier: calls of an earlier, failed try; usable replies are used again.
        run_id: the execution that the record names.
        on_open: told after each call the work's id and what makes a record of the work so far.

    Raises:
        StageBugError: the stage gave nothing, or rows of another type, or both rows and a reject.
    """
    stage = node.stage
    if not isinstance(stage, Stage):
        raise StageBugError(f"{node.name} is a fold: it is not done row by row")
    work = work_id(node.fingerprint, input_id)
    log = CallLog(work, earlier, is_cut_final=_is_cut_final(node.params))
    log.on_call = lambda: on_open(work, lambda: _so_far(log, input_id, run_id))
    bound = {role: BoundModel(role, models[role], log) for role in stage.roles}
    arrived = node.takes.model_validate_json(payload)
    rows: list[Row] = []
    rejects: list[Reject] = []
    outcome: Outcome = "accepted"
    reason = detail = ""
    try:
        async for given in stage.run(node.narrowed(arrived), bound, node.params):
            rejects.append(given) if isinstance(given, Reject) else rows.append(given)
    except RowError as exc:
        outcome, reason, detail = _outcome_of(exc, node.params), exc.reason, str(exc)
        rows.clear()
        rejects.clear()
    _check(node, input_id, outcome, rows, rejects)
    if rejects:
        outcome, reason, detail = "rejected", rejects[0].reason, rejects[0].detail
    return Record(
        work_id=work,
        input_id=input_id,
        outcome=outcome,
        reason=reason,
        detail=detail[:DETAIL_CHARS],
        outputs=outputs_of([node.widened(row, arrived) for row in rows]),
        calls=(*log.calls, *_left_over(log)),
        run_id=run_id,
        finished_at=time.time(),
    )


def _outcome_of(exc: RowError, params: Params) -> Outcome:
    is_final = isinstance(exc, TruncatedError) and _is_cut_final(params)
    return "rejected" if is_final else "failed"


def _is_cut_final(params: Params) -> bool:
    """A cut reply costs as much again and would be cut again: final, unless the recipe says so."""
    return isinstance(params, AskingParams) and not params.retry_truncated


def _so_far(log: CallLog, input_id: str, run_id: str) -> Record:
    """A record of unfinished work."""
    calls = (*log.calls, *_left_over(log))
    return Record(log.work_id, input_id, "open", "", "", (), calls, run_id, time.time())


def outputs_of(rows: Sequence[Row]) -> tuple[Output, ...]:
    """Rows → the same as the ledger keeps them."""
    payloads = [(type(row).__name__, row.model_dump_json()) for row in rows]
    return tuple(Output(row_id(kind, payload), payload) for kind, payload in payloads)


def _left_over(log: CallLog) -> list[Call]:
    """Earlier calls that were not used again: their cost goes on counting, their text stays put."""
    used = {_name(call) for call in log.calls if call.is_replayed}
    unused = [call for call in log.earlier if _name(call) not in used]
    kept = [call._replace(is_replayed=True) for call in unused]
    return [call if call.status == "ok" else call._replace(text="", reasoning="") for call in kept]


def _name(call: Call) -> tuple[str, str, int, int]:
    """What tells a call of a row from the others; attempts that were lost are calls too."""
    return call.role, call.prompt_id, call.seed, call.attempts


def _check(
    node: Node, input_id: str, outcome: str, rows: Sequence[Row], rejects: Sequence[Reject]
) -> None:
    gives = node.stage.gives
    wrong = [type(row).__name__ for row in rows if type(row) is not gives]
    if wrong:
        raise StageBugError(f"{node.name} gave {wrong[0]} for row {input_id}, not {gives.__name__}")
    if outcome == "accepted" and not rows and not rejects:
        raise StageBugError(f"{node.name} gave nothing for row {input_id}: yield a row or a Reject")
    if len(rejects) > 1 or (rows and rejects):
        raise StageBugError(f"{node.name} gave rows and a Reject for row {input_id}")
