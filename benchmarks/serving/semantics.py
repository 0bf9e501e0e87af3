"""What choosing by the question gains in serving: SceneQA's test split, embedded model.

Run in the environment of `make test-vllm`:
    python benchmarks/serving/semantics.py --out docs/data/serving-semantics.json
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

from equality import prompt, questions
from offline import answer
from record import record


def paired(left: list[bool], right: list[bool]) -> dict[str, Any]:
    """Difference of two accuracies on the same questions, with its 95 % interval."""
    gains = [int(b) - int(a) for a, b in zip(left, right, strict=True)]
    mean = sum(gains) / len(gains)
    spread = math.sqrt(sum((one - mean) ** 2 for one in gains) / (len(gains) - 1) / len(gains))
    return {
        "won": gains.count(1),
        "lost": gains.count(-1),
        "gain": round(mean, 4),
        "interval": [round(mean - 1.96 * spread, 4), round(mean + 1.96 * spread, 4)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--budgets", default="48,16,8")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from stsprune.embedded.load import export_hub, load_embedded

    tokenizer = load_embedded()[1].tokenizer
    asked = questions(options.questions)
    expected = [tokenizer.convert_tokens_to_ids(one["answer"]) for one in asked]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        export_hub(model)
        job = {
            "model": str(model),
            "llm": {"max_model_len": 512},
            "max_tokens": 1,
            "prompts": [prompt(one) for one in asked],
        }
        for budget in options.budgets.split(","):
            right = {}
            for semantics in ("off", "embedding"):
                settings = {"STSPRUNE_BUDGET": budget, "STSPRUNE_SEMANTICS": semantics}
                answers = answer(job, **settings)["answers"]
                right[semantics] = [
                    one["tokens"][0] == token for one, token in zip(answers, expected, strict=True)
                ]
            accuracy = {name: sum(one) / len(one) for name, one in right.items()}
            rows.append(
                {"budget": int(budget), "accuracy": accuracy}
                | paired(right["off"], right["embedding"])
            )
    record(options.out, questions=len(asked), rows=rows)


if __name__ == "__main__":
    main()
