"""Killable child processes for proofs; nothing here knows of the rules that decide what to ask.

sympy may hold the interpreter for minutes, and take any memory. So it runs in a child, under an
alarm, a memory limit and a hard kill.
"""

import asyncio
import atexit
import logging
import os
import queue
import select
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from typing import NamedTuple

from chimera_ray.metrics.answers.child import READY, question, verdict
from chimera_ray.metrics.answers.tree import Tree

_LOG = logging.getLogger(__name__)
_PROGRAM = "import sys; from chimera_ray.metrics.answers.child import main; main(int(sys.argv[1]))"
_START_S = 60.0
_MAX_BYTES = 60_000
"""of a question: a pipe holds it, so that writing never waits for the child"""
_ALARM_SHARE = 0.8
"""of a question's time; the alarm comes first, so that most overlong questions cost no child"""


class _Question(NamedTuple):
    pairs: tuple[tuple[Tree, Tree], ...]
    answer: "Future[bool | None]"


class ProofPool:
    """Children that prove closed forms equal; each question ends within the limit.

    Started on the first question. Any thread and any event loop may ask. A child that ran out of
    time, crashed or was killed is replaced, and its question is left open and counted. If no child
    can be started at all, one warning says so, and every question is left open.
    """

    def __init__(self, max_workers: int = 1, timeout_s: float = 5.0) -> None:
        """Nothing is started yet; `timeout_s` bounds one question, not its wait for a child."""
        self.num_aborted = 0
        """Questions left open because the child ran out of time or memory, or died."""
        self.is_broken = False
        """No child could be started."""
        self._max_workers = max_workers
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._pid = 0

    async def proves(self, pairs: tuple[tuple[Tree, Tree], ...]) -> bool:
        """Pairs of closed forms → equal each, if the child proves it in time."""
        asked = self._ask(pairs)
        if asked is None:
            return False
        answer = asyncio.wrap_future(asked)
        try:
            said = await answer
        finally:
            answer.cancel()
        if said is None:
            with self._lock:
                self.num_aborted += 1
        return bool(said)

    def close(self) -> None:
        """Children → ended; a later question starts new ones."""
        with self._lock:
            workers, self._workers = self._workers, []
            questions, self._questions = self._questions, queue.SimpleQueue()
        for _ in workers:
            questions.put(None)
        for worker in workers:
            worker.close()

    def children(self) -> list[int]:
        """Nothing → the process ids of the children that run."""
        with self._lock:
            return [worker.child.pid for worker in self._workers if worker.child]

    def give_up(self, why: str) -> None:
        """A reason → no question is asked any more; said once."""
        with self._lock:
            is_news, self.is_broken = not self.is_broken, True
        if is_news:
            _LOG.warning(
                "answers that need a proof are left open: no child process starts: %s", why
            )

    def _ask(self, pairs: tuple[tuple[Tree, Tree], ...]) -> "Future[bool | None] | None":
        answer: Future[bool | None] = Future()
        with self._lock:
            if self.is_broken:
                return None
            if self._pid != os.getpid():  # the threads stayed behind in the process that forked
                self._workers, self._questions = [], queue.SimpleQueue()
                self._pid = os.getpid()
            if not self._workers:
                self._workers = [
                    _Worker(self, self._questions, self._timeout_s)
                    for _ in range(self._max_workers)
                ]
            self._questions.put(_Question(pairs, answer))
        return answer


class _Worker:
    """A thread with a child of its own; Linux ends the child when the thread ends."""

    def __init__(
        self,
        pool: ProofPool,
        questions: "queue.SimpleQueue[_Question | None]",
        timeout_s: float,
    ) -> None:
        self.child: subprocess.Popen[bytes] | None = None
        self._pool = pool
        self._questions = questions
        self._timeout_s = timeout_s
        self._is_closing = False
        self._thread = threading.Thread(target=self._work, name="proofs", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The thread and its child → ended, in the middle of a question too."""
        self._is_closing = True
        child = self.child
        if child is not None:
            child.kill()
        self._thread.join()

    def _work(self) -> None:
        while (asked := self._questions.get()) is not None:
            if asked.answer.set_running_or_notify_cancel():
                asked.answer.set_result(
                    None if self._is_closing else self._safe_answer(asked.pairs)
                )
        self._end()

    def _safe_answer(self, pairs: tuple[tuple[Tree, Tree], ...]) -> bool | None:
        """Pairs → their verdict; whatever goes wrong with the child leaves them open."""
        try:
            return self._answer(pairs)
        except Exception as error:  # noqa: BLE001 - a thread that dies would never answer
            self._end()
            self._pool.give_up(repr(error))
            return None

    def _answer(self, pairs: tuple[tuple[Tree, Tree], ...]) -> bool | None:
        if self.child is None and not self._start():
            return None
        child = self.child
        asked = question(pairs, self._timeout_s * _ALARM_SHARE)
        if child is None or child.stdin is None or len(asked) > _MAX_BYTES:
            return None
        try:
            child.stdin.write(asked)
            line = _line(child, self._timeout_s)
        except OSError:
            line = b""
        if not line:
            self._end()
            return None
        return verdict(line)

    def _start(self) -> bool:
        """Nothing → whether a child is up; where none starts the pool gives up."""
        if self._pool.is_broken:
            return False
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        try:
            self.child = subprocess.Popen(  # noqa: S603 - our own program, and no text of a model
                [sys.executable, "-P", "-c", _PROGRAM, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env={**os.environ, "PYTHONPATH": path},
            )
            line = _line(self.child, _START_S)
        except OSError as error:
            self._pool.give_up(str(error))
            return False
        if line == READY:
            return True
        self._end()
        if not self._is_closing:
            self._pool.give_up(f"{sys.executable} ended or hung before it was ready")
        return False

    def _end(self) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()


def _line(child: subprocess.Popen[bytes], limit_s: float) -> bytes:
    """The child's next line, or nothing if it ended or the time ran out."""
    if child.stdout is None:
        return b""
    poll = select.poll()
    poll.register(child.stdout, select.POLLIN)
    end = time.monotonic() + limit_s
    line = b""
    while not line.endswith(b"\n"):
        left_s = end - time.monotonic()
        if left_s <= 0 or not poll.poll(left_s * 1000):
            return b""
        piece = os.read(child.stdout.fileno(), 4096)
        if not piece:
            return b""
        line += piece
    return line


def shared_pool() -> ProofPool:
    """Nothing → this process' one pool."""
    return _SHARED_POOL


_SHARED_POOL = ProofPool()
atexit.register(_SHARED_POOL.close)
