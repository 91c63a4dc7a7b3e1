"""What `bench_vllm.py` compares: three ways to give the same prompts to the same engine.

Each runs in a process of its own, reads `case.json` and `rows.jsonl` in a folder that
`bench_vllm.py` filled, and writes what it saw as JSON. Knows nothing of tables and ratios.
"""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from chimera_ray.config import Config

MAX_TOKENS = 3_500
RUN = "bench-run"
LOGICAL_CPUS = 8
"""of ray.data.llm, whose stage actors would wait for one another for ever on two"""


class Asked(NamedTuple):
    """One row: what is asked, and how many tokens its greedy reply has."""

    text: str
    num_tokens: int


class Seen(NamedTuple):
    """What became of all rows."""

    up_at: float
    """when the engine was first given something to do"""
    ended_at: float
    num_tokens: list[int]
    """by row"""
    durable_at: list[float]
    """by row"""


def rows_of(folder: Path) -> list[Asked]:
    """A folder → the rows to come."""
    with open(folder / "rows.jsonl", encoding="utf-8") as source:
        return [Asked(*json.loads(line)) for line in source]


def configure(folder: Path) -> "Config":
    """A folder → the recipe whose one measured stage asks the engine."""
    from chimera_ray.config import read_config

    case = json.loads((folder / "case.json").read_text())
    teacher = {"backend": "simulated", "name": "bench"}
    roles = ("expander", "drafter", "verifier_a", "verifier_b", "grader")
    solver = {
        "backend": "vllm",
        "name": "countdown",
        "path": str(folder / "model"),
        "device": "cpu",
        "dtype": "float32",
        "max_model_len": 4_096,
        "max_num_seqs": case["slots"],
        "kv_cache_gib": 0.25,
        "sampling": {"temperature": 0.0, "max_tokens": MAX_TOKENS},
        "repetition": None,
    }
    prelude = ("expand_topics", "plan_drafts", "draft_problem", "plan_rollouts")
    return read_config(
        {
            "recipe": {
                "name": "bench",
                "subjects": [{"name": "Mathematics", "target_topics": 1}],
                "stages": [*prelude, "sample_trajectory"],
            },
            "models": {**dict.fromkeys(roles, teacher), "solver": solver},
            "runtime": {"kind": "local"},
            "output_dir": str(folder / "output"),
        }
    )


def engine_of(folder: Path) -> dict[str, Any]:
    """A folder → the engine arguments that all subjects share: those of our backend."""
    from chimera_ray.backends.vllm_start import engine_args
    from chimera_ray.model_config import VllmModel

    solver = configure(folder).models.solver
    assert isinstance(solver, VllmModel)
    return engine_args(solver)


def messages_of(text: str) -> list[dict[str, str]]:
    """A row's problem → the conversation that the stage makes of it."""
    from chimera_ray.prompts import render

    return [{"role": "user", "content": render("sample_trajectory", problem=text)}]


def generate(folder: Path) -> Seen:
    """`vllm.LLM.generate`, given all rows at once; nothing comes out before the last."""
    from vllm import LLM, SamplingParams

    llm = LLM(**engine_of(folder))
    tokenizer = llm.get_tokenizer()
    prompts = [
        {
            "prompt_token_ids": tokenizer.apply_chat_template(
                messages_of(row.text), add_generation_prompt=True, return_dict=False
            )
        }
        for row in rows_of(folder)
    ]
    params = SamplingParams(temperature=0.0, max_tokens=MAX_TOKENS)
    up_at = time.time()
    found = llm.generate(prompts, params, use_tqdm=False)
    ended_at = time.time()
    num_tokens = [len(reply.outputs[0].token_ids) for reply in found]
    return Seen(up_at, ended_at, num_tokens, [ended_at] * len(found))


def runner(folder: Path) -> Seen:
    """Our Ray runner, from the rollouts on; a row is durable once its part of the ledger is."""
    from chimera_ray.frontier import Ids, Inputs, stand
    from chimera_ray.graph import build_graph
    from chimera_ray.ledger.store import Store
    from chimera_ray.runners import open_carrier
    from chimera_ray.runners.perform import outputs_of
    from chimera_ray.schemas import Rollout

    config = configure(folder)
    node = build_graph(config).nodes[-1]
    place = {"subject": "Mathematics", "area": "Algebra", "topic": "Groups"}
    given = outputs_of(
        [
            Rollout(**place, problem=row.text, reference_answer="7", rollout_index=0)
            for row in rows_of(folder)
        ]
    )
    inputs = Inputs(Ids(row.row_id for row in given), [row.payload for row in given])
    carrier = open_carrier(config, RUN)
    store = Store(config.output_dir)
    carrier.carry([stand(node, inputs, store, RUN)])
    ended_at = time.time()
    carrier.close()
    return _seen_in(store, node.folder, list(inputs.ids), ended_at)


def _seen_in(store: Any, folder: str, ids: list[str], ended_at: float) -> Seen:  # noqa: ANN401 - imported late
    import pyarrow.parquet as pq

    from chimera_ray.ledger.journal import recover
    from chimera_ray.ledger.parts import is_part

    recover(store, folder)  # of actors that were ended; when they wrote a row is known no more
    found: dict[str, tuple[int, float]] = {}
    up_at = ended_at
    for part in filter(is_part, store.names(folder)):
        path = store.path(folder, part)
        columns = ["input_id", "outcome", "finished_at", "calls"]
        for record in pq.read_table(path, columns=columns).to_pylist():
            if record["outcome"] != "accepted":
                raise SystemExit(f"a row was {record['outcome']}")
            (call,) = record["calls"]
            found[record["input_id"]] = (call["output_tokens"], os.stat(path).st_mtime)
            took_s = call["first_token_s"] + call["decode_s"]
            up_at = min(up_at, record["finished_at"] - took_s)
    if found.keys() != set(ids):
        raise SystemExit(f"{len(found)} of {len(ids)} rows are in the ledger")
    num_tokens, durable_at = zip(*(found[name] for name in ids), strict=True)
    return Seen(up_at, max(durable_at), list(num_tokens), list(durable_at))


def ray_data_llm(folder: Path, batch_size: int) -> Seen:
    """`ray.data.llm`; a row is durable, kindly, when it comes out of the dataset."""
    import ray
    from ray.data.llm import build_processor, vLLMEngineProcessorConfig

    rows = rows_of(folder)
    engine = engine_of(folder)
    model, slots = engine.pop("model"), engine["max_num_seqs"]
    ray.init(address="local", num_cpus=LOGICAL_CPUS, include_dashboard=False, log_to_driver=False)
    config = vLLMEngineProcessorConfig(
        model_source=model,
        engine_kwargs=engine,
        batch_size=batch_size,
        concurrency=1,
        max_concurrent_batches=max(8, -(-2 * slots // batch_size)),
        placement_group_config={"bundles": [{"CPU": 1}]},
        log_engine_metrics=False,  # else it wants ray[serve], and takes CPU
    )
    sampling = {"temperature": 0.0, "max_tokens": MAX_TOKENS, "detokenize": False}
    processor = build_processor(
        config,
        preprocess=lambda row: {"messages": row["messages"], "sampling_params": sampling},
        postprocess=lambda row: {
            "place": row["place"],
            "num_tokens": row["num_generated_tokens"],
            "text": row["generated_text"],
            "arrived_at": row["metrics"]["arrival_time"],
        },
    )
    asked = [{"place": at, "messages": messages_of(row.text)} for at, row in enumerate(rows)]
    dataset = processor(ray.data.from_items(asked, override_num_blocks=-(-len(rows) // batch_size)))
    found: dict[int, tuple[int, float, float]] = {}
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        now = time.time()
        columns = (batch[name].tolist() for name in ("place", "num_tokens", "arrived_at"))
        for at, num_tokens, arrived_at in zip(*columns, strict=True):
            found[at] = (num_tokens, now, arrived_at)
    ended_at = time.time()
    ray.shutdown()
    num_tokens, durable_at, arrived_at = zip(*(found[at] for at in range(len(rows))), strict=True)
    return Seen(min(arrived_at), ended_at, list(num_tokens), list(durable_at))
