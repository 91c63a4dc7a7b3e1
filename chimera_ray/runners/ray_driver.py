"""One engine at a time on a Ray cluster, asked by the driver itself and not by a stage."""

from typing import Any

from chimera_ray.backends.engines import EnginePool
from chimera_ray.config import Config
from chimera_ray.ledger.store import Store
from chimera_ray.model_config import VllmModel
from chimera_ray.runners.executions import Execution
from chimera_ray.runners.live import Live
from chimera_ray.runners.ray_engines import end_engines, need_engines, way_to_engines
from chimera_ray.runners.ray_session import RaySession


class DriverEngines:
    """The engines of a run that has no stages."""

    def __init__(self, config: Config, run_id: str) -> None:
        """Starts nothing yet."""
        store = Store(config.output_dir)
        where = store.root if store.is_local else store.location  # as every node may name it
        self._config, self._run_id = config.model_copy(update={"output_dir": where}), run_id
        self._live, self._execution = Live(store, run_id), Execution(store, run_id)
        self._session: RaySession | None = None
        self._keeper: Any = None

    def pool(self, model: VllmModel) -> EnginePool:
        """A model → the pool of its engines, for the loop that is running here; others end.

        Raises:
            RunnerError: Ray did not start.
        """
        if self._session is None:
            self._execution.open()
            self._session = RaySession(self._config.runtime)
        asked = (self._keeper, [model], self._config, self._run_id)
        self._keeper = self._session.run(lambda: need_engines(*asked))
        return way_to_engines(model, self._run_id)

    def notes(self) -> list[dict[str, Any]]:
        """What a display shows of each engine, as of their keeper's last word."""
        return self._live.engines()

    def close(self) -> None:
        """Ends the engines, and the Ray that was started for them; leaves a cluster as it is."""
        if self._session is not None:
            if self._keeper is not None and self._session.is_idle:
                self._session.run(lambda: end_engines(self._keeper))
            self._session.close()
            self._session = self._keeper = None
        self._execution.close()
