"""What a whole run refuses, and what it says when it came to nothing."""

from pathlib import Path

import pytest
from runs import Run, built, config_of

from chimera_ray.build import check_start, failure_in, failure_of
from chimera_ray.config import Config
from chimera_ray.errors import ConfigError
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store


def _on_a_cluster(config: Config, output_dir: str) -> Config:
    runtime = config.runtime.model_copy(update={"kind": "cluster"})
    return config.model_copy(update={"runtime": runtime, "output_dir": output_dir})


def test_build_in_which_every_row_failed_says_where(tmp_path: Path) -> None:
    failure = failure_of(built(config_of(tmp_path, transient_error_rate=1.0)))
    assert failure is not None
    assert "2 of 2" in failure
    assert "expand_topics" in failure


@pytest.mark.parametrize(
    "models",
    [{}, {"solver": {"truncation_rate": 1.0}}],
    ids=["all_is_well", "all_rejected_for_good"],
)
def test_build_without_failed_rows_is_no_failure(
    tmp_path: Path, models: dict[str, dict[str, float]]
) -> None:
    assert failure_of(built(config_of(tmp_path, models=models))) is None


def test_preview_of_which_a_stage_failed_every_row_says_where(tmp_path: Path) -> None:
    failing = Run(config_of(tmp_path / "failing", models={"drafter": {"malformed_rate": 1.0}}))
    assert str(failure_in(failing.standings)).endswith("rows failed at draft_problem, none went on")
    rejecting = config_of(tmp_path / "rejecting", models={"solver": {"truncation_rate": 1.0}})
    assert failure_in(Run(rejecting).standings) is None


def test_build_of_a_run_that_another_holds_is_refused_and_touches_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    run = build_graph(config).run_name
    with Store(config.output_dir).lock(f"runs/{run}/.lock") as is_ours:
        assert is_ours
        with pytest.raises(ConfigError, match="is being run already"):
            built(config)
        assert not (tmp_path / "ledger").exists()
    assert built(config).published is not None


@pytest.mark.parametrize(
    ("output_dir", "is_refused"),
    [("outputs", True), ("./outputs", True), ("/data/outputs", False), ("s3://bucket/run", False)],
    ids=["relative", "dotted", "absolute", "uri"],
)
def test_check_start_on_a_cluster_wants_a_place_that_every_node_sees(
    tmp_path: Path, output_dir: str, is_refused: bool
) -> None:
    config = _on_a_cluster(config_of(tmp_path), output_dir)
    if is_refused:
        with pytest.raises(ConfigError, match="output_dir"):
            check_start(config, build_graph(config))
    else:
        check_start(config, build_graph(config))
