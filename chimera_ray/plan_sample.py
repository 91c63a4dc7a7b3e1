"""What the ledger knows of a recipe's stages so far: rows, calls, tokens and waiting times.

Folds, and stages that ask no model, are computed here where the ledger lacks them: they cost
nothing, and what was paid for behind them is found.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from chimera_ray.account import RoleAccount
from chimera_ray.frontier import Ids, Inputs, Standing, source_of, stand
from chimera_ray.graph import Graph, Node
from chimera_ray.ledger.index import ACCEPTED, FAILED, NONE, REJECTED, Ints
from chimera_ray.ledger.store import Store
from chimera_ray.plan_estimate import Floats
from chimera_ray.schemas import Row, Subject, row_id
from chimera_ray.stage import AnyStage, Fold, Params, Reject

MEASURED = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "latency_s")
"""of a call"""


@dataclass(frozen=True)
class CallSample:
    """What one role was asked by the rows of a stage."""

    per_row: Floats
    """calls of each ended row, by the rounds of asking that its parameters want"""
    row_s: Floats
    """seconds that these calls took, likewise"""
    measured: Mapping[str, Floats]
    """by the names in `MEASURED`: of each call"""


@dataclass(frozen=True)
class StageSample:
    """One stage: what is done, what is known to be to do, and how it went so far."""

    node: Node
    num_inputs: int
    """rows that arrive, as far as is known"""
    num_done: int
    """of these accepted or rejected"""
    num_outputs: int
    asked: float
    """outputs that the parameters ask of any further row"""
    rest_outputs: float
    """outputs asked of the known rows that are to be done"""
    rest_calls: float
    """rounds of asking that these need; for most stages their number"""
    yields: Floats
    """outputs of each ended row, failed ones too, by what the parameters ask for"""
    calls: Mapping[str, CallSample]
    paid: Mapping[str, RoleAccount]
    """by role: every call in the ledger behind these rows"""


def sample_stages(graph: Graph, store: Store) -> list[StageSample]:
    """A graph and a ledger → what is known of each stage, in order."""
    samples = []
    inputs = source_of(graph)
    for node in graph.nodes:
        standing = stand(node, inputs, store, "")
        if node.roles or not len(standing.todo):
            outputs = standing.outputs()
            samples.append(_sample(graph, standing, len(outputs.ids)))
        else:
            outputs = _computed(node, inputs)
            samples.append(_sample_computed(node, len(inputs.ids), len(outputs.ids)))
        inputs = outputs
    return samples


def _computed(node: Node, inputs: Inputs) -> Inputs:
    """A fold, or a stage that asks nobody, and its rows → what it gives; nothing is written."""
    payloads = dict(inputs.rows(np.arange(len(inputs.ids))))
    rows = [node.takes.model_validate_json(payloads[place]) for place in range(len(payloads))]
    taken = [node.narrowed(row) for row in rows]
    if isinstance(node.stage, Fold):
        results: Sequence[Row | Reject] = node.stage.run(taken, node.params)
        pairs = list(zip(rows, results, strict=True))
    else:
        pairs = asyncio.run(_streamed(node.stage, rows, taken, node.params))
    given = [node.widened(row, arrived) for arrived, row in pairs if isinstance(row, Row)]
    kept = [(type(row).__name__, row.model_dump_json()) for row in given]
    said = {row_id(kind, payload): payload for kind, payload in kept}
    return Inputs(Ids(said), list(said.values()))


async def _streamed(
    stage: AnyStage, rows: Sequence[Row], taken: Sequence[Row], params: Params
) -> list[tuple[Row, Row | Reject]]:
    """Rows, and what the stage takes of each → each with what the stage gave for it."""
    return [
        (row, given)
        for row, what in zip(rows, taken, strict=True)
        async for given in stage.run(what, {}, params)
    ]


def _sample_computed(node: Node, num_inputs: int, num_outputs: int) -> StageSample:
    asked = _asked(node, ())[0, 0]
    share = num_outputs / (num_inputs * asked) if num_inputs else 0.0
    yields = np.full(num_inputs, share) if asked > 1 else _shares(num_inputs, num_outputs)
    return StageSample(node, num_inputs, num_inputs, num_outputs, asked, 0.0, 0.0, yields, {}, {})


def _shares(num_inputs: int, num_outputs: int) -> Floats:
    """So many ones among zeros."""
    return (np.arange(num_inputs) < num_outputs).astype(np.float64)


def _sample(graph: Graph, standing: Standing, num_outputs: int) -> StageSample:
    node, outcome = standing.node, standing.found.outcome
    asked = _asked(node, graph.subjects)
    if len(asked) != len(outcome):
        asked = np.repeat(asked[:1], len(outcome), axis=0)
    ended = np.flatnonzero(np.isin(outcome, (ACCEPTED, REJECTED, FAILED)))
    yields, calls = _read(standing, ended, asked)
    paid = standing.index.call_totals(standing.found.position[outcome != NONE])
    rest = asked[standing.todo].sum(axis=0)
    return StageSample(
        node=node,
        num_inputs=len(outcome),
        num_done=len(outcome) - len(standing.todo),
        num_outputs=num_outputs,
        asked=float(_asked(node, ())[0, 0]),
        rest_outputs=float(rest[0]),
        rest_calls=float(rest[1]),
        yields=yields,
        calls=calls,
        paid={role: RoleAccount(**counts) for role, counts in paid.items()},
    )


def _asked(node: Node, subjects: Sequence[Subject]) -> Floats:
    """A stage → the (outputs, rounds of asking) that its parameters want of each row, or of any."""
    params = node.params
    if node.takes is Subject and subjects:
        a_round, max_rounds = (getattr(params, n) for n in ("topics_per_round", "max_rounds"))
        targets = np.array([subject.target_topics for subject in subjects], np.float64)
        return np.stack([targets, np.minimum(np.ceil(targets / a_round), max_rounds)], axis=1)
    outputs = getattr(params, "drafts_per_topic", getattr(params, "rollouts_per_problem", 1))
    return np.array([[outputs, 1.0]])


def _read(standing: Standing, ended: Ints, asked: Floats) -> tuple[Floats, dict[str, CallSample]]:
    """The ended rows of a stage → outputs of each row, and what was asked of each role."""
    roles = standing.node.roles
    yields = np.zeros(len(ended))
    per_row = {role: np.zeros((2, len(ended))) for role in roles}
    measured: dict[str, dict[str, list[Floats]]] = {
        role: {name: [np.empty(0)] for name in MEASURED} for role in roles
    }
    wanted = [f"calls.list.element.{name}" for name in ("role", *MEASURED)]
    positions = standing.found.position[ended]
    for chosen, table in standing.index.tables(positions, ["outputs.list.element.row_id", *wanted]):
        lists = {name: table[name].combine_chunks() for name in ("outputs", "calls")}
        lengths = {name: pc.list_value_length(each).to_numpy() for name, each in lists.items()}
        yields[chosen] = lengths["outputs"] / asked[ended[chosen], 0]
        row_of = np.repeat(np.arange(len(chosen)), lengths["calls"])
        calls = lists["calls"].flatten()
        role_of = pc.struct_field(calls, "role").to_numpy(zero_copy_only=False)
        for role in roles:
            is_its = role_of == role
            for name in MEASURED:
                column = pc.struct_field(calls, name).to_numpy(zero_copy_only=False)
                measured[role][name].append(column[is_its].astype(np.float64))
            latency_s = measured[role]["latency_s"][-1]
            for place, weights in enumerate((None, latency_s)):
                sums = np.bincount(row_of[is_its], weights, minlength=len(chosen))
                per_row[role][place, chosen] = sums / asked[ended[chosen], 1]
    return yields, {
        role: CallSample(
            per_row[role][0],
            per_row[role][1],
            {name: np.concatenate(parts) for name, parts in measured[role].items()},
        )
        for role in roles
    }
