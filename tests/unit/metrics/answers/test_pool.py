"""The children that prove: each question ends, whatever becomes of the child or its parent."""

import asyncio
import logging
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from fractions import Fraction

import pytest

from chimera_ray.metrics.answers.pool import ProofPool
from chimera_ray.metrics.answers.tree import Tree, number_tree

pytestmark = pytest.mark.process


def _root(radicand: Tree) -> Tree:
    return Tree("root", "2", (radicand,))


def _sum(*parts: Tree) -> Tree:
    return Tree("sum", "", parts)


ONE = number_tree(Fraction(1))
TWO = number_tree(Fraction(2))
EQUAL = ((_root(_sum(number_tree(Fraction(3)), _root(number_tree(Fraction(8))))),
          _sum(number_tree(Fraction(1)), _root(TWO))),)  # fmt: skip
DIFFERENT = ((EQUAL[0][0], _sum(EQUAL[0][1], number_tree(Fraction(1, 10**30)))),)
# √(n + 2√(n−1)) = 1 + √(n−1); the minimal polynomial of eight of them is of a degree beyond reach.
_PLACES = [number_tree(Fraction(n)) for n in (2, 3, 5, 7, 11, 13, 17, 19)]
LONG = (
    (
        _sum(*(_root(_sum(n, ONE, Tree("product", "", (TWO, _root(n))))) for n in _PLACES)),
        _sum(*(_sum(ONE, _root(n)) for n in _PLACES)),
    ),
)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProofPool]:
    pool = ProofPool(timeout_s=20.0)
    yield pool
    pool.close()


def test_pool_equal_numbers_are_proven_and_different_ones_never(pool: ProofPool) -> None:
    assert asyncio.run(pool.proves(EQUAL))
    assert not asyncio.run(pool.proves(DIFFERENT))
    assert not asyncio.run(pool.proves(EQUAL + DIFFERENT))
    assert pool.num_aborted == 0


def test_pool_threads_and_loops_all_get_answers(pool: ProofPool) -> None:
    answers: list[bool] = []

    async def ask_many() -> list[bool]:
        return await asyncio.gather(*(pool.proves(EQUAL) for _ in range(3)))

    threads = [
        threading.Thread(target=lambda: answers.extend(asyncio.run(ask_many()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 12


def test_pool_killed_child_is_replaced(pool: ProofPool) -> None:
    assert asyncio.run(pool.proves(EQUAL))
    (child,) = pool.children()
    os.kill(child, signal.SIGKILL)
    # The question that meets the dead child is left open; a later one is not.
    assert not asyncio.run(pool.proves(EQUAL))
    assert asyncio.run(pool.proves(EQUAL))
    assert pool.children() != [child]


def test_pool_child_that_no_alarm_interrupts_is_killed() -> None:
    """A child stopped in mid-question stands for code that no alarm can interrupt."""
    pool = ProofPool(timeout_s=1.0)
    assert asyncio.run(pool.proves(EQUAL))
    (child,) = pool.children()
    os.kill(child, signal.SIGSTOP)
    assert not asyncio.run(pool.proves(EQUAL))
    assert pool.num_aborted == 1
    assert asyncio.run(pool.proves(EQUAL))
    pool.close()


def test_pool_question_that_takes_too_long_is_left_open() -> None:
    pool = ProofPool(timeout_s=0.3)
    assert asyncio.run(pool.proves(EQUAL))
    (child,) = pool.children()
    assert not asyncio.run(pool.proves(LONG))
    assert pool.num_aborted == 1
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_pool_closed_starts_again() -> None:
    pool = ProofPool()
    assert asyncio.run(pool.proves(EQUAL))
    pool.close()
    assert pool.children() == []
    assert asyncio.run(pool.proves(EQUAL))
    pool.close()


@pytest.mark.parametrize("executable", ["/bin/false", "/nowhere/python", "", None])
def test_pool_child_that_cannot_start_leaves_all_open_with_one_warning(
    executable: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    pool = ProofPool()

    async def ask_many() -> list[bool]:
        return await asyncio.gather(*(pool.proves(EQUAL) for _ in range(20)))

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(ask_many()) == [False] * 20
    assert pool.is_broken
    assert len(caplog.records) == 1
    pool.close()


_PROGRAM = r"""
import asyncio
from chimera_ray.metrics.answers.match import match_answer
print(asyncio.run(match_answer(r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}")).rule)
"""


def test_match_program_read_from_standard_input_has_its_child() -> None:
    done = subprocess.run(
        [sys.executable, "-"], input=_PROGRAM, env=_environment(), capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("proof\n", "")


_PARENT = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from test_pool import EQUAL, LONG
from chimera_ray.metrics.answers.match import shared_pool
assert asyncio.run(shared_pool().proves(EQUAL))
print(*shared_pool().children(), flush=True)
if sys.argv[1] == "busy":
    asyncio.run(shared_pool().proves(LONG))
sys.stdin.read() if sys.argv[1] != "exit" else None
"""


@pytest.mark.parametrize("state", ["idle", "busy", "exit"])
def test_pool_parent_gone_child_ends(state: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, state, os.path.dirname(__file__)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_environment(),
    ) as parent:
        assert parent.stdout is not None
        children = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 1
        if state != "exit":
            parent.send_signal(signal.SIGKILL)
        for child in children:
            assert select.select([child], [], [], 10)[0], "the child outlived its parent"
            os.close(child)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
