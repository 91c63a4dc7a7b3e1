"""What can reach a model, and `build_model`, which picks it; each is imported only when used."""

from chimera_ray.errors import ConfigError
from chimera_ray.llm import Model
from chimera_ray.model_config import ModelConfig, SimulatedModel


def build_model(config: ModelConfig) -> Model:
    """A model's configuration → the model, ready to be asked.

    Raises:
        ConfigError: this version has no such backend; the text names the model.
    """
    if isinstance(config, SimulatedModel):
        from chimera_ray.backends.simulated import Simulated

        return Simulated(config)
    raise ConfigError(
        f"model {config.name} needs the backend '{config.backend}', "
        "but this version can only run 'simulated' models"
    )
