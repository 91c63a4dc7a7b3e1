"""The answer check: no wrong acceptance, and no input that outlives the limit."""

import asyncio
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chimera_ray.metrics.answer_form import normal_form, number
from chimera_ray.metrics.answer_match import MAX_TEXT_CHARS, equal_by_rule, match_answer
from chimera_ray.metrics.answer_pool import MAX_CHARS, MathVerifyPool

# Different answers, or answers that only a judge who knows the problem can compare.
_DIFFERENT = [
    ("5 m", "5 cm"),
    ("5 kg", "5 N"),
    ("5 m", "5"),
    ("5 m", "5 s"),
    ("5 m/s", "5 km/h"),
    ("5 K", "5 k"),
    ("5 mW", "5 MW"),
    ("1.6e-19", "9.1e-31"),
    (r"1.6\times10^{-19}", r"9.1 \times 10^{-31}"),
    (r"1.6\times10^{-19}x", r"9.1\times10^{-31}x"),
    ("1e-7", "4e-7"),
    ("2^{-300}", "2^{-301}"),
    (r"\frac{1}{10^{20}}", r"\frac{2}{10^{20}}"),
    ("e^{-50}", "e^{-60}"),
    ("AB", "BA"),
    ("A B", "B A"),
    ("A^{-1}B", "BA^{-1}"),
    ("NaCl", "ClNa"),
    ("H_2O", "OH_2"),
    ("Co", "CO"),
    ("2023-05-01", "2017"),
    ("2023-05-01", "2023-01-05"),
    ("1/2/3", "1/6"),
    (r"\{1,2\}", "(1,2)"),
    ("[1,2]", "(1,2)"),
    ("(1,2)", "(1,2]"),
    ("(1,2)", "(2,1)"),
    ("(1,1)", "(2,2)"),
    (r"\{1,2\}", r"\{1,2,2\}"),
    ("1,2", "2,1"),
    ("(1,234)", "1234"),
    ("1, 234", "1234"),
    ("(100, 200)", "(100200)"),
    ("E", "e"),
    ("B", "D"),
    ("B", "A) and also B"),
    ("B", "B or C"),
    ("B", "42"),
    ("3.1415927", r"\pi"),
    ("0.333333", "1/3"),
    ("0.3333333333333333", "1/3"),
    ("1000000000001", "1000000000000"),
    ("1000000000000.1", "1000000000000.2"),
    ("2.71828", "e"),
    ("0.5", r"0.\overline{5}"),
    ("0.3", "0.333..."),
    ("12", "12%"),
    (r"50\%", "50"),
    ("5", r"\$5"),
    ("30", r"30^\circ"),
    ("101_2", "101"),
    ("0101", "101"),
    ("007", "7"),
    ("10²", "102"),
    ("x²", "x2"),
    ("3½", "31/2"),
    ("1 2", "12"),
    ("1 2", "3"),
    ("7", "3(4)"),
    ("7", "(3)(4)"),
    ("7", r"3\cdot(4)1"),
    ("2", r"\frac{3}{2}\frac{1}{2}"),
    ("X", "x"),
    (r"\Delta", r"\delta"),
    ("Delta", "delta"),
    ("x_1", "x1"),
    ("x_1", "x_2"),
    ("x_{ab}", "x_{ba}"),
    ("x", "x'"),
    ("A^T", "A"),
    ("4096", "2^3^4"),
    ("5", "5!"),
    ("720", "3!!"),
    ("-5", "5"),
    (r"\pm 2", "2"),
    (r"\pm 2", r"\{-2, 2\}x"),
    ("x", "|x|"),
    (r"\sqrt{x^2}", "x"),
    ("1/2x", "0.5x"),
    ("1/2x", r"\frac{1}{2x}"),
    (r"3 \times 4", r"4 \times 3"),
    (r"3 \times 4", "12"),
    ("3:4", "3/4"),
    ("12:30", "12/30"),
    ("1/0", "2/0"),
    ("3 > 2", "5 > 1"),
    ("2 = 2", "3 = 3"),
    ("x < 3", "x > 3"),
    ("x < 3", r"x \le 3"),
    ("x < 3", "-x < -3"),
    (r"x \ne 1", "x = 1"),
    ("x = 1", "y = 1"),
    ("2 + 2 = 5", "5"),
    (r"\log 100", "2"),
    (r"\log x", r"\ln x"),
    ("P(A)", "PA"),
    ("f(2)", "2f"),
    ("x^2 + C", "x^2"),
    (r"\infty", r"-\infty"),
    (r"x \approx 3", "3"),
    ("dx/dy", "x/y"),
    (r"\vec{a}", "a"),
    (r"\mathbf{x}", "x"),
    ("not 5", "5"),
    ("no solution", "0"),
    ("true", "false"),
    ("5 or 6", "5"),
    ("", ""),
    ("", "0"),
    ("$", "$$"),
    ("I", "1"),
    ("O", "0"),
    ("S", "5"),
    ("__import__('os')", "0"),
]

_EQUAL_BY_RULE = [
    ("1/2", r"\frac{1}{2}", "number"),
    ("0.5", r"$\frac12$", "number"),
    (r"6.02\times 10^{23}", "6.02e23", "number"),
    (r"6.02 × 10²³", r"6.02 \cdot 10^{23}", "number"),
    (r"50\%", "0.5", "number"),
    ("1.5e3", "1,500", "number"),
    ("−3", "-3.0", "number"),
    (".5", "0.50", "number"),
    ("3.14159265359", "3.141592653589793", "number"),
    (r"5 \text{ m}", "5m", "text"),
    ("5.0 m", r"5\ \mathrm{m}", "quantity"),
    (r"1.6e-19 C", r"1.6 \times 10^{-19} \text{ C}", "quantity"),
    (r"\frac{3}{4}\pi", r"0.75\pi", "quantity"),
    ("45 degrees", r"45^\circ", "text"),
    ("Paris", "paris.", "text"),
    (r"\left( 1, 2 \right)", "(1,2)", "text"),
    (r"\dfrac{x}{y}", r"\frac{x}{y}", "text"),
    ("H₂O", "H_2O", "text"),
    ("**x^{2}**", "$x^2$", "text"),
    ("B", "(B)", "choice"),
    ("B", "B. 42 metres", "choice"),
    (r"\text{(C)}", "C", "choice"),
]

_EQUAL_BY_ALGEBRA = [
    (r"\frac{\sqrt{2}}{2}", r"1/\sqrt{2}"),
    ("x^2-1", "(x-1)(x+1)"),
    ("x(x+1)", "x^2+x"),
    ("2*x+1", "1+2x"),
    (r"\{1,2\}", r"\{2, 1\}"),
    (r"(1,\frac12)", "(1, 0.5)"),
    ("x=5", "5"),
    ("y=2x", "2x"),
    (r"x\le 3", "3 >= x"),
    (r"\ln 4", r"2\ln 2"),
    ("sin(pi/6)", "1/2"),
    ("sqrt(8)", r"2\sqrt{2}"),
    (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&\frac{8}{2}\end{bmatrix}"),
    (r"(-\infty,3]\cup(5,\infty)", r"(5,\infty)\cup(-\infty,3]"),
    ("3(4)x", "12x"),
    ("x^10", "x^{10}"),
    (r"e^{2x}", "(e^x)^2"),
    (r"\binom{5}{2}", "10"),
    (r"[0,\frac{1}{2})", "[0,0.5)"),
    (r"\sqrt{x^2}", "|x|"),
]

_NASTY = [
    "9^{9^{9^{9^{9}}}}",
    "2^{10^{10}}",
    "(10^{10})!",
    "((9!)!)!",
    r"\frac{1}{" * 200 + "x" + "}" * 200,
    "(" * 900 + "x" + ")" * 900,
    "+".join(f"x_{{{i}}}" for i in range(250)),
    "+".join("x^2" for _ in range(500)),
    "(x+y+z)^{400}",
    r"\sum_{n=1}^{10^{9}} \sin(n)",
    r"\prod_{n=1}^{10^{8}} (1+\frac{1}{n^2})",
    r"\int_0^1 x^{x^{x^{x}}} dx",
    r"\binom{10^{9}}{10^{8}}",
    r"\sin(10^{10^{8}})",
    r"\sqrt{" * 150 + "2" + "}" * 150,
    "1" * 1_900 + "!",
    r"\begin{pmatrix}"
    + r"\\".join("&".join("x" for _ in range(20)) for _ in range(20))
    + r"\end{pmatrix}",
]


@pytest.fixture(scope="module")
def pool() -> Iterator[MathVerifyPool]:
    pool = MathVerifyPool(max_workers=2, timeout_s=2.0)
    yield pool
    pool.close()


@pytest.mark.parametrize(("reference", "predicted"), _DIFFERENT)
def test_rule_different_answers_are_never_accepted(reference: str, predicted: str) -> None:
    for pair in ((reference, predicted), (predicted, reference)):
        match = equal_by_rule(*pair)
        assert match is None or not match.is_equal


@pytest.mark.parametrize(("reference", "predicted", "rule"), _EQUAL_BY_RULE)
def test_rule_equal_answers_are_accepted(reference: str, predicted: str, rule: str) -> None:
    assert equal_by_rule(reference, predicted) == (True, rule)
    assert equal_by_rule(predicted, reference) == (True, rule)


@pytest.mark.parametrize(
    "text",
    [
        unit * (MAX_TEXT_CHARS // len(unit))
        for unit in (
            "(",
            "9",
            "9,",
            r"\frac",
            r"\text{",
            "^",
            "{a}",
            " ",
            " 1",
            "$",
            "Aa",
            "1/",
            "0.",
            "\\",
        )
    ]
    + ["9" * 10**6, "e" * 10**6],
    ids=lambda text: repr(text[:8]) + str(len(text)),
)
def test_rule_hostile_text_is_fast(text: str) -> None:
    start = time.perf_counter()
    equal_by_rule(text, "x" + text)
    equal_by_rule(text, "5")
    assert time.perf_counter() - start < 1


@given(
    st.text(alphabet=r"12.,ex+-/\{}()^_ m%$BE", max_size=30), st.text(alphabet="1.e/ m", max_size=8)
)
def test_rule_any_texts_symmetric_in_acceptance(a: str, b: str) -> None:
    forward, backward = equal_by_rule(a, b), equal_by_rule(b, a)
    assert (forward is not None and forward.is_equal) == (
        backward is not None and backward.is_equal
    )


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_number_any_fraction_is_exact(top: int, bottom: int) -> None:
    parsed = number(normal_form(f"{'-' if top < 0 else ''}\\frac{{{abs(top)}}}{{{bottom}}}"))
    assert parsed is not None
    assert parsed.value * bottom == top


@pytest.mark.process
def test_match_different_answers_are_never_accepted() -> None:
    async def accepted() -> list[tuple[str, str]]:
        pairs = _DIFFERENT + [(b, a) for a, b in _DIFFERENT]
        matches = await asyncio.gather(*(match_answer(*pair) for pair in pairs))
        return [pair for pair, match in zip(pairs, matches, strict=True) if match.is_equal]

    assert asyncio.run(accepted()) == []


@pytest.mark.process
@pytest.mark.parametrize(("reference", "predicted"), _EQUAL_BY_ALGEBRA)
def test_match_equal_answers_are_accepted(reference: str, predicted: str) -> None:
    assert asyncio.run(match_answer(reference, predicted)) == (True, "math_verify")
    assert asyncio.run(match_answer(predicted, reference)).is_equal


@pytest.mark.process
def test_pool_different_answers_are_never_accepted_without_guards(pool: MathVerifyPool) -> None:
    async def accepted() -> list[tuple[str, str]]:
        answers = await asyncio.gather(*(pool.accepts(*pair) for pair in _ALGEBRA_ALONE))
        return [pair for pair, answer in zip(_ALGEBRA_ALONE, answers, strict=True) if answer]

    assert asyncio.run(accepted()) == []


@pytest.mark.process
def test_pool_nasty_inputs_end_in_time_and_pool_answers_again(pool: MathVerifyPool) -> None:
    async def ask() -> list[bool]:
        questions = (pool.accepts(text, text.replace("9", "8") + "+1") for text in _NASTY)
        return await asyncio.gather(*questions)

    start = time.perf_counter()
    assert not any(asyncio.run(ask()))
    assert time.perf_counter() - start < 2.0 * len(_NASTY)
    assert pool.num_aborted > 0
    assert asyncio.run(pool.accepts("x+x", "2x"))


@pytest.mark.process
def test_pool_threads_and_loops_all_get_answers(pool: MathVerifyPool) -> None:
    answers: list[bool] = []

    async def ask_many() -> list[bool]:
        return await asyncio.gather(*(pool.accepts(f"{i}x+x", f"{i + 1}x") for i in range(5)))

    threads = [
        threading.Thread(target=lambda: answers.extend(asyncio.run(ask_many()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 20
    assert asyncio.run(pool.accepts("x", "x"))


@pytest.mark.process
def test_pool_started_in_a_thread_that_ended_keeps_its_child() -> None:
    pool = MathVerifyPool()
    thread = threading.Thread(target=lambda: asyncio.run(pool.accepts("x", "x")))
    thread.start()
    thread.join()
    assert asyncio.run(pool.accepts("x+x", "2x"))
    assert pool.num_aborted == 0
    pool.close()


@pytest.mark.process
def test_pool_killed_child_is_replaced() -> None:
    pool = MathVerifyPool()
    before = set(multiprocessing.active_children())
    assert asyncio.run(pool.accepts("x", "x"))
    (child,) = set(multiprocessing.active_children()) - before
    child.kill()
    child.join()
    # The question that meets the dead child may be left open; a later one is not.
    assert any(asyncio.run(pool.accepts("x+x", "2x")) for _ in range(3))
    pool.close()


@pytest.mark.process
def test_pool_ignored_alarm_child_is_killed() -> None:
    """A child stopped in mid-question stands for code that no alarm can interrupt."""

    async def ask_and_stop() -> bool:
        question = asyncio.create_task(pool.accepts(r"\sum_{n=1}^{10^{9}} \sin(n)", "1"))
        await asyncio.wait({question}, timeout=0.3)
        os.kill(child.pid or 0, signal.SIGSTOP)
        return await question

    pool = MathVerifyPool(timeout_s=1.0)
    before = set(multiprocessing.active_children())
    assert asyncio.run(pool.accepts("x", "x"))
    (child,) = set(multiprocessing.active_children()) - before
    assert not asyncio.run(ask_and_stop())
    assert pool.num_aborted == 1
    assert asyncio.run(pool.accepts("x+x", "2x"))
    pool.close()


@pytest.mark.process
def test_pool_closed_starts_again() -> None:
    pool = MathVerifyPool()
    assert asyncio.run(pool.accepts("x", "x"))
    pool.close()
    assert asyncio.run(pool.accepts("x+x", "2x"))
    pool.close()


def test_pool_long_input_is_left_open_without_a_child() -> None:
    pool = MathVerifyPool()
    assert not asyncio.run(pool.accepts("1" * (MAX_CHARS + 1), "1" * (MAX_CHARS + 1)))


_PARENT = """
import asyncio, multiprocessing, sys
from chimera_ray.metrics.answer_pool import shared_pool
if __name__ == "__main__":
    assert asyncio.run(shared_pool().accepts("x+x", "2x"))
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    if sys.argv[1] == "busy":
        asyncio.run(shared_pool().accepts("9^{9^{9^{9}}}", "8^{9^{9^{9}}}"))
    sys.stdin.read() if sys.argv[1] != "exit" else None
"""


@pytest.mark.process
@pytest.mark.parametrize("state", ["idle", "busy", "exit"])
def test_pool_parent_gone_child_ends(state: str, tmp_path: os.PathLike[str]) -> None:
    script = os.path.join(tmp_path, "parent.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(_PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, script, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        children = [os.pidfd_open(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 1
        if state != "exit":
            parent.send_signal(signal.SIGKILL)
        for child in children:
            assert select.select([child], [], [], 10)[0], "the child outlived its parent"
            os.close(child)


# What math-verify alone accepts, or would: the exact comparison has to refuse it.
_ALGEBRA_ALONE = [
    (r"1.6\cdot 10^{-19}", r"9.1\cdot 10^{-31}"),
    (r"10^{-17}x", r"2\cdot 10^{-17}x"),
    (r"\{10^{-17}\}", r"\{2\cdot 10^{-17}\}"),
    (r"(0,10^{-17})", r"(0,2\cdot 10^{-17})"),
    ("(1,1)", "(2,2)"),
    ("0.333333", r"\frac{1}{3}"),
    ("3.1415927", r"\pi"),
    (r"\{1,2\}", "(1,2)"),
    ("X", "x"),
    ("3>2", "5>1"),
    (r"\frac{1}{0}", r"\frac{2}{0}"),
]
