"""vLLM's answers against the transformers engine's, both pruned alike, on SceneQA's test split.

Run in the environment of `make test-vllm`:
    python benchmarks/serving/equality.py --questions 200 --out docs/data/serving-equality.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from offline import answer


def questions(count: int) -> list[dict[str, Any]]:
    """The first questions of the test split, one of each family per scene."""
    from stsprune.embedded.questions import questions as ask
    from stsprune.embedded.scenes import scene

    out: list[dict[str, Any]] = []
    number = 0
    while len(out) < count:
        for one in ask(scene("test", number, 12), 1):
            out.append({"scene": number, "text": one.text, "answer": one.answer})
        number += 1
    return out[:count]


def prompt(question: dict[str, Any]) -> dict[str, Any]:
    """A question as a job's prompt."""
    return {
        "text": f"USER: <image> {question['text']} ASSISTANT:",
        "images": [{"scene": question["scene"]}],
    }


def engine_tokens(
    asked: list[dict[str, Any]], budget: int | None, positions: str, max_tokens: int
) -> list[list[int]]:
    """Greedy answers of the engine, unpruned where the budget is None."""
    from contextlib import nullcontext

    import torch
    from offline import picture

    import stsprune
    from stsprune.engine.prune import prune

    model, processor = stsprune.load_embedded()
    model.generation_config.eos_token_id = None  # as vLLM is told: go on behind the answer
    out: list[list[int]] = []
    for start in range(0, len(asked), 20):
        batch = [prompt(one) for one in asked[start : start + 20]]
        inputs = processor(
            images=[picture(one["images"][0]) for one in batch],
            text=[one["text"] for one in batch],
            padding=True,
            return_tensors="pt",
        )
        method = None if budget is None else stsprune.STS(budget=budget, semantics=False)
        pruned = nullcontext() if method is None else prune(model, method, positions=positions)
        with pruned, torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        out += ids[:, inputs["input_ids"].shape[1] :].tolist()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--budgets", default="48,16")
    parser.add_argument("--max-tokens", type=int, default=4)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from stsprune.embedded.load import export_hub, load_embedded

    tokenizer = load_embedded()[1].tokenizer
    asked = questions(options.questions)
    right = [tokenizer.convert_tokens_to_ids(one["answer"]) for one in asked]

    def accuracy(tokens: list[list[int]]) -> float:
        return sum(t[0] == r for t, r in zip(tokens, right, strict=True)) / len(right)

    settings: list[tuple[int | None, str]] = [(None, "original")]
    settings += [
        (int(budget), positions)
        for budget in options.budgets.split(",")
        for positions in ("original", "compact")
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        export_hub(Path(folder) / "model")
        job = {
            "model": str(Path(folder) / "model"),
            "llm": {"max_model_len": 512},
            "max_tokens": options.max_tokens,
            "prompts": [prompt(one) for one in asked],
        }
        for budget, positions in settings:
            wanted = {}
            if budget is not None:
                wanted = {"STSPRUNE_BUDGET": str(budget), "STSPRUNE_POSITIONS": positions}
            answers = answer(job, **wanted)["answers"]
            mine = [one["tokens"] for one in answers]
            engine = engine_tokens(asked, budget, positions, options.max_tokens)
            rows.append(
                {
                    "budget": budget,
                    "positions": positions,
                    "prompt_tokens": sorted({len(one["prompt"]) for one in answers})[0],
                    "same_tokens": sum(a == b for a, b in zip(mine, engine, strict=True)),
                    "accuracy_vllm": accuracy(mine),
                    "accuracy_engine": accuracy(engine),
                }
            )
            print(rows[-1], file=sys.stderr)
    document = {
        "command": "python benchmarks/serving/" + " ".join([Path(__file__).name, *sys.argv[1:]]),
        "questions": len(asked),
        "max_tokens": options.max_tokens,
        "rows": rows,
    }
    text = json.dumps(document, indent=1)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
