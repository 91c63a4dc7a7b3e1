"""Engines on a cluster of several nodes with pretended GPUs; writes what it saw to a file.

A script of its own, since the tests' process has a Ray of its own: see test_ray_engines.py.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import ray
from fake_engines import asked, countdown, need, start_engines, up
from ray.cluster_utils import Cluster
from ray.util import placement_group, placement_group_table, remove_placement_group
from runs import config_of

from chimera_ray.config import Config
from chimera_ray.ledger.store import Store
from chimera_ray.model_config import VllmModel
from chimera_ray.runners.live import Live
from chimera_ray.runners.ray_engines import end_engines

MEMORY = {"object_store_memory": 80_000_000}
QUICK_LOSS = {"health_check_period_ms": 500, "health_check_failure_threshold": 6}


def _model(name: str, num_gpus: int = 1, **settings: Any) -> VllmModel:
    said = {"backend": "vllm", "name": name, "tensor_parallel_size": num_gpus, **settings}
    return VllmModel.model_validate(said)


def _config(folder: Path) -> Config:
    config = config_of(folder)
    runtime = config.runtime.model_copy(update={"partial_every_tokens": 10})
    return config.model_copy(update={"runtime": runtime})


async def spans(keeper: Any, run_id: str) -> dict[str, Any]:
    """Two models one after the other, each over both nodes and all of their GPUs."""
    wide = {"pipeline_parallel_size": 2, "num_nodes": 2}
    first, second = _model("first", **wide), _model("second", **wide)
    await need(keeper, first)
    texts = [(await asked(first, run_id, [3]))[0].text]
    free = ray.available_resources().get("GPU", 0)
    await need(keeper, second)
    texts.append((await asked(second, run_id, [2]))[0].text)
    await need(keeper)
    table = placement_group_table().values()
    left = sum(group["state"] != "REMOVED" for group in table)
    return {"texts": texts, "free_gpus_while_up": free, "num_placements_left": left}


async def waits(keeper: Any, run_id: str, cluster: Cluster, live: Live) -> dict[str, Any]:
    """An engine of two GPUs where each node has one, until there comes one with two."""
    model = _model("large", num_gpus=2)
    await need(keeper, model)
    asking = asyncio.create_task(asked(model, run_id, [3]))
    while not [note for note in live.engines() if note["model"] == "large"]:
        await asyncio.sleep(0.1)
    done, _ = await asyncio.wait([asking], timeout=1.5)
    assert not done
    before = live.engines()[0]["state"]
    node = cluster.add_node(num_cpus=1, num_gpus=2, **MEMORY)  # in this thread: it takes signals
    (reply,) = await asking
    (where,) = (await up(keeper, model)).nodes.values()
    await need(keeper)
    return {
        "before": before,
        "text": reply.text,
        "is_on_the_new_node": where == node.node_id,
    }


async def fails(keeper: Any, run_id: str, folder: Path) -> dict[str, Any]:
    """An engine that the first two of the three nodes are too small for."""
    picky = _model("picky", engine_args={"fails_on": 2})
    await need(keeper, picky)
    (reply,) = await asked(picky, run_id, [3])
    await need(keeper)
    tried = list((folder / "tried-picky").iterdir())
    num_starts = sum(len(path.read_text()) for path in tried)
    return {"text": reply.text, "num_nodes_tried": len(tried), "num_starts": num_starts}


async def held(folder: Path) -> dict[str, Any]:
    """An engine that starts nowhere, and others hold every GPU but the one that it is tried on."""
    model = _model("hopeless", engine_args={"fails": "CUDA out of memory"})
    num_others = int(ray.cluster_resources()["GPU"]) - 1
    others = placement_group([{"GPU": 1}] * num_others)
    await others.ready()
    keeper, run_id = start_engines(_config(folder), elsewhere_s=1.0)
    await need(keeper, model)
    (failure,) = await asyncio.gather(asked(model, run_id, [3]), return_exceptions=True)
    end_engines(keeper)
    remove_placement_group(others)
    return {"failure": [type(failure).__name__, str(failure)]}


async def lost(keeper: Any, run_id: str, cluster: Cluster, folder: Path) -> dict[str, Any]:
    """The machine goes away under an engine that works on a call."""
    model = _model("spot", engine_args={"token_s": 0.02})
    await need(keeper, model)
    (where,) = (await up(keeper, model)).nodes.values()
    before = set((folder / "finished").iterdir())
    partials = set(folder.glob("partials/*"))
    asking = asyncio.create_task(asked(model, run_id, [150]))
    while not set(folder.glob("partials/*")) - partials:
        await asyncio.sleep(0.05)
    node = next(node for node in cluster.worker_nodes if node.node_id == where)
    await asyncio.to_thread(cluster.remove_node, node, allow_graceful=False)
    (reply,) = await asking
    calls = set((folder / "finished").iterdir()) - before
    return {
        "is_whole": reply.text == countdown(150),
        "resumed_tokens": reply.resumed_tokens,
        "num_deaths": reply.request_id.split()[1],
        "times_finished": [len(list(call.iterdir())) for call in calls],
    }


async def main(folder: Path, cluster: Cluster) -> dict[str, Any]:
    """All scenes, on one cluster that grows and shrinks."""
    keeper, run_id = start_engines(_config(folder))
    live = Live(Store(str(folder)), run_id)
    async with asyncio.timeout(150):
        found = {
            "spans": await spans(keeper, run_id),
            "waits": await waits(keeper, run_id, cluster, live),
            "fails": await fails(keeper, run_id, folder),
            "held": await held(folder),
            "lost": await lost(keeper, run_id, cluster, folder),
        }
    end_engines(keeper)
    return found


if __name__ == "__main__":
    output = Path(sys.argv[1])
    nodes = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "num_gpus": 0,
            "include_dashboard": False,
            "_system_config": QUICK_LOSS,
            **MEMORY,
        },
    )
    try:
        # While there is no other node: this process is not to sit on one that goes away.
        ray.init(address=nodes.address, log_to_driver=False)
        for _ in range(2):
            nodes.add_node(num_cpus=1, num_gpus=1, **MEMORY)
        seen = asyncio.run(main(output, nodes))
        (output / "found.json").write_text(json.dumps(seen))
    finally:
        ray.shutdown()
        nodes.shutdown()
