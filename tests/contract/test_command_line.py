"""A command line: what cannot be read is shown quoted, what is secret is not shown at all."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from stub_server import StubServer
from stub_service import Behaviour

ROOT = Path(__file__).parents[2]
CANARY = "sk-canary-0123456789abcdef"
UNREADABLE = [
    *("a(b", "a)b", "(x)", "a{b", "a}b", "a[b", "a]b", "a;b", "a#b", "a!b", "a&b", "a`b", "a<b"),
    *("a=b", "a==", "é", "数学", "a^b", "C# (new)", "a b)", "x(\\", "a(\\b", 'a"b', "it's"),
    *("a, b", "a,b", '"a', "'a", "a(\\\\"),
]
LISTS = ["[a", "[a, b(]", "{a: b", "{a: (}", "[{name: C (new)}]"]


@pytest.fixture
def overrides(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the jobs that reads them."""
    monkeypatch.syspath_prepend(str(ROOT / "jobs"))
    import overrides

    return overrides


def _refused(override: str) -> OverrideParseException:
    with pytest.raises(OverrideParseException) as caught:
        OverridesParser.create().parse_overrides([override])
    return caught.value


@pytest.mark.parametrize("value", UNREADABLE, ids=ascii)
def test_override_that_cannot_be_read_is_shown_as_it_can_be(overrides: Any, value: str) -> None:
    override = f"recipe.name={value}"
    if "," in value:
        said = overrides.why(ValueError(f"Ambiguous value for argument '{override}'\n1. To use"))
    else:
        said = overrides.why(_refused(override))
    assert said.startswith(f"{override}: quote special characters")
    (mended,) = shlex.split(said.partition("for the shell: ")[2].rpartition("; a list is")[0])
    parsed = OverridesParser.create().parse_override(mended)
    assert parsed.key_or_group == "recipe.name"
    text = parsed.value()
    assert getattr(text, "text", text) == (value.strip("\"'") if value[0] in "\"'" else value)


@pytest.mark.parametrize("value", LISTS)
def test_override_of_a_list_that_cannot_be_read_shows_quotes_inside(
    overrides: Any, value: str
) -> None:
    said = overrides.why(_refused(f"recipe.subjects={value}"))
    example = shlex.split(said.partition("as in ")[2].partition("; or close")[0])[0]
    assert OverridesParser.create().parse_override(example).value()


def test_override_without_a_value_says_how_one_is_written(overrides: Any) -> None:
    assert overrides.why(_refused("output_dir")).startswith("output_dir: an override is written")


def _run(job: str, *arguments: str, cwd: Path, **env: str) -> tuple[int, str]:
    """A job, its overrides, and variables → its exit code, and all that it printed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": "", **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.process
def test_run_by_a_secret_key_writes_it_nowhere_and_prints_it_nowhere(tmp_path: Path) -> None:
    with StubServer(Behaviour(keys=(CANARY,))) as server:
        given = (
            "model@models.expander=openai_compatible",
            f"models.expander.base_url={server.url}",
            "models.expander.api_key_env=CANARY_KEY",
            "models.expander.name=simulated-expander",
            "recipe.stages=[expand_topics]",
            "recipe.subjects=[{name: Physics, target_topics: 2}]",
            "runtime=preview",
            f"output_dir={tmp_path / 'out'}",
        )
        for job in ("build_dataset", "plan_run", "show_status"):
            code, printed = _run(job, *given, cwd=tmp_path, CANARY_KEY=CANARY)
            assert code == 0, printed
            assert CANARY not in printed
        assert server.counts()["finished"] > 0
    assert _files(tmp_path / "out" / "ledger")
    for path in _files(tmp_path):
        assert CANARY.encode() not in path.read_bytes(), path


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [
        ("models.solver.api_key=" + CANARY,),
        ("+models.solver.extra_body={key: " + CANARY + "}",),
        ("recipe.name=" + CANARY + "(",),
        ("--cfg", "job", "+models.solver.password=" + CANARY),
        ("--cfg", "job", "--resolve", "output_dir=${oc.env:CANARY_KEY}"),
        ("output_dir=${oc.env:CANARY_KEY}", "recipe.language=${nowhere}"),
        ("--" + CANARY,),
        ("recipe.language=not-secret-by-its-form",),
    ],
    ids=["unknown_key", "inside", "unreadable", "shown", "resolved", "error", "flag", "by_value"],
)
def test_secret_on_the_command_line_is_refused_without_it(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    words = {"CANARY_KEY": CANARY, "OTHER_API_KEY": "not-secret-by-its-form"}
    code, printed = _run("plan_run", *arguments, cwd=tmp_path, **words)
    assert code == 2
    assert printed.startswith("bad input: ")
    assert printed.count("\n") == 1
    assert not [word for word in words.values() if word in printed]
    assert _files(tmp_path) == []


PROGRAM = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import composing

def job(config):
    {body}

composing.run(job)
"""
BODIES = {
    "bug": ("raise KeyError('[/b]\\x1b[31m')", "the program failed: KeyError"),
    "secret": (f"raise ValueError('{CANARY}')", "the program failed: ValueError: [hidden]"),
    "thread": (
        "import threading; t = threading.Thread(target=lambda: 1 / 0, name='display'); "
        "t.start(); t.join(); return 1",
        "a part of the program failed (display): ZeroDivisionError",
    ),
    "disk": ("raise OSError(28, 'No space left on device', '/x')", "the run failed: [Errno 28]"),
    "long": ("raise OSError('x' * 9_000)", f"the run failed: {'x' * 1_000}"),
    "interrupt": (
        "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
        "interrupted; the same command goes on",
    ),
}


@pytest.mark.process
def test_warning_is_one_line_without_escapes_and_secrets(tmp_path: Path) -> None:
    body = f"import logging; logging.getLogger('x').warning('a\\n\\x1b[31m{CANARY}'); return 0"
    command = [sys.executable, "-c", PROGRAM.format(body=body), str(ROOT / "jobs")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "WARNING x: a \\x1b[31m[hidden]\n")


@pytest.mark.process
@pytest.mark.parametrize(("body", "said"), BODIES.values(), ids=BODIES)
def test_error_that_nobody_foresaw_is_one_line_and_a_traceback_only_on_demand(
    tmp_path: Path, body: str, said: str
) -> None:
    command = [sys.executable, "-c", PROGRAM.format(body=body), str(ROOT / "jobs")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == (130 if "SIGINT" in body else 1)
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 2_200
    assert "\x1b" not in done.stderr
    assert CANARY not in done.stderr
    if "program" not in said:
        return
    env["CHIMERA_RAY_TRACEBACK"] = "1"
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
