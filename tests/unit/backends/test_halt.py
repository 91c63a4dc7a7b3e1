"""A run's halt: whoever listens is told, whatever happens to those told before."""

import pytest

from chimera_ray.backends.halt import Halt
from chimera_ray.errors import BudgetError, EndpointError, StopError


def test_halt_tells_all_listeners_though_some_fail() -> None:
    halt, told = Halt(), []

    def fail(reason: StopError) -> None:
        raise OSError(28, "No space left on device")

    halt.listen(fail)
    halt.listen(told.append)
    halt.listen(fail)
    halt.listen(told.append)
    reason = BudgetError("spent")
    halt.stop(reason)
    halt.stop(EndpointError("a later reason"))
    halt.listen(fail)
    halt.listen(told.append)
    assert told == [reason] * 3
    with pytest.raises(BudgetError, match="spent"):
        halt.check()
