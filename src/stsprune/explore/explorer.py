"""A model with what was found out about it lately: prompts and columns, as documents."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import torch

import stsprune
from stsprune.errors import StsPruneError
from stsprune.method import find_method
from stsprune.question import build_inputs, check_text, check_words, seen_pixels

from .document import column_facts, prompt_facts
from .jobs import Job
from .picture import Picture
from .pruned import run_pruned
from .unpruned import Unpruned, answer_tokens, forced, held_bytes, prefill
from .wanted import Wanted

Kept = TypeVar("Kept")
#: Prompts and columns that are remembered; a visitor comes back to what was just on the page.
PROMPTS, COLUMNS = 16, 128


class Explorer:
    """Answers what the page asks. Its methods run in the one thread that owns the model.

    Raises what `stsprune.prune` raises for a model that it cannot prune.
    """

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        self.model, self.processor, self.name = model, processor, name
        with stsprune.prune(model, find_method("grid")(budget=1.0)):
            pass
        self.depth: int = model.config.get_text_config().num_hidden_layers
        self._prompts: OrderedDict[Any, tuple[Unpruned, dict]] = OrderedDict()
        self._columns: OrderedDict[Any, dict] = OrderedDict()

    def view(
        self, picture: Picture, question: str, columns: list[Wanted], job: Job
    ) -> dict[str, Any]:
        """The prompt's document and one per column; a column that cannot be has only an `error`.

        Raises InvalidArgumentError for the question, and Stopped.
        """
        check_text(question)
        check_words(self.processor, question)
        key = (picture.key, question)
        with torch.inference_mode(), job.following(self.model):
            unpruned, prompt = _remembered(
                self._prompts, PROMPTS, key, lambda: self._prompt(picture, question, job)
            )
            shown = [
                _remembered(
                    self._columns,
                    COLUMNS,
                    (*key, wanted),
                    lambda wanted=wanted: self._column(unpruned, wanted, job),  # type: ignore[misc]
                )
                for wanted in columns
            ]
        model = {"name": self.name, "layers": self.depth}
        return {"model": model, "prompt": prompt, "columns": shown}

    def forget(self) -> None:
        """Drop what is remembered, its times too."""
        self._prompts.clear()
        self._columns.clear()

    def _prompt(self, picture: Picture, question: str, job: Job) -> tuple[Unpruned, dict]:
        model = self.model
        job.says("unpruned: looking at the picture")
        inputs = build_inputs(model, self.processor, picture.pixels, question)
        # Nothing is dropped: this run tells the picture's shape, and warms up.
        with stsprune.prune(model, find_method("grid")(budget=1.0)) as trace:
            model(**inputs, use_cache=True, logits_to_keep=1)
        visual = trace.images[0].visual
        job.says("unpruned: reading the prompt")
        out, milliseconds = prefill(model, inputs)
        size = held_bytes(out)
        job.says("unpruned: answering")
        tokens = answer_tokens(model, inputs)
        logits = forced(model, inputs, out, tokens)
        pixels = seen_pixels(inputs, self.processor, picture.pixels)
        run = Unpruned(inputs, visual, pixels, tokens, logits, milliseconds, size)
        return run, prompt_facts(picture, question, run, self.processor)

    def _column(self, unpruned: Unpruned, wanted: Wanted, job: Job) -> dict[str, Any]:
        try:
            method = find_method(wanted.method)(budget=wanted.budget)
            run = run_pruned(self.model, unpruned, method, job)
        except StsPruneError as error:
            return {"method": wanted.method, "budget": wanted.budget, "error": str(error)}
        return column_facts(wanted.method, method, unpruned, run, self.processor)


def _remembered(
    kept: OrderedDict[Any, Kept], most: int, key: Any, make: Callable[[], Kept]
) -> Kept:
    """What is under `key`, made where it is missing; the longest unused leaves."""
    if key not in kept:
        kept[key] = make()
        if len(kept) > most:
            kept.popitem(last=False)
    kept.move_to_end(key)
    return kept[key]
