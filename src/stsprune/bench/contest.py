"""Who takes part, and one run of each: prefill, decode, and the parts of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from stsprune.engine import cache_bytes, prune
from stsprune.engine.compat import CACHE
from stsprune.engine.costs import kv_cache_bytes, prefill_flops
from stsprune.engine.families import family_of
from stsprune.engine.towers import Encoded, encoder_flops, tower_of
from stsprune.engine.trace import Trace
from stsprune.errors import UnsupportedModelError
from stsprune.method import find_method
from stsprune.method.base import InstructionAttention, Method, Plan, VisualTokens, tokens_per_layer
from stsprune.method.encoder import EncoderStage
from stsprune.method.wrapped import Wrapped
from stsprune.selection.attention import top_indices

from .geometry import weight_bytes
from .prompt import cut_features, patch_weights, picture, positions, prompt, shape_of
from .timing import clock

UNPRUNED, FLOOR = "unpruned", "floor"
#: The floor without the encoder: its features are there already. What no encoder stage can pass.
LIMIT = "floor, no encoder"
#: Behind a method's name: with the default stage inside the vision tower.
ENCODER = "+encoder"


def make_method(name: str, budget: int, settings: dict[str, Any]) -> Method:
    """A contestant's method; "+encoder" behind its name adds the stage inside the encoder.

    Raises InvalidArgumentError.
    """
    plain = name.removesuffix(ENCODER)
    if plain != name:
        settings = {"encoder": EncoderStage()} | settings
    return find_method(plain, rule="methods must be of")(budget, **settings)


@dataclass
class Workload:
    """One model and `batch` equal prompts; tokens: visual tokens of each, extra: newlines and such.

    tensors: what the encoder gets; new_tokens: of an answer.
    """

    model: Any
    tensors: dict[str, Any]
    batch: int
    tokens: int
    extra: int
    device: str
    new_tokens: int

    @classmethod
    def of(cls, model: Any, batch: int, new_tokens: int) -> Workload:
        """The usual picture. Raises UnsupportedModelError."""
        tensors = picture(model, batch)
        visual = shape_of(model, tensors)
        extra = visual.length - visual.tokens
        device = str(model.device)
        return cls(model, tensors, batch, visual.tokens, extra, device, new_tokens)

    @property
    def config(self) -> Any:
        """The decoder's."""
        return family_of(self.model).decoder(self.model).config

    def inputs(self, visual_tokens: int) -> dict[str, Any]:
        """Prompts of so many visual tokens."""
        return prompt(self.model, self.tensors, self.batch, visual_tokens + self.extra)


@dataclass
class Recorded:
    """What a method was asked in one prefill, to time its answers apart."""

    selections: list[tuple[VisualTokens, int]] = field(default_factory=list)
    scores: list[InstructionAttention] = field(default_factory=list)
    merges: list[tuple[Any, Any, VisualTokens | InstructionAttention]] = field(default_factory=list)


class Contestant:
    """The unpruned model, the floor or a method.

    name: "unpruned", "floor", `LIMIT` or the method's; budget: visual tokens per layer on average.
    """

    def __init__(
        self, name: str, workload: Workload, budget: int, method: Method | None = None
    ) -> None:
        self.name, self.workload, self.budget, self.method = name, workload, budget, method
        depth = workload.config.num_hidden_layers
        held = budget if name in (FLOOR, LIMIT) else workload.tokens
        plan = Plan() if method is None else method.plan(workload.tokens, depth)
        self.inputs = workload.inputs(held)
        text = self.inputs["input_ids"].shape[1] - held
        self.per_layer = tokens_per_layer(plan, held, depth)
        self.lengths = [count + text for count in self.per_layer]
        self.recorded = Recorded()
        self.ready: dict[str, Any] = {}
        self.encoded: Encoded | None = None

    def context(self) -> AbstractContextManager[Any]:
        """What must be active while it runs."""
        if self.method is not None:
            return prune(self.workload.model, self.method)
        if self.name in (FLOOR, LIMIT):
            ready = self.ready if self.name == LIMIT else None
            return cut_features(self.workload.model, self.budget + self.workload.extra, ready)
        return nullcontext()

    def facts(self) -> dict[str, Any]:
        """What does not depend on the clock: tokens, FLOPs and KV bytes of one prompt.

        encoder_flops: None where they are not known; of a prompt that has been run (`warm`).
        """
        config = self.workload.config
        size = self.workload.model.dtype.itemsize
        return {
            "encoder_flops": self._encoder_flops(),
            "tokens_per_layer": self.per_layer,
            "flops": prefill_flops(config, self.lengths),
            "kv_bytes": kv_cache_bytes(config, self.lengths, size),
        }

    def _encoder_flops(self) -> int | None:
        if self.name == LIMIT:
            return 0
        model, batch = self.workload.model, self.workload.batch
        try:
            tower = tower_of(model)
            grids = tower.grids("image", self.workload.tensors, batch)
            encoded = self.encoded or Encoded(
                len(tower.blocks), grids, [torch.arange(self.workload.tokens)] * batch
            )
            return encoder_flops(tower, encoded, patch_weights(model)) // batch
        except UnsupportedModelError:
            return None

    def warm(self) -> None:
        """Run once, noting what the method is asked. Raises what `prune` raises."""
        self.recorded = Recorded()
        with ExitStack() as stack:
            trace = None
            if self.method is None:
                stack.enter_context(self.context())
            else:
                noting = _Noting(self.method, self.recorded)
                trace = stack.enter_context(prune(self.workload.model, noting))
            self.workload.model(**self.inputs, use_cache=True, logits_to_keep=1)
        if trace is not None and self.method is not None and self.method.encoder is not None:
            self.encoded = self._kept(trace, self.method.encoder)

    def _kept(self, trace: Trace, stage: EncoderStage) -> Encoded | None:
        """What the stage inside the encoder kept of the equal pictures."""
        left = [s.kept for image in trace.images for s in image.stages if s.name == "encoder"]
        tower = tower_of(self.workload.model)
        grids = tower.grids("image", self.workload.tensors, self.workload.batch)
        return Encoded(stage.layer_of(tower.used), grids, left) if left else None

    def run(self, answer: bool = True) -> dict[str, float]:
        """Milliseconds of a prefill and of its parts, bytes of its cache.

        answer: decode greedily, too, until there are `new_tokens`.
        """
        workload = self.workload
        device = workload.device
        cuda = torch.device(device).type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        out: list[Any] = []
        with self.context():
            result = {"ttft": clock(lambda: out.append(self._prefill()), device)}
            result["kv_bytes"] = cache_bytes(out[0][1])
            if cuda:  # other contestants' notes lie in memory as well: only the rise counts
                rise = torch.cuda.max_memory_allocated(device) - before
                result["peak_bytes"] = weight_bytes(workload.model) + rise
            if answer:
                steps = clock(lambda: self._decode(*out[0]), device)
                result["total"] = result["ttft"] + steps
                result["decode"] = steps / (workload.new_tokens - 1)
        out.clear()
        return result | self.parts()

    def parts(self) -> dict[str, float]:
        """Image encoder, structure stage and semantic stages, each alone, in milliseconds.

        Merging counts as part of the stage that it follows.
        """
        workload, method = self.workload, self.method
        inner = family_of(workload.model).inner(workload.model)
        with self.context():
            encoder = clock(lambda: inner.get_image_features(**workload.tensors), workload.device)
        if method is None:
            return {"encoder": encoder, "select": 0.0, "score": 0.0}
        return {
            "encoder": encoder,
            "select": clock(self._select, workload.device),
            "score": clock(self._score, workload.device),
        }

    def _select(self) -> None:
        assert self.method is not None
        for tokens, keep in self.recorded.selections:
            self.method.select(tokens, keep)
        self._merge(VisualTokens)

    def _score(self) -> None:
        assert self.method is not None
        for attention in self.recorded.scores:
            top_indices(self.method.score(attention), attention.keep)
        self._merge(InstructionAttention)

    def _merge(self, stage: type) -> None:
        assert self.method is not None
        for call in self.recorded.merges:
            if isinstance(call[2], stage):
                self.method.merge(*call)

    def _prefill(self) -> tuple[Any, Any]:
        out = self.workload.model(**self.inputs, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True), getattr(out, CACHE)

    def _decode(self, token: Any, cache: Any) -> None:
        workload, start = self.workload, self.inputs["input_ids"].shape[1]
        axes = family_of(workload.model).rotary_axes
        for step in range(workload.new_tokens - 1):
            given = {"input_ids": token, CACHE: cache, "use_cache": True}
            if axes == 3:
                given["position_ids"] = positions(workload.model, workload.batch, start + step, 1)
            logits = workload.model(**given).logits
            token = logits[:, -1].argmax(-1, keepdim=True)


class _Noting(Wrapped):
    """A method that notes its arguments."""

    def __init__(self, method: Method, recorded: Recorded) -> None:
        super().__init__(method)
        self.recorded = recorded

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        self.recorded.selections.append((visual, keep))
        return super().select(visual, keep)

    def score(self, attention: InstructionAttention) -> Tensor:
        self.recorded.scores.append(attention)
        return super().score(attention)

    def merge(
        self, states: Tensor, chosen: Tensor, stage: VisualTokens | InstructionAttention
    ) -> Tensor:
        self.recorded.merges.append((states, chosen, stage))
        return super().merge(states, chosen, stage)
