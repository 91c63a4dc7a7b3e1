"""One part of the ledger: records ↔ a Parquet file with an explicit schema.

The footer carries the part's totals, so that progress can be read without reading rows.
"""

import json
import re
import time
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from chimera_ray.ledger.store import Store
from chimera_ray.ledger.totals import totals_of
from chimera_ray.schemas import Call, Output, Record

CALL = pa.struct(
    [
        ("role", pa.string()),
        ("model", pa.string()),
        ("prompt_id", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("finish_reason", pa.string()),
        ("input_tokens", pa.int64()),
        ("cached_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("reasoning_tokens", pa.int64()),
        ("is_usage_estimated", pa.bool_()),
        ("cost_usd", pa.float64()),
        ("latency_s", pa.float64()),
        ("attempts", pa.int32()),
        ("resumed_tokens", pa.int64()),
        ("first_token_s", pa.float64()),
        ("decode_s", pa.float64()),
        ("request_id", pa.string()),
        ("is_replayed", pa.bool_()),
        ("text", pa.large_string()),
        ("reasoning", pa.large_string()),
    ]
)
OUTPUT = pa.struct([("row_id", pa.string()), ("payload", pa.large_string())])
SCHEMA = pa.schema(
    [
        ("work_id", pa.string()),
        ("input_id", pa.string()),
        ("outcome", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.large_string()),
        ("outputs", pa.list_(OUTPUT)),
        ("calls", pa.list_(CALL)),
        ("run_id", pa.string()),
        ("finished_at", pa.float64()),
    ]
)
FORMAT_KEY = b"chimera_ray.format"
FORMAT = b"3"
"""raised by hand with the schema: another version's parts are neither read nor set aside"""
TOTALS_KEY = b"chimera_ray.totals"
ROW_GROUP = 512
_HALF = re.compile("[\ud800-\udfff]")
UNREADABLE = (
    pa.ArrowException,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    RecursionError,
    EOFError,
)
"""what reading a file may raise that is no part, or no longer"""
if CALL.names != list(Call._fields) or SCHEMA.names != list(Record._fields):
    raise AssertionError("the ledger's Arrow schema and schemas.Record have drifted apart")


def part_name(writer_id: str, sequence: int) -> str:
    """A writer and its count of parts → a name that sorts by time of writing."""
    return f"part-{time.time_ns():019d}-{writer_id}-{sequence:06d}.parquet"


def is_part(name: str) -> bool:
    """Whether a file's name is that of a part: not a temporary, not a stranger."""
    return name.startswith("part-") and name.endswith(".parquet")


def to_table(records: Sequence[Record]) -> pa.Table:
    """Records → a table of the ledger's schema.

    Half of a surrogate pair, which a reply can smuggle in and no file can hold, becomes U+FFFD.
    """
    try:
        return _table(records)
    except UnicodeEncodeError:
        return _table([_whole(record) for record in records])


def _whole(value: Any) -> Any:  # noqa: ANN401 - whatever comes in goes out
    if isinstance(value, Record | Call | Output):
        return type(value)(*map(_whole, value))
    if isinstance(value, tuple):
        return tuple(map(_whole, value))
    return _HALF.sub("\ufffd", value) if isinstance(value, str) else value


def _table(records: Sequence[Record]) -> pa.Table:
    columns = list(zip(*records, strict=True)) or [()] * len(SCHEMA)
    lists = {"outputs": OUTPUT, "calls": CALL}
    arrays = [
        _list_array(column, lists[field.name])
        if field.name in lists
        else pa.array(column, field.type)
        for column, field in zip(columns, SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _list_array(rows: Sequence[Sequence[tuple[Any, ...]]], kind: pa.StructType) -> pa.Array:
    """Lists of tuples → the same as an array of structs, column by column: no dict for each."""
    flat = [item for row in rows for item in row]
    columns = list(zip(*flat, strict=True)) or [()] * kind.num_fields
    structs = pa.StructArray.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, kind, strict=True)],
        fields=list(kind),
    )
    offsets = [0, *accumulate(map(len, rows))]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, type=pa.list_(kind))


def to_records(table: pa.Table) -> list[Record]:
    """A table of the ledger's schema → its records."""
    return [
        Record(
            **{
                **row,
                "outputs": tuple(Output(**output) for output in row["outputs"]),
                "calls": tuple(Call(**call) for call in row["calls"]),
            }
        )
        for row in table.to_pylist()
    ]


def write_part(store: Store, folder: str, name: str, records: Sequence[Record]) -> None:
    """Records → one durable part; readers see it whole or not at all."""
    write_table(store, f"{folder}/{name}", to_table(records), totals_of(records))


def write_table(store: Store, path: str, table: pa.Table, totals: dict[str, Any]) -> None:
    """A table of the ledger's schema and its totals → one durable part."""
    table = table.replace_schema_metadata(
        {FORMAT_KEY: FORMAT, TOTALS_KEY: json.dumps(totals).encode()}
    )
    store.write(
        path,
        lambda sink: pq.write_table(
            table, sink, compression="zstd", row_group_size=ROW_GROUP, write_page_checksum=True
        ),
    )
