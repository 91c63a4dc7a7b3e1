"""A recipe → its nodes: every stage with its judged parameters, its models and its fingerprint.

Whatever cannot work dies here, before anything is paid for: an unknown stage, role or parameter,
an order in which the rows do not fit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError

from chimera_ray.config import ROLES, Config, Recipe, explain
from chimera_ray.errors import GraphError
from chimera_ray.model_config import Strict
from chimera_ray.prompts import sources
from chimera_ray.schemas import Row, Subject, digest
from chimera_ray.stage import AnyFold, AnyStage, Params, Stage
from chimera_ray.stages import STAGES


@dataclass(frozen=True)
class Node:
    """One stage or fold in its place in a recipe."""

    stage: AnyStage | AnyFold
    params: Params
    takes: type[Row]
    """the type that arrives here, which may say more than the stage asks for"""
    fingerprint: str
    """stage, parameters, prompts, and for each role the model; of a fold: without its group"""

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that the stage asks for; a fold asks for none."""
        return self.stage.roles if isinstance(self.stage, Stage) else ()

    @property
    def gives(self) -> type[Row]:
        """The type that leaves here: of a stage that only says yes or no, what arrived."""
        gives: type[Row] = self.stage.gives
        return self.takes if gives is self.stage.takes else gives

    def narrowed(self, row: Row) -> Row:
        """A row that arrives → what of it the stage takes, and nothing that it does not know."""
        takes: type[Row] = self.stage.takes
        if type(row) is takes:
            return row
        return takes.model_construct(**{name: getattr(row, name) for name in takes.model_fields})

    def widened(self, row: Row, arrived: Row) -> Row:
        """A row that the stage gave → with what else the row said that arrived for it.

        Of a stage that gives another type than it takes: as it is.
        """
        if type(row) is self.gives:
            return row
        if all(getattr(arrived, name) == value for name, value in row):
            return arrived
        return self.gives.model_validate({**dict(arrived), **dict(row)})

    @property
    def folder(self) -> str:
        """Where the ledger keeps the stage's work."""
        return ledger_folder(self.name, self.fingerprint)

    def of_group(self, input_ids: Iterable[str]) -> str:
        """The ids of a fold's rows → the fingerprint of that fold over that very group."""
        return digest("group", self.fingerprint, *input_ids)


def ledger_folder(name: str, fingerprint: str) -> str:
    """A stage's name and fingerprint → its folder in the output directory."""
    return f"ledger/{name}/{fingerprint[:16]}"


@dataclass(frozen=True)
class Graph:
    """A recipe, ready to be run."""

    recipe: str
    subjects: tuple[Subject, ...]
    nodes: tuple[Node, ...]
    fingerprint: str

    @property
    def run_name(self) -> str:
        """`<recipe>-<fingerprint>`: the run's folder under `runs/` and `datasets/`."""
        return f"{self.recipe}-{self.fingerprint[:8]}"

    def to_json(self) -> str:
        """The graph's names and fingerprints, from which `read_graph` makes it again."""
        nodes = [
            _SavedNode(stage=node.name, takes=node.takes.__name__, fingerprint=node.fingerprint)
            for node in self.nodes
        ]
        return _Saved(fingerprint=self.fingerprint, stages=tuple(nodes)).model_dump_json(indent=2)

    def segments(self) -> tuple[tuple[Node, ...], ...]:
        """The nodes, cut so that a fold stands alone and stages stream into one another."""
        cut: list[list[Node]] = []
        for node in self.nodes:
            if cut and isinstance(node.stage, Stage) and isinstance(cut[-1][-1].stage, Stage):
                cut[-1].append(node)
            else:
                cut.append([node])
        return tuple(tuple(segment) for segment in cut)


_Fingerprint = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class _SavedNode(Strict):
    stage: str
    takes: str
    fingerprint: _Fingerprint


class _Saved(Strict):
    """A graph as its run's folder keeps it."""

    fingerprint: _Fingerprint
    stages: Annotated[tuple[_SavedNode, ...], Field(min_length=1)]


def build_graph(config: Config) -> Graph:
    """A configuration → its graph.

    Raises:
        GraphError: what does not fit, named in one line.
    """
    recipe = config.recipe
    unknown = [name for name in recipe.stages if name not in STAGES]
    unknown += [name for name in recipe.params if name not in STAGES]
    unknown += [name for name in config.runtime.pools if name not in STAGES]
    if unknown:
        raise GraphError(f"no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
    twice = sorted({name for name in recipe.stages if recipe.stages.count(name) > 1})
    if twice:
        raise GraphError(f"recipe.stages: named twice: {', '.join(twice)}")
    arrives: type[Row] = Subject
    nodes: list[Node] = []
    for name in recipe.stages:
        node = _node(config, name, arrives)
        nodes.append(node)
        arrives = node.gives
    for name in set(recipe.params) - set(recipe.stages):
        _params(config, name)  # not used by this order of stages, but not wrong either
    subjects = tuple(_subjects(recipe))
    said = [subject.model_dump_json() for subject in subjects]
    fingerprint = digest("run", *said, *(node.fingerprint for node in nodes))
    return Graph(recipe.name, subjects, tuple(nodes), fingerprint)


def read_graph(config: Config, text: str) -> Graph:
    """What `Graph.to_json` gave → that graph, whatever prompts and stages have become since.

    A parameter that its stage no longer knows is left out: nothing of the run is done anew by it.

    Raises:
        GraphError: the text is no graph, or names a stage or a row type that no longer exists.
    """
    try:
        saved = _Saved.model_validate_json(text)
    except ValidationError as exc:
        raise GraphError(explain(exc, "")) from None
    known = {
        name: {
            key: value for key, value in params.items() if key in STAGES[name].params.model_fields
        }
        for name, params in config.recipe.params.items()
        if name in STAGES
    }
    recipe = config.recipe.model_copy(update={"params": known})
    config = config.model_copy(update={"recipe": recipe})
    nodes = tuple(
        rebuild_node(config, node.stage, node.takes, node.fingerprint) for node in saved.stages
    )
    subjects = tuple(_subjects(config.recipe))
    return Graph(config.recipe.name, subjects, nodes, saved.fingerprint)


def rebuild_node(config: Config, name: str, takes: str, fingerprint: str) -> Node:
    """A node's names → the node, in another process than the one that judged it.

    Raises:
        GraphError: there is no such stage or row type.
    """
    if name not in STAGES:
        raise GraphError(f"no such stage: {name}; there are {', '.join(STAGES)}")
    kinds = [kind for stage in STAGES.values() for kind in (stage.takes, stage.gives)]
    types = {kind.__name__: kind for kind in kinds}
    if takes not in types:
        raise GraphError(f"{name}: no such row type: {takes}; there are {', '.join(types)}")
    return Node(STAGES[name], _params(config, name), types[takes], fingerprint)


def _node(config: Config, name: str, arrives: type[Row]) -> Node:
    stage = STAGES[name]
    _require_fit(stage, arrives)
    params = _params(config, name)
    roles = stage.roles if isinstance(stage, Stage) else ()
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise GraphError(f"{name} asks for roles that do not exist: {', '.join(unknown)}")
    misfit = params.misfit({role: config.models.of(role).sampling.max_tokens for role in roles})
    if misfit:
        raise GraphError(f"recipe.params.{name}.{misfit}")
    said = [name, str(stage.revision), params.identity()]
    said += [text for pair in sources(name).items() for text in pair]
    said += [text for role in roles for text in (role, config.models.of(role).identity())]
    return Node(stage, params, arrives, digest("stage", *said))


def _require_fit(stage: AnyStage | AnyFold, arrives: type[Row]) -> None:
    """Raises, unless rows of a type can go through a stage, and nothing of them is lost unsaid."""
    takes, gives = stage.takes, stage.gives
    if not issubclass(arrives, takes):
        raise GraphError(
            f"recipe.stages: {stage.name} takes {takes.__name__} rows, "
            f"but {arrives.__name__} rows arrive there"
        )
    adds = gives is not takes and issubclass(gives, takes)
    if adds and not issubclass(gives, arrives):
        lost = ", ".join(sorted(set(arrives.model_fields) - set(gives.model_fields)))
        raise GraphError(
            f"recipe.stages: {stage.name} makes {gives.__name__} rows of {takes.__name__} rows, "
            f"but {arrives.__name__} rows arrive there, and {lost or 'their type'} would be lost: "
            f"put it before the stage that gives {arrives.__name__} rows"
        )


def _params(config: Config, name: str) -> Params:
    kind: type[Params] = STAGES[name].params
    try:
        return kind.model_validate(config.recipe.params.get(name, {}))
    except ValidationError as exc:
        raise GraphError(explain(exc, f"recipe.params.{name}.")) from None


def _subjects(recipe: Recipe) -> list[Subject]:
    rows = []
    for subject in recipe.subjects:
        if subject.target_topics < subject.expansions:
            raise GraphError(
                f"recipe.subjects: {subject.name} has fewer target_topics than expansions"
            )
        for index in range(subject.expansions):
            share = -(-(subject.target_topics - index) // subject.expansions)
            rows.append(Subject(subject=subject.name, target_topics=share, expansion_index=index))
    return rows
