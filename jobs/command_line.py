"""A command line → what Hydra composes of it."""

import io
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path

import hydra
import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from chimera_ray.credentials import require_none_in
from chimera_ray.errors import ConfigError

CONF = str(Path(__file__).resolve().parents[1] / "conf")
COMPOSING = (HydraException, OmegaConfBaseException, yaml.YAMLError)
"""errors that say in words of their own what is wrong with a command line or a file"""
_HINTS: dict[type[Exception], str] = {
    UnicodeDecodeError: ": each configuration file must be UTF-8",
    RecursionError: ": a configuration file is nested too deeply, or its defaults name itself",
}


def compose(arguments: Sequence[str]) -> list[DictConfig]:
    """A command line → its configurations: one, unless it sweeps; none, if it asks Hydra alone.

    Raises:
        ConfigError: a flag or a file that Hydra fails at, or an override that holds a secret.
        HydraException, OmegaConfBaseException, yaml.YAMLError: what else is wrong.
    """
    require_none_in(arguments)
    composed: list[DictConfig] = []
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            # Out of Hydra's hands, so that the only report of an error is ours.
            hydra.main(version_base="1.3", config_path=CONF, config_name="config")(
                composed.append
            )()
    except SystemExit as exc:
        if exc.code:
            said = told.getvalue().strip().rpartition(" error: ")[2]
            raise ConfigError(f"{said}; see --help") from None
        raise
    except COMPOSING:
        raise
    # Hydra passes on whatever its parsers, PyYAML and the file system raise, UnicodeDecodeError and
    # RecursionError among them. Nothing of ours runs in there, so it is the input that is wrong.
    except Exception as exc:
        said = f"{exc}{_HINTS.get(type(exc), '')}"
        raise ConfigError(f"the configuration cannot be composed: {said}") from exc
    return composed
