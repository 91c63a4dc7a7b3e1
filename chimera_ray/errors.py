"""Every error the package raises on purpose, as one tree.

    ChimeraError
    ├── ConfigError          the user's input is wrong: nothing was started (exit 2)
    │   └── GraphError       the recipe's stages, roles or parameters do not fit together
    ├── LedgerError          the ledger cannot be read or written: the run stops (exit 1)
    ├── CarrierError         rows were lost on the road: the driver looks again
    ├── RunnerError          what carries rows did not start, or has ended: the run stops (exit 1)
    ├── StopError            nothing new is to start; what is done stays done
    │   ├── BudgetError          the cap is reached (exit 3)
    │   ├── EndpointError        an endpoint refuses whatever is asked: key, quota, model (exit 1)
    │   └── EngineError          no engine of a model can be had, or kept (exit 1)
    ├── EngineLostError      an engine ended while it worked on a call: another one goes on
    └── RowError             this row is *failed*: we do not know, the next run tries it again
        ├── ProviderError         the provider said no for good, or for too long
        │   ├── ContextError             the request is longer than the model's context
        │   ├── EngineDeathError         engines died while they worked on this row
        │   └── TransientProviderError   worth another attempt
        ├── RefusalError          the model declined to answer
        ├── TruncatedError        the reply was cut at the token limit
        └── ParseError            the reply does not say what it was asked to say

Constructors take the message alone, so that every one of them survives pickling.
"""

from collections.abc import Sequence


class ChimeraError(Exception):
    """Anything this package raises on purpose; its text is meant for the user."""


class ConfigError(ChimeraError):
    """The input is wrong and nothing was started: exit code 2."""


class GraphError(ConfigError):
    """The recipe's stages, roles or parameters do not fit together: exit code 2."""


class LedgerError(ChimeraError):
    """The ledger cannot be read or written, so the run stops: exit code 1."""


class CarrierError(ChimeraError):
    """Rows were lost on the road, or could not set out; what is done is in the ledger."""


class RunnerError(ChimeraError):
    """What carries rows did not start, or has ended under the run: exit code 1."""


class StopError(ChimeraError):
    """Nothing new is to start in this run; rows in hand are left to the next one."""


class BudgetError(StopError):
    """The run has spent what it may: exit code 3."""


class EndpointError(StopError):
    """An endpoint refuses whatever it is asked: exit code 1."""


class EngineError(StopError):
    """No engine of a model can be started, or kept: exit code 1."""


class EngineLostError(ChimeraError):
    """An engine ended while it worked on a call; another one goes on from what was durable."""

    is_gone = True
    """False: it could not be reached, and may still be at work"""
    is_counted = True
    """False: the machine went away, which no row can have caused"""
    is_pinned = False
    """this call alone was under suspicion"""


class RowError(ChimeraError):
    """One row is *failed*: its outcome is unknown and the next run tries it again."""

    reason = "failed"


class ProviderError(RowError):
    """The provider gave no usable reply, after every attempt that was worth making."""

    reason = "provider_error"
    lost: Sequence[object] = ()
    """attempts that have to be paid for all the same (`llm.LostAttempt`)"""


class ContextError(ProviderError):
    """The request is longer than the model's context."""

    reason = "context_too_long"


class EngineDeathError(ProviderError):
    """Engines died while they worked on this row; it may be the cause."""

    reason = "engine_died"


class TransientProviderError(ProviderError):
    """The provider gave no reply this time; another attempt may get one."""

    reason = "transient_provider_error"
    is_limited = False
    """it said that it was asked too often"""
    retry_after_s: float | None = None
    """it said when to come again"""


class RefusalError(RowError):
    """The model declined to answer."""

    reason = "refused"


class TruncatedError(RowError):
    """The reply was cut at the token limit, so its end is missing."""

    reason = "truncated"


class ParseError(RowError):
    """The reply does not say what it was asked to say, in the form it was asked for."""

    reason = "unparsable"
