"""The oracle of the stage inside the encoder: the full tower, the dropped patches masked.

From the stage's layer on every layer's attention is computed here, in full, over all patches of the
call at once; what was dropped is no key for anybody. So what the kept patches become is what
the tower makes of them when the others are not there, found without shortening anything. With the
stage it shares the table of towers and the trace.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..families import family_of
from ..trace import Trace
from .table import tower_of


@contextmanager
def masked_tower(model: Any, layer: int, trace: Trace) -> Iterator[None]:
    """Inside, the model's image encoder works like that: `masked_logits` and features compare.

    layer: of the tower, the first one without what was dropped; trace: what a pruned run of the
    same images kept, its stages named "encoder" (an image without one kept all). Call it outside
    `prune`.
    """
    family = family_of(model)
    inner, registry = family.inner(model), vars(ALL_ATTENTION_FUNCTIONS)
    masking = _Masking(model, layer, trace)
    with ExitStack() as undo:
        for modality in family.modalities:
            name = f"get_{modality}_features"
            inner.__dict__[name] = masking.wrapped(modality, getattr(inner, name))
            undo.callback(inner.__dict__.pop, name)
        for number, block in enumerate(masking.tower.blocks):
            hook = functools.partial(masking.before, number)
            undo.callback(block.register_forward_pre_hook(hook, with_kwargs=True).remove)
        registry["get_interface"] = masking.interface
        undo.callback(registry.pop, "get_interface")
        yield


class _Masking:
    def __init__(self, model: Any, layer: int, trace: Trace) -> None:
        self.tower, self.layer, self.trace = tower_of(model), layer, trace
        self.numbers = {id(module): n for n, module in enumerate(self.tower.attentions)}
        self.modality = "image"  # of the call under way, as are the arguments
        self.arguments: Mapping[str, Any] = {}
        self.allowed: Tensor | None = None  # bool [pictures or 1, P, P]
        self.gone: Tensor | None = None  # bool [pictures or 1, P]
        self.active = False

    def wrapped(self, modality: str, original: Any) -> Any:
        signature = inspect.signature(original)

        @functools.wraps(original)
        def encode(*args: Any, **kwargs: Any) -> Any:
            if self.active:  # Qwen3-VL's videos go through get_image_features
                return original(*args, **kwargs)
            bound = signature.bind_partial(*args, **kwargs).arguments
            self.modality = modality
            self.arguments = bound | bound.pop("kwargs", {})
            self.gone, self.active = None, True
            try:
                return original(*args, **kwargs)
            finally:
                self.active = False

        return encode

    def before(self, number: int, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        length = hidden.shape[-2]
        if self.gone is None:
            self.gone = self._gone(hidden.shape[0], length, hidden.device)
        if number < self.layer:
            self.allowed = None
            return None
        diagonal = torch.eye(length, dtype=torch.bool, device=hidden.device)
        self.allowed = ~self.gone[:, None] | diagonal
        ends = kwargs.get("cu_seqlens")
        if ends is None:
            return None
        place = torch.arange(length, device=hidden.device)
        segment = torch.searchsorted(ends.long(), place, right=True)
        self.allowed = self.allowed & (segment[:, None] == segment)
        return args, kwargs | {"cu_seqlens": ends.new_tensor([0, length])}

    def interface(self, name: str, default: Any) -> Any:
        """`AttentionInterface.get_interface`."""
        registry = ALL_ATTENTION_FUNCTIONS
        attend = type(registry).get_interface(registry, name, default)

        def masked(
            module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kw: Any
        ) -> Any:
            number = self.numbers.get(id(module))
            if number is None or number < self.layer or not self.active:
                return attend(module, query, key, value, *args, **kw)
            given = args[0] if args else kw.get("attention_mask")
            scale = kw.get("scaling") or query.shape[-1] ** -0.5
            logits = query.float() @ key.float().transpose(-1, -2) * scale
            if given is not None and given.dtype == torch.bool:
                logits = logits.masked_fill(~given, -torch.inf)
            elif given is not None:
                logits = logits + given
            assert self.allowed is not None
            weights = logits.masked_fill(~self.allowed[:, None], -torch.inf).softmax(-1)
            return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), None

        return masked

    def _gone(self, rows: int, length: int, device: torch.device) -> Tensor:
        """bool [pictures or 1, P]: the patches that the trace has not kept."""
        order = self.tower.order
        grids = self.tower.grids(self.modality, self.arguments, rows)
        counts = [frames * high * wide for frames, high, wide in grids]
        stays = torch.zeros(sum(counts), dtype=torch.bool)
        start = 0
        for image in self.trace.images:
            if image.visual.video != (self.modality == "video"):
                continue
            offsets = image.visual.offsets()
            kept = [stage.kept.cpu() for stage in image.stages if stage.name == "encoder"]
            stays[start + (offsets[kept[0]] if kept else offsets)] = True
            start += image.visual.length
        gone, at = [], 0
        for grid, count in zip(grids, counts, strict=True):
            patches = torch.zeros(order.patches(grid), dtype=torch.bool)
            patches[order.places(grid)[~stays[at : at + count]].flatten()] = True
            gone.append(patches)
            at += count
        if self.tower.packed:
            return torch.cat(gone)[None].to(device)
        heads = torch.zeros(len(gone), order.prefix, dtype=torch.bool)
        return torch.cat([heads, torch.stack(gone)], 1).to(device)
