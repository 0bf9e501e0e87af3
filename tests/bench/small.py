"""A run's document by hand: two rounds of three contestants, figures that can be checked by eye."""

from __future__ import annotations

from typing import Any

from stsprune.bench.tables import RATIOS


def rounds(*ttft: float, encoder: float = 1.0, kv: int = 800) -> list[dict[str, float]]:
    return [
        {
            "ttft": time,
            "kv_bytes": kv,
            "total": 10 * time,
            "decode": 2.0,
            "encoder": encoder,
            "select": 0.5,
            "score": 0.25,
        }
        for time in ttft
    ]


def contestant(name: str, budget: int | None, flops: int, rows: Any) -> dict[str, Any]:
    kept = 100 if budget is None else budget
    facts = {"tokens_per_layer": [kept, kept], "flops": flops, "kv_bytes": rows[0]["kv_bytes"] // 2}
    return {"name": name, "budget": budget, "facts": facts, "rounds": rows}


def document() -> dict[str, Any]:
    shape = {"tokens": 100, "keep": 20, "width": 8, "batch": 2}
    time = {"median": 1.0, "low": 1.0, "high": 1.0, "runs": 3}
    return {
        "setup": {"model": "geometry:tiny", "device": "cpu", "dtype": "float32"},
        "machine": {
            "device": "a processor",
            "threads": 2,
            "torch": "2.0",
            "transformers": "5.0",
            "triton": None,
            "commit": "0123456789ab",
        },
        "attention": {"sdpa": 10.0},
        "ceiling": {
            "flops": 2e12,
            "bytes": 5e9,
            "least": [{"batch": 2, "tokens": 100, "least": 4.0, "bound": "memory"}],
        },
        "selection": [
            {
                "shape": shape,
                "ratios": dict.fromkeys(RATIOS, 2.0),
                "milliseconds": {"repulsion": time, "max-min": time, "gram": time},
            }
        ],
        "groups": [
            {
                "batch": 2,
                "tokens": 100,
                "contestants": [
                    contestant("unpruned", None, 1000, rounds(10, 20)),
                    contestant("floor", 20, 250, rounds(4, 10, kv=200)),
                    contestant("sts", 20, 300, rounds(5, 16, encoder=1.5, kv=200)),
                    contestant("dart", 20, 300, rounds(20, 40, kv=202)),
                ],
                "refused": [{"name": "fastv", "budget": 20, "reason": "budget must be more"}],
            }
        ],
    }
