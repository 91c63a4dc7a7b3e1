"""Ray itself, as one run uses it: started or joined, watched while it works, ended.

All that is asked of Ray runs in one thread of its own, so that whoever waits for it hears of its
death within seconds: Ray takes a minute, and then ends the process without a word.
"""

import logging
import queue
import resource
import signal
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

import ray

from chimera_ray.config import Runtime
from chimera_ray.errors import CarrierError, ChimeraError, RunnerError
from chimera_ray.runners.perform import StageBugError
from chimera_ray.runners.ray_address import address_of
from chimera_ray.runners.ray_cluster import Cluster, require_answer
from chimera_ray.runners.ray_processes import RayProcesses

log = logging.getLogger(__name__)
T = TypeVar("T")
QUIET = {
    "ray._private.authentication.authentication_token_setup": logging.ERROR,
    "ray._private.worker": logging.ERROR,  # it misses a signal handler, which it is not to have
    "ray._private.services": logging.CRITICAL,
    "ray.data._internal.progress": logging.ERROR,
    "ray.data._internal.execution": logging.CRITICAL,
    "ray.data.exceptions": logging.CRITICAL + 1,
}
"""loggers whose news this file tells itself, in one line"""
TICK_S = 0.5
JOIN_S = 90.0
"""for a cluster whose head answers to take this process in; Ray itself may wait for an hour"""
MIN_FILES = 256
"""open at once; with fewer Ray ends the process in the middle of its start, without a word"""
CLOSE_S = 30.0
LINE_CHARS = 300
FAILED = "Ray did not start"
AGAIN = "what is done is kept, and the same command goes on from here"


class RaySession:
    """A Ray that this process starts and ends, or joins and leaves."""

    def __init__(self, runtime: Runtime) -> None:
        """Starts nothing yet; if this process is connected already, that Ray is used as it is."""
        self._runtime = runtime
        self._is_ours = runtime.kind != "cluster" and not ray.is_initialized()
        self._processes = RayProcesses() if self._is_ours else None
        self._cluster: Cluster | None = None
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        self._running: Future[Any] | None = None
        self._began, self._lost, self._is_closed = time.monotonic(), "", False
        threading.Thread(target=self._serve, name="ray", daemon=True).start()
        self._connected = self._ask(self._connect)

    def run(self, work: Callable[[], T]) -> T:
        """What is to be done with Ray → its result, once Ray is up.

        Raises:
            RunnerError: Ray did not start, or has ended.
            BaseException: what the work raises.
        """
        self._wait(self._connected)
        future = self._running = self._ask(work)
        result: T = self._wait(future)
        return result

    def require_up(self) -> None:
        """Raise RunnerError unless Ray is of use, or still on its way up."""
        is_up = self._connected.done()
        if why := self.lost():
            raise RunnerError(f"Ray is gone: {why}; {AGAIN}" if is_up else f"{FAILED}: {why}")
        if not is_up and not self._is_ours and time.monotonic() - self._began > JOIN_S:
            raise RunnerError(
                f"{FAILED}: no Ray cluster took this process in for {JOIN_S:.0f} s: is what "
                "answers at runtime.ray_address, or RAY_ADDRESS, the head of one?"
            )

    @property
    def is_idle(self) -> bool:
        """Whether Ray is up and does nothing."""
        is_busy = self._running is not None and not self._running.done()
        return self._connected.done() and not is_busy and not self.lost()

    def lost(self) -> str:
        """Why Ray is of no use any more, in words; empty: it is."""
        if not self._lost:
            if self._processes is not None:
                self._lost = self._processes.lost()
            elif self._cluster is not None:
                self._lost = self._cluster.lost()
        return self._lost

    @property
    def notice(self) -> str:
        """What is being waited for; empty: nothing."""
        if not self._connected.done():
            what = "Ray is starting on this machine" if self._is_ours else "joining the Ray cluster"
            return f"{what}, {time.monotonic() - self._began:.0f} s"
        return self._cluster.notice if self._cluster is not None else ""

    def close(self) -> None:
        """Ends the Ray that was started here, in peace if it is at peace; leaves a cluster."""
        if self._processes is None:
            return
        try:
            if self.is_idle:
                wait([self._ask(ray.shutdown)], CLOSE_S)
            else:  # what still works there is about to report that it cannot
                logging.getLogger("ray").setLevel(logging.CRITICAL + 1)
                logging.getLogger("ray.data").setLevel(logging.CRITICAL + 1)
        finally:
            self._is_closed = True
            self._processes.end()

    def _ask(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._asked.put((work, future))
        return future

    def _serve(self) -> None:
        """Does what is asked, one after the other, until the Ray that was started here has ended.

        What Ray starts would die with the thread that started it.
        """
        while not self._is_closed:
            try:
                work, future = self._asked.get(timeout=TICK_S)
            except queue.Empty:
                self._let_go_of_the_dead()
                continue
            try:
                future.set_result(work())
            except BaseException as exc:  # noqa: BLE001 - it is raised where it is waited for
                future.set_exception(exc)

    def _let_go_of_the_dead(self) -> None:
        """Leaves a Ray that ended while nobody used it: in a while it would end this process."""
        if not self.lost() or not ray.is_initialized():
            return
        try:
            ray.shutdown()
        except Exception as exc:  # noqa: BLE001 - whoever uses it next is told what has happened
            log.info("a Ray that is gone did not let go: %s", exc)

    def _wait(self, future: Future[T]) -> T:
        while not wait([future], TICK_S).done:
            self.require_up()
            _keep_own_handler()
        return future.result()

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        for name, level in QUIET.items():
            logging.getLogger(name).setLevel(level)
        said = {"log_to_driver": False, "logging_level": logging.WARNING}
        runtime = self._runtime
        try:
            _require_files()
            if self._is_ours:
                cpus = runtime.num_cpus
                ray.init(address="local", num_cpus=cpus, include_dashboard=False, **said)
                return
            address = address_of(runtime)
            require_answer(address)
            ray.init(address=address, **said)
            self._cluster = Cluster()
        except ChimeraError:
            raise
        except Exception as exc:  # (a bare `Exception` says that a busy machine took too long)
            raise RunnerError(f"{FAILED}: {one_line(exc)}") from exc


def _require_files() -> None:
    """Raise RunnerError unless this process and its children may open enough files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < MIN_FILES:
        raise RunnerError(
            f"{FAILED}: {most} files may be open at once, and it takes {MIN_FILES} at least, "
            "better 65,536: see `ulimit -Hn`"
        )


def _keep_own_handler() -> None:
    """Has this process told of SIGTERM as it wishes: Ray would first print where it is."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


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
    return CarrierError(f"Ray gave up: {text[-1][:LINE_CHARS] if text else type(exc).__name__}")


def one_line(exc: BaseException) -> str:
    """An error of Ray's, and what it came from → the start of what they say, as one line."""
    said = [" ".join(str(found).split()) for found in (exc, exc.__cause__) if found is not None]
    return ": ".join(text for text in said if text)[:LINE_CHARS] or type(exc).__name__
