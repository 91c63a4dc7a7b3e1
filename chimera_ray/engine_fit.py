"""Whether an engine can start on a GPU, and how many tokens its cache then holds; pure arithmetic.

A few GiB of each GPU are kept for what this does not count; see `ALLOWANCE_GIB`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from chimera_ray.engine_size import FP8_BLOCK, kv_bytes, weight_bytes
from chimera_ray.errors import ConfigError
from chimera_ray.model_config import VllmModel
from chimera_ray.model_shape import Shape

GIB = 2**30
ALLOWANCE_GIB = 4.0
"""of each GPU, for activations of a batch of 8,192 tokens, logits, CUDA graphs and NCCL's buffers:
an estimate, not measured"""
ALLOWANCE_SHARE = 0.06
"""of a GPU's memory, where that is less: small GPUs serve small models"""
_UNKNOWN = (
    "kv_lora_rank",
    "n_shared_experts",
    "shared_expert_intermediate_size",
    "first_k_dense_replace",
    "mlp_only_layers",
    "linear_num_key_heads",
)
"""keys of architectures whose layers are not alike, or whose cache is no pair of keys and values"""


class Fit(NamedTuple):
    """What one engine takes of each of its GPUs, and what is left for sequences."""

    weight_bytes: int
    """on the GPU with most of them"""
    kv_bytes_per_token: int
    """on the GPU with most of them"""
    engine_kv_bytes_per_token: int
    """on all GPUs of the copy that holds the token"""
    missing_bytes: int
    """of each GPU's memory, to load at all; 0: it loads, or the GPU is not known"""
    copy_tokens: int | None
    """that the cache of one data-parallel copy holds; None: the GPU is not known"""
    num_copies: int
    longest_sequence: int
    """tokens that a prompt and its reply may have together"""

    @property
    def cache_tokens(self) -> int | None:
        """Of one engine."""
        return None if self.copy_tokens is None else self.copy_tokens * self.num_copies

    def sequences(self, length: float) -> int | None:
        """Tokens of one sequence → how many of them the engine's cache holds at once."""
        if self.copy_tokens is None:
            return None
        return int(self.copy_tokens // max(length, 1.0)) * self.num_copies


def shape_of(config: Mapping[str, Any]) -> Shape:
    """A `config.json` of the hub → the shape of its weights.

    Raises:
        ConfigError: a key is missing or no number, or the architecture is none of this shape.
    """
    text = config.get("text_config")
    said = text if isinstance(text, Mapping) else config
    odd = [key for key in _UNKNOWN if said.get(key)]
    if odd or said.get("decoder_sparse_step", 1) != 1:
        raise ConfigError(
            f"config.json: {odd[0] if odd else 'decoder_sparse_step'}: layers of this kind cannot "
            "be counted; set the model's shape by hand"
        )
    hidden, heads = _number(said, "hidden_size"), _number(said, "num_attention_heads")
    experts = _number(said, "num_experts", "num_local_experts", default=0)
    dense = _number(said, "intermediate_size", default=0 if experts else None)
    expert_size = _number(said, "moe_intermediate_size", default=dense) if experts else 0
    ties = said.get("tie_word_embeddings", config.get("tie_word_embeddings", False))
    return Shape(
        num_layers=_number(said, "num_hidden_layers"),
        hidden_size=hidden,
        num_heads=heads,
        num_kv_heads=_number(said, "num_key_value_heads", default=heads),
        head_dim=_number(said, "head_dim", default=hidden // heads),
        intermediate_size=dense or expert_size,
        vocab_size=_number(said, "vocab_size"),
        num_experts=experts,
        num_experts_per_token=_number(said, "num_experts_per_tok") if experts else 0,
        expert_size=expert_size,
        ties_embeddings=bool(ties),
        max_position=_number(said, "max_position_embeddings"),
    )


def fit(model: VllmModel, gpu_gib: float | None) -> Fit:
    """A model of known shape and a GPU's memory → what the engine takes and what is left.

    Raises:
        ConfigError: the model's shape is not known.
    """
    if model.shape is None:
        raise ConfigError(f"shape: missing, and nothing else says how large {model.name} is")
    weights, kept = weight_bytes(model, model.shape), kv_bytes(model, model.shape)
    missing, free = 0, None
    if model.kv_cache_gib is not None:
        free = [int(model.kv_cache_gib * GIB)] * len(weights)
    if gpu_gib is not None and model.device == "cuda":
        # A cache that is set goes before memory_utilization, in vLLM too.
        share = 1.0 if free else model.memory_utilization
        room = int((gpu_gib * share - _allowance_gib(gpu_gib)) * GIB)
        taken = [own + (free[0] if free else 0) for own in weights]
        missing = max(0, max(taken) - room)
        free = free or [max(0, room - own) for own in weights]
    copy = None if free is None else min(f // k for f, k in zip(free, kept, strict=True))
    limit = length_limit(model, model.shape)
    return Fit(
        weight_bytes=max(weights),
        kv_bytes_per_token=max(kept),
        engine_kv_bytes_per_token=sum(kept) * model.tensor_parallel_size,
        missing_bytes=missing,
        copy_tokens=copy,
        num_copies=model.data_parallel_size,
        longest_sequence=limit if copy is None else min(limit, copy),
    )


def length_limit(model: VllmModel, shape: Shape) -> int:
    """A model and its shape → tokens that a prompt and its reply may have, as far as is asked."""
    return model.max_model_len or shape.max_position


def problems_of(model: VllmModel, shape: Shape, gpu_gib: float | None = None) -> list[str]:
    """A model, its shape and perhaps its GPU → why it cannot start, one sentence a reason."""
    found = [
        *_slices(model, shape),
        *_experts(model, shape),
        *_nodes(model),
        *_lengths(model, shape),
    ]
    return found or list(_memory(model.model_copy(update={"shape": shape}), gpu_gib))


def _slices(model: VllmModel, shape: Shape) -> Iterator[str]:
    size, keys = model.tensor_parallel_size, shape.num_kv_heads
    if shape.num_heads % size:
        yield f"tensor_parallel_size {size}: it does not divide the {shape.num_heads} heads"
    if keys % size and size % keys:
        yield f"tensor_parallel_size {size}: {keys} KV heads can be neither split nor replicated"
    if model.pipeline_parallel_size > shape.num_layers:
        stages = model.pipeline_parallel_size
        yield f"pipeline_parallel_size {stages}: there are {shape.num_layers} layers"
    if model.weight_bits == 8 and not shape.num_experts:
        yield from _blocks(
            shape.intermediate_size, size, "tensor_parallel_size", "intermediate_size"
        )


def _experts(model: VllmModel, shape: Shape) -> Iterator[str]:
    ranks = model.tensor_parallel_size * model.data_parallel_size
    over = "tensor_parallel_size"
    if model.data_parallel_size > 1:
        over += " x data_parallel_size"
    if model.expert_parallel and not shape.num_experts:
        yield "expert_parallel: the model has no experts"
    elif model.expert_parallel and shape.num_experts % ranks:
        yield f"{over} {ranks}: it does not divide the {shape.num_experts} experts"
    elif shape.num_experts and not model.expert_parallel and model.weight_bits == 8:
        yield from _blocks(shape.expert_size, ranks, over, "expert_size", " or expert_parallel")


def _blocks(size: int, ranks: int, key: str, what: str, other: str = "") -> Iterator[str]:
    """FP8 weights cut into slices that are no whole blocks have no scales of their own."""
    if ranks > 1 and size % (ranks * FP8_BLOCK):
        possible = [n for n in range(1, ranks) if ranks % n == 0 and size % (n * FP8_BLOCK) == 0]
        yield (
            f"{key} {ranks}: {what} {size} / {ranks} = {size / ranks:g} is no multiple of the FP8 "
            f"blocks of {FP8_BLOCK}: use {key} {max(possible, default=1)}{other}"
        )


def _nodes(model: VllmModel) -> Iterator[str]:
    nodes = model.num_nodes
    if model.device == "cpu":
        if nodes > 1:
            yield f"num_nodes {nodes}: device=cpu serves on one node"
        if model.kv_cache_gib is None:
            yield "kv_cache_gib: device=cpu needs it"
        return
    if model.num_gpus % nodes:
        yield f"num_nodes {nodes}: it does not divide the engine's {model.num_gpus} GPUs"
    if nodes > 1 and model.data_parallel_size > 1:
        copies = model.data_parallel_size
        yield f"data_parallel_size {copies}: over num_nodes {nodes} there is one copy; use replicas"


def _lengths(model: VllmModel, shape: Shape) -> Iterator[str]:
    limit, reply = length_limit(model, shape), model.sampling.max_tokens
    if limit > shape.max_position:
        yield f"max_model_len {limit}: the model takes {shape.max_position} tokens"
    if reply is not None and reply >= limit:
        yield f"sampling.max_tokens {reply}: max_model_len {limit} leaves no room for the prompt"


def _memory(model: VllmModel, gpu_gib: float | None) -> Iterator[str]:
    found = fit(model, gpu_gib)
    weights = found.weight_bytes / GIB
    if found.missing_bytes and gpu_gib is not None:
        cache = f" and kv_cache_gib {model.kv_cache_gib:g}" if model.kv_cache_gib else ""
        share = "" if cache else f" at memory_utilization {model.memory_utilization:g}"
        yield (
            f"does not fit: weights of {weights:.1f} GiB{cache} and {_allowance_gib(gpu_gib):.1f} "
            f"GiB for activations are {found.missing_bytes / GIB:.1f} GiB too much for a GPU of "
            f"{gpu_gib:g} GiB{share}"
        )
    elif found.copy_tokens is not None and model.shape is not None:
        limit = length_limit(model, model.shape)
        if found.copy_tokens < limit:
            lacking = (limit - found.copy_tokens) * found.kv_bytes_per_token / GIB
            yield (
                f"does not fit: beside weights of {weights:.1f} GiB a GPU the cache holds "
                f"{found.copy_tokens:,} tokens, max_model_len is {limit:,}: {lacking:.1f} GiB too "
                "little"
            )


def _allowance_gib(gpu_gib: float) -> float:
    return min(ALLOWANCE_GIB, ALLOWANCE_SHARE * gpu_gib)


def _number(said: Mapping[str, Any], *keys: str, default: int | None = None) -> int:
    """The first of the keys that is there → its number."""
    value = next((said[key] for key in keys if said.get(key) is not None), default)
    if value is None:
        raise ConfigError(f"config.json: {keys[0]}: missing")
    lowest = 1 if default is None else 0
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise ConfigError(f"config.json: {keys[0]}: {value!r} is no whole number from {lowest} on")
    return value
