"""`prune`: hooks on an unmodified transformers model for the length of a `with` block."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stsprune.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    NestedPruneError,
    NoGainWarning,
    UnsupportedModeError,
)
from stsprune.method.base import EncoderView, Method
from stsprune.selection.budget import check_total
from stsprune.selection.upload import upload

from .cache import PrunedCache, adopt
from .capture import Capture
from .compat import cache_of, check_version, with_cache
from .deepstack import Deepstack
from .encoding import NOTE, Encoding, shapes_only
from .families import Family, family_of
from .gain import LIMIT
from .guards import check_attention, check_generate, check_inputs, check_model
from .layout import Bucket, Ids, Layout, lay_out, read_ids
from .masks import window_of
from .prefill import Prefill, Settings, plan_images
from .requery import Requery
from .step import DecodeStep
from .trace import Trace
from .unwrap import unwrap

POSITIONS = ("original", "compact")

_ACTIVE: weakref.WeakSet[Any] = weakref.WeakSet()
_LOCK = threading.Lock()


@contextmanager
def prune(
    model: Any,
    method: Method,
    *,
    positions: str = "original",
    reusable: bool = False,
    budget_total: int | None = None,
    warn_no_gain: bool = False,
) -> Iterator[Trace]:
    """Prune the visual tokens of every prompt with images that `model` is given inside.

        with stsprune.prune(model, stsprune.STS(budget=64)) as trace:
            out = model.generate(**inputs)

    Dropped tokens leave the hidden states and every later layer's KV cache. The yielded trace
    tells what each stage kept of each image of the latest prompt. Leaving restores the model to
    the bit; a cache filled inside decodes on outside.

    model: a supported vision-language model in eval mode (`stsprune models` lists them), also
    inside a PEFT or DistributedDataParallel wrapper; method: for example `STS(budget=64)`, whose
    budget counts per image and per video; positions: "original" rotary positions of the kept
    tokens, or "compact" (re-indexed).
    reusable: keep every token of the structure stage in all layers and only hide what the
    question does not need, so that another question on the same cache chooses afresh.
    budget_total: tokens over all images of a prompt, shared out by need; it takes the place of the
    method's own budget. Needs one more synchronisation.
    warn_no_gain: warn (NoGainWarning) at prompts whose prefill pruning is not expected to shorten,
    by the closed form of engine/gain.py; they are pruned all the same.

    Batches are padded on the left; logits are those of the kept tokens, the last one last.

    Raises InvalidArgumentError, InvalidTypeError, UnsupportedModelError or NestedPruneError before
    anything is touched, and UnsupportedModeError for calls that cannot be pruned exactly.
    """
    check_version()
    model = unwrap(model)
    family = family_of(model)
    check_model(model)
    if not isinstance(method, Method):
        raise InvalidTypeError(
            f"method must be a Method such as STS(budget=64), got {type(method).__name__}"
        )
    budget_total = check_total(budget_total)
    _check_options(family, positions, reusable, warn_no_gain)
    if reusable and (method.merges or method.needs & {"attention", "embeddings"}):
        raise UnsupportedModeError(
            f"reusable must be False with {type(method).__name__}: what it reads of the prompt is "
            "gone when another question comes"
        )
    decoder = family.decoder(model)
    check_attention(decoder.config)
    for layer in range(len(decoder.layers)):
        window_of(decoder.config, layer)  # an unknown kind of layer shows here
    tokens = family.tokens(model)
    if tokens is not None and budget_total is None:
        method.plan(tokens, len(decoder.layers))
    settings = Settings(method, positions == "compact", reusable, budget_total)
    engine = _Engine(model, family, settings, warn_no_gain)
    with _LOCK:
        if model in _ACTIVE:
            raise NestedPruneError(
                f"prune is already active on this {type(model).__name__}: leave it first"
            )
        _ACTIVE.add(model)
    try:
        with ExitStack() as undo:
            engine.install(undo)
            yield engine.trace
    finally:
        with _LOCK:
            _ACTIVE.discard(model)


def _check_options(
    family: Family,
    positions: str,
    reusable: bool,
    warn_no_gain: bool,
) -> None:
    if positions not in POSITIONS:
        raise InvalidArgumentError(
            f"positions must be one of {', '.join(POSITIONS)}, got {positions!r}"
        )
    if positions == "compact" and family.rotary_axes > 1:
        raise UnsupportedModeError(
            f"positions must be 'original' for {family.name}: its rotary positions lie on "
            f"{family.rotary_axes} axes and cannot be re-indexed"
        )
    for name, value in (("reusable", reusable), ("warn_no_gain", warn_no_gain)):
        if not isinstance(value, bool):
            raise InvalidTypeError(f"{name} must be True or False, got {value!r}")


@dataclass
class _Call:
    """What the inner model was given, until the decoder is reached."""

    arguments: dict[str, Any]
    layout: Layout | None = None
    plans: Any = None
    ids: Ids | None = None


class _Engine:
    """The hooks and what they share between them."""

    def __init__(self, model: Any, family: Family, settings: Settings, warn_no_gain: bool) -> None:
        self.model, self.family, self.settings = model, family, settings
        self.warn_no_gain = warn_no_gain
        self.inner, self.decoder = family.inner(model), family.decoder(model)
        self.encoding = Encoding(model, family, settings.method)
        self.signature = inspect.signature(self.inner.forward)
        self.trace, self.active = Trace(), True
        self.call: _Call | None = None
        self.prefill: Prefill | None = None
        self.step: DecodeStep | None = None

    def install(self, undo: ExitStack) -> None:
        """Hook everything; `undo` takes it all back, also half-way through."""
        undo.callback(setattr, self, "active", False)
        attentions = [layer.self_attn for layer in self.decoder.layers]
        self.capture = Capture(attentions, self._read)
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
        own = self.model.__dict__.get("generate")

        @functools.wraps(original)
        def generate(*args: Any, **kwargs: Any) -> Any:
            check_generate(self.model, kwargs)
            check_inputs(kwargs)
            return original(*args, **kwargs)

        self.model.__dict__["generate"] = generate
        if own is None:
            undo.callback(self.model.__dict__.pop, "generate")
        else:
            undo.callback(self.model.__dict__.__setitem__, "generate", own)

    def _outer(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        check_model(self.model)
        if kwargs.get("labels") is not None:
            raise UnsupportedModeError("labels must be None: pruning is for inference, not a loss")

    def _prompt(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Before the inner model: does this call bring images, and where?"""
        self.call = self.prefill = self.step = None
        self.capture.disarm()
        arguments = self._arguments(args, kwargs)
        check_inputs(arguments)
        ids = arguments.get("input_ids")
        if ids is None:
            raise UnsupportedModeError(
                "input_ids must be given: visual tokens cannot be found in inputs_embeds alone"
            )
        encoded = arguments.get("mm_encoder_outputs") or {}
        seen = {kind: self._seen(kind, arguments, encoded) for kind in self.family.modalities}
        seen = {kind: one for kind, one in seen.items() if one is not None}
        self.call = _Call(arguments)
        if not seen:
            return
        cache = cache_of(arguments)
        past = 0 if cache is None else cache.get_seq_length()
        read = read_ids(ids, arguments.get("attention_mask"), past)
        visuals = {
            kind: self.family.visuals(self.model, kind, one, read) for kind, one in seen.items()
        }
        layout = lay_out(read, self.family.token_ids(self.model), visuals)
        if not layout.visuals:
            return
        self.call.layout, self.call.ids = layout, read
        self.call.plans = (
            plan_images(self.settings, layout, len(self.decoder.layers))
            if self.settings.budget_total is None
            else []
        )

    def _arguments(self, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        """All of a call's arguments by name."""
        if not args:
            return kwargs
        bound = self.signature.bind_partial(*args, **kwargs).arguments
        return bound | bound.pop("kwargs", {})

    def _seen(self, kind: str, arguments: dict[str, Any], encoded: Any) -> Any:
        """What the encoder is told about the call's images (videos), None = there are none."""
        out = encoded.get(kind)
        if out is not None:
            return getattr(out, NOTE, {}) | {"features": out.pooler_output}
        pixels = arguments.get("pixel_values" if kind == "image" else "pixel_values_videos")
        return None if pixels is None or pixels.shape[0] == 0 else shapes_only(arguments)

    def _text(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Before the text model: prune a prompt with images, or prepare a decode step."""
        cache, call = cache_of(kwargs), self.call
        self.call = None
        if call is not None and call.layout is not None:
            return args, self._start(call, call.layout, cache, dict(kwargs))
        if isinstance(cache, PrunedCache):
            cache.driver = weakref.ref(self)
            mask = None if call is None else call.arguments.get("attention_mask")
            self._note_later(cache, mask, kwargs["inputs_embeds"])
            step = self._next(cache, kwargs["inputs_embeds"])
            if not (kwargs["inputs_embeds"].shape[1] == 1 and step.plain):
                self.step = step
            return args, kwargs | {"attention_mask": None}
        return None

    def _start(
        self, call: _Call, layout: Layout, cache: Any, kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        fresh = cache is None or cache.get_seq_length() == 0
        if kwargs.get("use_cache") is not False or cache is not None:
            mask = call.arguments.get("attention_mask")
            past = 0 if cache is None else cache.get_seq_length()
            valid = mask[:, :past].bool() if mask is not None and past else None
            cache = adopt(cache, weakref.ref(self), self.decoder, self.settings.compact, valid)
            cache.resume = self._resume()
        try:
            self.prefill = Prefill(
                self.settings,
                layout,
                call.plans,
                self.decoder,
                cache,
                self.trace,
                self.family.blocks(self.model, call.arguments),
                self._encoder_view(call, layout),
            )
            embeds = kwargs["inputs_embeds"]
            deepstack = Deepstack.taken_from(kwargs, len(self.decoder.layers))
            changed = self.prefill.enter(embeds, kwargs.get("position_ids"), deepstack)
        except BaseException:
            if cache is not None and fresh:
                cache.reset()
            raise
        for layer in self.prefill.layers:
            self.capture.arm(layer)
        if self.warn_no_gain:
            self._warn(self.prefill.expected_share(embeds))
        return with_cache(kwargs | changed, cache)

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

    def _next(self, cache: PrunedCache, embeds: Tensor) -> DecodeStep:
        if not (self.settings.reusable and cache.held and embeds.shape[1] > 1):
            return DecodeStep(self.decoder, cache)
        step = Requery(self.settings.method, self.decoder, cache, embeds, self.trace)
        for layer in step.layers:
            self.capture.arm(layer)
        return step

    def _resume(self) -> Callable[[], None] | None:
        """mRoPE's offset is the model's state, which leaving restores: the cache brings it back."""
        deltas = getattr(self.inner, "rope_deltas", None)
        if deltas is None:
            return None
        inner = weakref.ref(self.inner)

        def resume() -> None:
            alive = inner()
            if alive is not None:
                alive.rope_deltas = deltas

        return resume

    def _encoder_view(self, call: _Call, layout: Layout) -> Callable[[Bucket], EncoderView] | None:
        """Rows of the encoder's attention for a bucket's images."""
        if self.encoding.source is None:
            return None
        out = (call.arguments.get("mm_encoder_outputs") or {}).get("image")
        note = getattr(out, NOTE, {}) if out is not None else self.encoding.latest
        if "received" not in note:
            raise UnsupportedModeError(
                f"method {type(self.settings.method).__name__} reads the encoder's attention: "
                "mm_encoder_outputs must be made inside `prune`"
            )
        sources = layout.sources(len(note["received"]))

        def view(bucket: Bucket) -> EncoderView:
            index = upload([sources[i] for i in bucket.images], note["keys"].device)
            return EncoderView(note["received"][index], note["keys"][index], note["from_cls"])

        return view

    @staticmethod
    def _note_later(cache: PrunedCache, mask: Tensor | None, embeds: Tensor) -> None:
        """Remember the padding of a later turn; single new tokens are never padding."""
        if mask is not None and mask.ndim == 2 and embeds.shape[0] > 1 and embeds.shape[1] > 1:
            cache.later = mask[:, cache.logical :].bool()

    def _read(self, layer: int, *tensors: Any) -> None:
        reader = self.prefill or self.step
        if isinstance(reader, Prefill | Requery):
            reader.read(layer, *tensors)

    def _layer(self, number: int, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if self.prefill is None and self.step is None:
            return None
        self.capture.disarm(number - 1)
        if self.prefill is not None:
            hidden, kwargs = self.prefill.before_layer(number, kwargs, args[0])
            return (hidden, *args[1:]), kwargs
        assert self.step is not None
        return args, self.step.adjust(number, kwargs, args[0])
