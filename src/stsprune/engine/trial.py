"""The trial of an adapter that no test of the package proves: a model's first prompt judges it.

Before that prompt is pruned, it is run unpruned, pruned and by an oracle, two steps further than
its end. Only where pruned and oracle agree goes pruning on; the rest of the run costs nothing more.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import StsPruneError, UnsupportedModelError

from .bar import allowed, largest
from .by_hand import gathered_logits
from .compat import cache_of
from .forced import Prompt, untouched
from .hooks import Hooks
from .mixers import first_scan
from .reference import masked_logits
from .trace import Trace
from .unpruned import unpruned

STEPS = 2
#: What a call says about its output and its cache, which the trial decides itself.
_NOT_INPUTS = ("labels", "use_cache", "logits_to_keep", "past_key_values", "cache", "return_dict")

#: model -> (family, attention backend) that it was found right with
_PROVEN: weakref.WeakKeyDictionary[Any, set[tuple[str, str]]] = weakref.WeakKeyDictionary()


class Trial:
    """Hooks before the engine's own; they step back once the adapter is found right."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks, self.model, self.family = hooks, hooks.model, hooks.family
        self.signature = inspect.signature(self.model.forward)
        self.running = self.passed = False

    @property
    def needed(self) -> bool:
        """Whether this model has not shown yet that the adapter fits."""
        return self._key not in _PROVEN.get(self.model, ())

    def install(self, undo: ExitStack) -> None:
        """Before `Hooks.install`, whose hooks must find a model that has passed."""
        hooks = [(self.model, self._first)]
        if self.hooks.inner is not self.model:
            hooks.append((self.hooks.inner, self._inner))
        for module, hook in hooks:
            undo.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)

    @property
    def _key(self) -> tuple[str, str]:
        return self.family.name, self.hooks.decoder.config._attn_implementation

    def _first(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Before the model: is this the prompt that judges?"""
        if self.running or not self.needed:
            return
        arguments = kwargs
        if args:
            bound = self.signature.bind_partial(*args, **kwargs).arguments
            arguments = bound | bound.pop("kwargs", {})
        if not self.hooks.encoding.seen(arguments):
            self._check_pixels(arguments)
            return
        self.running = True
        try:
            with self._aside(), torch.no_grad():
                fits = self._fits(_prompt(arguments))
        finally:
            self.running = False
        self.passed = True
        if fits:
            _PROVEN.setdefault(self.model, set()).add(self._key)

    def _inner(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Before the inner model: it may be called by itself once the adapter is known to fit."""
        passed, self.passed = self.passed, False
        if self.running or passed or not self.needed:
            return
        if self.hooks.encoding.seen(kwargs):
            raise UnsupportedModelError(
                f"model must be called itself the first time, not its {type(module).__name__}: "
                f"family {self.family.name!r} is checked on a prompt's logits"
            )

    def _check_pixels(self, arguments: Mapping[str, Any]) -> None:
        """Placeholders without pixels: they came under a name that is not known."""
        ids = arguments.get("input_ids")
        if not isinstance(ids, Tensor) or ids.shape[-1] < 2 or cache_of(arguments) is not None:
            return
        marks = list(self.family.token_ids(self.model).values())
        if bool(torch.isin(ids, ids.new_tensor(marks)).any()):
            raise UnsupportedModelError(
                f"family {self.family.name!r} finds no images: input_ids hold image tokens, and "
                "the pixels must be given as pixel_values or pixel_values_videos, got "
                f"{', '.join(sorted(arguments))}"
            )

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """The model as if it were not pruned, and afterwards as it was met."""
        self.hooks.current = self.hooks.call = None
        self.hooks.asleep = True
        try:
            with untouched(self.model, self.family):
                yield
        finally:
            self.hooks.asleep = False

    def _fits(self, inputs: dict[str, Any]) -> bool:
        """False where the method drops nothing of this prompt.

        Raises UnsupportedModelError where pruning is wrong, and what it raises for this prompt.
        """
        # The model's own run comes first: what it raises is about the inputs, not the adapter.
        prompt = Prompt.of(self.model, inputs, STEPS, self.family)
        first, cache = prompt.prefill()
        try:
            tokens, seen = prompt.answer(first, cache)
            alone = torch.stack([first, *seen], 1)
            again = unpruned(self.model, inputs, Trace(), tokens, family=self.family).logits()
            got, trace = self._pruned(prompt, tokens)
            if not any(image.stages for image in trace.images):
                return False
            wanted = self._oracle()(self.model, inputs, trace, tokens, family=self.family)
        except StsPruneError:
            raise
        except Exception as error:
            raise self._refused(f"{type(error).__name__}: {error}") from error
        noise = largest(alone, again)
        bar = max(allowed(alone, noise), 2 * noise)
        difference, change = largest(got, wanted), largest(got, alone)
        if not difference <= bar:
            raise self._refused(
                f"logits of the pruned run differ by {difference:.2g} from those with the dropped "
                f"tokens taken out of the unpruned model, {bar:.2g} is allowed"
            )
        if not change > bar:
            raise self._refused(
                f"pruning changes its logits by {change:.2g}, which tells nothing where the "
                f"unpruned model differs by {noise:.2g} from itself, cached against uncached (a "
                "smaller budget or float32 may tell)"
            )
        return True

    def _pruned(self, prompt: Prompt, tokens: Tensor) -> tuple[Tensor, Trace]:
        """With original positions and nothing hidden, which is what the oracles judge."""
        settings = replace(self.hooks.settings, compact=False, reusable=False)
        hooks = Hooks(self.model, self.family, settings, warn_no_gain=False)
        with ExitStack() as undo:
            hooks.install(undo)
            first, cache = prompt.prefill()
            logits = torch.stack([first, *prompt.decode(tokens, cache)], 1)
        return logits, hooks.trace

    def _oracle(self) -> Callable[..., Tensor]:
        decoder = self.hooks.decoder
        masks = "flash" not in decoder.config._attn_implementation and first_scan(decoder) is None
        return masked_logits if masks else gathered_logits

    def _refused(self, why: str) -> UnsupportedModelError:
        return UnsupportedModelError(
            f"family {self.family.name!r} does not fit {type(self.model).__name__}, whose first "
            f"prompt was not pruned: {why}. docs/add_a_family.md says what an adapter can state."
        )


def _prompt(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A call's inputs as a prompt of its own, whatever its cache holds."""
    inputs = {
        name: value
        for name, value in arguments.items()
        if name not in _NOT_INPUTS and not name.startswith("output_") and value is not None
    }
    cache = cache_of(arguments)
    if cache is not None and cache.get_seq_length():
        for name in ("position_ids", "cache_position"):
            inputs.pop(name, None)
        if isinstance(inputs.get("attention_mask"), Tensor):
            length = inputs["input_ids"].shape[1]
            inputs["attention_mask"] = inputs["attention_mask"][:, -length:]
    return inputs
