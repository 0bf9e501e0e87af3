"""The embedded model in process: blocks, cached pictures, and errors at the start."""

from __future__ import annotations

import pytest
from equality import prompt, questions
from offline import answer

BLOCK = 32  # vLLM's attention on the CPU takes multiples of 32
LLM = {"max_model_len": 512, "block_size": BLOCK}


def job(model, prompts, **more):
    return {"model": str(model), "llm": LLM, "max_tokens": 2, "prompts": prompts} | more


def test_blocks_and_cached_pictures(embedded):
    """Each answer alone, in a fresh engine, equals the same one after others about the picture."""
    asked = [prompt(one) for one in questions(8)]
    asked = [one | {"images": [{"scene": 0}]} for one in asked]
    settings = {"STSPRUNE_BUDGET": "48"}
    together = answer(job(embedded, asked + asked, watch_blocks=True), **settings)
    lengths = [len(one["prompt"]) for one in together["answers"]]
    assert together["blocks"] == [-(-length // BLOCK) for length in lengths]
    tokens = [one["tokens"] for one in together["answers"]]
    fresh = answer(
        job(embedded, asked) | {"llm": LLM | {"enable_prefix_caching": False}}, **settings
    )
    assert tokens == [one["tokens"] for one in fresh["answers"]] * 2
    assert all(one["cached"] >= BLOCK for one in together["answers"])


def test_an_error_at_the_start(embedded):
    llm = LLM | {"enable_mm_embeds": True}
    with pytest.raises(RuntimeError, match="--enable-mm-embeds must be off"):
        answer(job(embedded, []) | {"llm": llm}, STSPRUNE_BUDGET="48")


def test_a_model_without_a_pruning_class(tmp_path):
    from transformers import LlamaConfig

    LlamaConfig(
        num_hidden_layers=1, hidden_size=64, architectures=["LlamaForCausalLM"]
    ).save_pretrained(tmp_path)
    llm = {"skip_tokenizer_init": True, "load_format": "dummy", "max_model_len": 64}
    with pytest.raises(RuntimeError, match=r"LlamaForCausalLM has no pruning class.*Qwen3VL"):
        answer(job(tmp_path, []) | {"llm": llm}, STSPRUNE_BUDGET="48")
