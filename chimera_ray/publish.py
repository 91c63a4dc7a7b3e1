"""Examples → the data set as a Hugging Face user expects it: Parquet shards and a card.

The only place that knows the paper's published column names. Streams by chunk, so memory does not
grow with the data.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from chimera_ray.account import Account
from chimera_ray.card import Published, card_of
from chimera_ray.config import Config
from chimera_ray.contamination import Contamination
from chimera_ray.frontier import Inputs, Standing, behind
from chimera_ray.graph import Graph, Node
from chimera_ray.ledger.index import Ints
from chimera_ray.ledger.store import Store
from chimera_ray.provenance import Author, Authors
from chimera_ray.schemas import Example, Problem, Row, Trajectory, ValidProblem

SHARD_ROWS = 5_000
CHUNK_ROWS = 2_000
"""examples in memory at once; fewer mean more passes over the ledger's parts"""
CHECK = pa.struct([("reason", pa.large_string()), ("is_passed", pa.bool_())])
VERDICT = pa.struct(
    [
        ("verifier", pa.string()),
        ("is_on_topic", CHECK),
        ("is_clear", CHECK),
        ("is_verifiable", CHECK),
        ("is_answer_correct", CHECK),
        ("own_answer", pa.large_string()),
        ("is_backed", pa.bool_()),
        ("backed_by", pa.string()),
        ("model", pa.string()),
    ]
)
GRADER = pa.struct(
    [
        ("extracted_answer", pa.large_string()),
        ("comparison", pa.large_string()),
        ("is_correct", pa.bool_()),
        ("confidence", pa.int32()),
    ]
)
SCHEMA = pa.schema(
    [
        # the paper's published columns
        ("index", pa.int64()),
        ("subject", pa.string()),
        ("topic", pa.string()),
        ("question", pa.large_string()),
        ("answer", pa.large_string()),
        ("solution", pa.large_string()),
        ("original_solution", pa.large_string()),
        ("correctness", pa.bool_()),
        # ours
        ("area", pa.string()),
        ("facet", pa.string()),
        ("draft_index", pa.int32()),
        ("rollout_index", pa.int32()),
        ("reasoning", pa.large_string()),
        ("final_part", pa.large_string()),
        ("finish_reason", pa.string()),
        ("resumed_tokens", pa.int64()),
        ("predicted_answer", pa.large_string()),
        ("decided_by", pa.string()),
        ("rule", pa.string()),
        ("left_open_by", pa.string()),
        ("grader", GRADER),
        ("verdicts", pa.list_(VERDICT)),
        ("drafted_by", pa.string()),
        ("solved_by", pa.string()),
        ("graded_by", pa.string()),
        ("example_id", pa.string()),
        ("problem_id", pa.string()),
    ]
)


_SIMPLE = {str: pa.large_string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
"""what a stage's own field becomes as a column; any other type: its JSON"""


def publish(
    config: Config,
    graph: Graph,
    store: Store,
    standings: Sequence[Standing],
    account: Account,
    contamination: Contamination | None = None,
) -> Published | None:
    """A run's examples → `datasets/<run>/`; None if the recipe does not end with examples.

    The new shards are whole before the old ones go, and the card is written last.
    """
    last = standings[-1]
    if why_unpublished(graph) is not None:
        return None
    examples = last.outputs()
    folder = f"datasets/{graph.run_name}"
    fresh = f"{folder}/.data-{token_hex(4)}" if store.is_local else f"{folder}/data"
    counts: dict[str, Any] = {"correct": 0, "topics": set(), "by_subject": {}}
    shards = []
    num_shards = max(-(-len(examples.ids) // SHARD_ROWS), 1)
    for number in range(num_shards):
        name = f"train-{number:05d}-of-{num_shards:05d}.parquet"
        rows = np.arange(number * SHARD_ROWS, min((number + 1) * SHARD_ROWS, len(examples.ids)))
        tables = _tables(standings, examples, rows, counts)
        _write_shard(store, f"{fresh}/{name}", schema_of(last.node.gives), tables)
        shards.append(f"data/{name}")
    _put_in_place(store, folder, fresh, shards)
    added = _added(last.node.gives)
    published = Published(
        folder=store.path(folder),
        examples=len(examples.ids),
        correct=counts["correct"],
        topics=len(counts["topics"]),
        by_subject=counts["by_subject"],
        shards=shards,
        added=[name for name in added if name not in SCHEMA.names],
        left_out=[name for name in added if name in SCHEMA.names],
    )
    card = card_of(config, graph, account, published, contamination)
    store.write_text(f"{folder}/README.md", card)
    return published


def why_unpublished(graph: Graph) -> str | None:
    """A graph → why it gives no data set, in one line; None: it ends with examples."""
    last = graph.nodes[-1]
    if issubclass(last.gives, Example):
        return None
    is_past = any(issubclass(node.gives, Example) for node in graph.nodes)
    where = "goes on after its examples" if is_past else "ends before there are examples"
    return (
        f"no data set was published: the recipe {where}; its last stage, {last.name}, gives "
        f"{last.gives.__name__} rows, and a data set is made of Example rows"
    )


def schema_of(kind: type[Row]) -> pa.Schema:
    """The type of a run's last rows → the columns of its data set."""
    added = [pair for pair in _added(kind).items() if pair[0] not in SCHEMA.names]
    return pa.schema([*SCHEMA, *(pa.field(*pair) for pair in added)])


def _added(kind: type[Row]) -> dict[str, pa.DataType]:
    """The type of the last rows → its fields that an example has not, and their columns' types."""
    return {
        name: _column_type(field.annotation)
        for name, field in kind.model_fields.items()
        if name not in Example.model_fields
    }


def _column_type(annotation: Any) -> pa.DataType:  # noqa: ANN401 - types have no one type
    is_union = get_origin(annotation) in (Union, UnionType)
    kinds = {kind for kind in get_args(annotation) if kind is not NoneType} if is_union else ()
    (kind,) = kinds if len(kinds) == 1 else (annotation,)
    return _SIMPLE.get(kind, pa.large_string())


def _tables(
    standings: Sequence[Standing], examples: Inputs, rows: Ints, counts: dict[str, Any]
) -> Iterator[pa.Table]:
    """Places of examples → tables of the published schema, in order."""
    kind = standings[-1].node.gives
    schema = schema_of(kind)
    drafted, problem_at = behind(standings, examples, _takes_problems)
    made_by = [
        Authors(standings, examples, made) for made in (Problem, ValidProblem, Trajectory, Example)
    ]
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS]
        made = {place: kind.model_validate_json(text) for place, text in examples.rows(chunk)}
        found = _problems(drafted, np.unique(problem_at[chunk]))
        authors = zip(*(authors.of(chunk) for authors in made_by), strict=True)
        columns: list[dict[str, Any]] = []
        for place, (drafted_by, verified_by, solved_by, graded_by) in zip(
            chunk.tolist(), authors, strict=True
        ):
            example, at = made[place], int(problem_at[place])
            _count(example, counts)
            columns.append(
                {
                    **_of_example(example, schema),
                    **_of_authors(example, drafted_by, solved_by, graded_by),
                    **_of_problem(drafted, found.get(at), at, verified_by),
                    "index": place,
                    "example_id": examples.ids[place],
                }
            )
        arrays = [pa.array([row.get(f.name) for row in columns], type=f.type) for f in schema]
        yield pa.Table.from_arrays(arrays, schema=schema)


def _count(example: Row, counts: dict[str, Any]) -> None:
    if isinstance(example, Example):
        counts["correct"] += example.is_correct
        counts["topics"].add((example.subject, example.topic))
        by_subject = counts["by_subject"]
        by_subject[example.subject] = by_subject.get(example.subject, 0) + 1


def _of_example(example: Row, schema: pa.Schema) -> dict[str, Any]:
    """An example → its own columns, and those of what later stages added."""
    said = example.model_dump(mode="json")
    own = {name: said[name] for name in Example.model_fields}
    added = {name: said[name] for name in said if name not in own and name not in SCHEMA.names}
    for name, value in added.items():
        is_text = pa.types.is_large_string(schema.field(name).type)
        if is_text and value is not None and not isinstance(value, str):
            added[name] = json.dumps(value, ensure_ascii=False)
    return {
        **own,
        **added,
        "question": own["problem"],
        "answer": own["reference_answer"],
        "solution": f"<think>\n{own['reasoning']}\n</think>\n\n{own['final_part']}",
        "correctness": own["is_correct"],
    }


def _of_authors(
    example: Row,
    drafted: dict[str, Author],
    solved: dict[str, Author],
    graded: dict[str, Author],
) -> dict[str, Any]:
    """Who wrote what lies behind an example; null: that call is not in the ledger."""
    drafter, solver, grader = drafted.get("drafter"), solved.get("solver"), graded.get("grader")
    graded_by = grader.model if grader else None
    return {
        "drafted_by": drafter.model if drafter else None,
        "solved_by": solver.model if solver else None,
        "resumed_tokens": solver.resumed_tokens if solver else None,
        "graded_by": graded_by if getattr(example, "grader", None) else "rule",
    }


def _takes_problems(node: Node) -> bool:
    return issubclass(node.takes, Problem)


def _problems(standing: Standing | None, places: Ints) -> dict[int, Problem]:
    """Places at the problems' stage → the problems, by place."""
    if standing is None:
        return {}
    rows = {
        place: standing.node.takes.model_validate_json(text)
        for place, text in standing.inputs.rows(places)
    }
    return {place: row for place, row in rows.items() if isinstance(row, Problem)}


def _of_problem(
    standing: Standing | None, problem: Problem | None, place: int, verified: dict[str, Author]
) -> dict[str, Any]:
    if standing is None or problem is None:
        return {}
    models = {role: author.model for role, author in verified.items()}
    return {
        "original_solution": problem.draft_solution,
        "facet": problem.facet,
        "draft_index": problem.draft_index,
        "problem_id": standing.inputs.ids[place],
        "verdicts": [
            {**verdict.model_dump(), "model": models.get(verdict.verifier)}
            for verdict in getattr(problem, "verdicts", ())
        ],
    }


def _write_shard(store: Store, path: str, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    def fill(sink: object) -> None:
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table, row_group_size=256)

    store.write(path, fill)


def _put_in_place(store: Store, folder: str, fresh: str, shards: Sequence[str]) -> None:
    """Swaps the folder of shards where folders can be renamed; elsewhere deletes stale shards."""
    if not store.is_local:
        for name in store.names(f"{folder}/data"):
            if f"data/{name}" not in shards:
                store.delete(f"{folder}/data/{name}")
        return
    here = Path(store.path(folder))
    old = here / f".data-old-{token_hex(4)}"
    if (here / "data").exists():
        (here / "data").rename(old)
    Path(store.path(fresh)).rename(here / "data")
    for stale in here.glob(".data-*"):  # of runs that were killed while they published
        shutil.rmtree(stale, ignore_errors=True)
