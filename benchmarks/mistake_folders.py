"""Folders in which mistakes are made: a full disk, a ledger of another format, a run going on."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
DISK_KIB = 24
SMALL = ("runtime=preview", "recipe.subjects=[{name: Physics, target_topics: 1}]")
"""a run of seconds, without Ray"""


class Place(NamedTuple):
    """Where and how a job is started."""

    output_dir: Path
    python: tuple[str, ...] = (sys.executable,)


Prepare = Callable[[Path], AbstractContextManager[Place]]


@contextmanager
def empty(folder: Path) -> Iterator[Place]:
    """Nothing is there yet."""
    yield Place(folder / "out")


@contextmanager
def with_file(folder: Path) -> Iterator[Place]:
    """A file, where a folder is wanted."""
    (folder / "file").write_text("not a folder")
    yield Place(folder / "out")


@contextmanager
def benchmarks(folder: Path) -> Iterator[Place]:
    """Files that hold no problems."""
    (folder / "rows.jsonl").write_text('{"id": 1, "text": "What?"}\n')
    (folder / "null.jsonl").write_text('{"problem": null}\n')
    (folder / "rows.parquet").write_text("not Parquet")
    yield Place(folder / "out")


@contextmanager
def latin_1(folder: Path) -> Iterator[Place]:
    """A recipe in another encoding."""
    (folder / "conf" / "recipe").mkdir(parents=True)
    (folder / "conf" / "recipe" / "mine.yaml").write_bytes("name: café".encode("latin-1"))
    yield Place(folder / "out")


@contextmanager
def weights(folder: Path) -> Iterator[Place]:
    """A model's folder, from which something is missing."""
    (folder / "config.json").write_text("{}")
    yield Place(folder / "out")


def _mounted(options: str) -> Prepare:
    """A file system's options → what prepares a folder that lies on it."""

    @contextmanager
    def prepare(folder: Path) -> Iterator[Place]:
        disk = folder / "disk"
        disk.mkdir()
        mount = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
        yield Place(disk / "out", ("unshare", "-rm", "sh", "-c", mount, str(disk), sys.executable))

    return prepare


@contextmanager
def done(folder: Path) -> Iterator[Place]:
    """The preview of a run that came to its end."""
    job = str(ROOT / "jobs" / "build_dataset.py")
    command = [sys.executable, job, *SMALL, f"output_dir={folder / 'out'}"]
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    yield Place(folder / "out")


@contextmanager
def going_on(folder: Path) -> Iterator[Place]:
    """The same run, held by another process."""
    with done(folder) as place:
        (run,) = (place.output_dir / "runs").iterdir()
        with open(run / ".lock", "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield place


@contextmanager
def other_format(folder: Path) -> Iterator[Place]:
    """A ledger that another version wrote."""
    with done(folder) as place:
        for part in (place.output_dir / "ledger").rglob("part-*.parquet"):
            table = pq.read_table(part)
            kept = {**table.schema.metadata, b"chimera_ray.format": b"999"}
            pq.write_table(table.replace_schema_metadata(kept), part)
        yield place


@contextmanager
def damaged(folder: Path) -> Iterator[Place]:
    """A run whose graph was cut off in the middle."""
    with done(folder) as place:
        (run,) = (place.output_dir / "runs").iterdir()
        os.truncate(run / "graph.json", 40)
        yield place


@contextmanager
def old_python(folder: Path) -> Iterator[Place]:
    """An interpreter that calls itself 3.9."""
    start = (
        "import os, runpy, sys; sys.version_info = (3, 9, 2); sys.argv = sys.argv[1:]; "
        "sys.path.insert(0, os.path.dirname(sys.argv[0])); "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    yield Place(folder / "out", (sys.executable, "-c", start))


@contextmanager
def no_packages(folder: Path) -> Iterator[Place]:
    """An interpreter for which nothing was installed."""
    yield Place(folder / "out", (sys.executable, "-S"))


FOLDERS: dict[str, Prepare] = {
    "empty": empty,
    "file": with_file,
    "benchmarks": benchmarks,
    "latin_1": latin_1,
    "weights": weights,
    "read_only": _mounted("ro"),
    "full": _mounted(f"size={DISK_KIB}k"),
    "done": done,
    "going_on": going_on,
    "format": other_format,
    "damaged": damaged,
    "old_python": old_python,
    "no_packages": no_packages,
}
