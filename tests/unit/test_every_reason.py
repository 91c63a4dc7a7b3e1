"""A run ends, and is read, with a row that ended for each reason that each stage knows."""

import json
import re
import shutil
from io import StringIO
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from runs import Run, built, config_of, records_of

from chimera_ray.config import Config
from chimera_ray.errors import RowError
from chimera_ray.ledger.parts import is_part, part_name, write_part
from chimera_ray.report import preview, status, summary
from chimera_ray.schemas import Outcome, Record
from chimera_ray.stage import AskingParams, Fold
from chimera_ray.stages import STAGES
from chimera_ray.status import read_status

PLAIN = 'finish reason: length, {"and no JSON": '
DETAILS = {"verifiers_declined": json.dumps({"verifier_a": {"is_clear": "No."}, "verifier_b": {}})}


def _documented(stage: str) -> list[str]:
    """A stage's name → the reasons that its docstring gives for a reject."""
    section = re.search(r"\n    Rejects:\n((?:        .*\n|\n)*)", STAGES[stage].run.__doc__ or "")
    return re.findall(r"^        (\w+):", section[1], re.MULTILINE) if section else []


def _kinds(of: type[RowError]) -> list[type[RowError]]:
    return [of, *(kind for each in of.__subclasses__() for kind in _kinds(each))]


def _asks(stage: str) -> bool:
    return issubclass(STAGES[stage].params, AskingParams)


REJECTED = [
    (stage, reason)
    for stage in STAGES
    for reason in [*_documented(stage), *(["truncated"] if _asks(stage) else [])]
]
FAILED = [
    (stage, reason)
    for stage in STAGES
    if not isinstance(STAGES[stage], Fold)
    for reason in sorted({kind.reason for kind in _kinds(RowError)[1:]})
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run that came to its end."""
    folder = tmp_path_factory.mktemp("whole")
    config = config_of(folder, stages=tuple(STAGES), subjects={"Physics": 2, "Chemistry": 2})
    built(config)
    return config


@pytest.fixture
def run(whole: Config, tmp_path: Path) -> Run:
    """The same, in a folder of its own."""
    shutil.copytree(whole.output_dir, tmp_path, dirs_exist_ok=True)
    return Run(whole.model_copy(update={"output_dir": str(tmp_path)}))


def _end_one_row(run: Run, stage: str, outcome: Outcome, reason: str) -> None:
    """Has the stage's first row have ended so, and everything else as it did."""
    standing = run.stage(stage)
    first, *others = records_of(standing)
    detail = DETAILS.get(reason, PLAIN)
    ended = Record(*first)._replace(outcome=outcome, reason=reason, detail=detail, outputs=())
    for name in filter(is_part, run.store.names(standing.folder)):
        run.store.delete(f"{standing.folder}/{name}")
    write_part(run.store, standing.folder, part_name("tests", 0), [ended, *others])


def test_reasons_are_documented_by_the_stages() -> None:
    assert ("validate_problem", "verifiers_declined") in REJECTED
    assert ("sample_trajectory", "no_final_part") in REJECTED
    assert ("validate_problem", "truncated") in REJECTED


@pytest.mark.parametrize(("stage", "reason"), REJECTED, ids=map("-".join, REJECTED))
def test_run_with_a_row_that_was_rejected_ends_and_counts_it(
    run: Run, stage: str, reason: str
) -> None:
    _end_one_row(run, stage, "rejected", reason)
    manifest = built(run.config)
    (account,) = [found for found in manifest.account.stages if found.stage == stage]
    assert account.rejected_reasons[reason] >= 1
    assert account.inputs == account.accepted + account.rejected + account.failed + account.todo
    found = read_status(run.store, run.graph.run_name)
    assert found.account == manifest.account
    assert found.audit == manifest.audit is not None
    shown = StringIO()
    page = Console(file=shown, width=200)
    page.print(summary(manifest), status(found), preview(Run(run.config).standings, 3))
    assert reason in shown.getvalue()


@pytest.mark.parametrize(("stage", "reason"), FAILED, ids=map("-".join, FAILED))
def test_run_with_a_row_that_failed_is_read(run: Run, stage: str, reason: str) -> None:
    _end_one_row(run, stage, "failed", reason)
    found = read_status(run.store, run.graph.run_name)
    (account,) = [each for each in found.account.stages if each.stage == stage]
    assert account.failed_reasons == {reason: 1}


@pytest.mark.parametrize("stage", dict.fromkeys(stage for stage, _ in FAILED))
def test_run_with_a_row_that_failed_does_it_again(run: Run, stage: str) -> None:
    _end_one_row(run, stage, "failed", "unparsable")
    account = built(run.config).account
    assert account.is_complete
    (found,) = [each for each in account.stages if each.stage == stage]
    assert found.accepted + found.rejected == found.inputs


def test_run_of_an_earlier_release_with_parameters_of_its_own_is_read(run: Run) -> None:
    path = f"runs/{run.graph.run_name}/config.yaml"
    said = yaml.safe_load(run.store.read_text(path))
    said["recipe"]["params"]["dedupe_problems"] = {"ngram_words": 5, "min_jaccard": 0.7}
    run.store.write_text(path, yaml.safe_dump(said))
    assert read_status(run.store, run.graph.run_name).account == run.account
