"""Subjects → a verified, labelled data set; started again, it goes on where it was.

python jobs/build_dataset.py recipe=demo runtime=local output_dir=outputs
"""

import composing

from chimera_ray import report
from chimera_ray.build import build, check_start, failure_in, failure_of, new_run_id, preview
from chimera_ray.config import Config
from chimera_ray.drive import RunError
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store
from chimera_ray.progress import Progress
from chimera_ray.runners import open_carrier
from chimera_ray.terminal import console


def build_dataset(config: Config) -> int:
    """Configuration → exit code 0, with the data set and its manifest under `output_dir`."""
    graph = build_graph(config)
    check_start(config, graph)
    store = Store(config.output_dir)
    store.require_writable()
    shown_on, run_id = console(), new_run_id()
    failure = None
    is_preview = config.runtime.kind == "preview"
    carrier = open_carrier(config, run_id)
    work = (config, graph, store, carrier, run_id)
    try:
        with Progress(graph, store, carrier, run_id, config.runtime.progress_s, shown_on) as shown:
            if is_preview:
                max_rows = config.runtime.preview_rows
                failure, result = preview(
                    *work,
                    shown.watch,
                    lambda standings: (failure_in(standings), report.preview(standings, max_rows)),
                )
            else:
                manifest = build(*work, shown.watch)
                failure, result = failure_of(manifest), report.summary(manifest)
    finally:
        carrier.close()
    shown_on.print(result)
    if failure is not None:
        raise RunError(failure)
    return 0


if __name__ == "__main__":
    composing.run(build_dataset)
