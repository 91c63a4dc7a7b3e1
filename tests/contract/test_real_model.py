"""The server of `make demo-real`, where it cannot start."""

import sys
from pathlib import Path

import pytest
from real_model import serving

pytestmark = pytest.mark.process


def test_serving_without_an_environment_says_what_sets_it_up(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make demo-real"), serving(tmp_path / "bin/python"):
        pass


def test_serving_server_that_ends_at_once_is_not_waited_for() -> None:
    """This interpreter has no llama.cpp."""
    with (
        pytest.raises(SystemExit, match="did not come up; exit code 1"),
        serving(Path(sys.executable)),
    ):
        pass
