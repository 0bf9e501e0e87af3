"""Tiny random models of every served family: vLLM's greedy tokens equal the engine's."""

from __future__ import annotations

import pytest
import transformers
from offline import answer, picture
from tiny import TINY, write

from stsprune import STS
from stsprune.engine.prune import prune

BUDGET, STEPS = "0.25", 6
#: (text with {} where an image stands, sizes of the images)
PROMPTS = [
    ("w5 {} w6 w7 w8", [(60, 40)]),
    ("w9 w10 {} w11 {} w12", [(60, 40), (30, 50)]),
    ("w20 w21 w22", []),
    ("{} w5 w6", [(24, 24)]),
    ("w5 {} w30 w31 w32 w33", [(60, 40)]),  # the first picture again, another question
]
#: vLLM's two model runners: the first is the CPU's, the second what it takes on GPUs.
RUNNERS = {"V1": {}, "V2": {"VLLM_USE_V2_MODEL_RUNNER": "1"}}
NGRAM = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2}
#: The others run with `make test-vllm-all`: each starts an engine.
EVERY_RUN = [("Qwen2.5-VL", "V2"), ("Qwen3-VL", "V1"), ("Qwen3-VL", "V2")]


def cases():
    return [
        pytest.param(name, runner, marks=() if (name, runner) in EVERY_RUN else pytest.mark.slow)
        for name in TINY
        for runner in RUNNERS
    ]


def engine_answers(folder, mark):
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    model.generation_config.eos_token_id = None
    processor = transformers.AutoProcessor.from_pretrained(folder)
    out = []
    for text, sizes in PROMPTS:
        images = [picture({"size": size, "seed": 1}) for size in sizes]
        inputs = processor(
            text=[text.format(*[mark] * len(sizes))], images=images or None, return_tensors="pt"
        )
        with prune(model, STS(budget=float(BUDGET), semantics=False)) as trace:
            ids = model.generate(**inputs, max_new_tokens=STEPS, do_sample=False)
        length = inputs["input_ids"].shape[1]
        dropped = sum(
            image.visual.tokens - len(image.stages[0].kept)
            for image in trace.images
            if image.stages
        )
        out.append((length - dropped, ids[0, length:].tolist()))
    return out


def check(family, folder, llm=(), **variables):
    """vLLM's lengths of prompts and tokens against the engine's."""
    write(family, folder)
    mark = TINY[family][1]
    job = {
        "model": str(folder),
        "llm": {"max_model_len": 512, "max_num_seqs": 4, "limit_mm_per_prompt": {"video": 0}}
        | dict(llm),
        "max_tokens": STEPS,
        "prompts": [
            {
                "text": text.format(*[mark] * len(sizes)),
                "images": [{"size": size, "seed": 1} for size in sizes],
            }
            for text, sizes in PROMPTS
        ],
    }
    served = answer(job, STSPRUNE_BUDGET=BUDGET, **variables)["answers"]
    found = [(len(one["prompt"]), one["tokens"]) for one in served]
    assert found == engine_answers(folder, mark)


@pytest.mark.parametrize(("family", "runner"), cases())
def test_tokens_equal_the_engines(family, runner, tmp_path):
    check(family, tmp_path / "model", **RUNNERS[runner])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["LLaVA-NeXT", "Qwen2.5-VL"])
@pytest.mark.parametrize(
    ("llm", "variables"),
    [
        pytest.param({"max_num_batched_tokens": 8}, {}, id="prompts in chunks"),
        pytest.param({"max_num_batched_tokens": 8}, RUNNERS["V2"], id="prompts in chunks, V2"),
        pytest.param({"enforce_eager": False}, {}, id="compiled"),
        pytest.param({"speculative_config": NGRAM}, {}, id="speculation"),
        pytest.param(
            {"tensor_parallel_size": 2}, {"VLLM_CPU_OMP_THREADS_BIND": "0|1"}, id="two workers"
        ),
    ],
)
def test_ways_to_run(family, llm, variables, tmp_path):
    check(family, tmp_path / "model", llm, **variables)
