"""What a person reads of a model's check: what is foreseen, what was measured, the plan's error."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from chimera_ray.model_check import ANSWER, PROBLEM, Answer, Part, Started
from chimera_ray.model_config import VllmModel
from chimera_ray.plan_error import LONG_SHARE, Comparison, Served
from chimera_ray.progress import EngineRates
from chimera_ray.terminal import Grid, plain, said, say

END_CHARS = 300
"""of the final part that are shown"""


class EngineLines:
    """Shows how engines stand: a line for each, now and then and when a state changes."""

    def __init__(self, console: Console, every_s: float) -> None:
        """Shows nothing yet."""
        self._console, self._every_s = console, every_s
        self._rates = EngineRates()
        self._states: list[str] = []
        self._at = 0.0

    def __call__(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Takes in the engines' notes."""
        now = time.time()
        lines = self._rates.lines(notes, now)
        states = [note["state"] for note in notes]
        if states == self._states and now - self._at < self._every_s:
            return
        self._states, self._at = states, now
        for line in lines:
            say(self._console, line)


def foreseen(served: Served) -> RenderableType:
    """A model → what one engine of it takes of each type of node, as the plan sees it."""
    model, roles = served.model, ", ".join(served.plan.roles)
    table = Grid("One engine, as foreseen", "node")
    table.add_numbers("GPUs", "weights, GiB a GPU", "cache, KiB a token", "cache tokens")
    for node in served.plan.nodes:
        if node.misfit:
            table.add(node.node, node.misfit)
            continue
        tokens = "not known" if node.cache_tokens is None else f"{node.cache_tokens:,}"
        table.add(
            node.node,
            f"{model.num_gpus} x {node.gpu}" if model.num_gpus else "-",
            f"{node.weights_gib:,.3g}",
            f"{node.kv_kib_per_token:,.3g}",
            tokens,
        )
    title = said(f"{model.name} ({roles})", "bold")
    if served.plan.nodes:
        return Group(title, table)
    lacking = "its shape" if served.plan.shape is None else "a node of its accelerator"
    return Group(title, said(f"What it takes is not known: {lacking} is missing."))


def part(found: Part, model: VllmModel) -> RenderableType:
    """A part of the check → its table."""
    if isinstance(found, Started):
        cache = f"{found.cache_tokens:,}" if found.cache_tokens else "vLLM does not say"
        return _pairs(
            "Loading", {"seconds": f"{found.load_s:,.1f}", "cache tokens, as vLLM says": cache}
        )
    if isinstance(found, Answer):
        return _pairs("One problem", _answer_lines(found))
    gpus = model.num_gpus
    return _pairs(
        f"{found.num_calls:,} calls at once, of at most {found.max_tokens} tokens",
        {
            "tokens": f"{found.tokens:,} in {found.seconds:,.1f} s",
            "calls at once, on average": f"{found.mean_at_once:,.1f}",
            "tokens/s of the engine": f"{found.tokens_per_s:,.1f}",
            "tokens/s of one GPU": f"{found.tokens_per_s / gpus:,.1f}" if gpus else "-",
            "tokens/s of one call": f"{found.call_tokens_per_s:,.1f}",
        },
    )


def error(comparisons: Sequence[Comparison]) -> RenderableType:
    """Comparisons → the plan's error, and what to put into the plan."""
    table = Grid("The plan's error", "")
    table.add_numbers("measured", "plan", "plan / measured")
    table.add_texts("error")
    for found in comparisons:
        table.add(
            found.what,
            "not known" if found.measured is None else _number(found.measured),
            _planned(found),
            "-" if found.ratio is None else f"{found.ratio:,.2f}",
            _error(found),
        )
    return Group(table, *(said(line) for line in _notes(comparisons)))


def _answer_lines(found: Answer) -> dict[str, str | Text]:
    usage = found.usage
    num_final = usage.output_tokens - usage.reasoning_tokens
    answer = plain("none found" if found.final_answer is None else found.final_answer, END_CHARS)
    cut = len(found.final_part) > END_CHARS
    return {
        "problem": PROBLEM,
        "finish reason": found.finish_reason,
        "tokens": f"{usage.reasoning_tokens:,} of reasoning, {num_final:,} of the final part",
        "first token": f"{found.first_token_s:,.2f} s",
        "tokens/s, alone": "-" if found.tokens_per_s is None else f"{found.tokens_per_s:,.1f}",
        "answer": answer.append("" if found.is_right else f" (it is {ANSWER})"),
        "right": "yes" if found.is_right else "no",
        "end of the final part": plain(f"{'…' * cut}{found.final_part[-END_CHARS:]}"),
    }


def _notes(comparisons: Sequence[Comparison]) -> list[str]:
    notes = [
        "The burst is short, and so are its sequences: long trajectories are slower, by how much "
        "a preview or the run itself tells.",
        "The plan's minutes of loading begin with a fresh node, whose disk holds no weights yet.",
    ]
    lacking = [found for found in comparisons if found.override and not found.is_foreseen]
    if lacking:
        notes.append(
            f"To plan with what was measured (the low end, {LONG_SHARE:g} of it, is a guess for "
            "long trajectories):"
        )
    return notes + [f"  '{found.override}'" for found in lacking]


def _planned(found: Comparison) -> str:
    if found.planned is None:
        return "not known"
    low, point, high = map(_number, found.planned)
    return point if low == high else f"{point} ({low}-{high})"


def _error(found: Comparison) -> str:
    """Of one number: a percentage; of a range: whether it holds what was measured."""
    if found.ratio is None or found.planned is None:
        return "-"
    if found.planned.low == found.planned.high:
        return f"{found.ratio - 1:+.2%}"
    return "within its range" if found.is_foreseen else "outside its range"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.3g}"


def _pairs(title: str, values: Mapping[str, str | Text]) -> Grid:
    """Names and a value for each → a table without a head."""
    table = Grid(title, "", "")
    table.show_header = False
    for name, value in values.items():
        table.add(name, value)
    return table
