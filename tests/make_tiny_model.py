"""A folder → a Qwen3 of few random weights, with a tokenizer of bytes and a thinking format.

python tests/make_tiny_model.py FOLDER [--countdown N] [--opens-thinking-itself]

Two habits are built into the output head, since pure chance would never end a sentence:

- random: ends its thinking, its strings and its replies after some tens of tokens, and says `true`
  more often than `false`.
- countdown: thinks `<nK> <nK-1> ... <n0>` from the `<nK>` that the prompt names last, then says
  `</think>`, an answer, and ends. Read greedily, its reply has a length that is known beforehand.
"""

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, MLP = 64, 2, 4, 2, 32, 128
MAX_POSITION = 16384
VOCAB = 512
"""at least; more where it counts down"""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PLAIN = ("<think>", "</think>", "true", "false", r"\boxed{7}", "Answer: ")
POISON = "<poison>"
"""its id lies one beyond the embedding, so the engine dies when it is asked to embed it"""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n@THINK@"
    "{% if '<n' in messages[-1].content %}{{ '<n' + messages[-1].content.split('<n')[-1] }}"
    "{% endif %}{% endif %}"
)
BIASES = {
    "</think>": 0.8,
    "<|im_end|>": 0.35,
    "true": 0.3,
    "false": -0.2,
    '"': 1.0,
    "{": 0.5,
    ",": -1.2,
    **dict.fromkeys("ĠĊĉč", -3.5),  # white space, as the alphabet of bytes writes it
}
"""of the random model, in units of its head's constant direction"""


def make(
    folder: Path, countdown: int = 0, opens_thinking_itself: bool = False, seed: int = 0
) -> None:
    """Writes config, tokenizer and weights; `countdown` is the largest number it can count from."""
    folder.mkdir(parents=True, exist_ok=True)
    counters = [f"<n{k}>" for k in range(countdown + 1)] if countdown else []
    tokenizer = _tokenizer(counters)
    size = tokenizer.token_to_id(POISON)
    tokenizer.save(str(folder / "tokenizer.json"))
    eos = tokenizer.token_to_id("<|im_end|>")
    think = "" if opens_thinking_itself else "<think>\n"
    _write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "model_max_length": MAX_POSITION,
            "chat_template": TEMPLATE.replace("@THINK@", think),
        },
    )
    _write(folder / "generation_config.json", {"eos_token_id": [eos], "max_new_tokens": 64})
    _write(folder / "config.json", _config(size, eos))
    save_file(_weights(tokenizer, counters, size, seed), folder / "model.safetensors")


def _tokenizer(counters: Sequence[str]) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({char: place for place, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    plain = [*PLAIN, *counters]
    size = max(VOCAB, -(-(tokenizer.get_vocab_size() + len(plain)) // 64) * 64)
    num_unused = size - tokenizer.get_vocab_size() - len(plain)
    unused = [f"<unused{k}>" for k in range(num_unused)]
    every = [*plain, *unused, POISON]
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in every])
    return tokenizer


def _config(vocab_size: int, eos: int) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "intermediate_size": MLP,
        "vocab_size": vocab_size,
        "max_position_embeddings": MAX_POSITION,
        "tie_word_embeddings": False,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "torch_dtype": "float32",
        "eos_token_id": eos,
        "bos_token_id": None,
    }


def _weights(
    tokenizer: Tokenizer, counters: Sequence[str], vocab_size: int, seed: int
) -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, scale: float) -> torch.Tensor:
        return torch.randn(*shape, generator=noise) * scale

    embedding = drawn(vocab_size, HIDDEN, scale=1.0)
    embedding[:, 0] = 4.0  # the constant direction, by which the head can prefer a token always
    weights = {"model.embed_tokens.weight": embedding, "model.norm.weight": torch.ones(HIDDEN)}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        weights |= {
            at + "self_attn.q_proj.weight": drawn(HEADS * HEAD_DIM, HIDDEN, scale=0.1),
            at + "self_attn.k_proj.weight": drawn(KV_HEADS * HEAD_DIM, HIDDEN, scale=0.1),
            at + "self_attn.v_proj.weight": drawn(KV_HEADS * HEAD_DIM, HIDDEN, scale=0.1),
            at + "self_attn.o_proj.weight": drawn(HIDDEN, HEADS * HEAD_DIM, scale=0.02),
            at + "self_attn.q_norm.weight": torch.ones(HEAD_DIM),
            at + "self_attn.k_norm.weight": torch.ones(HEAD_DIM),
            at + "mlp.gate_proj.weight": drawn(MLP, HIDDEN, scale=0.1),
            at + "mlp.up_proj.weight": drawn(MLP, HIDDEN, scale=0.1),
            at + "mlp.down_proj.weight": drawn(HIDDEN, MLP, scale=0.02),
            at + "input_layernorm.weight": torch.ones(HIDDEN),
            at + "post_attention_layernorm.weight": torch.ones(HIDDEN),
        }
    head = drawn(vocab_size, HIDDEN, scale=0.1)
    for text, place in tokenizer.get_vocab().items():
        if text.startswith("<unused"):
            head[place, 0] = -10.0
    if counters:
        _count_down(head, embedding, tokenizer, counters)
    else:
        _prefer(head, tokenizer)
    return {**weights, "lm_head.weight": head}


def _prefer(head: torch.Tensor, tokenizer: Tokenizer) -> None:
    vocab = tokenizer.get_vocab()
    for text, place in vocab.items():
        if text == POISON or text.startswith("<unused"):
            continue
        is_letter = len(text) == 1 and text.isascii() and text.isalnum()
        head[place, 0] = 0.2 if is_letter else -1.5
    for text in (*SPECIAL, *PLAIN):
        head[vocab[text], 0] = -3.0
    for text, bias in BIASES.items():
        head[vocab[text], 0] = bias


def _count_down(
    head: torch.Tensor, embedding: torch.Tensor, tokenizer: Tokenizer, counters: Sequence[str]
) -> None:
    chain = [*reversed(counters), "</think>", r"\boxed{7}", "<|im_end|>"]
    places = [tokenizer.token_to_id(text) for text in chain]
    for now, following in pairwise(places):
        head[following, 1:] = 3.0 * embedding[now, 1:]


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--countdown", type=int, default=0, metavar="N")
    parser.add_argument("--opens-thinking-itself", action="store_true")
    args = parser.parse_args()
    make(args.folder, args.countdown, args.opens_thinking_itself)
