"""What is measured once, before the rounds: attention, the ceiling, selection alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from . import ceiling, selecting
from .attention import compare, fastest
from .contest import Workload
from .session import Comparison, Document


def prepare(
    document: Document, model: Any, setup: Comparison, selection: tuple[tuple[int, int], ...]
) -> None:
    """Fill the document's "attention", "ceiling" and "selection" unless it was resumed with them.

    selection: (tokens, keep) to choose at, with the model's width.
    """
    if "attention" not in document:
        document["attention"] = compare(model, setup.attention)
    model.set_attn_implementation(fastest(document["attention"]))
    if "ceiling" not in document:
        rates = ceiling.measure(setup.device, model.dtype)
        least = ceiling.least_times(model, setup.budgets, setup.batches, rates)
        document["ceiling"] = asdict(rates) | {"least": least}
    if "selection" not in document:
        width = Workload.of(model, 1, 2).config.hidden_size
        document["selection"] = [
            selecting.contest(tokens, keep, width, batch, setup.device, model.dtype)
            for tokens, keep in selection
            for batch in setup.batches
        ]
