"""Examples → the data set as a Hugging Face user expects it: Parquet shards and a card.

The only place that knows the paper's published column names. Streams by chunk, so memory does not
grow with the data.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel

from chimera_ray.account import Account
from chimera_ray.audit import shared_models
from chimera_ray.config import Config
from chimera_ray.frontier import Inputs, Standing
from chimera_ray.graph import Graph, Node
from chimera_ray.ledger.index import Ints
from chimera_ray.ledger.store import Store
from chimera_ray.schemas import Example, Problem

SHARD_ROWS = 5_000
CHUNK_ROWS = 2_000
"""examples in memory at once; fewer mean more passes over the ledger's parts"""
_CARD = Path(__file__).parent / "card.md.jinja"
CHECK = pa.struct([("is_passed", pa.bool_()), ("reason", pa.large_string())])
VERDICT = pa.struct(
    [
        ("verifier", pa.string()),
        ("is_on_topic", CHECK),
        ("is_clear", CHECK),
        ("is_verifiable", CHECK),
        ("is_answer_correct", CHECK),
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


class Published(BaseModel):
    """What was published, and where."""

    folder: str
    examples: int
    correct: int
    topics: int
    by_subject: dict[str, int]
    shards: list[str]


def publish(
    config: Config, graph: Graph, store: Store, standings: Sequence[Standing], account: Account
) -> Published | None:
    """A run's examples → `datasets/<run>/`; None if the recipe ends before there are any.

    The new shards are whole before the old ones go, and the card is written last.
    """
    last = standings[-1]
    if last.node.gives is not Example:
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
        tables = _tables(config, standings, examples, rows, counts)
        _write_shard(store, f"{fresh}/{name}", tables)
        shards.append(f"data/{name}")
    _put_in_place(store, folder, fresh, shards)
    published = Published(
        folder=store.path(folder),
        examples=len(examples.ids),
        correct=counts["correct"],
        topics=len(counts["topics"]),
        by_subject=counts["by_subject"],
        shards=shards,
    )
    store.write_text(f"{folder}/README.md", _card(config, graph, account, published))
    return published


def _tables(
    config: Config,
    standings: Sequence[Standing],
    examples: Inputs,
    rows: Ints,
    counts: dict[str, Any],
) -> Iterator[pa.Table]:
    """Places of examples → tables of the published schema, in order."""
    drafted, problem_at = _behind(standings, examples, _takes_problems)
    solved, solved_at = _behind(standings, examples, lambda node: "solver" in node.roles)
    models = config.models
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = rows[start : start + CHUNK_ROWS]
        made = {place: Example.model_validate_json(text) for place, text in examples.rows(chunk)}
        found = _problems(drafted, np.unique(problem_at[chunk]))
        resumed = _resumed_tokens(solved, solved_at[chunk])
        columns: list[dict[str, Any]] = []
        for place, resumed_tokens in zip(chunk.tolist(), resumed, strict=True):
            example, problem = made[place], found.get(int(problem_at[place]))
            counts["correct"] += example.is_correct
            counts["topics"].add((example.subject, example.topic))
            by_subject = counts["by_subject"]
            by_subject[example.subject] = by_subject.get(example.subject, 0) + 1
            columns.append(
                {
                    "index": place,
                    "question": example.problem,
                    "answer": example.reference_answer,
                    "solution": f"<think>\n{example.reasoning}\n</think>\n\n{example.final_part}",
                    "correctness": example.is_correct,
                    "resumed_tokens": resumed_tokens,
                    "drafted_by": models.drafter.name,
                    "solved_by": models.solver.name,
                    "graded_by": models.grader.name if example.grader else "rule",
                    "example_id": examples.ids[place],
                    **_of_problem(drafted, problem, int(problem_at[place])),
                    **example.model_dump(),
                }
            )
        arrays = [pa.array([row.get(f.name) for row in columns], type=f.type) for f in SCHEMA]
        yield pa.Table.from_arrays(arrays, schema=SCHEMA)


def _behind(
    standings: Sequence[Standing], examples: Inputs, is_wanted: Callable[[Node], bool]
) -> tuple[Standing | None, Ints]:
    """Examples → the last such stage that they went through, and each one's place there."""
    at = examples.parents
    for earlier, later in zip(reversed(standings), [None, *reversed(standings)], strict=False):
        if later is not None:
            at = later.inputs.parents[at]
        if is_wanted(earlier.node):
            return earlier, at
    return None, np.full(len(examples.ids), -1)


def _resumed_tokens(standing: Standing | None, places: Ints) -> list[int | None]:
    """Places at the solver's stage → tokens that its usable call took up; None: no such call."""
    if standing is None:
        return [None] * len(places)
    found: list[int | None] = [None] * len(places)
    names = ("role", "status", "resumed_tokens")
    wanted = [f"calls.list.element.{name}" for name in names]
    for chosen, table in standing.index.tables(standing.found.position[places], wanted):
        for at, calls in zip(chosen.tolist(), table["calls"].to_pylist(), strict=True):
            usable = (c for c in calls if (c["role"], c["status"]) == ("solver", "ok"))
            found[at] = next((call["resumed_tokens"] for call in usable), None)
    return found


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


def _of_problem(standing: Standing | None, problem: Problem | None, place: int) -> dict[str, Any]:
    if standing is None or problem is None:
        return {}
    return {
        "original_solution": problem.draft_solution,
        "facet": problem.facet,
        "draft_index": problem.draft_index,
        "problem_id": standing.inputs.ids[place],
        "verdicts": [verdict.model_dump() for verdict in getattr(problem, "verdicts", ())],
    }


def _write_shard(store: Store, path: str, tables: Iterator[pa.Table]) -> None:
    def fill(sink: object) -> None:
        with pq.ParquetWriter(sink, SCHEMA, compression="zstd") as writer:
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


def _card(config: Config, graph: Graph, account: Account, published: Published) -> str:
    """The data set's card, every count in it taken from the account."""
    is_simulated = any(
        config.models.of(role).backend == "simulated" for role in type(config.models).model_fields
    )
    header = {
        "pretty_name": graph.run_name,
        "language": ["en"],
        "task_categories": ["text-generation", "question-answering"],
        "tags": ["synthetic", "reasoning", "chain-of-thought", "chimera-ray"],
        "size_categories": [_size_category(published.examples)],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}
        ],
    }
    template = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - the card is Markdown, not HTML
    ).from_string(_CARD.read_text(encoding="utf-8"))
    return template.render(
        header=yaml.safe_dump(header, sort_keys=False).strip(),
        graph=graph,
        account=account,
        published=published,
        models={role: config.models.of(role).name for role in type(config.models).model_fields},
        is_simulated=is_simulated,
        warnings=shared_models(config, graph),
        params=json.dumps(
            {node.name: node.params.model_dump(mode="json") for node in graph.nodes},
            indent=2,
            ensure_ascii=False,
        ),
    )


def _size_category(count: int) -> str:
    bounds = (
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
    )
    return next((name for bound, name in bounds if count < bound), "1M<n<10M")
