"""The two oracles, and what the exactness tests saw; `conftest` prints it at the end of a run."""

from __future__ import annotations

from seen import DIFFERENCES

from stsprune.engine.by_hand import gathered_logits
from stsprune.engine.families import family_of
from stsprune.engine.reference import masked_logits
from stsprune.engine.sharing import lenders
from stsprune.engine.unpruned import scans

ORACLES = {"masked": masked_logits, "by hand": gathered_logits}


def oracles(model):
    """Name -> the oracles that can judge a model: where layers scan, masking is not removal, and
    where they read another layer's keys, they cannot be called alone."""
    decoder = family_of(model).decoder(model)
    if lenders(decoder):
        return {"masked": masked_logits}
    scanning = any(scans(decoder.config, layer) for layer in range(len(decoder.layers)))
    return {"by hand": gathered_logits} if scanning else ORACLES


def judged(name, got, model, *question, behind=0):
    """The largest difference of logits [B, S, V] to either oracle; both are noted under `name`.

    question: what the oracles are asked; behind: how many of their first logits are left out.
    """
    seen = differences(got, model, *question, behind=behind)
    for oracle, value in seen.items():
        DIFFERENCES[name, oracle] = max(value, DIFFERENCES.get((name, oracle), 0.0))
    return max(seen.values())


def differences(got, model, *question, behind=0):
    """Oracle -> largest difference of logits to it."""
    return {
        oracle: float((got - ask(model, *question)[:, behind:]).abs().max())
        for oracle, ask in oracles(model).items()
    }
