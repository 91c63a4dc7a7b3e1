"""Command line → configuration, by Hydra; errors → one line and an exit code."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import stopping

# Hydra then raises its errors instead of ending the process with its own report and code.
os.environ["HYDRA_FULL_ERROR"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from chimera_ray.config import Config, read_config
from chimera_ray.errors import BudgetError, ChimeraError, ConfigError, RunnerError

CONF = str(Path(__file__).resolve().parents[1] / "conf")


def run(job: Callable[[Config], int]) -> None:
    """A job → its process's exit: 0 done, 1 failed, 2 bad input, 3 stopped at the budget."""
    composed: list[Any] = []

    @hydra.main(version_base="1.3", config_path=CONF, config_name="config")
    def compose(config: DictConfig) -> None:
        composed.append(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))

    stopping.raise_stopped()
    try:
        compose()
        # Out of Hydra's hands, so that the only report of an error is this one.
        code = max((job(read_config(plain)) for plain in composed), default=0)
    except (HydraException, OmegaConfBaseException, ConfigError) as exc:
        _end(f"bad input: {exc}", 2)
    except BudgetError as exc:
        _end(f"stopped: {exc}; with a higher cap the same command goes on from here", 3)
    except RunnerError as exc:  # whose threads may never end
        stopping.end_now(f"the run failed: {exc}", 1)
    except ChimeraError as exc:
        _end(f"the run failed: {exc}", 1)
    except stopping.Stopped as exc:
        stopping.end_now(str(exc), exc.code)
    stopping.leave_at_once()
    sys.exit(code)


def _end(message: str, code: int) -> NoReturn:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)
