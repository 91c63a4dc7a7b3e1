"""The small demo on a real small model: SmolLM2-135M-Instruct in all six roles, over HTTP, on CPUs.

    python benchmarks/real_model.py outputs [OVERRIDE ...]     what `make demo-real` does

Starts a llama.cpp server on a free port of loopback, runs `recipe=demo_real` against it to its end,
and stops it. Most of what the model writes is nonsense, and a run of it may well give no example;
what is to hold is that every row came to one outcome. Exits with 0 if so, with the run's own code
otherwise.
"""

import argparse
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from remote_setup import CONSOLE, ROOT, config_of

from chimera_ray.build import Manifest, failure_of
from chimera_ray.config import ROLES
from chimera_ray.graph import build_graph
from chimera_ray.ledger.store import Store

SERVER = ROOT / "benchmarks/llama_server.py"
PYTHON = ROOT / ".venv-real/bin/python"
"""of the server's environment; `make demo-real` sets it up"""
WARM_DRAFTER = "models.drafter.sampling.temperature=0.9"
"""drawn coolly, nearly every draft of it is a copy of the prompt, and no other role is asked"""
UP_S = 120.0
"""seconds until the server answers, at most; on two cores it takes two"""
DOWN_S = 10.0
"""seconds that it has to end by itself"""


@contextmanager
def serving(python: Path = PYTHON) -> Iterator[str]:
    """The server's interpreter → the base URL of a server that answers until the block's end."""
    if not python.exists():
        sys.exit(f"{python} is missing: `make demo-real` sets it up")
    server = subprocess.Popen(
        [str(python), str(SERVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        address = server.stdout.readline().strip()  # empty if it ended without a word
        _wait_until_up(server, address)
        yield f"{address}/v1"
    finally:
        server.stdin.close()  # what it waits for
        try:
            server.wait(DOWN_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


def _wait_until_up(server: "subprocess.Popen[str]", address: str) -> None:
    deadline = time.monotonic() + UP_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=UP_S):
                return
        except (OSError, ValueError):  # ValueError: it has said no address yet
            time.sleep(0.1)
    sys.exit(f"the server did not come up; exit code {server.poll()}")


def words_of(output_dir: Path, url: str, *more: str) -> list[str]:
    """An output folder and a server → the overrides of a small demo with every role there."""
    words = ["recipe=demo_real", "runtime=local", f"output_dir={output_dir}", WARM_DRAFTER]
    return [*words, *(f"models.{role}.base_url={url}" for role in ROLES), *more]


def manifest_of(words: Sequence[str]) -> Manifest | None:
    """A run's overrides → the manifest that it ended with; None if it has not ended."""
    config = config_of(words)
    store, path = Store(config.output_dir), f"runs/{build_graph(config).run_name}/manifest.json"
    return Manifest.model_validate_json(store.read_text(path)) if store.exists(path) else None


def run_demo(output_dir: Path, more: Sequence[str]) -> int:
    """An output folder and further overrides → the exit code, with what happened printed."""
    with serving() as url:
        words = words_of(output_dir, url, *more)
        code = _end_of([sys.executable, str(ROOT / "jobs/build_dataset.py"), *words])
    manifest = manifest_of(words)
    if manifest is None:
        return code or 1
    stages = manifest.account.stages
    whole = all(s.inputs == s.accepted + s.rejected + s.failed and not s.todo for s in stages)
    num_rows, num_failed = sum(s.inputs for s in stages), sum(s.failed for s in stages)
    num_examples = 0 if manifest.published is None else manifest.published.examples
    CONSOLE.print(
        f"{num_examples} examples of a real model; {num_rows} rows over all stages, each with one "
        f"outcome{'' if whole else ', which does NOT hold'}; {num_failed} failed, most of them for "
        "replies that say nothing readable, as is to be expected of so small a model"
    )
    # A run without an example ends in an error elsewhere; here the machinery is what is shown.
    is_done = whole and (code == 0 or failure_of(manifest) is not None)
    return 0 if is_done else code or 1


def _end_of(command: Sequence[str]) -> int:
    """A command → its exit code; it gets every interrupt, and ends by itself."""
    job = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda *_: job.send_signal(signal.SIGINT))
    while True:
        try:
            return job.wait()
        except KeyboardInterrupt:  # Ctrl-C reaches the job, too
            continue


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("overrides", nargs="*", help="e.g. models.drafter.structured_output=none")
    args = parser.parse_args()
    sys.exit(run_demo(args.output_dir, args.overrides))
