"""What a stage is: `@stage`, a pure sentence about one row, and `@fold`, one about a group.

Neither knows Ray, files, retries or GPUs: a runner carries the rows, binds the models and turns
what is yielded into one of the three outcomes.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from chimera_ray.llm import BoundModel
from chimera_ray.schemas import Row

Takes = TypeVar("Takes", bound=Row)
Gives = TypeVar("Gives", bound=Row)
P = TypeVar("P", bound="Params")
Models = Mapping[str, BoundModel]
"""the requested roles, in the requested order, bound to the row"""


class Params(BaseModel):
    """A stage's parameters: judged once, before anything runs, and part of its fingerprint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def identity(self) -> str:
        """The parameters as the fingerprint sees them; a path must be replaced by its content."""
        return self.model_dump_json()

    def misfit(self, limits: Mapping[str, int | None]) -> str:
        """The token limits of the roles' models, None: no limit → what does not go with them."""
        return ""


class AskingParams(Params):
    """Parameters of a stage that asks models."""

    retry_truncated: bool = False
    """what becomes of a row whose reply was cut at the token limit. False: rejected for good, as
    asking again costs the same again; True: failed, and the next run asks again"""


class PromptParams(AskingParams):
    """Parameters of a stage whose prompt says more than the bare problem."""

    language: str = Field(default="English", min_length=1, max_length=60)
    """what the data are written in, as the prompt names it"""


@dataclass(frozen=True)
class Reject:
    """The data said no: final, for a named reason."""

    reason: str
    """one word of a small set, to be counted by"""
    detail: str = ""
    """what a person wants to know besides: the duplicate, the score, the verdicts"""


@dataclass(frozen=True)
class Stage(Generic[Takes, Gives, P]):
    """A named stage: row → rows, with what it asks for.

    It is given rows of exactly the type that it takes, and gives rows of exactly the type that it
    names. Where the two are one type, whatever else the arriving row says goes on beside its rows.
    """

    name: str
    takes: type[Takes]
    gives: type[Gives]
    params: type[P]
    roles: tuple[str, ...]
    revision: int
    """raised by hand when the same prompt and parameters come to mean something else"""
    run: Callable[[Takes, Models, P], AsyncIterator[Gives | Reject]]


@dataclass(frozen=True)
class Fold(Generic[Takes, Gives, P]):
    """A named fold: all rows → as many results, each its input's row or a `Reject`.

    Of its rows' types the same holds as of a stage's.
    """

    name: str
    takes: type[Takes]
    gives: type[Gives]
    params: type[P]
    revision: int
    run: Callable[[Sequence[Takes], P], Sequence[Gives | Reject]]


AnyStage = Stage[Any, Any, Any]
AnyFold = Fold[Any, Any, Any]


def stage(
    *,
    takes: type[Takes],
    gives: type[Gives],
    params: type[P],
    roles: tuple[str, ...] = (),
    revision: int = 1,
) -> Callable[
    [Callable[[Takes, Models, P], AsyncIterator[Gives | Reject]]], Stage[Takes, Gives, P]
]:
    """An async generator about one row → a stage of the same name."""

    def wrap(
        run: Callable[[Takes, Models, P], AsyncIterator[Gives | Reject]],
    ) -> Stage[Takes, Gives, P]:
        if not inspect.isasyncgenfunction(run):
            raise TypeError(f"stage {run.__name__} must be an async generator: `yield` its rows")
        return Stage(run.__name__, takes, gives, params, roles, revision, run)

    return wrap


def fold(
    *, takes: type[Takes], gives: type[Gives], params: type[P], revision: int = 1
) -> Callable[[Callable[[Sequence[Takes], P], Sequence[Gives | Reject]]], Fold[Takes, Gives, P]]:
    """A function of all rows, in their canonical order → a fold of the same name."""

    def wrap(
        run: Callable[[Sequence[Takes], P], Sequence[Gives | Reject]],
    ) -> Fold[Takes, Gives, P]:
        return Fold(run.__name__, takes, gives, params, revision, run)

    return wrap
