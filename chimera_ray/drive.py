"""A run from start to end: fold, carry, look again, until nothing is left to be done.

Correctness rests on the ledger alone: whatever a carrier loses on the way is still to be done when
the driver looks again, and whatever it does twice counts once.
"""

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from chimera_ray.errors import CarrierError, ChimeraError
from chimera_ray.frontier import Inputs, Standing, source_of, stand
from chimera_ray.graph import Graph, Node
from chimera_ray.ledger.index import PartLostError
from chimera_ray.ledger.journal import recover
from chimera_ray.ledger.parts import part_name, write_part
from chimera_ray.ledger.store import Store
from chimera_ray.runners import Carrier
from chimera_ray.runners.perform import StageBugError, outputs_of
from chimera_ray.runners.stored_partials import FOLDER as PARTIALS
from chimera_ray.schemas import Outcome, Record, Row, work_id
from chimera_ray.stage import Fold, Reject

log = logging.getLogger(__name__)


class RunError(ChimeraError):
    """The run cannot go on: exit code 1."""


Watch = Callable[[Sequence[Standing]], None]
"""told where the stages of a segment stand, before and after each pass"""


def drive(
    graph: Graph,
    store: Store,
    carrier: Carrier,
    run_id: str,
    watch: Watch,
    max_rows: int | None = None,
) -> None:
    """A graph and a carrier → a ledger in which nothing is left to be done.

    Args:
        graph: the recipe.
        store: where its ledger is.
        carrier: takes rows through stages.
        run_id: this execution; what failed in it is not tried again by it.
        watch: told how it goes.
        max_rows: each stage takes so many rows at most (a preview).

    Raises:
        RunError: a pass over the ledger brought nothing forward.
        LedgerError: the ledger cannot be read or written.
    """
    while True:
        try:
            _drive(graph, store, carrier, run_id, watch, max_rows)
            return
        except PartLostError as exc:  # perhaps of a segment that was done: look from the start
            log.info("looking again, since %s went while it was in use", exc)


def _drive(
    graph: Graph, store: Store, carrier: Carrier, run_id: str, watch: Watch, max_rows: int | None
) -> None:
    store.sweep(PARTIALS)
    inputs = source_of(graph)
    segments = graph.segments() if max_rows is None else [(node,) for node in graph.nodes]
    for segment in segments:
        num_done, trouble = -1, None
        while True:
            for node in segment:
                store.sweep(node.folder)
                recover(store, node.folder)
            standings = _stand(segment, inputs.sample(max_rows), store, run_id)
            watch(standings)
            if not any(len(standing.todo) for standing in standings):
                inputs = standings[-1].outputs()
                break
            _require_progress(standings, num_done, trouble)
            num_done, trouble = _num_done(standings), None
            try:
                if isinstance(segment[0].stage, Fold):
                    _fold(standings[0], store, run_id)
                else:
                    carrier.carry(standings)
            except CarrierError as exc:
                log.warning("carrying what is left, after this: %s", exc)
                trouble = exc


def _stand(segment: Sequence[Node], inputs: Inputs, store: Store, run_id: str) -> list[Standing]:
    standings: list[Standing] = []
    for node in segment:
        standings.append(stand(node, inputs, store, run_id))
        if node is not segment[-1]:
            inputs = standings[-1].outputs()
    return standings


def _num_done(standings: Sequence[Standing]) -> int:
    return sum(len(standing.inputs.ids) - len(standing.todo) for standing in standings)


def _require_progress(
    standings: Sequence[Standing], num_done_before: int, trouble: CarrierError | None
) -> None:
    if _num_done(standings) > num_done_before:
        return
    if trouble is not None:
        raise RunError(f"a whole pass brought nothing forward: {trouble}") from trouble
    stuck = ", ".join(f"{len(s.todo)} of {s.node.name}" for s in standings if len(s.todo))
    raise RunError(f"a whole pass brought nothing forward; still to be done: {stuck}")


def _fold(standing: Standing, store: Store, run_id: str) -> None:
    """Computes a fold over its whole group and writes what became of each row."""
    node, inputs = standing.node, standing.inputs
    if not isinstance(node.stage, Fold):
        raise StageBugError(f"{node.name} is no fold")
    payloads: list[str] = [""] * len(inputs.ids)
    for place, payload in inputs.rows(np.arange(len(payloads))):
        payloads[place] = payload
    rows = [node.takes.model_validate_json(payload) for payload in payloads]
    results = node.stage.run([node.narrowed(row) for row in rows], node.params)
    if len(results) != len(rows):
        raise StageBugError(f"{node.name} gave {len(results)} results for {len(rows)} rows")
    records = [
        _fold_record(standing, input_id, _widened(node, row, result), run_id)
        for input_id, row, result in zip(inputs.ids, rows, results, strict=True)
    ]
    write_part(store, standing.folder, part_name("fold", 0), records)


def _widened(node: Node, row: Row, result: Row | Reject) -> Row | Reject:
    if isinstance(result, Reject):
        return result
    kind, gives = type(result), node.stage.gives
    if kind is not gives:
        raise StageBugError(f"{node.name} gave {kind.__name__}, not {gives.__name__}")
    return node.widened(result, row)


def _fold_record(standing: Standing, input_id: str, result: Row | Reject, run_id: str) -> Record:
    is_reject = isinstance(result, Reject)
    outcome: Outcome = "rejected" if is_reject else "accepted"
    return Record(
        work_id=work_id(standing.fingerprint, input_id),
        input_id=input_id,
        outcome=outcome,
        reason=result.reason if isinstance(result, Reject) else "",
        detail=result.detail if isinstance(result, Reject) else "",
        outputs=() if isinstance(result, Reject) else outputs_of([result]),
        calls=(),
        run_id=run_id,
        finished_at=time.time(),
    )
