"""How rows travel between actors: one cell of one row, so that a block leaves whole and at once."""

from collections.abc import Sequence

import pyarrow as pa

from chimera_ray.ledger.store import Store
from chimera_ray.runners.shared_rows import Item

PARCEL = pa.schema([("parcel", pa.large_binary())])
"""one cell, one block: many rows as lines of `id json`, or `@path` of a chunk that holds them"""


def lines(items: Sequence[Item]) -> bytes:
    """Rows → lines of `id json`; JSON holds no line break."""
    return "\n".join(f"{input_id} {payload}" for input_id, payload in items).encode()


def _items(lines: bytes) -> list[Item]:
    pairs = (line.split(" ", 1) for line in lines.decode().split("\n") if line)
    return [(pair[0], pair[1]) for pair in pairs]


def parcel(content: bytes) -> pa.Table:
    """Lines of rows, or `@path` of a chunk that holds them → the table that carries them."""
    return pa.table({"parcel": pa.array([content], pa.large_binary())}, schema=PARCEL)


def unpack(table: pa.Table, store: Store) -> list[tuple[str, list[Item]]]:
    """A block → (stage, rows) of each parcel; a chunk's name tells its stage, else it is first."""
    if not table.num_rows:  # a call that gave nothing: its block has no columns either
        return []
    arrived = []
    for cell in table["parcel"].to_pylist():
        if cell.startswith(b"@"):
            path = cell[1:].decode()
            stage = path.rsplit("/", 1)[1].rsplit("-", 1)[0]
            arrived.append((stage, _items(bytes(store.read_bytes(path)))))
        else:
            arrived.append(("", _items(cell)))
    return arrived
