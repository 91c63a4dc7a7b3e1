"""What a new user gets wrong ends in one line that says what to do; docs/errors.md lists it."""

import subprocess
from collections import Counter

import pytest
from make_mistakes import PAGE, Outcome, made, row_of
from mistakes import KEY, MISTAKES

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]
MOUNTED = ("read_only", "full")
"""folders that are file systems of their own"""
NAMES = [name for name, mistake in MISTAKES.items() if not mistake.needs_ray]


def _can_mount() -> bool:
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Every mistake that this machine can make, made for real."""
    is_able = _can_mount()
    return made([name for name in NAMES if is_able or MISTAKES[name].folder not in MOUNTED])


def _outcome(outcomes: dict[str, Outcome], name: str) -> Outcome:
    if name not in outcomes:
        pytest.skip("this machine mounts no file system of its own")
    return outcomes[name]


@pytest.mark.parametrize("name", NAMES)
def test_mistake_ends_in_one_line_with_its_exit_code(
    outcomes: dict[str, Outcome], name: str
) -> None:
    code, said, shown = _outcome(outcomes, name)
    assert code == MISTAKES[name].code, said
    told = said.splitlines() or shown.splitlines()
    assert len(told) == 1, told
    assert "Traceback" not in said + shown
    assert "the program failed" not in said
    if code == 2:
        assert said.startswith("bad input: ")
        assert shown == ""


@pytest.mark.parametrize("name", NAMES)
def test_mistake_stands_on_the_page_as_it_is(outcomes: dict[str, Outcome], name: str) -> None:
    outcome = _outcome(outcomes, name)
    row = row_of(MISTAKES[name], outcome)
    assert row in PAGE.read_text(encoding="utf-8").splitlines(), (
        f"{row}\nis not on the page: python benchmarks/make_mistakes.py writes it"
    )


def test_page_says_nothing_else() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    titles = Counter(row.split(" | ")[0].removeprefix("| ") for row in rows[1:])
    known = {mistake.title for mistake in MISTAKES.values()}
    assert set(titles) <= known
    assert set(titles) >= {MISTAKES[name].title for name in NAMES}
    assert set(titles.values()) == {1}


def test_mistakes_with_a_key_never_repeat_it(outcomes: dict[str, Outcome]) -> None:
    for outcome in outcomes.values():
        for secret in (KEY, "my-own-key", "me:pass", "sk-wrong"):
            assert secret not in outcome.said + outcome.shown
