"""The hooks on an unmodified transformers model, and the one pass that they drive."""

from __future__ import annotations

import functools
import inspect
import warnings
import weakref
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stsprune.errors import NoGainWarning, UnsupportedModeError
from stsprune.method.base import Plan

from .cache import PrunedCache, adopt, drive, release
from .capture import Capture
from .compat import cache_of, with_cache
from .deepstack import Deepstack
from .encoding import Encoding
from .families import Family
from .gain import LIMIT
from .guards import check_generate, check_inputs, check_model
from .layout import Layout, lay_out, read_ids
from .mixers import attentions, check_later, check_rows, scoring_layers
from .passes import CacheHome, Decode, Pass, Prefill, Prompt, Requery
from .plans import Settings, expected_gain, plan_images, plan_late, row_lengths
from .sharing import lenders
from .stages import Reading
from .towers import TowerStage, tower_of
from .trace import Trace


@dataclass(frozen=True)
class _Call:
    """What the inner model was given, until the decoder is reached.

    layout: None where the call brings no images; plans: None where they need what the encoder says.
    """

    arguments: dict[str, Any]
    layout: Layout | None = None
    plans: list[Plan] | None = None


class Hooks:
    """Between the model's parts and the current pass; docs/engine.md has the order of calls."""

    def __init__(self, model: Any, family: Family, settings: Settings, warn_no_gain: bool) -> None:
        self.model, self.family, self.settings = model, family, settings
        self.warn_no_gain = warn_no_gain
        self.inner, self.decoder = family.inner(model), family.decoder(model)
        self.depth = len(self.decoder.layers)
        self.scoring = scoring_layers(self.decoder)
        self.encoding = Encoding(model, family, settings.method, self._tower())
        # A decoder whose last layers borrow keys gives them the last tokens only: not here.
        self.forced = {"logits_to_keep": 0} if lenders(self.decoder) else {}
        self.capture = Capture(attentions(self.decoder), self._read)
        self.signature = inspect.signature(self.inner.forward)
        self.names = list(inspect.signature(type(self.decoder.layers[0]).forward).parameters)[1:]
        self.trace = Trace()
        self.caches: weakref.WeakSet[PrunedCache] = weakref.WeakSet()
        self.call: _Call | None = None
        self.current: Pass | None = None
        self.asleep = False  # a trial runs the model as if nothing were installed

    def _tower(self) -> TowerStage | None:
        """The stage inside the encoder. Raises UnsupportedModelError, InvalidArgumentError."""
        method = self.settings.method
        if method.encoder is None:
            return None

        def plan(tokens: int) -> Plan:
            return method.plan_on(tokens, self.depth, self.scoring)

        stage = TowerStage(tower_of(self.model), method.encoder, plan)
        tokens = self.family.tokens(self.model)
        if tokens is not None:
            stage.keep(tokens)
        return stage

    def install(self, undo: ExitStack) -> None:
        """Hook everything; `undo` takes it all back, also half-way through."""
        undo.callback(self._release_caches)
        undo.callback(self.capture.close)
        self.encoding.install(undo)
        if hasattr(self.inner, "rope_deltas"):
            undo.callback(setattr, self.inner, "rope_deltas", self.inner.rope_deltas)
        hooks = [(self.model, self._outer), (self.inner, self._prompt), (self.decoder, self._text)]
        hooks += [
            (layer, functools.partial(self._layer, number))
            for number, layer in enumerate(self.decoder.layers)
        ]
        for module, hook in hooks:
            handle = module.register_forward_pre_hook(hook, with_kwargs=True)
            undo.callback(handle.remove)
        if hasattr(self.model, "generate"):
            self._guard_generate(undo)

    def _guard_generate(self, undo: ExitStack) -> None:
        original = self.model.generate
        before = self.model.__dict__.get("generate")

        @functools.wraps(original)
        def generate(*args: Any, **kwargs: Any) -> Any:
            check_generate(self.model, kwargs)
            check_inputs(kwargs)
            return original(*args, **kwargs)

        self.model.__dict__["generate"] = generate
        if before is None:
            undo.callback(self.model.__dict__.pop, "generate")
        else:
            undo.callback(self.model.__dict__.__setitem__, "generate", before)

    def _outer(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        check_model(self.model)
        if kwargs.get("labels") is not None:
            raise UnsupportedModeError("labels must be None: pruning is for inference, not a loss")

    def _prompt(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Before the inner model: does this call bring images, and where?"""
        self.call = self.current = None
        self.capture.close()
        if self.asleep:
            return
        arguments = self._arguments(args, kwargs)
        check_inputs(arguments)
        ids = arguments.get("input_ids")
        if ids is None:
            raise UnsupportedModeError(
                "input_ids must be given: visual tokens cannot be found in inputs_embeds alone"
            )
        cache = cache_of(arguments)
        self._drive(cache)
        self.call = _Call(arguments)
        seen = self.encoding.seen(arguments)
        if not seen:
            return
        past = 0 if cache is None else cache.get_seq_length()
        read = read_ids(ids, arguments.get("attention_mask"), past)
        visuals = {
            kind: self.family.visuals(self.model, kind, note, read) for kind, note in seen.items()
        }
        layout = lay_out(read, self.family.token_ids(self.model), visuals)
        if not layout.visuals:
            return
        plans = None
        if not self.settings.late:
            plans = plan_images(self.settings.method, layout, self.depth, self.scoring)
        self.call = _Call(arguments, layout, plans)

    def _arguments(self, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """All of a call's arguments by name."""
        if not args:
            return kwargs
        bound = self.signature.bind_partial(*args, **kwargs).arguments
        return bound | bound.pop("kwargs", {})

    def _text(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Before the text model: begin the pass that this call is."""
        cache, call = cache_of(kwargs), self.call
        self.call = None
        if self.asleep:
            return None
        if call is not None and call.layout is not None:
            return args, self._begin(call, call.layout, cache, kwargs | self.forced)
        if not isinstance(cache, PrunedCache):
            return None
        self._drive(cache)
        embeds = kwargs["inputs_embeds"]
        mask = None if call is None else call.arguments.get("attention_mask")
        _note_later(cache, mask, embeds)
        check_later(self.decoder, cache.later)
        self.current = self._behind(cache, embeds.shape[1])
        return args, kwargs | self.forced | {"attention_mask": None}

    def _begin(
        self, call: _Call, layout: Layout, cache: Any, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """The pass of a prompt with images; the decoder's keyword arguments."""
        settings, embeds = self.settings, kwargs["inputs_embeds"]
        fresh = cache is None or cache.get_seq_length() == 0
        if kwargs.get("use_cache") is not False or cache is not None:
            mask = call.arguments.get("attention_mask")
            past = 0 if cache is None else cache.get_seq_length()
            valid = mask[:, :past].bool() if mask is not None and past else None
            cache = adopt(cache, self.decoder.config, settings.compact, valid)
            cache.home = CacheHome(self.inner, self.decoder)
            self.caches.add(cache)
        try:
            deepstack = Deepstack.taken_from(kwargs, self.depth)
            features = embeds if deepstack is None else deepstack.seen(embeds)
            plans = call.plans
            if plans is None:
                layout, plans = plan_late(settings, layout, features, self.depth, self.scoring)
            if not fresh:
                check_rows(self.decoder, row_lengths(layout, plans, self.depth))
            prompt = Prompt(
                layout,
                plans,
                embeds,
                features,
                kwargs.get("position_ids"),
                self.family.blocks(self.model, call.arguments),
                deepstack,
                self.encoding.view(call.arguments, layout),
                self.family.block_kinds,
                self.family.per_token,
                self.encoding.left(call.arguments, layout),
            )
            prefill = Prefill(settings, prompt, self.decoder, cache, self.trace)
            changed = prefill.enter(kwargs)
        except BaseException:
            if cache is not None and fresh:
                cache.reset()
            raise
        if self.warn_no_gain:
            self._warn(expected_gain(layout, plans, self.decoder, embeds))
        self.current = self._reading(prefill)
        return with_cache(kwargs | changed, cache)

    def _behind(self, cache: PrunedCache, new: int) -> Pass | None:
        """The pass of `new` tokens behind a pruned prompt, None where it needs nothing."""
        if self.settings.reusable and cache.held and new > 1:
            method = self.settings.method
            return self._reading(Requery(method, self.decoder, cache, new, self.trace))
        step = Decode(self.decoder, cache)
        return None if new == 1 and step.plain else step

    def _reading(self, fresh: Pass) -> Pass:
        for layer in fresh.reads:
            self.capture.arm(layer)
        return fresh

    def _read(self, layer: int, queries: Tensor, keys: Tensor, scale: float) -> None:
        assert self.current is not None
        self.current.read(Reading(layer, queries, keys, scale))

    def _layer(self, number: int, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if self.current is None:
            return None
        self.capture.disarm(number - 1)
        named = dict(zip(self.names, args, strict=False)) | kwargs
        hidden, named = self.current.before_layer(number, named.pop(self.names[0]), named)
        return (hidden,), named

    def _drive(self, cache: Any) -> None:
        if isinstance(cache, PrunedCache):
            drive(cache)
            self.caches.add(cache)

    def _release_caches(self) -> None:
        for cache in self.caches:
            release(cache)

    def _warn(self, share: float) -> None:
        if share > LIMIT:
            method = self.settings.method
            warnings.warn(
                f"{type(method).__name__}(budget={method.budget}) is expected to take "
                f"{100 * share:.0f} % of the unpruned prefill: this prompt is too short for "
                "pruning to pay (stsprune bench measures the break-even)",
                NoGainWarning,
                stacklevel=2,
            )


def _note_later(cache: PrunedCache, mask: Tensor | None, embeds: Tensor) -> None:
    """Remember the padding of a later turn; single new tokens are never padding."""
    if mask is not None and mask.ndim == 2 and embeds.shape[0] > 1 and embeds.shape[1] > 1:
        cache.later = mask[:, cache.logical :].bool()
