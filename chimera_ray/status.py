"""Where a run stands, by its folder and the ledger alone, whether or not it goes on."""

from typing import NamedTuple

import yaml

from chimera_ray.account import Account, account_for
from chimera_ray.audit import Audit, audit_of, shared_models
from chimera_ray.build import benchmarks_of, models_of
from chimera_ray.config import read_config
from chimera_ray.errors import ConfigError
from chimera_ray.frontier import walk
from chimera_ray.graph import read_graph
from chimera_ray.ledger.index import PartLostError
from chimera_ray.ledger.store import Store


class Status(NamedTuple):
    """One run, as the ledger has it now."""

    run: str
    account: Account
    models: dict[str, str]
    benchmarks: list[str]
    audit: Audit | None
    warnings: list[str]
    """models that judge their own work"""
    is_finished: bool
    """whether a manifest says that the run came to its end"""


def read_status(store: Store, run: str) -> Status:
    """A run's folder name → its status, by the stages and prompts that it had.

    Raises:
        ConfigError: what the run says of itself cannot be read.
    """
    folder = f"runs/{run}"
    try:
        config = read_config(yaml.safe_load(store.read_text(f"{folder}/config.yaml")))
        graph = read_graph(config, store.read_text(f"{folder}/graph.json"))
    except (OSError, ValueError, KeyError, yaml.YAMLError, ConfigError) as exc:
        raise ConfigError(f"{folder}: cannot be read: {exc}") from None
    while True:
        try:
            standings = list(walk(graph, store))
            account, audit = account_for(standings, store), audit_of(config, standings)
            break
        except PartLostError:  # compacted away meanwhile, or corrupt and set aside now
            continue
    is_finished = store.exists(f"runs/{run}/manifest.json")
    return Status(
        run,
        account,
        models_of(config),
        benchmarks_of(graph),
        audit,
        shared_models(config, graph),
        is_finished,
    )
