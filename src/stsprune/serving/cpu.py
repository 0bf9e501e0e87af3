"""vLLM on a CPU: its model runner loads models in a way of its own and forgets one flag there."""

from __future__ import annotations

import functools
from typing import Any


def heed_pruning() -> None:
    """Make the CPU's V1 runner ask a pruned model for positions, as the GPU's runners do.

    In vLLM 0.32 `GPUModelRunner.load_model` sets `is_multimodal_pruning_enabled`, and the CPU's
    override does not.
    """
    from vllm.model_executor.models.interfaces import supports_multimodal_pruning
    from vllm.v1.worker.cpu_model_runner import CPUModelRunner

    original = CPUModelRunner.load_model
    if getattr(original, "stsprune", False):
        return

    @functools.wraps(original)
    def load_model(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        config = self.model_config.multimodal_config
        self.is_multimodal_pruning_enabled = (
            supports_multimodal_pruning(self.get_model())
            and config is not None
            and config.is_multimodal_pruning_enabled()
        )

    load_model.stsprune = True  # type: ignore[attr-defined]
    CPUModelRunner.load_model = load_model
