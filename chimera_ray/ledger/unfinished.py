"""What processes that were killed in the middle of a write have left in a folder of their own."""

import logging
import re
import shutil
from pathlib import Path

from chimera_ray.ledger.store import Store

log = logging.getLogger(__name__)
_UNFINISHED = re.compile(r"\..+\.tmp|\.data-.+")
"""files of which nobody knows the name, and shards that were not put in place"""


def sweep_unfinished(store: Store, folder: str) -> None:
    """Deletes it; the caller is the only process that writes in this folder.

    Where objects appear whole (a store that is no file system) there is nothing of the kind.
    """
    if not store.is_local:
        return
    for name in store.names(folder):
        if not _UNFINISHED.fullmatch(name):
            continue
        path = Path(store.path(folder, name))
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as exc:
            log.info("left for a later run to sweep: %s", exc)
