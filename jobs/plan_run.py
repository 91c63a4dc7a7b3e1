"""What a run will cost and how long it takes, before it starts; needs no key, network or Ray.

python jobs/plan_run.py recipe=chimera_9k output_dir=outputs
"""

import composing

from chimera_ray import report_plan
from chimera_ray.config import Config
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.plan import plan_run as plan_of
from chimera_ray.terminal import console


def plan_run(config: Config) -> int:
    """Configuration → exit code 0, the forecast printed; nothing is started or written."""
    found = plan_of(config, build_graph(config), Store(config.output_dir))
    console().print(report_plan.plan(found, config))
    return 0


if __name__ == "__main__":
    composing.run(plan_run)
