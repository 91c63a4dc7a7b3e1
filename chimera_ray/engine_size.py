"""A shape → weights and cache in numbers and bytes, as vLLM lays them out over an engine's GPUs.

Biases and a few norms are left out: they are less than a thousandth of the whole.
"""

import math

from chimera_ray.model_config import VllmModel
from chimera_ray.model_shape import Shape

FP8_BLOCK = 128
"""rows and columns of weights that share one scale in an FP8 checkpoint"""
_SCALE_BYTES = 4
_GROUP = 128
"""weights of four bits that share a scale of 16 bits and a zero point of 4"""


def num_parameters(shape: Shape) -> int:
    """A shape → how many weights there are, by which models are named."""
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    linear = 2 * shape.hidden_size * (queries + keys) + _feed_forward(shape)
    tables = 1 if shape.ties_embeddings else 2
    return (
        shape.num_layers * (linear + _whole(shape))
        + tables * shape.vocab_size * shape.hidden_size
        + shape.hidden_size
    )


def weight_bytes(model: VllmModel, shape: Shape) -> list[int]:
    """A model and its shape → bytes of weights on one GPU of each pipeline stage, in order.

    Tensor parallelism slices attention, the dense layers and the vocabulary; data parallelism
    copies them. Experts are spread over all of both, in slices or (expert parallel) whole, which
    is as many bytes. Each GPU has at least one KV head.
    """
    sliced = model.tensor_parallel_size
    queries = math.ceil(shape.num_heads / sliced) * shape.head_dim
    keys = _kv_heads(model, shape) * shape.head_dim
    spread = _feed_forward(shape) / (
        sliced * model.data_parallel_size if shape.num_experts else sliced
    )
    linear = 2 * shape.hidden_size * (queries + keys) + spread
    layer = linear * _linear_bytes(model) + _whole(shape) * _plain_bytes(model)
    table = shape.vocab_size * shape.hidden_size / sliced * _plain_bytes(model)
    stages = [layers * layer for layers in _layers(model, shape)]
    stages[0] += table
    if len(stages) > 1 or not shape.ties_embeddings:
        stages[-1] += table
    return [math.ceil(stage) for stage in stages]


def kv_bytes(model: VllmModel, shape: Shape) -> list[int]:
    """A model and its shape → bytes that one token keeps on one GPU of each pipeline stage."""
    each = 1 if model.kv_cache_dtype == "fp8" else _plain_bytes(model)
    layer = 2 * _kv_heads(model, shape) * shape.head_dim * each
    return [layers * layer for layers in _layers(model, shape)]


def _feed_forward(shape: Shape) -> int:
    """Weights of one layer's experts, or of its dense feed-forward."""
    if shape.num_experts:
        return 3 * shape.hidden_size * shape.expert_size * shape.num_experts
    return 3 * shape.hidden_size * shape.intermediate_size


def _whole(shape: Shape) -> int:
    """Weights of one layer that every GPU has and no checkpoint quantizes: router and norms."""
    return shape.hidden_size * (shape.num_experts + 2) + 2 * shape.head_dim


def _layers(model: VllmModel, shape: Shape) -> list[int]:
    """Of each pipeline stage; as in vLLM, what is left over goes to those before the last."""
    stages = model.pipeline_parallel_size
    each, rest = divmod(shape.num_layers, stages)
    return [each + (stages - 1 - rest <= place < stages - 1) for place in range(stages)]


def _kv_heads(model: VllmModel, shape: Shape) -> int:
    """On one GPU; vLLM replicates them where tensor parallelism has more GPUs than heads."""
    return max(1, shape.num_kv_heads // model.tensor_parallel_size)


def _plain_bytes(model: VllmModel) -> int:
    """Of a number that is not quantized: vLLM's `auto` loads 32-bit weights as 16-bit ones."""
    return 4 if model.dtype == "float32" else 2


def _linear_bytes(model: VllmModel) -> float:
    """Of a weight of attention or feed-forward, with its part of the scales."""
    if model.weight_bits == 8:
        return 1 + _SCALE_BYTES / FP8_BLOCK**2
    if model.weight_bits == 4:
        return 0.5 + 2.5 / _GROUP
    return _plain_bytes(model)
