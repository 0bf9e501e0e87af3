"""The fastest attention that the machine has, so that the unpruned model is at its best."""

from __future__ import annotations

import importlib.util
import statistics
from typing import Any

import torch

from stsprune.errors import InvalidArgumentError

from .contest import UNPRUNED, Contestant, Workload

AUTO = "auto"


def candidates(device: str) -> list[str]:
    """Fused implementations of transformers that can run here."""
    flash = torch.device(device).type == "cuda" and importlib.util.find_spec("flash_attn")
    return ["sdpa", *(["flash_attention_2"] if flash else [])]


def fastest(times: dict[str, float]) -> str:
    """The implementation to use, of what `compare` returned."""
    return min(times, key=lambda name: times[name])


def compare(model: Any, name: str) -> dict[str, float]:
    """Milliseconds of an unpruned prefill with that implementation; "auto": with each there is.

    The model is left with the last one tried. Raises InvalidArgumentError.
    """
    names = candidates(str(model.device)) if name == AUTO else [name]
    times = {}
    for backend in names:
        try:
            model.set_attn_implementation(backend)
            times[backend] = _prefill(model)
        except (ValueError, ImportError, RuntimeError, KeyError) as error:
            if name != AUTO:
                reason = str(error).splitlines()[0]
                raise InvalidArgumentError(
                    f"attention must be auto or what transformers can use here, such as "
                    f"{', '.join(candidates(str(model.device)))}; got {name!r}: {reason}"
                ) from error
    return times


def _prefill(model: Any) -> float:
    with torch.inference_mode():
        workload = Workload.of(model, 1, 2)
        whole = Contestant(UNPRUNED, workload, workload.tokens)
        whole.run(answer=False)
        return statistics.median(whole.run(answer=False)["ttft"] for _ in range(3))
