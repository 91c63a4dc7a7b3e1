"""What `build_graph` accepts runs to its end, in whatever order the stages stand."""

import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fakes import PROBLEM
from runs import STAGES as PAPER
from runs import Run, built, config_of

from chimera_ray.build import Manifest
from chimera_ray.errors import GraphError
from chimera_ray.graph import build_graph
from chimera_ray.runners.perform import StageBugError
from chimera_ray.schemas import Draft, Example, Problem, Row, Topic, Trajectory, ValidProblem
from chimera_ray.stage import AnyFold, AnyStage, Models, Params, Reject, fold, stage
from chimera_ray.stages import STAGES

Given = AsyncIterator[Any]
CHECKED = (*PAPER[:5], "rate_problem")


class RatedProblem(Problem):
    """A problem with one field more."""

    difficulty: int


class NotedExample(Example):
    """An example with fields more, of every kind, one of them with a column's name."""

    note: str
    score: float | None
    tags: tuple[str, ...]
    num_notes: int
    question: str


@stage(takes=Problem, gives=Problem, params=Params)
async def copy_problem(row: Problem, models: Models, params: Params) -> Given:
    """Problem → the same, made anew of all that it says."""
    yield Problem(**row.model_dump())


@stage(takes=Problem, gives=Problem, params=Params)
async def change_problem(row: Problem, models: Models, params: Params) -> Given:
    """Problem → the same in other words."""
    yield row.model_copy(update={"problem": f"{row.problem} Give reasons."})


@stage(takes=Problem, gives=RatedProblem, params=Params)
async def rate_problem(row: Problem, models: Models, params: Params) -> Given:
    """Problem → the same with its difficulty."""
    yield RatedProblem(**row.model_dump(), difficulty=3)


@stage(takes=Problem, gives=Draft, params=Params)
async def draft_again(row: Problem, models: Models, params: Params) -> Given:
    """Problem → its draft, which it is made of."""
    yield Draft(**{name: getattr(row, name) for name in Draft.model_fields})


@fold(takes=Topic, gives=Topic, params=Params)
def copy_topics(rows: Sequence[Topic], params: Params) -> list[Topic | Reject]:
    """Topics → the same, each made anew of all that it says."""
    return [Topic(**row.model_dump()) for row in rows]


@stage(takes=Example, gives=NotedExample, params=Params)
async def note_example(row: Example, models: Models, params: Params) -> Given:
    """Example → the same with notes."""
    added = {"note": "good", "score": None, "tags": ("a", "b"), "num_notes": 1, "question": "why?"}
    yield NotedExample(**row.model_dump(), **added)


@stage(takes=Example, gives=Example, params=Params)
async def copy_example(row: Example, models: Models, params: Params) -> Given:
    """Example → the same, made anew."""
    yield Example(**row.model_dump())


@stage(takes=Example, gives=Trajectory, params=Params)
async def forget_label(row: Example, models: Models, params: Params) -> Given:
    """Example → its trajectory."""
    yield Trajectory(**{name: getattr(row, name) for name in Trajectory.model_fields})


ADDED: tuple[AnyStage | AnyFold, ...] = (
    *(copy_problem, change_problem, rate_problem, draft_again, copy_topics),
    *(note_example, copy_example, forget_label),
)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages of other authors."""
    for each in ADDED:
        monkeypatch.setitem(STAGES, each.name, each)


def _is_accepted(folder: Path, stages: Sequence[str]) -> bool:
    try:
        build_graph(config_of(folder, stages=stages))
    except GraphError:
        return False
    return True


def _order(folder: Path, seed: int) -> list[str]:
    """An order of stages that is accepted, grown at random."""
    chosen = random.Random(seed)
    order: list[str] = []
    length = chosen.randint(2, 14)
    while len(order) < length:
        fitting = [
            name for name in STAGES if name not in order and _is_accepted(folder, [*order, name])
        ]
        if not fitting:
            break
        late = [name for name in fitting if name not in PAPER] or fitting
        order.append(chosen.choice(late if chosen.random() < 0.3 else fitting))
    return order


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all orders run, so that what they share is done once."""
    return tmp_path_factory.mktemp("orders")


@pytest.mark.parametrize("seed", range(30))
def test_graph_any_accepted_order_of_stages_runs_to_its_end(folder: Path, seed: int) -> None:
    order = _order(folder, seed)
    config = config_of(folder, stages=order, subjects={"Physics": 2}, drafts=1)
    manifest = built(config)
    assert manifest.account.is_complete
    assert all(stage.inputs for stage in manifest.account.stages)
    ends = issubclass(build_graph(config).nodes[-1].gives, Example)
    assert (manifest.published is not None) == ends == (manifest.unpublished is None)


def test_graph_stage_that_adds_a_field_is_refused_where_it_would_lose_others() -> None:
    with pytest.raises(GraphError) as caught:
        build_graph(config_of(Path("out"), stages=CHECKED))
    said = str(caught.value)
    assert "rate_problem makes RatedProblem rows of Problem rows" in said
    assert "ValidProblem rows arrive there, and verdicts would be lost" in said
    assert "\n" not in said


def test_graph_stage_that_adds_a_field_keeps_it_through_stages_that_do_not_know_it(
    tmp_path: Path,
) -> None:
    stages = (*PAPER[:4], "rate_problem", "copy_problem", "change_problem", "dedupe_problems")
    run = Run(config_of(tmp_path, stages=stages, subjects={"Physics": 2}))
    last = run.standings[-1]
    assert last.node.gives is RatedProblem
    rows = [
        RatedProblem.model_validate_json(output.payload)
        for record in run.records["dedupe_problems"]
        for output in record.outputs
    ]
    assert {row.difficulty for row in rows} == {3}
    assert all(row.problem.endswith("Give reasons.") for row in rows)


def test_graph_stage_that_gives_what_it_takes_keeps_verdicts(tmp_path: Path) -> None:
    stages = (*PAPER[:5], "copy_problem", "dedupe_problems")
    run = Run(config_of(tmp_path, stages=stages, subjects={"Physics": 2}))
    before, after = (
        [output.payload for record in run.records[name] for output in record.outputs]
        for name in ("validate_problem", "copy_problem")
    )
    assert before == after
    assert all(ValidProblem.model_validate_json(payload).verdicts for payload in after)


def _hands_on(kind: type[Row]) -> AnyStage:
    """A type → a stage that promises problems and gives rows of that type."""

    @stage(takes=Draft, gives=Problem, params=Params)
    async def draft_problem(row: Draft, models: Models, params: Params) -> Given:
        added = {"difficulty": 1} if kind is RatedProblem else {}
        said = {**PROBLEM.model_dump(), **row.model_dump(), **added}
        yield kind(**{name: said[name] for name in kind.model_fields})

    return draft_problem


@pytest.mark.parametrize("kind", [RatedProblem, Draft])
def test_stage_that_gives_another_type_than_it_says_is_a_bug_where_it_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Row]
) -> None:
    monkeypatch.setitem(STAGES, "draft_problem", _hands_on(kind))
    with pytest.raises(StageBugError, match=f"draft_problem gave {kind.__name__} .* not Problem"):
        Run(config_of(tmp_path, subjects={"Physics": 1}))


def _noted(folder: Path, *further: str) -> Manifest:
    return built(
        config_of(folder, stages=(*PAPER, "note_example", *further), subjects={"Physics": 2})
    )


def test_publish_example_with_more_fields_has_more_columns(tmp_path: Path) -> None:
    published = _noted(tmp_path, "copy_example").published
    assert published is not None
    assert published.examples > 0
    assert published.added == ["note", "score", "tags", "num_notes"]
    assert published.left_out == ["question"]
    table = pq.read_table(Path(published.folder) / "data")
    for row in table.to_pylist():
        assert (row["note"], row["score"], row["tags"]) == ("good", None, '["a", "b"]')
        assert row["num_notes"] == 1
        assert row["question"] not in ("", "why?")
    assert table.schema.field("score").type == "double"
    card = (Path(published.folder) / "README.md").read_text(encoding="utf-8")
    assert "`note`, `score`, `tags`, `num_notes`: added" in card
    assert "`question`, added" in card


def test_publish_recipe_that_goes_on_after_its_examples_says_why_nothing_is_published(
    tmp_path: Path,
) -> None:
    manifest = _noted(tmp_path, "forget_label")
    assert manifest.published is None
    assert manifest.unpublished is not None
    assert "forget_label, gives Trajectory rows" in manifest.unpublished
    assert not (tmp_path / "datasets").exists()
