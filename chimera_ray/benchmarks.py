"""Benchmark files as the user names them: JSONL or Parquet, read once, checked by content."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from chimera_ray.errors import ConfigError

Items = dict[str, str]


class Benchmark(BaseModel):
    """One benchmark file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(min_length=1)
    """what rejected rows are told"""
    path: str
    """on storage that every node sees"""
    column: str = "problem"
    """the column, or JSON key, that holds the item's text"""
    id_column: str | None = None
    """the column that names the item; None counts them from 0"""
    format: Literal["jsonl", "parquet"] | None = None
    """None: by the file's ending"""


def read_items(benchmarks: Sequence[Benchmark]) -> Items:
    """Benchmarks → item id (`name/id`) → text, in the files' order.

    Where an id occurs again, its row is named as well: no item stands in for another.

    Raises:
        ConfigError: a file cannot be read, or holds no such column; says which and what it holds.
    """
    items: Items = {}
    names = [benchmark.name for benchmark in benchmarks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"benchmarks named twice: {', '.join(twice)}")
    for benchmark in benchmarks:
        for place, row in enumerate(_rows(benchmark)):
            for column in filter(None, (benchmark.column, benchmark.id_column)):
                if column not in row:
                    has = ", ".join(sorted(row))
                    raise ConfigError(
                        f"benchmark {benchmark.name}: row {place} of {benchmark.path} has no "
                        f"column {column}; it has {has:.200}"
                    )
            text = row[benchmark.column]
            if not isinstance(text, str):
                raise ConfigError(
                    f"benchmark {benchmark.name}: row {place} of {benchmark.path} has no text in "
                    f"column {benchmark.column}: name another column, or leave the row out"
                )
            item = row[benchmark.id_column] if benchmark.id_column else place
            key = f"{benchmark.name}/{item}"
            items[f"{key}#{place}" if key in items else key] = text
    return items


def _rows(benchmark: Benchmark) -> list[dict[str, Any]]:
    if "://" in benchmark.path:
        raise ConfigError(
            f"benchmark {benchmark.name}: path: {benchmark.path} is an address: download it, and "
            "give the file"
        )
    path = Path(os.path.expanduser(benchmark.path))
    kind = benchmark.format or {".jsonl": "jsonl", ".parquet": "parquet"}.get(path.suffix)
    if kind is None:
        raise ConfigError(f"benchmark {benchmark.name}: set format, {path.name} does not tell it")
    try:
        rows = _read_jsonl(path) if kind == "jsonl" else _read_parquet(path, benchmark)
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or str(exc).partition("\n")[0]
        raise ConfigError(f"benchmark {benchmark.name}: cannot read {path}: {why}") from None
    if not rows:
        raise ConfigError(f"benchmark {benchmark.name}: {path} holds no items")
    return rows


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise ValueError(f"line {number} is not JSON") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is not a JSON object")
            rows.append(row)
    return rows


def _read_parquet(path: Path, benchmark: Benchmark) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory")
    file = pq.ParquetFile(path)
    wanted = [benchmark.column, *filter(None, [benchmark.id_column])]
    has = file.schema_arrow.names
    columns = wanted if set(wanted) <= set(has) else has[:20]  # the rest is for the error's eyes
    rows: list[dict[str, Any]] = file.read(columns=columns).to_pylist()
    return rows
