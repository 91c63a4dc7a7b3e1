"""How large a model's weights are, layer by layer."""

from typing import Annotated

from pydantic import Field

from chimera_ray.strict import Strict


class Shape(Strict):
    """What the weights' `config.json` says of their size, so that a plan needs no download."""

    num_layers: Annotated[int, Field(ge=1)]
    hidden_size: Annotated[int, Field(ge=1)]
    num_heads: Annotated[int, Field(ge=1)]
    """of queries"""
    num_kv_heads: Annotated[int, Field(ge=1)]
    head_dim: Annotated[int, Field(ge=1)]
    intermediate_size: Annotated[int, Field(ge=1)]
    """of a dense feed-forward layer"""
    vocab_size: Annotated[int, Field(ge=1)]
    num_experts: Annotated[int, Field(ge=0)] = 0
    """0: every layer is dense; else every layer has so many experts"""
    num_experts_per_token: Annotated[int, Field(ge=0)] = 0
    expert_size: Annotated[int, Field(ge=0)] = 0
    """intermediate size of one expert"""
    ties_embeddings: bool = False
    """input and output embeddings are the same weights"""
    max_position: Annotated[int, Field(ge=1)]
    """tokens of the longest context that the model itself takes"""
