"""Whether the models that vLLM serves work on these machines, and how far off their plan is.

python jobs/check_model.py model@models.solver=qwen3_235b_thinking runtime=cluster output_dir=/data
"""

import logging

import composing
from rich.console import Console

from chimera_ray import report, report_check
from chimera_ray.build import new_run_id
from chimera_ray.config import Config
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.model_check import check
from chimera_ray.plan_error import Served, compare, served_models
from chimera_ray.runners import open_engines


def check_model(config: Config) -> int:
    """Configuration → exit code 0, what one engine of each model did printed."""
    models = served_models(config, build_graph(config))
    Store(config.output_dir).require_writable()
    console = report.console()
    for served in models:
        _check(config, served, console)
    return 0


def _check(config: Config, served: Served, console: Console) -> None:
    model = served.model
    console.print(report_check.foreseen(served))
    started, _, burst = check(
        config,
        model,
        open_engines(config, new_run_id()),
        watch=report_check.EngineLines(console, config.runtime.progress_s),
        shown=lambda part: console.print(report_check.part(part, model)),
    )
    console.print(report_check.error(compare(config.plan, served, started, burst)))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    composing.run(check_model)
