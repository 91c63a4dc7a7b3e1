"""A command line's overrides → what Hydra composes of them, or one line that says what to mend."""

import io
import re
import shlex
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path

import hydra
from hydra.errors import OverrideParseException
from omegaconf import DictConfig

from chimera_ray.credentials import require_none_in
from chimera_ray.errors import ConfigError

CONF = str(Path(__file__).resolve().parents[1] / "conf")


def compose(arguments: Sequence[str]) -> list[DictConfig]:
    """A command line → its configurations: one, unless it sweeps; none, if it asks Hydra alone."""
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
    return composed


def why(exc: Exception) -> str:
    """An error of composing → what it says, and how to write what could not be read."""
    said = re.split("Config search path:|See https://hydra.cc|full_key:", str(exc))[0]
    said = said.replace("To append to your", "If it is not misspelt: to append to your")
    if not isinstance(exc, OverrideParseException) and "Ambiguous value" not in said:
        return said
    override = getattr(exc, "override", None) or said.partition("'")[2].partition("'")[0]
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: an override is written key=value, without spaces around the ="
    mended = shlex.quote(f"{key}={quoted(value)}") + f"; a list is '{key}=[a, b]'"
    if value[:1] in "[{":
        mended = """each text inside, as in 'key=[{name: "a (b)"}, "c=d"]'; or close the bracket"""
    return f"{override}: quote special characters, for Hydra and for the shell: {mended}"


def quoted(value: str) -> str:
    """A text → the same as Hydra's grammar quotes it; quotes that it begins or ends with go."""
    inner = value.strip("\"'") if value[:1] in "\"'" else value
    escaped = inner.replace('"', '\\"')
    return f'"{escaped}\\"' if escaped.endswith("\\") else f'"{escaped}"'
