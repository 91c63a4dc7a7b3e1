"""What a run's processes and its budget tell one another."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Spend(NamedTuple):
    """Money and tokens."""

    usd: float = 0.0
    tokens: int = 0

    def plus(self, other: "Spend", sign: int = 1) -> "Spend":
        """The sum, or the difference."""
        return Spend(self.usd + sign * other.usd, self.tokens + sign * other.tokens)


class Wanted(NamedTuple):
    """A call that waits to start."""

    kind: str
    """calls of one kind resemble one another: of one stage and role, under one token limit"""
    input: Spend
    """about what its prompt costs"""
    most: Spend | None
    """what it may cost by its token limit; None: it has none"""
    assumed: Spend
    """what the output of such a call costs, as long as none has ended"""
    longest: Spend
    """what the longest output that there can be costs"""


class Flight(NamedTuple):
    """Calls of one kind that one process has in flight."""

    kind: str
    ages: tuple[int, ...]
    """their number by age, as `call_costs.EDGES` parts them"""
    input: Spend
    most: Spend | None
    """of all of them together, as is `input`"""
    assumed: Spend
    """of one, as is `longest`"""
    longest: Spend


class Ended(NamedTuple):
    """A call that ended."""

    kind: str
    seconds: float
    output: Spend
    """what it cost beyond the estimate of its prompt"""
    is_beyond: bool
    """it had more tokens than its limit allows: the endpoint does not keep to it"""


class Report(NamedTuple):
    """What one process tells."""

    holder: str
    """another name after each start of the process"""
    wanted: tuple[Wanted, ...]
    """oldest first"""
    flights: tuple[Flight, ...]
    spent: Spend
    """since the process started, so that it may be told twice"""
    ended: tuple[Ended, ...] = ()
    """since its last report"""
    gone: tuple[tuple[str, Spend], ...] = ()
    """what it was told last of processes that are gone"""
    is_last: bool = False


class Grant(NamedTuple):
    """What it is told."""

    reserved: tuple[Spend, ...]
    """so many of the wanted may start; what is set aside for each"""
    refusal: str = ""
    """not empty: nothing may start any more, and why"""
    again_in_s: float = 1.0
    """until those that still wait are to be asked for again: other processes may make room"""
    gone: tuple[tuple[str, Spend], ...] = ()
    """what processes that are gone have spent: a budget that is started again learns it from
    those that are left"""


Exchange = Callable[[Report], Awaitable[Grant]]
