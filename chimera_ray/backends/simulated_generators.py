"""The generators of reasoning-gym, one at a time: the only file that imports reasoning-gym.

Its packages import every generator and with them matplotlib and sympy: more than a second in each
process, for one module that is wanted. So the packages are opened without running their
`__init__`, and the wanted module alone is imported. The version is pinned for this reason; a test
holds the items against those of the whole package. Whoever has imported it as a whole is served so.
"""

import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGE = "reasoning_gym"
_SMALL = ("coaching", "data")
"""packages that the others import names from, and that import little themselves"""


def new_generator(task: str, seed: int, settings: Mapping[str, object]) -> Any:  # noqa: ANN401 - untyped
    """A task, a seed and the task's settings → reasoning-gym's data set of one item.

    Raises:
        ValueError: reasoning-gym has no such task.
    """
    package = sys.modules.get(_PACKAGE)
    if package is not None and hasattr(package, "create_dataset"):
        return package.create_dataset(task, seed=seed, size=1, **settings)
    root = _open_packages()
    import_module(f"{_PACKAGE}.coaching")  # before the factory: the two import one another
    factory = import_module(f"{_PACKAGE}.factory")
    if task not in factory.DATASETS:
        path = next(root.rglob(f"{task}.py"), None)
        if path is None:
            raise ValueError(f"reasoning-gym has no task '{task}'")
        import_module(".".join((_PACKAGE, *path.relative_to(root).with_suffix("").parts)))
    return factory.create_dataset(task, seed=seed, size=1, **settings)


@cache
def _open_packages() -> Path:
    """Puts the package and its categories in place, empty; the folder that they lie in."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named '{_PACKAGE}'", name=_PACKAGE)
    root = Path(spec.origin).parent
    _put_empty(_PACKAGE, root)
    for path in root.glob("*/__init__.py"):
        if path.parent.name not in _SMALL:
            _put_empty(f"{_PACKAGE}.{path.parent.name}", path.parent)
    return root


def _put_empty(name: str, folder: Path) -> None:
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module
