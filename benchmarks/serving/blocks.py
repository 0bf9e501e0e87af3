"""What a prompt takes of the KV cache, pruned and unpruned, and what a token takes.

Run in the environment of `make test-vllm`:
    python benchmarks/serving/blocks.py --out docs/data/serving-blocks.json
"Blocks" are vLLM's own metric, read while the prompt's first token is out and nothing else runs.
Bytes per token are those of the tensors that vLLM allocated; for the text models of full size, with
two of their layers and no trained weights.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from offline import answer
from record import record
from throughput import MODELS, WORDS, write_model

BLOCK = 32  # vLLM's attention on the CPU takes multiples of 32; GPUs have 16
#: Text models: (class of their configuration, its entries); of Vicuna 7B, Qwen2.5 7B, Qwen3 8B.
SHAPES: dict[str, tuple[str, dict[str, int]]] = {
    "LLaVA-1.5-7B": (
        "LlamaConfig",
        {
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
        },
    ),
    "Qwen2.5-VL-7B": (
        "Qwen2Config",
        {
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
        },
    ),
    "Qwen3-VL-8B": (
        "Qwen3Config",
        {
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
    ),
}
MEASURED_LAYERS = 2


def prompts(model: str, folder: Path, budget: int | None) -> dict[str, Any]:
    """Lengths and blocks of 8 prompts with a picture each."""
    from transformers import AutoProcessor

    visual, side = MODELS[model]
    text = f"USER: <image> {WORDS} ASSISTANT:"
    job = {
        "model": str(folder),
        "llm": {"max_model_len": 1024, "block_size": BLOCK},
        "max_tokens": 2,
        "watch_blocks": True,
        "prompts": [
            {"text": text, "images": [{"size": [side, side], "seed": n}]} for n in range(8)
        ],
    }
    found = answer(job, **({} if budget is None else {"STSPRUNE_BUDGET": str(budget)}))
    tokenizer = AutoProcessor.from_pretrained(folder).tokenizer
    image = tokenizer.convert_tokens_to_ids("<image>")
    start, end = text.split("<image>")
    ends = tokenizer(end, add_special_tokens=False)["input_ids"]
    expected = [*tokenizer(start)["input_ids"], *[image] * (budget or visual), *ends]
    return {
        "model": model,
        "budget": budget,
        "prompt_tokens": len(expected),
        "prompts_exactly_text_and_kept": sum(one["prompt"] == expected for one in found["answers"]),
        "blocks_of_each": sorted(set(found["blocks"])),
        "blocks_of_all": sum(found["blocks"]),
        "bytes_per_token": found["bytes_per_token"],
    }


def shape(name: str, folder: Path) -> dict[str, Any]:
    """Bytes per token of a text model of full size, in bfloat16."""
    import transformers

    kind, entries = SHAPES[name]
    small = {"num_hidden_layers": MEASURED_LAYERS, "vocab_size": 1024}
    architecture = kind.replace("Config", "ForCausalLM")
    config = getattr(transformers, kind)(**entries | small, architectures=[architecture])
    config.save_pretrained(folder)
    llm = {
        "dtype": "bfloat16",
        "load_format": "dummy",
        "max_model_len": 512,
        "skip_tokenizer_init": True,
    }
    found = answer({"model": str(folder), "llm": llm, "max_tokens": 1, "prompts": []})
    layers = entries["num_hidden_layers"]
    return {
        "model": name,
        "layers": layers,
        "bytes_per_token": found["bytes_per_token"] * layers / MEASURED_LAYERS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as at:
        for model, (visual, _) in MODELS.items():
            folder = Path(at) / model
            write_model(model, folder)
            rows += [prompts(model, folder, budget) for budget in (None, visual // 9)]
        shapes = [shape(name, Path(at) / name) for name in SHAPES]
    record(options.out, block=BLOCK, prompts=8, rows=rows, shapes=shapes)


if __name__ == "__main__":
    main()
