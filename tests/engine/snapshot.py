"""All that could be left behind on a model or in a registry."""

from __future__ import annotations

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


class Snapshot:
    """Attributes, hooks, config, weights and registries; compare one before with one after."""

    def __init__(self, model):
        self.modules = {
            name: (
                {k: v for k, v in module.__dict__.items() if not k.startswith("_forward_pre")},
                list(module._forward_pre_hooks.values()),
                dict(module._forward_pre_hooks_with_kwargs),
                list(module._forward_hooks.values()),
            )
            for name, module in model.named_modules()
        }
        self.config = model.config.to_json_string()
        self.weights = {k: v.clone() for k, v in model.state_dict().items()}
        self.registries = [
            sorted(type(r)._global_mapping)
            for r in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS)
        ] + [sorted(vars(ALL_ATTENTION_FUNCTIONS))]

    def __eq__(self, other):
        return (
            self.modules == other.modules
            and self.config == other.config
            and self.registries == other.registries
            and all(torch.equal(v, other.weights[k]) for k, v in self.weights.items())
        )

    __hash__ = None
