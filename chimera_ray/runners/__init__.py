"""What carries rows through stages: `local`, the reference in one process, and `ray_data`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # an actor that only counts imports neither tables nor stages
    from chimera_ray.config import Config
    from chimera_ray.frontier import Standing


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

    def close(self) -> None:
        """Gives back what carrying took."""
        ...


def open_carrier(config: "Config", run_id: str) -> Carrier:
    """A configuration → what carries its rows: this process for a preview, Ray for the rest."""
    if config.runtime.kind == "preview":
        from chimera_ray.runners.local import LocalCarrier

        return LocalCarrier(config, run_id)
    from chimera_ray.runners.ray_data import RayCarrier

    return RayCarrier(config, run_id)
