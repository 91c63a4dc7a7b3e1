"""A killable child process for algebra; it knows nothing of the rules that decide whom to ask.

math-verify limits itself by SIGALRM, which works in a main thread only, and sympy may hold the
interpreter for minutes. So it runs in a child, under an alarm, a memory limit and a hard kill.
"""

import asyncio
import ctypes
import os
import resource
import signal
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from chimera_ray.metrics import answer_algebra

if TYPE_CHECKING:
    from pebble import ProcessPool

MAX_CHARS = 2_000

_MEMORY_BYTES = 2 * 1024**3
_PR_SET_PDEATHSIG = 1


class MathVerifyPool:
    """Child processes that compare two answers; each question ends within the limit.

    Started on the first question. Any thread and any event loop may ask. A child that ran out of
    time, crashed or was killed is replaced, and its question is left open and counted.
    """

    def __init__(self, max_workers: int = 1, timeout_s: float = 5.0) -> None:
        """Nothing is started yet; `timeout_s` bounds one question, not its wait for a child."""
        self.num_aborted = 0
        """Questions left open because the child ran out of time or memory, or died."""
        self._max_workers = max_workers
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._pool: ProcessPool | None = None
        self._owner: threading.Thread | None = None
        self._closing = threading.Event()

    async def accepts(self, reference: str, predicted: str) -> bool:
        """Two LaTeX answers → equal, if math-verify and the exact comparison say so in time."""
        if max(len(reference), len(predicted)) > MAX_CHARS:
            return False
        try:
            verdict = await self._verdict(reference, predicted)
        except Exception:  # noqa: BLE001 - the child failed, in whatever way: left open
            verdict = None
        if verdict is None:
            with self._lock:
                self.num_aborted += 1
        return bool(verdict)

    def close(self) -> None:
        """Children → ended; a later question starts new ones."""
        with self._lock:
            self._closing.set()
            owner, self._pool, self._owner = self._owner, None, None
        if owner is not None:
            owner.join()

    async def _verdict(self, reference: str, predicted: str) -> bool | None:
        pool, asked = self._ask(reference, predicted)
        answer = asyncio.wrap_future(asked)
        try:
            # A pool that breaks while a question is on its way in may never answer it.
            while not (await asyncio.wait({answer}, timeout=1.0))[0]:
                if not pool.active:
                    return None
            return answer.result()
        finally:
            answer.cancel()

    def _ask(self, reference: str, predicted: str) -> "tuple[ProcessPool, Future[bool | None]]":
        with self._lock:
            if self._pool is None or not self._pool.active:
                self._closing.set()
                self._pool = self._started()
            # The alarm comes first, so that most overlong questions do not cost a child.
            arguments = (reference, predicted, self._timeout_s * 0.8)
            asked = self._pool.schedule(answer_algebra.is_equal, arguments, timeout=self._timeout_s)
            return self._pool, asked

    def _started(self) -> "ProcessPool":
        """Nothing → a running pool whose first children belong to a thread that outlives them.

        Linux sends the parent-death signal when the creating *thread* ends, and the thread that
        asks first may be short-lived. Pebble creates later children in a thread of its own.
        """
        from multiprocessing import get_context

        from pebble import ProcessPool

        pool = ProcessPool(
            max_workers=self._max_workers,
            initializer=_initialize_child,
            initargs=(os.getpid(),),
            context=get_context("spawn"),
        )
        self._closing = closing = threading.Event()
        is_running = threading.Event()

        def own() -> None:
            try:
                _ = pool.active  # starts the children
            finally:
                is_running.set()
            closing.wait()
            pool.stop()
            pool.join()

        self._owner = threading.Thread(target=own, name="math-verify-owner", daemon=True)
        self._owner.start()
        is_running.wait()
        return pool


def shared_pool() -> MathVerifyPool:
    """Nothing → this process' one pool."""
    return _SHARED_POOL


def _initialize_child(parent_pid: int) -> None:
    # Pebble turns SIGTERM into an exception, which a long computation in C never sees.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(1)
    answer_algebra.prepare()
    # On top of what is mapped already: a Ray worker's main module alone maps more than a gigabyte.
    with open("/proc/self/statm", encoding="ascii") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    limit = mapped + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


_SHARED_POOL = MathVerifyPool()
