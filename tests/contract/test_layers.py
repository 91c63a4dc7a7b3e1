"""The house's layers, held against every import: arrows point down, and nothing goes round."""

import ast
from collections.abc import Iterator, Mapping, Set
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "chimera_ray"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_JOB_LINES = 60

LAYERS: tuple[tuple[frozenset[str], ...], ...] = (
    (
        frozenset({"build", "report", "report_plan", "progress", "status", "terminal"})
        | {"model_check", "plan_error", "report_check"},
    ),
    (
        frozenset({"drive", "publish", "audit", "audit_labels", "account", "contamination"})
        | {"provenance", "card"}
        | {"plan", "plan_flow", "plan_sample", "plan_time", "plan_estimate"}
        | {"plan_gpu", "plan_node"},
    ),
    (frozenset({"runners"}),),
    (frozenset({"frontier"}),),
    (frozenset({"graph"}),),
    (frozenset({"stage", "stages"}), frozenset({"backends"}), frozenset({"ledger"})),
    (frozenset({"prompts", "text", "metrics", "benchmarks", "unforeseen"}),),
    (
        frozenset({"schemas", "call_log", "llm", "config", "model_config", "plan_config", "errors"})
        | {"credentials"}
        | {"engine_fit", "engine_size"},
    ),
)
"""top to bottom; the groups of one layer never import one another"""

HOMES = {
    "ray": ("chimera_ray/runners/ray_",),
    "hydra": ("jobs/",),
    "omegaconf": ("jobs/",),
    "openai": ("chimera_ray/backends/",),
    "httpx": ("chimera_ray/backends/",),
    "vllm": ("chimera_ray/backends/",),
    "reasoning_gym": ("chimera_ray/backends/",),
    "sympy": ("chimera_ray/metrics/answers/proof.py",),
    "rich": (
        *(f"chimera_ray/{name}.py" for name in ("report", "report_plan", "report_check")),
        *(f"chimera_ray/{name}.py" for name in ("progress", "terminal")),
        "jobs/",
    ),
}
"""the only places that may import a package"""

FILES = sorted(PACKAGE.rglob("*.py"))
JOBS = sorted((ROOT / "jobs").glob("*.py"))
each_file = pytest.mark.parametrize(
    "path", [*FILES, *JOBS], ids=lambda path: path.relative_to(ROOT).as_posix()
)


def _module(path: Path) -> str:
    """A file → its module's dotted name; of a package: the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path): path for path in FILES}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _imported(path: Path) -> Iterator[str]:
    """A file → the dotted names that it imports, inside functions too."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args if _is_text(arg))  # type: ignore[attr-defined]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@cache
def _inner(path: Path) -> frozenset[str]:
    """A file → the modules of this package that it imports."""
    return frozenset(name for name in _imported(path) if name in MODULES)


def _place(module: str) -> tuple[int, int]:
    """A module → its layer and its group there."""
    top = module.split(".")[1]
    for layer, groups in enumerate(LAYERS):
        for group, names in enumerate(groups):
            if top in names:
                return layer, group
    raise AssertionError(f"{module} has no layer: give it one in {__file__}")


def _cycle(graph: Mapping[str, Set[str]]) -> list[str]:
    """Arrows → some modules that lead round to the first of them; empty if there are none."""
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph[module]):
            if found := walk(target, [*trail, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := walk(module, []))), [])


def test_cycle_is_found_where_there_is_one() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert _cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_modules_between_them_there_is_no_cycle() -> None:
    assert _cycle({module: _inner(path) - {module} for module, path in MODULES.items()}) == []


@pytest.mark.parametrize("module", [module for module in MODULES if "." in module])
def test_module_imports_point_down_and_not_to_siblings(module: str) -> None:
    layer, group = _place(module)
    for target in sorted(_inner(MODULES[module]) - {"chimera_ray"}):
        target_layer, target_group = _place(target)
        assert target_layer >= layer, f"{module} imports {target}, which lies above it"
        is_sibling = target_layer == layer and target_group != group
        assert not is_sibling, f"{module} imports its sibling {target}"


def test_layers_name_only_what_there_is() -> None:
    tops = {module.split(".")[1] for module in MODULES if "." in module}
    named = {name for groups in LAYERS for names in groups for name in names}
    assert tops == named


def test_package_itself_imports_nothing() -> None:
    assert list(_imported(PACKAGE / "__init__.py")) == []


@each_file
def test_file_imports_by_full_names_what_it_may(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    for node in ast.walk(_tree(path)):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"line {node.lineno}"
    for name in _imported(path):
        top = name.split(".")[0]
        assert top not in ("jobs", "tests", "benchmarks")
        assert place.startswith(HOMES.get(top, (place,))), f"{place} imports {name}"


@each_file
def test_file_says_what_it_is_and_is_short(path: Path) -> None:
    assert ast.get_docstring(_tree(path))
    num_lines = len(path.read_text(encoding="utf-8").splitlines())
    assert num_lines <= (MAX_JOB_LINES if path in JOBS else MAX_FILE_LINES)
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < MAX_FUNCTION_LINES, node.name


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("stages/*.py")), ids=lambda path: path.stem)
def test_stage_has_no_try(path: Path) -> None:
    assert not [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Try)]
