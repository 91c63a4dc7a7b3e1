"""What carries rows through stages: `local`, the reference in one process, and `ray_data`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # an actor that only counts imports neither tables nor stages
    from chimera_ray.backends.engines import EnginePool
    from chimera_ray.config import Config
    from chimera_ray.frontier import Standing
    from chimera_ray.model_config import VllmModel


class Carrier(Protocol):
    """What takes rows through the stages of a segment."""

    def carry(self, standings: "Sequence[Standing]") -> None:
        """Works off what is to be done at each stage, rows streaming from one to the next."""
        ...

    def in_flight(self) -> dict[str, int]:
        """Stage → rows that are being worked on."""
        ...

    def engines(self) -> list[dict[str, Any]]:
        """How the engines stand that serve models inside the run."""
        ...

    def notices(self) -> list[str]:
        """What holds the run up just now, a line each: what it waits for, endpoints in trouble."""
        ...

    def close(self) -> None:
        """Gives back what carrying took."""
        ...


class Engines(Protocol):
    """What brings up a model's engines for the loop that is running here."""

    def pool(self, model: "VllmModel") -> "EnginePool":
        """A model → the pool of its engines, on the way up."""
        ...

    def notes(self) -> Sequence[Mapping[str, Any]]:
        """What a display shows of each engine."""
        ...

    def close(self) -> None:
        """Ends every engine."""
        ...


def open_carrier(config: "Config", run_id: str) -> Carrier:
    """A configuration → what carries its rows: this process for a preview, Ray for the rest."""
    if config.runtime.kind == "preview":
        from chimera_ray.runners.local import LocalCarrier

        return LocalCarrier(config, run_id)
    from chimera_ray.runners.ray_data import RayCarrier

    return RayCarrier(config, run_id)


def open_engines(config: "Config", run_id: str) -> Engines:
    """A configuration → engines that no stage asks: in this process for a preview, else on Ray."""
    if config.runtime.kind == "preview":
        from chimera_ray.runners.own_engines import OwnEngines

        return OwnEngines(config)
    from chimera_ray.runners.ray_environment import set_environment

    set_environment(config.runtime.kind)  # before what follows imports Ray
    from chimera_ray.runners.ray_driver import DriverEngines

    return DriverEngines(config, run_id)
