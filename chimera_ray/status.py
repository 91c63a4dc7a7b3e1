"""Where a run stands, by its folder and the ledger alone, whether or not it goes on."""

import json
from typing import NamedTuple

import yaml

from chimera_ray.account import Account, account_for
from chimera_ray.audit import Audit, audit_of, shared_models
from chimera_ray.build import benchmarks_of, models_of
from chimera_ray.config import Config, read_config
from chimera_ray.errors import ConfigError, LedgerError
from chimera_ray.frontier import walk
from chimera_ray.graph import Graph, read_graph
from chimera_ray.ledger.index import PartLostError
from chimera_ray.ledger.store import Store
from chimera_ray.publish import why_unpublished


class Status(NamedTuple):
    """One run, as the ledger has it now."""

    run: str
    account: Account
    models: dict[str, str]
    benchmarks: list[str]
    audit: Audit | None
    warnings: list[str]
    """models that judge their own work"""
    unpublished: str | None
    """why it gives no data set; None: it gives one"""
    is_finished: bool
    """whether a manifest says that the run came to its end"""


def read_status(store: Store, run: str) -> Status:
    """A run's folder name → its status, by the stages and prompts that it had.

    Raises:
        ConfigError: what the run says of itself cannot be read.
        LedgerError: its ledger cannot be read.
    """
    config, graph = _read_run(store, run)
    while True:
        try:
            standings = list(walk(graph, store))
            account, audit = account_for(standings, store), audit_of(config, standings)
            break
        except PartLostError:  # compacted away meanwhile, or corrupt and set aside now
            continue
        except OSError as exc:
            raise LedgerError(f"runs/{run}: its ledger cannot be read: {exc}") from None
        except ValueError as exc:
            kind = type(exc).__name__
            raise LedgerError(
                f"runs/{run}: its rows are not as this version reads them ({kind})"
            ) from None
    return Status(
        run,
        account,
        models_of(config, account),
        benchmarks_of(graph),
        audit,
        shared_models(config, graph),
        why_unpublished(graph),
        _is_finished(store, run),
    )


def _read_run(store: Store, run: str) -> tuple[Config, Graph]:
    """A run's folder → its configuration and its graph."""
    at = f"runs/{run}/config.yaml"
    try:
        composed = yaml.safe_load(store.read_text(at))
        if not isinstance(composed, dict):
            raise ConfigError("it is no mapping")
        config = read_config(composed)
        at = f"runs/{run}/graph.json"
        return config, read_graph(config, store.read_text(at))
    except (OSError, ValueError, RecursionError, yaml.YAMLError, ConfigError) as exc:
        raise ConfigError(f"{at}: cannot be read: {_why(exc)}") from None


def _why(exc: Exception) -> str:
    """An error of reading → what is wrong, without what was read."""
    if isinstance(exc, FileNotFoundError):
        return "there is no such file"
    if isinstance(exc, yaml.MarkedYAMLError):
        return f"{exc.problem}, line {exc.problem_mark.line + 1 if exc.problem_mark else 1}"
    return " ".join(str(exc).split())


def _is_finished(store: Store, run: str) -> bool:
    """Whether a run's manifest is there.

    Raises:
        ConfigError: it is, but says nothing.
    """
    at = f"runs/{run}/manifest.json"
    if not store.exists(at):
        return False
    try:
        if isinstance(json.loads(store.read_text(at)), dict):
            return True
    except (OSError, ValueError, RecursionError) as exc:
        raise ConfigError(f"{at}: cannot be read: {exc}; the same command makes it anew") from None
    raise ConfigError(f"{at}: is no manifest; the same command makes it anew")
