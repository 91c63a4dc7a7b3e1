"""One run, whole: judge, carry, account, publish. What `jobs/build_dataset.py` calls."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import yaml
from pydantic import BaseModel

from chimera_ray.account import Account, RoleAccount, account_for, paid_by
from chimera_ray.audit import Audit, audit_of, shared_models
from chimera_ray.backends import check_model
from chimera_ray.card import Published
from chimera_ray.config import Config
from chimera_ray.contamination import Contamination, contamination_of
from chimera_ray.drive import Watch, drive
from chimera_ray.errors import ConfigError
from chimera_ray.frontier import Standing, walk
from chimera_ray.graph import Graph
from chimera_ray.ledger.compact import compact
from chimera_ray.ledger.index import ACCEPTED, FAILED, REJECTED, PartLostError
from chimera_ray.ledger.journal import recover
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.unfinished import sweep_unfinished
from chimera_ray.publish import publish, why_unpublished
from chimera_ray.runners import Carrier
from chimera_ray.runners.ray_address import address_of

T = TypeVar("T")
PACKAGES = ("chimera-ray", "ray", "pyarrow", "pydantic", "hydra-core", "reasoning-gym")


class Manifest(BaseModel):
    """What the run's folder says once the run is done; written last."""

    recipe: str
    run: str
    fingerprint: str
    execution: str
    started_at: str
    finished_at: str
    elapsed_s: float
    models: dict[str, str]
    account: Account
    paid_by_this_execution: dict[str, RoleAccount]
    benchmarks: list[str]
    warnings: list[str]
    """what speaks against trusting the labels: models that judge their own work"""
    contamination: Contamination | None
    audit: Audit | None
    published: Published | None
    unpublished: str | None = None
    """why there is no data set; None: there is one"""
    commit: str | None
    """of the checkout"""
    versions: dict[str, str]


def failure_of(manifest: Manifest) -> str | None:
    """A manifest → why a run that was to give examples gave none; None if it gave some."""
    if manifest.published is None or manifest.published.examples:
        return None
    failed = next((stage for stage in manifest.account.stages if stage.failed), None)
    if failed is None:
        return None
    return f"no example: {failed.failed} of {failed.inputs} rows failed at {failed.stage}"


def failure_in(standings: Sequence[Standing]) -> str | None:
    """Standings of a preview → why its rows came no further; None if no stage failed them all."""
    for standing in standings:
        num_failed = standing.count(FAILED)
        if num_failed and not standing.count(ACCEPTED):
            num_ended = num_failed + standing.count(REJECTED)
            return f"{num_failed} of {num_ended} rows failed at {standing.node.name}, none went on"
    return None


def new_run_id() -> str:
    """A name for this execution, unlike any other."""
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{token_hex(4)}"


def build(
    config: Config, graph: Graph, store: Store, carrier: Carrier, run_id: str, watch: Watch
) -> Manifest:
    """A configuration and its graph → a ledger worked off, a published data set, a manifest.

    Raises:
        ConfigError: the same run goes on in another process.
        ChimeraError: the run cannot go on; everything that was done is in the ledger.
    """
    with store.lock(f"runs/{graph.run_name}/.lock") as is_ours:
        if not is_ours:
            raise ConfigError(f"{graph.run_name} is being run already in {config.output_dir}")
        for kind in ("runs", "datasets"):
            sweep_unfinished(store, f"{kind}/{graph.run_name}")
        return _build(config, graph, store, carrier, run_id, watch)


def _build(
    config: Config, graph: Graph, store: Store, carrier: Carrier, run_id: str, watch: Watch
) -> Manifest:
    began = time.time()
    folder = _open_run(config, graph, store)
    store.delete(f"{folder}/manifest.json")  # what it says is not true while the run goes on
    while True:
        drive(graph, store, carrier, run_id, watch)
        try:
            standings = list(walk(graph, store, run_id))
            account = account_for(standings, store)
            paid = paid_by(run_id, [standing.folder for standing in standings], store)
            contamination = contamination_of(standings)
            published = publish(config, graph, store, standings, account, contamination)
            audit = audit_of(config, standings)
            break
        except PartLostError:  # a part proved corrupt: its rows are done again
            continue
    for standing in standings:
        recover(store, standing.folder)
        compact(store, standing.folder)
    finished = time.time()
    manifest = Manifest(
        recipe=graph.recipe,
        run=graph.run_name,
        fingerprint=graph.fingerprint,
        execution=run_id,
        started_at=_iso(began),
        finished_at=_iso(finished),
        elapsed_s=round(finished - began, 3),
        models=models_of(config, account),
        account=account,
        paid_by_this_execution=paid,
        benchmarks=benchmarks_of(graph),
        warnings=shared_models(config, graph),
        contamination=contamination,
        audit=audit,
        published=published,
        unpublished=why_unpublished(graph),
        commit=_commit(),
        versions=_versions(),
    )
    store.write_text(f"{folder}/manifest.json", manifest.model_dump_json(indent=2))
    return manifest


def preview(
    config: Config,
    graph: Graph,
    store: Store,
    carrier: Carrier,
    run_id: str,
    watch: Watch,
    show: Callable[[list[Standing]], T],
) -> T:
    """A configuration → what is shown of a few rows at each stage, worked off in the ledger."""
    with store.lock(f"runs/{graph.run_name}/.lock") as is_ours:
        if is_ours and not store.exists(f"runs/{graph.run_name}/config.yaml"):
            _open_run(config, graph, store)
    max_rows = config.runtime.preview_rows
    drive(graph, store, carrier, run_id, watch, max_rows)
    while True:
        try:
            return show(list(walk(graph, store, run_id, max_rows)))
        except PartLostError:  # another run has made a part of it meanwhile
            continue


def models_of(config: Config, account: Account) -> dict[str, str]:
    """The model of each role: those that answered, by the ledger; else the configured one."""
    configured = {role: config.models.of(role).name for role in type(config.models).model_fields}
    return configured | {role: ", ".join(names) for role, names in account.models.items()}


def _open_run(config: Config, graph: Graph, store: Store) -> str:
    """Writes down what the run is, before it does anything; its folder."""
    folder = f"runs/{graph.run_name}"
    resolved = config.model_dump(mode="json")
    store.write_text(f"{folder}/config.yaml", yaml.safe_dump(resolved, sort_keys=False))
    store.write_text(f"{folder}/graph.json", graph.to_json())
    return folder


def check_start(config: Config, graph: Graph) -> None:
    """Nothing, if the run can start: every role can be played, and every node sees its output.

    Raises:
        ConfigError: what is in the way, before anything is started.
    """
    is_anywhere = "://" in config.output_dir or config.output_dir.startswith("/")
    if config.runtime.kind == "cluster" and not is_anywhere:
        raise ConfigError(
            f"output_dir: {config.output_dir} is relative, and on a cluster each node would have "
            "its own: give an absolute path on shared storage, or a URI"
        )
    is_here = config.runtime.kind != "cluster"
    if not is_here:
        address_of(config.runtime)
    for role in sorted({role for node in graph.nodes for role in node.roles}):
        check_model(config.models.of(role), is_here)


def benchmarks_of(graph: Graph) -> list[str]:
    """A graph → the names of the benchmarks that its problems are held against."""
    named = [getattr(node.params, "benchmarks", ()) for node in graph.nodes]
    return [benchmark.name for found in named for benchmark in found]


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _commit() -> str | None:
    """The checkout's commit, with a mark if files differ from it; None outside a checkout."""

    def git(*words: str) -> str:
        command: Sequence[str] = ("git", "-C", str(Path(__file__).parent), *words)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed words

    try:
        return git("rev-parse", "HEAD") + ("-modified" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
