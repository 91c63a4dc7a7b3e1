"""A run of `vllm_runs.py` in a process of its own: what can be seen of it, and done to it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

SCRIPT = Path(__file__).resolve().with_name("vllm_runs.py")
TIMEOUT_S = 420.0


class Pair(NamedTuple):
    """An engine's processes."""

    actor: psutil.Process
    core: psutil.Process


def cores_of(actor: psutil.Process) -> list[psutil.Process]:
    """A process → what Python's multiprocessing started in it for work: of an actor, EngineCore.

    It may or may not have a title: whether one is taken depends on the order of the environment,
    and Ray's differs from start to start.
    """
    found = []
    try:
        for child in actor.children():
            said = " ".join(child.cmdline())
            if "multiprocessing.spawn" in said or "EngineCore" in said:
                found.append(child)
    except psutil.Error:  # one of them ended meanwhile
        pass
    return found


class Child:
    """A run in a process of its own, and what can be seen of it from outside."""

    def __init__(self, output_dir: Path, model: Path, kill: str) -> None:
        self.output_dir = output_dir
        command = [sys.executable, str(SCRIPT), "--child", str(output_dir), "--model", str(model)]
        self.workplace = output_dir.resolve() / f"workplace-{time.time_ns()}"
        self.workplace.mkdir()
        command += ["--nodes", "3" if kill == "node" else "1"]
        command += ["--with-poison"] if kill == "poison" else []
        log = (output_dir / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.workplace)
        log.close()

    def processes(self) -> list[psutil.Process]:
        """The processes that it started, or they.

        Found by the working directory that they inherited: those of a killed actor are nobody's
        children any more, and one that gives itself a title may overwrite its environment.
        """
        seen = psutil.process_iter(["cwd", "name"])  # of one that ends meanwhile it says nothing
        return [process for process in seen if process.info["cwd"] == str(self.workplace)]

    def engine(self) -> Pair:
        """Its engine's processes, found by whose children they are."""
        ours = self.processes()
        nodes = {process.pid for process in ours if process.info["name"] == "raylet"}
        workers = [child for pid in nodes for child in psutil.Process(pid).children()]
        pairs = [Pair(actor, core) for actor in workers for core in cores_of(actor)]
        if len(pairs) != 1:
            tree = "\n".join(map(str, ours))
            raise RuntimeError(f"one engine is to be up, and there are {pairs} in\n{tree}")
        return pairs[0]

    def notes(self) -> list[dict[str, Any]]:
        """How its engines stand."""
        for path in self.output_dir.glob("runs/.live/*/.engines"):
            try:
                notes: list[dict[str, Any]] = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            return notes
        return []

    def wait_for_partials(self, num_tokens: int) -> None:
        """Waits until so many tokens of unfinished trajectories are written down."""
        deadline = time.monotonic() + TIMEOUT_S
        while sum(_size(path) for path in self.output_dir.glob("partials/*-*")) < 4 * num_tokens:
            self.require_alive(deadline)
            time.sleep(0.05)

    def require_alive(self, deadline: float) -> None:
        """Raises with the end of its log if it has ended, or takes too long."""
        if self.process.poll() is not None or time.monotonic() > deadline:
            code = self.process.returncode
            raise RuntimeError(f"the run ended or hangs ({code}):\n{self.log()}")

    def log(self) -> str:
        """The end of what it said."""
        return (self.output_dir / "log").read_text(errors="replace")[-4000:]

    def end(self) -> None:
        """Waits for its end."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            self.require_alive(deadline)
            time.sleep(0.1)
        if self.process.returncode:
            self.require_alive(deadline)

    def kill_all(self) -> None:
        """Ends it and all that it started, by kill -9."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.Error:
                continue
        self.process.wait()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its trajectory has ended
        return 0
