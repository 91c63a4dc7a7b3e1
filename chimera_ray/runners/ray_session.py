"""Ray itself: how it is started, how its data plans are set, and what its errors come to."""

import logging
import os
import warnings

import ray

from chimera_ray.errors import CarrierError, ChimeraError
from chimera_ray.runners.perform import StageBugError

QUIET = {
    "ray._private.authentication.authentication_token_setup": logging.ERROR,
    "ray.data._internal.progress": logging.ERROR,
    "ray.data._internal.execution": logging.CRITICAL,
    "ray.data.exceptions": logging.CRITICAL + 1,
}
"""loggers whose news this file tells itself, in one line"""


def start_ray(kind: str, address: str | None, num_cpus: int | None) -> bool:
    """Starts Ray on this machine, or joins a cluster → whether this process did, so must end it.

    Raises:
        CarrierError: it did not start, and why.
    """
    if ray.is_initialized():
        return False
    try:
        _init_ray(kind, address, num_cpus)
    except (ConnectionError, ray.exceptions.RayError, RuntimeError) as exc:
        raise CarrierError(f"Ray did not start: {exc}") from exc
    return True


def _init_ray(kind: str, address: str | None, num_cpus: int | None) -> None:
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    if kind == "cluster":
        ray.init(address=address or "auto", log_to_driver=False, logging_level=logging.WARNING)
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its notes are for Ray's developers
    ray.init(
        address="local",
        num_cpus=num_cpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )


def set_context() -> None:
    """Sets how the plans of this process run."""
    from ray.data import DataContext  # late, so that Ray can start without waiting for it

    # A stage with fewer rows than actors is no mistake.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    context = DataContext.get_current()
    context.target_max_block_size = 1  # a block closes, and leaves, at every parcel
    context.execution_options.preserve_order = False
    context.execution_no_progress_timeout_s = -1  # a trajectory may take longer than any default
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.print_on_execution_start = False
    context.enable_auto_log_stats = False
    context.memory_usage_poll_interval_s = None
    context.issue_detectors_config.detectors = []  # a long row is no hanging task here
    context.max_consecutive_actor_init_deaths = 3


def cause_of(exc: BaseException) -> BaseException:
    """What came out of a plan → what an actor raised; else Ray's own trouble, as a `CarrierError`.

    An `AssertionError` is Ray's: its streaming executor ends by one when a retried call gives fewer
    blocks than the call that died.

    After a `CarrierError` the driver looks again and carries what is left, as long as each pass
    brings something forward.
    """
    seen: BaseException | None = exc
    bug: BaseException | None = None
    while seen is not None:
        if isinstance(seen, ray.exceptions.RayTaskError) and isinstance(seen.cause, Exception):
            seen = seen.cause
            continue
        if isinstance(seen, ChimeraError | StageBugError):
            return seen
        is_rays = type(seen).__module__.split(".")[0] == "ray"
        if not is_rays and not isinstance(seen, OSError | AssertionError):
            bug = seen
        seen = seen.__cause__
    if bug is not None:
        return bug
    text = str(exc).strip().splitlines()
    return CarrierError(f"Ray gave up: {text[-1] if text else type(exc).__name__}")
