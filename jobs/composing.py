"""Command line → configuration, by Hydra; errors → one line and an exit code."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import stopping

if sys.version_info < (3, 11):  # noqa: UP036 - who starts an older one is told so
    stopping.end("bad input: this Python is older than 3.11", 2)
# Hydra then raises its errors instead of ending the process with its own report and code.
os.environ["HYDRA_FULL_ERROR"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
try:
    from command_line import COMPOSING, compose
    from omegaconf import OmegaConf
    from overrides import why

    from chimera_ray.config import Config, read_config
    from chimera_ray.credentials import require_none
    from chimera_ray.errors import BudgetError, ChimeraError, ConfigError, RunnerError
    from chimera_ray.unforeseen import in_one_line, report_unforeseen
except ModuleNotFoundError as exc:
    stopping.end(f"bad input: {exc.name} is not installed for {sys.executable}: see the README", 2)


def run(job: Callable[[Config], int]) -> None:
    """A job → its process's exit: 0 done, 1 failed, 2 bad input, 3 stopped at the budget."""
    sys.stdout.reconfigure(errors="backslashreplace")  # a text that the terminal cannot show
    report_unforeseen()
    stopping.raise_stopped()
    try:
        configs = []
        for composed in compose(sys.argv[1:]):
            require_none(OmegaConf.to_container(composed))
            plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
            configs.append(read_config(plain))
        code = max(map(job, configs), default=0)
    except (*COMPOSING, ConfigError) as exc:
        _end(f"bad input: {why(exc)}", 2)
    except BudgetError as exc:
        _end(f"stopped: {exc}; with a higher cap the same command goes on from here", 3)
    except RunnerError as exc:  # whose threads may never end
        _end(f"the run failed: {exc}", 1, at_once=True)
    except (ChimeraError, OSError) as exc:
        _end(f"the run failed: {exc}", 1)
    except stopping.Stopped as exc:
        stopping.end(str(exc), exc.code, at_once=True)
    stopping.leave_at_once()
    sys.exit(code)


def _end(message: str, code: int, *, at_once: bool = False) -> NoReturn:
    stopping.end(in_one_line(message), code, at_once=at_once)
