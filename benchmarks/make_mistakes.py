"""Every mistake of `mistakes.py`, made for real: what the jobs say, and with which exit code.

python benchmarks/make_mistakes.py                 make them all, write docs/errors.md
python benchmarks/make_mistakes.py --without-ray   leave out those that take a Ray cluster
python benchmarks/make_mistakes.py NAME …          make these, print what is said
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

from mistake_folders import FOLDERS, ROOT
from mistakes import KEY, MISTAKES, Mistake

PAGE = ROOT / "docs" / "errors.md"
TIMEOUT_S = 180.0
AT_ONCE = 2
"""jobs that run side by side"""
HEAD = """# What the jobs say

An error ends a job in one line on the standard error. The exit code is 1 for a run that failed, 2
for bad input (nothing was started), 3 for a budget that is spent, 130 for Ctrl-C, and 0 for a job
that did what it was asked for. What was done before is in the ledger: the same command goes on from
there. An error that nobody foresaw says `the program failed`, with exit code 1; with
`CHIMERA_RAY_TRACEBACK=1` in the environment it keeps its traceback.

Below: what new users get wrong, each made for real by `benchmarks/make_mistakes.py`, which writes
this page; a test makes those again that take no Ray. OUT is a folder, PORT the port of a server
that answers as a provider does, PYTHON an interpreter.

| what was wrong | command line | exit | what is said |
|---|---|---:|---|
"""


class Outcome(NamedTuple):
    """What a job did."""

    code: int
    said: str
    """its standard error, with OUT, PORT and PYTHON in place of this machine's"""
    shown: str
    """its standard output"""


class _Provider(BaseHTTPRequestHandler):
    """A provider that knows one key and no model."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        is_known = self.headers.get("authorization") == f"Bearer {KEY}"
        if not is_known:
            status, message, code = 401, "Incorrect API key provided.", "invalid_api_key"
        elif self.path.startswith("/v1/"):
            status, message, code = 404, "The model does not exist.", "model_not_found"
        else:
            status, message, code = 404, f"Invalid URL (POST {self.path})", "unknown_url"
        body = json.dumps({"error": {"message": message, "code": code}}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@contextmanager
def _provider() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def make(mistake: Mistake, port: int) -> Outcome:
    """A mistake and the provider's port → what came of it."""
    with (
        tempfile.TemporaryDirectory(prefix="mistake-") as folder,
        FOLDERS[mistake.folder](Path(folder)) as place,
    ):
        given = [
            argument.replace("OUT", folder).replace("PORT", str(port))
            for argument in mistake.arguments
        ]
        if not any("output_dir" in argument for argument in given):
            given.append(f"output_dir={place.output_dir}")
        script = str(ROOT / "jobs" / f"{mistake.job}.py")
        command = [*place.python, script, *given]
        env = {**_environment(), **mistake.env}
        process = subprocess.Popen(
            command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process:
            try:
                shown, said = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.terminate()
                shown, said = process.communicate()
                said += f"nothing more within {TIMEOUT_S:.0f} s"
    here = {folder: "OUT", f":{port}": ":PORT", sys.executable: "PYTHON", f"{ROOT}/": ""}
    return Outcome(process.returncode, _placed(said, here), _placed(shown, here))


def _environment() -> dict[str, str]:
    """This process's environment, without what a mistake is about."""
    gone = re.compile("MY_KEY|OPENAI_.*|RAY_ADDRESS|CHIMERA_RAY_TRACEBACK|.*_PROXY", re.IGNORECASE)
    kept = {name: value for name, value in os.environ.items() if not gone.fullmatch(name)}
    return {**kept, "PYTHONPATH": "", "RAY_USAGE_STATS_ENABLED": "0"}


def _placed(text: str, here: Mapping[str, str]) -> str:
    for what, name in here.items():
        text = text.replace(what, name)
    text = re.sub(r"part-\d+-\w+-\d+", "part-N", text)
    text = re.sub(r"reached in \d+ s", "reached in N s", text)
    return re.sub(r"(demo-|/)(?:[0-9a-f]{16}|[0-9a-f]{8})(?=[/ ])", r"\1N", text)


def made(names: Sequence[str]) -> dict[str, Outcome]:
    """Names of mistakes → what came of each."""
    with _provider() as port, ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = pool.map(lambda name: make(MISTAKES[name], port), names)
        return dict(zip(names, outcomes, strict=True))


def row_of(mistake: Mistake, outcome: Outcome) -> str:
    """A mistake and its outcome → its line of the page."""
    words = [f"jobs/{mistake.job}.py", *mistake.arguments]
    env = "".join(f"{name}={shlex.quote(value)} " for name, value in mistake.env.items())
    command = f"{env}{' '.join(map(shlex.quote, words))}".replace("\n", "\\n")
    told = (outcome.said or outcome.shown).strip().splitlines()[-1]
    return f"| {mistake.title} | <code>{_cell(command)}</code> | {outcome.code} | {_cell(told)} |"


def _cell(text: str) -> str:
    return re.sub(r"[&<>|`*\[\]\\]", lambda found: f"&#{ord(found[0])};", text)


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    is_without_ray = list(arguments) == ["--without-ray"]
    chosen = [name for name in MISTAKES if not (is_without_ray and MISTAKES[name].needs_ray)]
    names = [] if is_without_ray else arguments
    outcomes = made(names or chosen)
    if not names:
        rows = [row_of(MISTAKES[name], outcome) for name, outcome in outcomes.items()]
        PAGE.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    for name, outcome in outcomes.items():
        mark = "" if outcome.code == MISTAKES[name].code else f" (not {MISTAKES[name].code})"
        print(f"{name}: {outcome.code}{mark}: {outcome.said.strip()}")


if __name__ == "__main__":
    main(sys.argv[1:])
