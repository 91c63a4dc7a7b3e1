"""The program of the child process: a line with pairs of trees in, a line with the verdict out.

It is started by its own code, not as a copy of its parent's main program, so that it runs whatever
that is: a script, standard input, a notebook. It ends with its parent.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

from chimera_ray.metrics.answers import proof
from chimera_ray.metrics.answers.tree import Tree

READY = b"ready\n"

_MEMORY_BYTES = 2 * 1024**3
_PR_SET_PDEATHSIG = 1


def question(pairs: tuple[tuple[Tree, Tree], ...], limit_s: float) -> bytes:
    """Pairs of trees and a time limit → the line that asks for them."""
    return json.dumps([limit_s, pairs]).encode() + b"\n"


def verdict(line: bytes) -> bool | None:
    """The line that answers → proven equal, not proven, or None: out of time or memory."""
    said: bool | None = json.loads(line)
    return said


def main(parent_pid: int) -> None:
    """Lines on standard input → lines on standard output, until there are no more."""
    _end_with_parent(parent_pid)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    proof.prepare()
    _limit_memory()
    answers.write(READY)
    for line in sys.stdin:
        limit_s, pairs = json.loads(line)
        trees = [(_tree(left), _tree(right)) for left, right in pairs]
        answers.write(json.dumps(proof.are_equal(trees, limit_s)).encode() + b"\n")


def _tree(data: list[Any]) -> Tree:
    head, name, parts = data
    return Tree(head, name, tuple(_tree(part) for part in parts))


def _end_with_parent(parent_pid: int) -> None:
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            os._exit(1)


def _limit_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as statm:
        mapped = int(statm.read().split()[0]) * resource.getpagesize()
    limit = mapped + _MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
