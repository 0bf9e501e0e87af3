"""Time to first token with a stage inside the encoder, over both floors, in turns.

    python benchmarks/encoder_time.py --model qwen-mini --budget 44 --out FILE.json

CPU seconds of the process on one thread, so that other work on the machine counts little; every
round runs everybody once, every other round backwards; ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from stsprune import EncoderStage
from stsprune.bench import geometry
from stsprune.bench.contest import FLOOR, LIMIT, UNPRUNED, Contestant, Workload
from stsprune.engine.families import family_of
from stsprune.method import find_method

#: name -> (method, settings of the stage or None)
STAGES: dict[str, tuple[str, dict[str, Any] | None]] = {
    "sts": ("sts", None),
    "sts, default stage": ("sts", {}),
    "sts, layer 3/5, share 0.27": ("sts", {"layer": 0.6, "share": 0.27}),
    "sts, layer 1/4, share 0.27": ("sts", {"layer": 0.25, "share": 0.27}),
    "divprune, default stage": ("divprune", {}),
}


def timed(contestant: Contestant) -> dict[str, float]:
    """CPU milliseconds of a prefill and of its encoder alone."""
    inner = family_of(contestant.workload.model).inner(contestant.workload.model)
    with contestant.context():
        out = {}
        start = time.process_time()
        contestant.workload.model(**contestant.inputs, use_cache=True, logits_to_keep=1)
        out["ttft"] = 1000 * (time.process_time() - start)
        start = time.process_time()
        inner.get_image_features(**contestant.workload.tensors)
        out["encoder"] = 1000 * (time.process_time() - start)
    return out


@torch.inference_mode()
def measure(name: str, budget: int, rounds: int) -> dict[str, Any]:
    """Medians, and ratios over the unpruned model and both floors."""
    torch.set_num_threads(1)
    model = geometry.build(geometry.find(name), "cpu", torch.float32)
    workload = Workload.of(model, 1, 2)
    contestants = {
        UNPRUNED: Contestant(UNPRUNED, workload, workload.tokens),
        FLOOR: Contestant(FLOOR, workload, budget),
        LIMIT: Contestant(LIMIT, workload, budget),
    }
    for label, (method, stage) in STAGES.items():
        encoder = None if stage is None else EncoderStage(**stage)
        made = find_method(method)(budget, encoder=encoder)
        contestants[label] = Contestant(method, workload, budget, made)
    times: dict[str, list[dict[str, float]]] = {label: [] for label in contestants}
    for contestant in contestants.values():
        contestant.warm()
    for number in range(rounds):
        for label, contestant in list(contestants.items())[:: 1 - 2 * (number % 2)]:
            times[label].append(timed(contestant))
    rows = {}
    for label, contestant in contestants.items():
        encoded, facts = contestant.encoded, contestant.facts()

        def ratio(part: str, other: str, mine: str = label) -> float:
            pairs = zip(times[mine], times[other], strict=True)
            return round(statistics.median(a[part] / b[part] for a, b in pairs), 3)

        rows[label] = {
            "stage": None if encoded is None else [encoded.layer, len(encoded.kept[0])],
            "ttft": round(statistics.median(t["ttft"] for t in times[label])),
            "encoder": round(statistics.median(t["encoder"] for t in times[label])),
            "speed-up": round(1 / ratio("ttft", UNPRUNED), 2),
            "over floor": ratio("ttft", FLOOR),
            "encoder over unpruned": ratio("encoder", UNPRUNED),
            "encoder FLOPs over unpruned": round(
                facts["encoder_flops"] / contestants[UNPRUNED].facts()["encoder_flops"], 3
            ),
        }
    return {
        "model": name,
        "tokens": workload.tokens,
        "budget": budget,
        "rounds": rounds,
        "torch": torch.__version__,
        "clock": "CPU milliseconds of one thread",
        "rows": rows,
        "times": times,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen-mini")
    parser.add_argument("--budget", type=int, default=44)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    document = measure(asked.model, asked.budget, asked.rounds)
    asked.out.write_text(json.dumps(document, indent=1) + "\n")
    for label, row in document["rows"].items():
        print(f"{label:26}", row)
