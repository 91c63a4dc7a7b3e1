"""Command line → configuration, by Hydra; errors → one line and an exit code."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


def _end(message: str, code: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


if sys.version_info < (3, 11):  # noqa: UP036 - who starts an older one is told so
    _end(f"bad input: Python {'.'.join(map(str, sys.version_info[:2]))} is older than 3.11", 2)
# Hydra then raises its errors instead of ending the process with its own report and code.
os.environ["HYDRA_FULL_ERROR"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
try:
    import stopping
    import yaml
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from overrides import compose, why

    from chimera_ray.config import Config, read_config
    from chimera_ray.credentials import redacted, require_none
    from chimera_ray.errors import BudgetError, ChimeraError, ConfigError, RunnerError
    from chimera_ray.text.shown import line
    from chimera_ray.unforeseen import report_unforeseen
except ModuleNotFoundError as exc:
    _end(f"bad input: {exc.name} is not installed for {sys.executable}: see the README", 2)


def run(job: Callable[[Config], int]) -> None:
    """A job → its process's exit: 0 done, 1 failed, 2 bad input, 3 stopped at the budget."""
    sys.stdout.reconfigure(errors="backslashreplace")  # a text that the terminal cannot show
    report_unforeseen()

    def stop(message: str, code: int) -> NoReturn:
        _end(shown(message), code)

    def end_now(message: str, code: int) -> NoReturn:
        stopping.end_now(shown(message), code)

    def shown(message: str) -> str:
        return line(redacted(" ".join(message.split())))

    stopping.raise_stopped()
    try:
        configs = []
        for composed in compose(sys.argv[1:]):
            require_none(OmegaConf.to_container(composed))
            plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
            configs.append(read_config(plain))
        code = max(map(job, configs), default=0)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ConfigError) as exc:
        stop(f"bad input: {why(exc)}", 2)
    except BudgetError as exc:
        stop(f"stopped: {exc}; with a higher cap the same command goes on from here", 3)
    except RunnerError as exc:  # whose threads may never end
        end_now(f"the run failed: {exc}", 1)
    except (ChimeraError, OSError) as exc:
        stop(f"the run failed: {exc}", 1)
    except stopping.Stopped as exc:
        end_now(str(exc), exc.code)
    stopping.leave_at_once()
    sys.exit(code)
