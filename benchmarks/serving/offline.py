"""Answer prompts with vLLM in a process of its own, since a process has one setting of stsprune.

Run: python benchmarks/serving/offline.py JOB.json ANSWERS.json, or `answer` from another script.
A job is {"model": folder, "llm": {...}, "max_tokens": n, "prompts": [{"text": ..., "images": []}]},
where an image is {"scene": number} (SceneQA's test split) or {"size": [width, height], "seed": n};
a prompt's "budget" is its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LLM = {"dtype": "float32", "enforce_eager": True, "disable_log_stats": False}
CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


def picture(image: dict[str, Any]) -> Any:
    """The image that a job's entry stands for."""
    import numpy as np
    from PIL import Image

    if "scene" in image:
        from stsprune.embedded.scenes import scene

        return Image.fromarray(scene("test", image["scene"], 12).image)
    width, height = image["size"]
    random = np.random.default_rng(image["seed"])
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def environment(**settings: str) -> dict[str, str]:
    """Of a process that runs vLLM. No STSPRUNE_... but those of `settings`: none is inherited."""
    kept = {name: one for name, one in os.environ.items() if not name.startswith("STSPRUNE_")}
    return kept | CPU | settings


def answer(job: dict[str, Any], **settings: str) -> dict[str, Any]:
    """What `main` writes: {"answers": [{"prompt": ids, "tokens": ids, "cached": n}],
    "bytes_per_token": of the KV cache, "blocks": of each prompt, if the job has "watch_blocks"}.
    Raises RuntimeError with vLLM's output.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked, given = Path(folder) / "job.json", Path(folder) / "answers.json"
        asked.write_text(json.dumps(job))
        done = subprocess.run(
            [sys.executable, __file__, asked, given],
            env=environment(**settings),
            capture_output=True,
            text=True,
        )
        if not given.exists():
            raise RuntimeError((done.stdout + done.stderr)[-6000:])
        return json.loads(given.read_text())


def blocks_in_use(llm: Any) -> int:
    """KV blocks in use, from vLLM's own metric."""
    usage = [one for one in llm.get_metrics() if one.name == "vllm:kv_cache_usage_perc"]
    total = llm.llm_engine.vllm_config.cache_config.num_gpu_blocks - 1  # one is never used
    return round(usage[0].value * total)


def kv_bytes(worker: Any) -> int:
    """Bytes of a worker's KV cache."""
    caches = worker.model_runner.kv_caches
    return sum(one.numel() * one.element_size() for one in caches)


def main(asked: str, given: str) -> None:
    from vllm import LLM as Engine
    from vllm import SamplingParams

    job = json.loads(Path(asked).read_text())
    llm = Engine(job["model"], **(LLM | job.get("llm", {})))
    greedy = SamplingParams(temperature=0, max_tokens=job["max_tokens"], ignore_eos=True)
    prompts: list[Any] = []
    for one in job["prompts"]:
        prompts.append({"prompt": one["text"]})
        if one["images"]:
            shown = [picture(image) for image in one["images"]]
            prompts[-1]["multi_modal_data"] = {"image": shown}
        if "budget" in one:
            prompts[-1]["mm_processor_kwargs"] = {"stsprune_budget": one["budget"]}
    blocks: list[int] = []
    if job.get("watch_blocks"):  # one by one, right after the prompt's pass
        for number, prompt in enumerate(prompts):
            llm.llm_engine.add_request(str(number), prompt, greedy)
            llm.llm_engine.step()
            blocks.append(blocks_in_use(llm))
            while llm.llm_engine.has_unfinished_requests():
                llm.llm_engine.step()
    answers = llm.generate(prompts, greedy, use_tqdm=False) if prompts else []
    cache = llm.llm_engine.vllm_config.cache_config
    room = cache.num_gpu_blocks * cache.block_size
    Path(given).write_text(
        json.dumps(
            {
                "answers": [
                    {
                        "prompt": list(one.prompt_token_ids),
                        "tokens": list(one.outputs[0].token_ids),
                        "cached": one.num_cached_tokens,
                    }
                    for one in answers
                ],
                "blocks": blocks,
                "bytes_per_token": llm.collective_rpc(kv_bytes)[0] / room,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
