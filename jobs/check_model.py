"""Whether the models that vLLM serves work on these machines, and how far off their plan is.

python jobs/check_model.py model@models.solver=qwen3_235b_thinking runtime=cluster output_dir=/data
"""

import composing
from rich.console import Console

from chimera_ray import report_check
from chimera_ray.build import new_run_id
from chimera_ray.config import Config
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.model_check import check
from chimera_ray.plan_error import Served, compare, served_models
from chimera_ray.runners import open_engines
from chimera_ray.terminal import console


def check_model(config: Config) -> int:
    """Configuration → exit code 0, what one engine of each model did printed."""
    models = served_models(config, build_graph(config))
    Store(config.output_dir).require_writable()
    shown_on = console()
    for served in models:
        _check(config, served, shown_on)
    return 0


def _check(config: Config, served: Served, shown_on: Console) -> None:
    model = served.model
    shown_on.print(report_check.foreseen(served))
    started, _, burst = check(
        config,
        model,
        open_engines(config, new_run_id()),
        watch=report_check.EngineLines(shown_on, config.runtime.progress_s),
        shown=lambda part: shown_on.print(report_check.part(part, model)),
    )
    shown_on.print(report_check.error(compare(config.plan, served, started, burst)))


if __name__ == "__main__":
    composing.run(check_model)
