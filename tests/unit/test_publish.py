"""The published data set: loadable as it is, every column and every count true."""

import copy
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from runs import STAGES, Run, built, config_of, payloads_of, records_of

from chimera_ray import publish as publishing
from chimera_ray.account import account_for
from chimera_ray.build import Manifest
from chimera_ray.card import Published
from chimera_ray.config import Config
from chimera_ray.frontier import walk
from chimera_ray.ledger.parts import is_part, part_name, write_part
from chimera_ray.ledger.store import Store
from chimera_ray.publish import SCHEMA, publish
from chimera_ray.schemas import Call, Example, Record, ValidProblem

SOLVING = ("sample_trajectory",)
PAPER = ["index", "subject", "topic", "question", "answer", "solution"]
PAPER += ["original_solution", "correctness"]
MODELS = {
    "verifier_b": {"false_reject_rate": 0.1},
    "solver": {"wrong_answer_rate": 0.4},
    "grader": {"false_accept_rate": 0.1},
}
HOSTILE = {
    "control_characters": "\x00\x01\x1b[31mred\x07\x7f\x85\u2028\u202e",
    "markup": "| a | b |\n---\n```json\n{{ x }} {% raw %} <script>",
    "closing_tag": "</think></think> <think>",
    "empty": "",
    "unicode": "数学 ∑ \U0001f600 e\u0301 \ufeff",
    "long": "x" * 300_000,
}


def _config(tmp_path: Path, **changes: Any) -> Config:
    params = {"plan_rollouts": {"rollouts_per_problem": 2}}
    return config_of(tmp_path, models=MODELS, params=params, **changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that came to its end; nothing of it is published yet."""
    return Run(_config(tmp_path_factory.mktemp("run")))


def _publish(run: Run) -> Published:
    published = publish(run.config, run.graph, run.store, run.standings, run.account)
    assert published is not None
    return published


def _table(published: Published) -> pa.Table:
    folder = Path(published.folder)
    assert sorted(f"data/{path.name}" for path in (folder / "data").iterdir()) == published.shards
    return pa.concat_tables([pq.read_table(folder / name) for name in published.shards])


def test_publish_columns_hold_what_the_ledger_says(run: Run) -> None:
    table = _table(_publish(run))
    assert table.schema.equals(SCHEMA)
    assert table.column_names[:8] == PAPER
    examples = [
        Example.model_validate_json(output.payload)
        for record in records_of(run.standings[-1])
        for output in record.outputs
    ]
    judged = run.stage("plan_rollouts")
    problems = dict(
        zip(
            judged.inputs.ids,
            map(ValidProblem.model_validate_json, payloads_of(judged)),
            strict=True,
        )
    )
    rows = table.to_pylist()
    assert len(rows) == len(examples) > 0
    for place, (row, example) in enumerate(zip(rows, examples, strict=True)):
        problem = problems[row["problem_id"]]
        assert row["index"] == place
        assert row["example_id"] == run.ids[place]
        assert row["question"] == example.problem == problem.problem
        assert row["answer"] == example.reference_answer == problem.reference_answer
        assert row["original_solution"] == problem.draft_solution
        assert (row["draft_index"], row["facet"]) == (problem.draft_index, problem.facet)
        assert row["verdicts"] == [
            {**verdict.model_dump(), "model": f"simulated-{verdict.verifier}"}
            for verdict in problem.verdicts
        ]
        assert row["drafted_by"] == "simulated-drafter"
        assert row["solved_by"] == "simulated-solver"
        assert row["correctness"] is example.is_correct
        assert row["solution"].startswith("<think>\n")
        assert row["solution"].endswith(f"\n</think>\n\n{example.final_part}")
        assert example.reasoning in row["solution"]
        for name, value in example.model_dump().items():
            if name in table.column_names:
                assert row[name] == value
        assert row["graded_by"] == "simulated-grader"
    assert len(set(table["example_id"].to_pylist())) == len(rows)
    assert {row["rollout_index"] for row in rows} == {0, 1}
    assert {row["correctness"] for row in rows} == {True, False}


def _rewritten(
    run: Run, folder: Path, rewrite: Callable[[Call], Call], stages: Sequence[str] = SOLVING
) -> Run:
    """A run → a copy of it, in which other calls led to the rows of some stages."""
    shutil.copytree(Path(run.config.output_dir) / "ledger", folder / "ledger")
    changed = copy.copy(run)
    changed.config = run.config.model_copy(update={"output_dir": str(folder)})
    changed.store = Store(str(folder))
    for stage in map(run.stage, stages):
        records = [
            record._replace(calls=tuple(map(rewrite, record.calls))) for record in records_of(stage)
        ]
        for name in filter(is_part, changed.store.names(stage.folder)):
            changed.store.delete(f"{stage.folder}/{name}")
        write_part(changed.store, stage.folder, part_name("tests", 0), records)
    changed.standings = list(walk(changed.graph, changed.store))
    changed.account = account_for(changed.standings, changed.store)
    return changed


def test_publish_tells_how_much_of_a_trajectory_an_interrupted_try_had_written(
    run: Run, tmp_path: Path
) -> None:
    undisturbed = _table(_publish(run))
    assert undisturbed["resumed_tokens"].to_pylist() == [0] * undisturbed.num_rows

    def resumed(call: Call) -> Call:
        return call._replace(resumed_tokens=len(call.text))

    changed = _rewritten(run, tmp_path, resumed)
    published = _publish(changed)
    texts = [
        call.text
        for record in records_of(changed.stage("sample_trajectory"))
        for call in record.calls
        if record.outcome == "accepted"
    ]
    rows = _table(published).to_pylist()
    assert len({row["resumed_tokens"] for row in rows}) > 1
    for row in rows:
        (length,) = {len(text) for text in texts if _is_said(row, text)}
        assert row["resumed_tokens"] == length
    assert "resumed_tokens" in (Path(published.folder) / "README.md").read_text(encoding="utf-8")


def test_publish_trajectory_whose_call_is_not_there_is_told_apart_from_an_undisturbed_one(
    run: Run, tmp_path: Path
) -> None:
    changed = _rewritten(run, tmp_path, lambda call: call._replace(status="truncated"))
    resumed = _table(_publish(changed))["resumed_tokens"]
    assert resumed.null_count == len(resumed) > 0


ASKING = ("draft_problem", "validate_problem", "sample_trajectory", "label_trajectory")


def test_publish_names_the_models_that_answered_whatever_is_configured_now(
    run: Run, tmp_path: Path
) -> None:
    """A ledger tells who wrote a row; a model that was renamed since did not."""

    def renamed(call: Call) -> Call:
        which = "b" if call.seed % 2 else "a"
        return call._replace(model=f"true|{call.role}-{which}")

    changed = _rewritten(run, tmp_path, renamed, ASKING)
    published = _publish(changed)
    for row in _table(published).to_pylist():
        assert row["drafted_by"] in ("true|drafter-a", "true|drafter-b")
        assert row["solved_by"] in ("true|solver-a", "true|solver-b")
        assert row["graded_by"] in ("true|grader-a", "true|grader-b")
        for verdict in row["verdicts"]:
            assert verdict["model"].startswith(f"true|{verdict['verifier']}-")
    card = (Path(published.folder) / "README.md").read_text(encoding="utf-8")
    assert "| solver | true&#124;solver-a, true&#124;solver-b |" in card
    assert "simulated-solver" not in card


def test_publish_row_whose_calls_are_not_there_names_no_model(run: Run, tmp_path: Path) -> None:
    changed = _rewritten(run, tmp_path, lambda call: call._replace(status="error"), ASKING)
    for row in _table(_publish(changed)).to_pylist():
        assert [row[f"{what}_by"] for what in ("drafted", "solved", "graded")] == [None] * 3
        assert {verdict["model"] for verdict in row["verdicts"]} == {None}


def _is_said(row: dict[str, Any], text: str) -> bool:
    return row["final_part"] in text and row["reasoning"] in text


def test_publish_counts_and_card_equal_the_data(run: Run) -> None:
    published = _publish(run)
    rows = _table(published).to_pylist()
    by_subject = Counter(row["subject"] for row in rows)
    assert published.examples == len(rows)
    assert published.correct == sum(row["correctness"] for row in rows)
    assert published.topics == len({(row["subject"], row["topic"]) for row in rows})
    assert published.by_subject == by_subject
    card = (Path(published.folder) / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert header["size_categories"] == ["n<1K"]
    assert f"{published.examples} examples over {published.topics} topics" in card
    assert f"{published.correct} are labelled correct" in card
    assert "**Simulated.**" in card
    for subject, count in by_subject.items():
        assert f"| {subject} | {count} |" in card
    for found in run.account.stages:
        counts = [found.inputs, found.accepted, found.rejected, found.failed]
        assert f"| {found.stage} | {' | '.join(map(str, counts))} |" in card
    for role, counted in run.account.roles.items():
        assert f"| {role} | simulated-{role} | {counted.calls} |" in card
    assert json.loads(card.split("```json")[1].split("```")[0])["plan_drafts"]


def test_publish_again_leaves_no_stale_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "SHARD_ROWS", 4)
    many = _publish(run)
    before = _table(many)
    assert len(many.shards) == -(-many.examples // 4) > 2
    assert all(re.fullmatch(r"data/train-\d{5}-of-\d{5}\.parquet", name) for name in many.shards)
    assert before["index"].to_pylist() == list(range(many.examples))
    monkeypatch.setattr(publishing, "SHARD_ROWS", 1000)
    one = _publish(run)
    assert one.shards == ["data/train-00000-of-00001.parquet"]
    assert _table(one).equals(before)
    assert sorted(path.name for path in Path(one.folder).iterdir()) == ["README.md", "data"]


@pytest.mark.parametrize("chunk_rows", [1, 3])
def test_publish_by_small_chunks_gives_the_same_table(
    run: Run, monkeypatch: pytest.MonkeyPatch, chunk_rows: int
) -> None:
    before = _table(_publish(run))
    monkeypatch.setattr(publishing, "CHUNK_ROWS", chunk_rows)
    assert _table(_publish(run)).equals(before)


def test_publish_after_a_death_in_the_swap_is_whole(run: Run) -> None:
    published = _publish(run)
    folder = Path(published.folder)
    (folder / "data").rename(folder / ".data-old-12345678")
    (folder / ".data-87654321").mkdir()
    _table(_publish(run))
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "data"]


def test_publish_hostile_text_arrives_as_it_was(tmp_path: Path) -> None:
    shorter = Run(config_of(tmp_path, drafts=len(HOSTILE), subjects={"Physics": 1}))
    last = shorter.standings[-1]
    texts = [*HOSTILE.values()]
    records = [_saying(record, texts[n]) for n, record in enumerate(records_of(last))]
    assert len(records) == len(texts)
    for name in filter(is_part, shorter.store.names(last.folder)):
        shorter.store.delete(f"{last.folder}/{name}")
    write_part(shorter.store, last.folder, part_name("tests", 0), records)
    shorter.standings = list(walk(shorter.graph, shorter.store))
    for row, text in zip(_table(_publish(shorter)).to_pylist(), texts, strict=True):
        for name in ("question", "answer", "final_part", "reasoning", "predicted_answer"):
            assert row[name] == text
        assert row["solution"] == f"<think>\n{text}\n</think>\n\n{text}"


def _saying(record: Record, text: str) -> Record:
    said = dict.fromkeys(
        ("problem", "reference_answer", "reasoning", "final_part", "predicted_answer"), text
    )
    outputs = [
        output._replace(
            payload=Example.model_validate_json(output.payload)
            .model_copy(update=said)
            .model_dump_json()
        )
        for output in record.outputs
    ]
    return record._replace(outputs=tuple(outputs))


@pytest.mark.filterwarnings("ignore")
def test_published_folder_loads_as_a_hugging_face_data_set(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(publishing, "SHARD_ROWS", 7)
    published = _publish(run)
    from datasets import load_dataset

    loaded = load_dataset(published.folder, cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"].column_names == SCHEMA.names
    assert loaded["train"].num_rows == published.examples
    assert loaded["train"]["question"][:] == _table(published)["question"].to_pylist()


def test_publish_where_all_was_rejected_gives_an_empty_table(tmp_path: Path) -> None:
    models = {"drafter": {"wrong_answer_rate": 1.0}}
    manifest = built(config_of(tmp_path, models=models))
    assert manifest.published is not None
    table = _table(manifest.published)
    assert (table.num_rows, table.schema.equals(SCHEMA)) == (0, True)
    assert manifest.published.model_dump(include={"examples", "correct", "topics"}) == {
        "examples": 0,
        "correct": 0,
        "topics": 0,
    }


def test_publish_recipe_that_ends_before_examples_publishes_nothing(tmp_path: Path) -> None:
    manifest = built(config_of(tmp_path, stages=STAGES[:4]))
    assert manifest.published is None
    assert not (tmp_path / "datasets").exists()


def test_manifest_of_a_run_is_what_was_returned_and_names_no_secret(tmp_path: Path) -> None:
    config = config_of(tmp_path, models=MODELS)
    manifest = built(config)
    folder = tmp_path / "runs" / manifest.run
    assert Manifest.model_validate_json((folder / "manifest.json").read_text()) == manifest
    assert yaml.safe_load((folder / "config.yaml").read_text()) == config.model_dump(mode="json")
    assert manifest.account.is_complete
    assert manifest.paid_by_this_execution == manifest.account.roles
    again = built(config)
    assert again.paid_by_this_execution == {}
    assert again.account == manifest.account
    assert again.published == manifest.published
