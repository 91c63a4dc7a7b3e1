"""What can reach a model, and `build_model`, which picks it; each is imported only when used."""

import os
from collections.abc import Callable

from chimera_ray.backends.delivered import Delivered
from chimera_ray.backends.engines import EnginePool
from chimera_ray.backends.gate import Gate
from chimera_ray.backends.halt import Halt
from chimera_ray.backends.openai_batch_journal import Journal
from chimera_ray.errors import ConfigError, EndpointError
from chimera_ray.llm import Model
from chimera_ray.model_config import ModelConfig, OpenAIModel, SimulatedModel, VllmModel


def build_model(
    config: ModelConfig,
    gate_of: Callable[[OpenAIModel], Gate],
    halt: Halt,
    max_connections: int,
    journal_of: Callable[[OpenAIModel], Journal] | None = None,
    pool_of: Callable[[VllmModel], EnginePool] | None = None,
    delivered: Delivered | None = None,
) -> Model:
    """A model's configuration → the model, ready to be asked.

    Args:
        config: the model.
        gate_of: finds the gate where calls to an endpoint wait for their turn.
        halt: stops whatever waits.
        max_connections: calls at the same time, at most.
        journal_of: finds where an endpoint's batches are written down; None: nowhere.
        pool_of: finds the engines that serve a model inside the run; None: there are none.
        delivered: is told of output tokens as they come; None: nobody asks for them.

    Raises:
        ConfigError: batches cannot be written down, or there are no engines; the text names the
            model.
        EndpointError: the key is not in this process's environment.
    """
    if isinstance(config, SimulatedModel):
        from chimera_ray.backends.simulated import Simulated

        return Simulated(config)
    if isinstance(config, OpenAIModel) and config.batch is not None:
        from chimera_ray.backends.openai_batch import OpenAIBatch

        if journal_of is None:
            raise ConfigError(f"model {config.name}: batches are for runs that have a ledger")
        return OpenAIBatch(config, config.batch, journal_of(config), halt)
    if isinstance(config, OpenAIModel):
        from chimera_ray.backends.openai import OpenAI

        return OpenAI(config, gate_of(config), halt, max_connections, delivered)
    from chimera_ray.backends.engines import Vllm

    if pool_of is None:
        raise ConfigError(f"model {config.name}: engines are for runs that have a carrier")
    return Vllm(config, pool_of(config))


def check_model(config: ModelConfig, is_here: bool) -> None:
    """Nothing, if the model can be reached as far as its configuration tells; builds nothing.

    Args:
        config: the model.
        is_here: the calls are made on this machine, so that its environment must hold the key.

    Raises:
        ConfigError: what is in the way.
    """
    if isinstance(config, OpenAIModel) and is_here:
        from chimera_ray.backends.openai_headers import unfit
        from chimera_ray.backends.openai_http import PROVIDER_URL
        from chimera_ray.backends.proxies import proxy_for

        for variable in config.variables:
            if why := unfit(variable, config):
                raise ConfigError(f"model {config.name}: {why}")
        try:
            proxy_for(config.base_url or PROVIDER_URL, os.environ)
        except EndpointError as exc:
            raise ConfigError(f"model {config.name}: {exc}") from None
    elif isinstance(config, VllmModel):
        from chimera_ray.backends.vllm_start import check_engine

        check_engine(config, is_here)
