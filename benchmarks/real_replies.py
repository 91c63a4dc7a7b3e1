"""What a real small model replies in each role → fixtures that the parsers are held to.

    python benchmarks/real_replies.py tests/data/replies/real_smollm2.jsonl     half an hour

Runs small recipes on SmolLM2-135M-Instruct (see real_model.py), or on what another server has
(`--url`), side by side: with and without a schema, drawn coolly and warmly, and with the offline
teacher in the roles before the one that is looked at, since little of what the model drafts itself
gets further. Each line of the file is one reply with what the code makes of it. Whether that is
right is for somebody to see: `why` is empty until then, and `tests/unit/text/test_real_replies.py`
fails. What was looked at before stays as it was judged.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from real_model import serving
from remote_setup import CONSOLE, TEACHERS, config_of, new_table
from reply_decisions import decide

from chimera_ray.build import new_run_id
from chimera_ray.config import ROLES, Config
from chimera_ray.drive import drive
from chimera_ray.frontier import walk
from chimera_ray.graph import build_graph
from chimera_ray.ledger.index import NONE
from chimera_ray.ledger.store import Store
from chimera_ray.llm import Reply
from chimera_ray.runners.local import LocalCarrier
from chimera_ray.schemas import Call

Line = dict[str, Any]
ALWAYS = (
    "recipe=demo_real",
    "runtime=preview",
    "recipe.params.expand_topics.max_rounds=1",
    "recipe.params.nominate_topics.min_similarity=30",  # so that nearly every topic is compared
    "recipe.params.label_trajectory.use_rules=false",
)
MAX_TOKENS = 256
WARM = 1.0
IN_FLIGHT = 16
"""calls of one recipe; what a server has no slot for waits there"""
UP_TO_TOPICS, UP_TO_DRAFTS, UP_TO_VERDICTS = ROLES[:1], ROLES[:2], ROLES[:4]


class Variant(NamedTuple):
    """One small recipe."""

    subjects: tuple[str, ...]
    num_topics: int
    """of each subject"""
    num_drafts: int
    """of each topic"""
    taught: tuple[str, ...] = ()
    """roles that the offline teacher plays"""
    temperature: float = 0.2
    structured: str = "json_schema"


VARIANTS = {
    "by_schema": Variant(("Mathematics", "Physics", "History"), 4, 2),
    "by_schema_warm": Variant(("Chemistry", "Biology", "Linguistics"), 4, 2, temperature=WARM),
    "free": Variant(("Mathematics", "Physics", "Literature"), 4, 1, structured="none"),
    "free_warm": Variant(
        ("History", "Biology", "Chemistry"), 4, 1, temperature=WARM, structured="none"
    ),
    "free_drafts": Variant(("Mathematics",), 2, 4, UP_TO_TOPICS, structured="none"),
    "drafts": Variant(("Physics",), 2, 4, UP_TO_TOPICS, temperature=WARM),
    "free_verdicts": Variant(("Mathematics",), 2, 3, UP_TO_DRAFTS, structured="none"),
    "verdicts": Variant(("Chemistry", "History"), 2, 3, UP_TO_DRAFTS, temperature=WARM),
    "labels": Variant(("Mathematics", "Physics"), 2, 4, UP_TO_VERDICTS),
    "free_labels": Variant(("Chemistry", "History"), 2, 4, UP_TO_VERDICTS, structured="none"),
}


def words_of(variant: Variant, folder: Path, url: str) -> list[str]:
    """A variant, an output folder and a server → the overrides of its run."""
    subjects = (f"{{name: {s}, target_topics: {variant.num_topics}}}" for s in variant.subjects)
    words = [*ALWAYS, f"output_dir={folder}", f"recipe.subjects=[{', '.join(subjects)}]"]
    words.append(f"recipe.params.plan_drafts.drafts_per_topic={variant.num_drafts}")
    for role in ROLES:
        if role in variant.taught:
            words.append(f"model@models.{role}={TEACHERS[role].replace('-', '_')}")
            continue
        fields = {
            "base_url": url,
            "structured_output": variant.structured,
            "sampling.temperature": variant.temperature,
            "sampling.max_tokens": MAX_TOKENS,
            "limits.max_in_flight": IN_FLIGHT,
        }
        words += [f"models.{role}.{key}={value}" for key, value in fields.items()]
    return words


def run(config: Config) -> None:
    """Carries a recipe in this process; nothing is published."""
    run_id = new_run_id()
    carrier = LocalCarrier(config, run_id)
    drive(build_graph(config), Store(config.output_dir), carrier, run_id, lambda standings: None)
    carrier.close()


def lines_of(config: Config, taught: tuple[str, ...]) -> Iterator[Line]:
    """A run's ledger → a line for each real reply to a stage's first question."""
    for standing in walk(build_graph(config), Store(config.output_dir)):
        known = standing.found.outcome != NONE
        records = standing.index.records(standing.found.position[known])
        for place, payload in standing.inputs.rows(np.flatnonzero(known)):
            first: dict[str, Call] = {}
            for call in records[int(standing.found.position[place])].calls:
                first.setdefault(call.role, call)
            for role in sorted(set(first) - set(taught)):
                if first[role].status != "error":
                    yield _line(standing.node.name, json.loads(payload), first[role])


def _line(stage: str, row: dict[str, Any], call: Call) -> Line:
    assert not call.reasoning
    reply = {"finish_reason": call.finish_reason, "text": call.text}
    made = decide(stage, call.role, row, Reply(**reply))
    asked = {"stage": stage, "role": call.role, "row": row}
    return {**asked, **reply, "status": made.status, "value": made.value, "why": ""}


def key_of(line: Line) -> str:
    """A line → what it is the judgement of."""
    said = {name: line[name] for name in ("stage", "row", "finish_reason", "text")}
    return json.dumps(said, sort_keys=True)


def collect(url: str) -> Iterator[Line]:
    """A server → a line for each reply in any of the recipes."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(VARIANTS)) as pool:
        configs = {
            name: config_of(words_of(variant, Path(folder) / name, url))
            for name, variant in VARIANTS.items()
        }
        for ended in as_completed([pool.submit(run, config) for config in configs.values()]):
            ended.result()
        for name, config in configs.items():
            yield from lines_of(config, VARIANTS[name].taught)


def show(lines: list[Line]) -> None:
    """Prints how many replies of each kind there are."""
    table = new_table(f"{len(lines)} replies", "stage, role, status", "replies", "to be looked at")
    kinds = [(line["stage"], line["role"], line["status"]) for line in lines]
    unseen = Counter(kind for kind, line in zip(kinds, lines, strict=True) if not line["why"])
    for kind, count in Counter(kinds).items():
        table.add_row(", ".join(kind), str(count), str(unseen[kind]))
    CONSOLE.print(table)


def main(path: Path, url: str | None) -> None:
    """Collects, keeps what was judged before, and writes the file anew."""
    old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = {key_of(line): line for line in map(json.loads, old)}
    with serving() if url is None else nullcontext(url) as base_url:
        for line in collect(base_url):
            found.setdefault(key_of(line), line)
    lines = sorted(found.values(), key=lambda line: (line["stage"], line["role"], line["status"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    said = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    path.write_text(said, encoding="utf-8")
    show(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path)
    parser.add_argument("--url", help="of a server that is up, e.g. http://127.0.0.1:8000/v1")
    args = parser.parse_args()
    main(args.path, args.url)
