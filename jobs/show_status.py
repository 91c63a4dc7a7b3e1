"""What the ledger of an output directory says of every run there; needs no Ray and no cluster.

python jobs/show_status.py output_dir=outputs
"""

import composing

from chimera_ray import report
from chimera_ray.config import Config
from chimera_ray.errors import ConfigError, LedgerError
from chimera_ray.ledger.store import Store
from chimera_ray.status import read_status
from chimera_ray.terminal import console, say


def show_status(config: Config) -> int:
    """Configuration → exit code 0, every run of `output_dir` printed; 2 if there is none."""
    store = Store(config.output_dir)
    try:
        names = [name for name in store.names("runs") if not name.startswith(".")]
    except OSError as exc:
        raise ConfigError(f"output_dir: cannot read {config.output_dir}: {exc.strerror}") from None
    if not names:
        raise ConfigError(f"output_dir: no run has been started in {config.output_dir}")
    shown_on = console()
    for name in names:
        try:
            shown_on.print(report.status(read_status(store, name)))
        except (ConfigError, LedgerError) as exc:  # this run cannot be read; the others can
            say(shown_on, str(exc))
    return 0


if __name__ == "__main__":
    composing.run(show_status)
