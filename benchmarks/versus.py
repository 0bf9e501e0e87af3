"""Two source trees in turns: `python benchmarks/versus.py OLD/src NEW/src`.

Prefill of geometry:llava-mini at 64 of 576 tokens and a decode step behind it, each tree in its own
process, one measurement after the other; prints medians of CPU time and their ratio new / old.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

ROUNDS, STEPS = 7, 4


def work() -> None:
    """Answer each line on stdin with (prefill, step) in CPU seconds."""
    import time

    import torch
    import transformers

    import stsprune
    from stsprune.bench.geometry import GEOMETRIES

    torch.set_num_threads(1)
    torch.manual_seed(0)
    name = "past_key_values"  # of the releases that both trees know
    geometry = GEOMETRIES["llava-mini"]
    model = getattr(transformers, geometry.model)(geometry.config()).eval()
    ids = torch.randint(20, 60, (1, 640))
    ids[:, 20:596] = model.config.image_token_id
    pixels = torch.rand(1, 3, 336, 336)
    token = torch.full((1, 1), 5)
    with torch.no_grad(), stsprune.prune(model, stsprune.STS(64)):
        print("ready", flush=True)
        for _ in sys.stdin:
            start = time.process_time()
            out = model(input_ids=ids, pixel_values=pixels, use_cache=True, logits_to_keep=1)
            between = time.process_time()
            cache = getattr(out, name)
            for _ in range(STEPS):
                model(input_ids=token, **{name: cache})
            end = time.process_time()
            print(between - start, (end - between) / STEPS, flush=True)


def main(old: str, new: str) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, "--work"],
            env=os.environ | {"PYTHONPATH": source, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for source in (old, new)
    ]
    seen: list[list[tuple[float, float]]] = [[], []]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline().strip() == "ready"
    for turn in range(ROUNDS + 1):
        order = (0, 1) if turn % 2 else (1, 0)
        for number in order:
            worker = workers[number]
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
            prefill, step = map(float, worker.stdout.readline().split())
            if turn:  # the first one warms up
                seen[number].append((prefill, step))
    for worker in workers:
        worker.communicate()
    for part, label in enumerate(("prefill", "decode step")):
        before, after = (statistics.median(pair[part] for pair in pairs) for pairs in seen)
        print(f"{label}: {1e3 * before:.1f} ms -> {1e3 * after:.1f} ms, ratio {after / before:.3f}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--work"]:
        work()
    else:
        main(*sys.argv[1:3])
