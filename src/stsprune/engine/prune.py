"""`prune`: what may be pruned how, checked; then the hooks for the length of a `with` block."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from stsprune.errors import (
    GuessedFamilyWarning,
    InvalidArgumentError,
    InvalidTypeError,
    NestedPruneError,
    UnsupportedModeError,
)
from stsprune.method.base import Method
from stsprune.selection.budget import check_total

from .compat import check_version
from .families import Family, family_of, made_for
from .guards import check_attention, check_model
from .hooks import Hooks
from .mixers import check_layers, check_reusable, kind_of, scoring_layers
from .plans import Settings
from .trace import Trace
from .trial import Trial
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
    family: str | Family | None = None,
) -> Iterator[Trace]:
    """Prune the visual tokens of every prompt with images that `model` is given inside.

        with stsprune.prune(model, stsprune.STS(budget=64)) as trace:
            out = model.generate(**inputs)

    Dropped tokens leave the hidden states and every later layer's KV cache. The yielded trace
    tells what each stage kept of each image of the latest prompt. Leaving restores the model to
    the bit; a cache filled inside decodes on outside.

    Batches are padded on the left; logits are those of the kept tokens, the last one last.

    Args:
        model: A supported vision-language model in eval mode (`stsprune models` lists them), also
            inside a PEFT or DistributedDataParallel wrapper.
        method: For example `STS(budget=64)`, whose budget counts per image and per video.
        positions: "original" rotary positions of the kept tokens, or "compact" (re-indexed).
        reusable: Keep every token of the structure stage in all layers and only hide what the
            question does not need, so that another question on the same cache chooses afresh.
        budget_total: Tokens over all images of a prompt, shared out by need; it takes the place of
            the method's own budget. Needs one more synchronisation.
        warn_no_gain: Warn (NoGainWarning) at prompts whose prefill pruning is not expected to
            shorten, by the closed form of engine/gain.py; they are pruned all the same.
        family: The adapter's name where the model's class does not tell: one that `stsprune models`
            or `register_family` names, or "generic", which guesses (GuessedFamilyWarning). Such an
            adapter is compared with an oracle on the model's first prompt, and refused where they
            disagree.

    Yields:
        What each stage kept of each image of the latest prompt.

    Raises:
        InvalidArgumentError: Before anything is touched, as the next three.
        InvalidTypeError: A method or an option of another kind.
        UnsupportedModelError: No adapter knows the model.
        NestedPruneError: `prune` is already active on it.
        UnsupportedModeError: A call that cannot be pruned exactly.
    """
    check_version()
    model = unwrap(model)
    named = family
    family = family_of(model, named)
    check_model(model)
    if not isinstance(method, Method):
        raise InvalidTypeError(
            f"method must be a Method such as STS(budget=64), got {type(method).__name__}"
        )
    budget_total = check_total(budget_total)
    _check_options(family, positions, reusable, warn_no_gain)
    if budget_total is not None and method.adapts:
        raise InvalidArgumentError(
            f"budget_total must be None for a method whose counts follow the picture, got "
            f"{budget_total} with {method!r}"
        )
    if reusable and (method.merges or method.needs & {"attention", "embeddings"}):
        raise UnsupportedModeError(
            f"reusable must be False with {type(method).__name__}: what it reads of the prompt is "
            "gone when another question comes"
        )
    if method.encoder is not None and budget_total is not None:
        raise UnsupportedModeError(
            "budget_total must be None with an encoder stage: what an image needs shows only "
            f"behind the encoder, got {budget_total}"
        )
    decoder = family.decoder(model)
    check_attention(decoder.config)
    for layer in range(len(decoder.layers)):
        kind_of(decoder.config, layer)  # an unknown kind of layer shows here
    check_layers(decoder, family.since)
    tokens = family.tokens(model)
    if tokens is not None and budget_total is None:
        method.plan_on(tokens, len(decoder.layers), scoring_layers(decoder))
    if reusable:
        check_reusable(decoder)
    settings = Settings(method, positions == "compact", reusable, budget_total)
    hooks = Hooks(model, family, settings, warn_no_gain)
    trial = None if family.proven and made_for(family, model) else Trial(hooks)
    if family.guesses and not isinstance(named, Family):
        _warn_guessed(family)
    with _LOCK:
        if model in _ACTIVE:
            raise NestedPruneError(
                f"prune is already active on this {type(model).__name__}: leave it first"
            )
        _ACTIVE.add(model)
    try:
        with ExitStack() as undo:
            if trial is not None and trial.needed:
                trial.install(undo)
            hooks.install(undo)
            yield hooks.trace
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


def _warn_guessed(family: Family) -> None:
    warnings.warn(
        f"family {family.name!r} guesses the images' shapes: whatever has the placeholder's id is "
        "taken for a visual token, newline and separator tokens among them cannot be known, and "
        "where no grid is told an image is one row. Which tokens stay may be worse for it "
        "(docs/add_a_family.md)",
        GuessedFamilyWarning,
        stacklevel=4,
    )
