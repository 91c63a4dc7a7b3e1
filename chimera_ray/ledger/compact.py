"""Many small parts → few large ones, losing no record, not even one that another has beaten.

A compacted part first appears under its final name, then the parts that it replaces go. A crash in
between leaves records twice, each pair equal, which readers bear: one record per work id wins, and
the footers' totals are only ever summed over parts of the present run.
"""

import json
from collections.abc import Sequence
from secrets import token_hex

import pyarrow as pa
import pyarrow.parquet as pq

from chimera_ray.ledger.journal import is_journal, part_of
from chimera_ray.ledger.parts import SCHEMA, TOTALS_KEY, UNREADABLE, is_part, write_table
from chimera_ray.ledger.store import Store
from chimera_ray.ledger.totals import Totals, sum_totals

SMALL_BYTES = 32 << 20
TARGET_BYTES = 128 << 20
MIN_PARTS = 8


def compact(store: Store, folder: str) -> int:
    """A stage's folder → the same records in fewer files; how many parts went.

    Parts that another run writes meanwhile are left alone, and so are those whose journal is still
    there: while they stand, it counts for nothing. Only parts under 32 MiB are touched, and nothing
    happens below eight of them.
    """
    names = store.names(folder)
    needed = {part_of(name) for name in names if is_journal(name)}
    parts = [name for name in names if is_part(name) and name not in needed]
    sizes = {name: store.size(f"{folder}/{name}") for name in parts}
    if sum(size < SMALL_BYTES for size in sizes.values()) < MIN_PARTS:
        return 0
    batches: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        # Only neighbours are merged: past a large part, records would change their age.
        if size >= SMALL_BYTES or filled + size > TARGET_BYTES:
            batches.append([])
            filled = 0
        if size < SMALL_BYTES:
            batches[-1].append(name)
            filled += size
    return sum(_merge(store, folder, batch) for batch in batches if len(batch) > 1)


def _merge(store: Store, folder: str, names: Sequence[str]) -> int:
    tables: list[pa.Table] = []
    totals: list[Totals] = []
    merged: list[str] = []
    for name in names:
        if not store.is_readable(f"{folder}/{name}"):
            continue
        try:
            with store.fs.open_input_file(store.path(folder, name)) as source:
                file = pq.ParquetFile(source, page_checksum_verification=True)
                table = file.read(columns=SCHEMA.names)
                totals.append(json.loads((file.schema_arrow.metadata or {})[TOTALS_KEY]))
        except UNREADABLE:
            continue  # the next reader judges it, and names it
        tables.append(table.select(SCHEMA.names).replace_schema_metadata(None))
        merged.append(name)
    if len(merged) < 2:
        return 0
    # The first part's time keeps the order of age, and so the winners; the tail makes it unique.
    target = "-".join(merged[0].split("-")[:2]) + f"-{token_hex(4)}-compact.parquet"
    write_table(store, f"{folder}/{target}", pa.concat_tables(tables), sum_totals(totals))
    for name in merged:
        store.delete(f"{folder}/{name}")
    return len(merged)
