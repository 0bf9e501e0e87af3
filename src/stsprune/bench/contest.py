"""Who takes part, and one run of each: prefill, decode, and the parts of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from stsprune.engine import cache_bytes, prune
from stsprune.engine.costs import kv_cache_bytes, prefill_flops, tokens_per_layer
from stsprune.engine.families import family_of
from stsprune.method.base import InstructionAttention, Method, Plan, VisualTokens
from stsprune.selection.attention import top_indices

from .prompt import cut_features, positions, prompt
from .timing import clock, synchronise

UNPRUNED, FLOOR = "unpruned", "floor"


@dataclass
class Scene:
    """One model and `batch` equal prompts; tokens: visual tokens of each, extra: newlines and such.

    tensors: what the encoder gets.
    """

    model: Any
    tensors: dict[str, Any]
    batch: int
    tokens: int
    extra: int
    device: str
    new_tokens: int

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


class Contestant:
    """The unpruned model, the floor or a method.

    name: "unpruned", "floor" or the method's; budget: visual tokens per layer on average.
    """

    def __init__(self, name: str, scene: Scene, budget: int, method: Method | None = None) -> None:
        self.name, self.scene, self.budget, self.method = name, scene, budget, method
        depth = scene.config.num_hidden_layers
        held = budget if name == FLOOR else scene.tokens
        plan = Plan() if method is None else method.plan(scene.tokens, depth)
        text = scene.inputs(held)["input_ids"].shape[1] - held
        self.inputs = scene.inputs(held)
        self.per_layer = tokens_per_layer(plan, held, depth)
        self.lengths = [count + text for count in self.per_layer]
        self.recorded = Recorded()

    def context(self) -> AbstractContextManager[Any]:
        """What must be active while it runs."""
        if self.method is not None:
            return prune(self.scene.model, self.method)
        if self.name == FLOOR:
            return cut_features(self.scene.model, self.budget + self.scene.extra)
        return nullcontext()

    def facts(self) -> dict[str, Any]:
        """What does not depend on the clock: tokens, decoder FLOPs and KV bytes of one prompt."""
        config = self.scene.config
        size = self.scene.model.dtype.itemsize
        return {
            "tokens_per_layer": self.per_layer,
            "flops": prefill_flops(config, self.lengths),
            "kv_bytes": kv_cache_bytes(config, self.lengths, size),
        }

    def warm(self) -> None:
        """Run once, noting what the method is asked. Raises what `prune` raises."""
        with ExitStack() as stack:
            if self.method is None:
                stack.enter_context(self.context())
            else:
                noting = _noting(self.method, self.recorded)
                stack.enter_context(prune(self.scene.model, noting))
            self.scene.model(**self.inputs, use_cache=True, logits_to_keep=1)

    def run(self) -> dict[str, float]:
        """One greedy answer of `new_tokens`: milliseconds of its parts, bytes of its cache."""
        scene = self.scene
        device = scene.device
        cuda = torch.device(device).type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
        out: list[Any] = []
        with self.context():
            ttft = clock(lambda: out.append(self._prefill()), device)
            peak = torch.cuda.max_memory_allocated(device) if cuda else 0
            kv = cache_bytes(out[0][1])
            steps = clock(lambda: self._decode(*out[0]), device)
        result = {"ttft": ttft, "kv_bytes": float(kv), "total": ttft + steps}
        if scene.new_tokens > 1:
            result["decode"] = steps / (scene.new_tokens - 1)
        if cuda:
            result["peak_bytes"] = float(peak)
        out.clear()
        return result | self.parts()

    def parts(self) -> dict[str, float]:
        """Image encoder, structure stage and semantic stages, each alone, in milliseconds."""
        scene, method = self.scene, self.method
        inner = family_of(scene.model).inner(scene.model)
        with self.context():
            encoder = clock(lambda: inner.get_image_features(**scene.tensors), scene.device)
        if method is None:
            return {"encoder": encoder, "select": 0.0, "score": 0.0}
        seen = self.recorded
        return {
            "encoder": encoder,
            "select": clock(lambda: [method.select(*one) for one in seen.selections], scene.device),
            "score": clock(
                lambda: [top_indices(method.score(one), one.keep) for one in seen.scores],
                scene.device,
            ),
        }

    def _prefill(self) -> tuple[Any, Any]:
        out = self.scene.model(**self.inputs, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1].argmax(-1, keepdim=True), out.past_key_values

    def _decode(self, token: Any, cache: Any) -> None:
        scene, start = self.scene, self.inputs["input_ids"].shape[1]
        axes = family_of(scene.model).rotary_axes
        for step in range(scene.new_tokens - 1):
            given = {"input_ids": token, "past_key_values": cache, "use_cache": True}
            if axes == 3:
                given["position_ids"] = positions(scene.model, scene.batch, start + step, 1)
            logits = scene.model(**given).logits
            token = logits[:, -1].argmax(-1, keepdim=True)
        synchronise(scene.device)


def _noting(method: Method, recorded: Recorded) -> Method:
    """A copy of the method that notes its arguments."""
    kind = type(method)

    def select(self: Any, visual: VisualTokens, keep: int) -> Any:
        recorded.selections.append((visual, keep))
        return kind.select(self, visual, keep)

    def score(self: Any, attention: InstructionAttention) -> Any:
        recorded.scores.append(attention)
        return kind.score(self, attention)

    noting = type(kind.__name__, (kind,), {"select": select, "score": score})
    made: Method = noting(**{one.name: getattr(method, one.name) for one in fields(method)})
    return made
