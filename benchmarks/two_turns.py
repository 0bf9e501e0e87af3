"""A second question on the same cache: what the filter and the withdrawal cost it.

    python benchmarks/two_turns.py --out docs/data/two_turns.json

Per SceneQA scene of the test split the first two questions about a detail (character, colour,
shape) that depend on different patches. The first one is prefilled inside `prune` and answered, the
second asked behind it on the same cache, which holds what the first one left: all of structure's
tokens with `reusable=True`, else what the first question's filter kept. Accuracy of the second
answer; lost, won, p: against unpruned, exact McNemar test over the same scenes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import groupby, permutations
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.progress import Progress

import stsprune
from stsprune.atomic import write_json
from stsprune.chat import image_question, write_prompt
from stsprune.embedded.questions import Question
from stsprune.evaluation import load_items
from stsprune.evaluation.stats import mcnemar

FAMILIES = ("character", "colour", "shape")
BUDGETS = (32, 16, 8)
#: Name -> settings of STS, and whether every question filters afresh.
ROWS: dict[str, tuple[dict[str, Any], bool]] = {
    "STS": ({}, False),
    "STS, reusable": ({}, True),
    "no withdrawal": ({"withdraw": None}, False),
    "no withdrawal, reusable": ({"withdraw": None}, True),
    "structure only": ({"semantics": False}, False),
}


def pairs(scenes: int) -> Iterator[tuple[Any, Question, Question]]:
    """(picture, first question, second question) of every scene that has two such."""
    items = load_items("test", scenes)
    for _, group in groupby(items, key=lambda item: id(item.scene)):
        asked = [item for item in group if item.question.family in FAMILIES]
        for first, second in permutations(asked, 2):
            if not set(first.question.patches) & set(second.question.patches):
                yield Image.fromarray(first.scene.image), first.question, second.question
                break


@torch.inference_mode()
def second_answer(
    model: Any, processor: Any, context: Any, picture: Any, first: str, second: str
) -> str:
    """What is answered to `second` behind `first` and its own answer."""
    chat = image_question(first)
    prompt = write_prompt(processor, chat)
    inputs = processor(images=[picture], text=[prompt], return_tensors="pt")
    with context:
        out = model(**inputs, use_cache=True, logits_to_keep=1)
        said = processor.tokenizer.decode(out.logits[0, -1].argmax().item())
        chat += [
            {"role": "assistant", "content": [{"type": "text", "text": said}]},
            {"role": "user", "content": [{"type": "text", "text": second}]},
        ]
        whole = write_prompt(processor, chat)
        assert whole.startswith(prompt)
        more = processor.tokenizer(
            whole.removeprefix(prompt), add_special_tokens=False, return_tensors="pt"
        ).input_ids
        mask = inputs["attention_mask"]
        mask = torch.cat((mask, mask.new_ones(1, more.shape[1])), 1)
        out = model(
            input_ids=more,
            attention_mask=mask,
            past_key_values=out.past_key_values,
            use_cache=True,
            logits_to_keep=1,
        )
    answer: str = processor.tokenizer.decode(out.logits[0, -1].argmax().item())
    return answer


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    model, processor = stsprune.load_embedded()
    asked = list(pairs(arguments.scenes))
    plans = [("unpruned", None, {}, False)] + [
        (name, budget, settings, reusable)
        for budget in BUDGETS
        for name, (settings, reusable) in ROWS.items()
    ]
    rows: list[dict[str, Any]] = []
    unpruned: list[bool] = []
    with Progress() as bar:
        task = bar.add_task("second questions", total=len(plans) * len(asked))
        for name, budget, settings, reusable in plans:
            right = []
            for picture, first, second in asked:
                context: Any = nullcontext()
                if budget is not None:
                    method = stsprune.STS(budget, **settings)
                    context = stsprune.prune(model, method, reusable=reusable)
                answer = second_answer(model, processor, context, picture, first.text, second.text)
                right.append(answer == second.answer)
                bar.advance(task)
            unpruned = unpruned or right
            lost, won, p = mcnemar(unpruned, right)
            rows.append(
                {
                    "method": name,
                    "budget": budget,
                    "accuracy": sum(right) / len(right),
                    "lost": lost,
                    "won": won,
                    "p": p,
                }
            )
            print(f"{name:26} {budget or 144:4} {100 * rows[-1]['accuracy']:6.1f}", flush=True)
    write_json(arguments.out, {"scenes": arguments.scenes, "pairs": len(asked), "rows": rows})


if __name__ == "__main__":
    main()
