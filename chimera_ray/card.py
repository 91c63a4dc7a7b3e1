"""A published data set's card: what it holds, how it was made, who made it; every count its own.

Text from outside (subjects, models, benchmark items) is written as text, never as Markdown.
"""

from pathlib import Path
from typing import Any

import jinja2
import yaml
from pydantic import BaseModel

from chimera_ray.account import Account
from chimera_ray.audit import shared_models
from chimera_ray.config import Config
from chimera_ray.contamination import Contamination
from chimera_ray.graph import Graph
from chimera_ray.stage import Params
from chimera_ray.text.shown import json_block, markdown

_CARD = Path(__file__).parent / "card.md.jinja"
_LANGUAGE_CODES = {
    **{"English": "en", "German": "de", "French": "fr", "Spanish": "es", "Italian": "it"},
    **{"Portuguese": "pt", "Dutch": "nl", "Polish": "pl", "Russian": "ru", "Turkish": "tr"},
    **{"Arabic": "ar", "Hindi": "hi", "Chinese": "zh", "Japanese": "ja", "Korean": "ko"},
}


class Published(BaseModel):
    """What was published, and where."""

    folder: str
    examples: int
    correct: int
    topics: int
    by_subject: dict[str, int]
    shards: list[str]
    added: list[str] = []
    """columns of fields that an example has not: stages after `label_trajectory` added them"""
    left_out: list[str] = []
    """such fields without a column, since one of that name is there already"""


def card_of(
    config: Config,
    graph: Graph,
    account: Account,
    published: Published,
    contamination: Contamination | None,
) -> str:
    """The data set's card, every count in it taken from the account."""
    roles = list(dict.fromkeys(role for node in graph.nodes for role in node.roles))
    header = {
        "pretty_name": graph.run_name,
        **({"language": [code]} if (code := _LANGUAGE_CODES.get(config.recipe.language)) else {}),
        "task_categories": ["text-generation", "question-answering"],
        "tags": ["synthetic", "reasoning", "chain-of-thought", "chimera-ray"],
        "size_categories": [_size_category(published.examples)],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}
        ],
    }
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - the card is Markdown: `text` escapes for that
    )
    environment.filters["text"] = markdown
    return environment.from_string(_CARD.read_text(encoding="utf-8")).render(
        header=yaml.safe_dump(header, sort_keys=False).strip(),
        graph=graph,
        account=account,
        published=published,
        contamination=contamination,
        roles=roles,
        is_simulated=any(config.models.of(role).backend == "simulated" for role in roles),
        warnings=shared_models(config, graph),
        params=json_block({node.name: _said(node.params) for node in graph.nodes}),
    )


def _said(params: Params) -> dict[str, Any]:
    """A stage's parameters → what the card says of them: benchmarks by name, without paths."""
    said = params.model_dump(mode="json")
    if "benchmarks" in said:
        said["benchmarks"] = [benchmark["name"] for benchmark in said["benchmarks"]]
    return said


def _size_category(count: int) -> str:
    bounds = (
        (1_000, "n<1K"),
        (10_000, "1K<n<10K"),
        (100_000, "10K<n<100K"),
        (1_000_000, "100K<n<1M"),
    )
    return next((name for bound, name in bounds if count < bound), "1M<n<10M")
