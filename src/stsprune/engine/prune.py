"""`prune`: hooks on an unmodified transformers model for the length of a `with` block."""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from stsprune.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    NestedPruneError,
    UnsupportedModeError,
)
from stsprune.method.base import Method

from .cache import PrunedCache, adopt
from .capture import Capture
from .families import Family, family_of
from .guards import check_generate, check_model
from .layout import Layout, lay_out
from .prefill import Prefill
from .step import DecodeStep
from .trace import Trace

POSITIONS = ("original", "compact")

_ACTIVE: weakref.WeakSet[Any] = weakref.WeakSet()
_LOCK = threading.Lock()


@contextmanager
def prune(model: Any, method: Method, *, positions: str = "original") -> Iterator[Trace]:
    """Prune the visual tokens of every prompt with images that `model` is given inside.

        with stsprune.prune(model, stsprune.STS(budget=64)) as trace:
            out = model.generate(**inputs)

    Dropped tokens leave the hidden states and every later layer's KV cache. The yielded trace
    tells what each stage kept of each image of the latest prompt. Leaving restores the model to
    the bit; a cache filled inside decodes on outside.

    model: a supported vision-language model in eval mode; method: for example `STS(budget=64)`;
    positions: "original" rotary positions of the kept tokens, or "compact" (re-indexed).
    Batches are padded on the left; logits are those of the kept tokens, the last one last.

    Raises InvalidArgumentError, InvalidTypeError, UnsupportedModelError or NestedPruneError before
    anything is touched, and UnsupportedModeError for calls that cannot be pruned exactly.
    """
    family = family_of(model)
    check_model(model)
    if not isinstance(method, Method):
        raise InvalidTypeError(
            f"method must be a Method such as STS(budget=64), got {type(method).__name__}"
        )
    if positions not in POSITIONS:
        raise InvalidArgumentError(
            f"positions must be one of {', '.join(POSITIONS)}, got {positions!r}"
        )
    tokens = family.tokens(model)
    if tokens is not None:
        method.plan(tokens, len(family.decoder(model).layers))
    with _LOCK:
        if model in _ACTIVE:
            raise NestedPruneError(
                f"prune is already active on this {type(model).__name__}: leave it first"
            )
        _ACTIVE.add(model)
    engine = _Engine(model, family, method, positions == "compact")
    try:
        with ExitStack() as undo:
            engine.install(undo)
            yield engine.trace
    finally:
        with _LOCK:
            _ACTIVE.discard(model)


class _Engine:
    """The hooks and what they share between them."""

    def __init__(self, model: Any, family: Family, method: Method, compact: bool) -> None:
        self.model, self.family, self.method, self.compact = model, family, method, compact
        self.inner, self.decoder = family.inner(model), family.decoder(model)
        self.signature = inspect.signature(self.inner.forward)
        self.trace, self.active = Trace(), True
        self.layout: Layout | None = None
        self.prefill: Prefill | None = None
        self.step: DecodeStep | None = None

    def install(self, undo: ExitStack) -> None:
        """Hook everything; `undo` takes it all back, also half-way through."""
        undo.callback(setattr, self, "active", False)
        self.capture = Capture(self.decoder, self._read)
        undo.callback(self.capture.close)
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
        self.layout = self.prefill = self.step = None
        self.capture.disarm()
        bound = self.signature.bind_partial(*args, **kwargs).arguments
        arguments = bound | bound.get("kwargs", {})
        if arguments.get("input_ids") is None:
            raise UnsupportedModeError(
                "input_ids must be given: visual tokens cannot be found in inputs_embeds alone"
            )
        grids = self.family.grids(self.model, arguments)
        if grids is not None:
            self.layout = lay_out(
                arguments["input_ids"],
                arguments.get("attention_mask"),
                self.family.image_token_id(self.model),
                grids,
            )

    def _text(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Before the text model: prune a prompt with images, or prepare a decode step."""
        cache = kwargs.get("past_key_values")
        if self.layout is not None:
            layout, self.layout = self.layout, None
            if kwargs.get("use_cache") is not False or cache is not None:
                length = layout.valid.shape[1]
                cache = adopt(cache, self, self.decoder, length, self.compact)
            try:
                return args, self._start(layout, cache, kwargs)
            except BaseException:
                if cache is not None:
                    cache.reset()
                raise
        if isinstance(cache, PrunedCache):
            cache.driver = self
            self._note_later(cache, kwargs)
            self.step = DecodeStep(self.decoder, cache)
            return args, kwargs | {"attention_mask": None}
        return None

    def _start(self, layout: Layout, cache: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        self.prefill = Prefill(self.method, layout, self.decoder, cache, self.compact, self.trace)
        fresh = self.prefill.enter(kwargs["inputs_embeds"], kwargs.get("position_ids"))
        for layer in self.prefill.layers:
            self.capture.arm(layer)
        return kwargs | fresh | {"past_key_values": cache}

    @staticmethod
    def _note_later(cache: PrunedCache, kwargs: dict[str, Any]) -> None:
        """Remember the padding of a later turn; single new tokens are never padding."""
        mask, embeds = kwargs.get("attention_mask"), kwargs["inputs_embeds"]
        if mask is not None and mask.ndim == 2 and embeds.shape[0] > 1 and embeds.shape[1] > 1:
            cache.later = mask[:, cache.logical :].bool()

    def _read(self, layer: int, *tensors: Any) -> None:
        if self.prefill is not None:
            self.prefill.read(layer, *tensors)

    def _layer(self, number: int, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if self.prefill is not None:
            self.capture.disarm(number - 1)
            hidden, kwargs = self.prefill.before_layer(number, kwargs, args[0])
            return (hidden, *args[1:]), kwargs
        if self.step is not None:
            return args, self.step.adjust(number, kwargs, args[0])
        return None
