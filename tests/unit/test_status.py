"""A run's status, also of one whose files or words are not what they were."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from runs import STAGES, Run, built, config_of, records_of

from chimera_ray.errors import ConfigError, LedgerError
from chimera_ray.ledger.counting import Counts
from chimera_ray.ledger.parts import is_part, part_name, to_records, write_part
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.writer_files import WriterFiles
from chimera_ray.status import read_status

CANARY = "sk-canary-0123456789"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output directory of a run that came to its end."""
    output_dir = tmp_path_factory.mktemp("whole")
    built(config_of(output_dir, subjects={"Physics": 1}, drafts=1))
    return output_dir


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The folder of such a run, to be damaged."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    (folder,) = (tmp_path / "runs").iterdir()
    return folder


def _read(folder: Path) -> Any:
    return read_status(Store(str(folder.parents[1])), folder.name)


def _graph(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A change of the graph → what makes it in a run's folder."""

    def apply(folder: Path) -> None:
        graph = json.loads((folder / "graph.json").read_text())
        change(graph)
        (folder / "graph.json").write_text(json.dumps(graph))

    return apply


def _config(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        change(config)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))

    return apply


def _text(name: str, text: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(text) and None


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "renamed_row_type": (
        _graph(lambda graph: graph["stages"][3].update(takes="Sketch")),
        "no such row type: Sketch",
    ),
    "row_type_that_is_a_module": (
        _graph(lambda graph: graph["stages"][3].update(takes="hashlib")),
        "no such row type: hashlib",
    ),
    "renamed_stage": (
        _graph(lambda graph: graph["stages"][3].update(stage="write_problem")),
        "no such stage: write_problem",
    ),
    "stage_without_fingerprint": (
        _graph(lambda graph: graph["stages"][3].pop("fingerprint")),
        "stages.3.fingerprint: missing",
    ),
    "fingerprint_that_is_a_path": (
        _graph(lambda graph: graph["stages"][3].update(fingerprint="../../../etc/passwd")),
        "stages.3.fingerprint",
    ),
    "no_stages": (_graph(lambda graph: graph.update(stages=[])), "stages"),
    "stages_of_another_kind": (_graph(lambda graph: graph.update(stages=5)), "stages"),
    "graph_cut_off": (_text("graph.json", b'{"fingerprint": "ab'), "graph.json"),
    "graph_empty": (_text("graph.json", b""), "graph.json"),
    "graph_a_list": (_text("graph.json", b"[]"), "graph.json"),
    "graph_nested_without_end": (_text("graph.json", b"[" * 100_000), "graph.json"),
    "graph_no_text": (_text("graph.json", b"\xff\xfe\x00"), "graph.json"),
    "graph_gone": (lambda folder: (folder / "graph.json").unlink(), "there is no such file"),
    "config_empty": (_text("config.yaml", b""), "config.yaml"),
    "config_a_list": (_text("config.yaml", b"- a"), "config.yaml"),
    "config_broken": (_text("config.yaml", f"a: [{CANARY}\nb: :".encode()), "line "),
    "config_that_runs_code": (
        _text("config.yaml", b"!!python/object/apply:os.system ['exit 1']"),
        "config.yaml",
    ),
    "config_no_text": (_text("config.yaml", b"\xff\xfe\x00"), "config.yaml"),
    "config_gone": (lambda folder: (folder / "config.yaml").unlink(), "there is no such file"),
    "config_without_a_model": (
        _config(lambda config: config["models"].pop("solver")),
        "models.solver: missing",
    ),
    "config_with_a_secret": (
        _config(lambda config: config["models"]["solver"].update(name=CANARY)),
        "models.solver.name",
    ),
    "config_parameter_of_another_kind": (
        _config(lambda config: config["recipe"]["params"].update(plan_drafts={"angles": 5})),
        "recipe.params.plan_drafts.angles",
    ),
    "manifest_cut_off": (_text("manifest.json", b'{"run":'), "manifest.json"),
    "manifest_a_list": (_text("manifest.json", b"[]"), "manifest.json"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_status_of_a_damaged_run_is_one_line_that_says_what(
    folder: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(folder)
    with pytest.raises((ConfigError, LedgerError)) as caught:
        _read(folder)
    assert said in str(caught.value)
    assert folder.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)


def test_status_of_rows_that_are_no_longer_read_is_one_line(tmp_path: Path) -> None:
    run = Run(config_of(tmp_path, subjects={"Physics": 1}, drafts=1))
    built(run.config)
    last = run.stage("draft_problem")
    records = [
        record._replace(outputs=tuple(each._replace(payload="{}") for each in record.outputs))
        for record in records_of(last)
    ]
    for part in filter(is_part, run.store.names(last.folder)):
        run.store.delete(f"{last.folder}/{part}")
    write_part(run.store, last.folder, part_name("tests", 0), records)
    with pytest.raises(LedgerError, match="its rows are not as this version reads them") as caught:
        read_status(run.store, run.graph.run_name)
    assert "\n" not in str(caught.value)


def test_status_of_a_stray_file_is_one_line(folder: Path) -> None:
    (folder.parent / "notes.txt").write_text("not a run")
    with pytest.raises(ConfigError, match=r"runs/notes\.txt/config\.yaml: cannot be read"):
        _read(folder.parent / "notes.txt")


def test_status_of_a_whole_run_is_its_account(folder: Path) -> None:
    found = _read(folder)
    assert found.is_finished
    assert found.unpublished is None
    assert found.account.is_complete
    (folder / "manifest.json").unlink()
    assert not _read(folder).is_finished


def test_status_of_a_recipe_without_examples_says_why_nothing_is_published(tmp_path: Path) -> None:
    config = config_of(tmp_path, stages=STAGES[:4], subjects={"Physics": 1})
    run = built(config).run
    found = read_status(Run(config).store, run)
    assert found.unpublished is not None
    assert "its last stage, draft_problem, gives Problem rows" in found.unpublished


def test_status_names_the_models_that_answered(tmp_path: Path) -> None:
    config = config_of(tmp_path, subjects={"Physics": 1}, drafts=1)
    run = built(config).run
    path = tmp_path / "runs" / run / "config.yaml"
    said = yaml.safe_load(path.read_text())
    said["models"]["solver"]["name"] = "renamed-since"
    path.write_text(yaml.safe_dump(said))
    found = read_status(Store(str(tmp_path)), run)
    assert found.models["solver"] == "simulated-solver"


def test_status_and_progress_count_what_is_only_in_journals(folder: Path) -> None:
    store, before = Store(str(folder.parents[1])), _read(folder)
    writers = []
    for stage in store.names("ledger"):
        (fingerprint,) = store.names(f"ledger/{stage}")
        where = f"ledger/{stage}/{fingerprint}"
        files = WriterFiles(store, where)
        for name in filter(is_part, store.names(where)):
            files.write(to_records(pq.read_table(store.path(where, name))))
            store.delete(f"{where}/{name}")
        writers.append((where, files))
    assert not list(folder.parents[1].glob("ledger/*/*/part-*"))
    after = _read(folder)
    assert after.account == before.account
    assert after.audit == before.audit
    manifest = json.loads((folder / "manifest.json").read_text())
    fresh = [Counts(store, where, manifest["execution"]).fresh() for where, _ in writers]
    stages = before.account.stages
    assert sum(one["outcomes"].get("accepted", 0) for one in fresh) == sum(
        stage.accepted for stage in stages
    )
    for _, files in writers:
        files.close()
    assert _read(folder).account == before.account
