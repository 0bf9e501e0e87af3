"""Measuring methods on prompts: against the unpruned answer, batch by batch, kept in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from stsprune.errors import InvalidArgumentError

from ..atomic import write_json
from ..engine import Trace, prune
from ..method import Method
from ..method.base import layer_average
from .forced import cut, end_tokens, forced_logits, greedy
from .inputs import encode
from .prompts import Prompt
from .shared import Nested, Outputs, bytes_of, encoded_once

#: Encoded pictures and unpruned distributions that are kept between rounds; others are made anew.
KEPT_BYTES = 1 << 30


@dataclass(frozen=True)
class Outcome:
    """One prompt under one method.

    same: the greedy answer is the unpruned one; tokens: share of its tokens that are the most
    likely ones when it is forced; kl: mean KL divergence from unpruned over them, nats; visual:
    visual tokens per decoder layer, mean over the pictures; right: whether the answer is the
    label, None without one.
    """

    same: bool
    tokens: float
    kl: float
    visual: float = 0.0
    right: bool | None = None


@dataclass
class _Batch:
    """Prompts that run together, and what is known of them.

    said: tokens of the unpruned answers; texts: the same as text; visual: tokens of every picture.
    """

    name: str
    numbers: list[int]
    said: list[list[int]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    visual: list[int] = field(default_factory=list)
    records: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    encoded: Outputs = field(default_factory=dict)
    spoken: Tensor | None = None
    orders: dict[Any, Tensor] = field(default_factory=dict)


class Measurer:
    """Outcomes of methods, each measured once; a folder keeps them from run to run.

    halves: numbers of prompts, measured apart; batch: prompts that run together; longest: tokens
    of an answer; family: as for `prune`; advance: called with the number of prompts measured since
    the last call.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        prompts: Sequence[Prompt],
        halves: Sequence[Sequence[int]],
        batch: int = 8,
        longest: int = 64,
        positions: str = "original",
        folder: Path | None = None,
        advance: Callable[[int], object] = lambda n: None,
        family: str | None = None,
    ) -> None:
        self.model, self.processor, self.prompts = model, processor, prompts
        self.longest, self.positions, self.folder = longest, positions, folder
        self.advance, self.family, self._kept = advance, family, 0
        self.halves = [
            [
                self._read(_Batch(f"{half}-{at:05}", list(numbers[at : at + batch])))
                for at in range(0, len(numbers), batch)
            ]
            for half, numbers in enumerate(halves)
        ]

    def work(self, half: int, methods: Sequence[Method]) -> int:
        """How many prompts `measure` would run, once per method that is not known."""
        return sum(
            len(batch.numbers)
            for batch in self.halves[half]
            for method in methods
            if repr(method) not in batch.records
        )

    def measure(self, half: int, methods: Sequence[Method]) -> list[list[Outcome]]:
        """Per method the outcomes of a half's prompts, in its order."""
        with torch.inference_mode():
            for batch in self.halves[half]:
                fresh = [candidate for candidate in methods if repr(candidate) not in batch.records]
                if fresh:
                    self._run(batch, fresh)
        return [
            [
                Outcome(**record)
                for batch in self.halves[half]
                for record in batch.records[repr(method)]
            ]
            for method in methods
        ]

    def answers(self, half: int) -> list[str]:
        """The unpruned answers of a measured half."""
        return [text for batch in self.halves[half] for text in batch.texts]

    def visual_tokens(self) -> list[int]:
        """Tokens of every picture that was measured."""
        return [count for half in self.halves for batch in half for count in batch.visual]

    def _run(self, batch: _Batch, methods: Sequence[Method]) -> None:
        asked = [self.prompts[number] for number in batch.numbers]
        inputs = encode(self.model, self.processor, asked)
        with encoded_once(self.model, batch.encoded, self.family):
            if not batch.said:
                said = greedy(self.model, inputs, self.longest).tolist()
                batch.said = [cut(answer, end_tokens(self.model)) for answer in said]
                batch.texts = self._texts(batch.said)
            forced = _padded(batch.said, inputs["input_ids"])
            spoken = batch.spoken
            if spoken is None:
                spoken = forced_logits(self.model, inputs, forced).float().log_softmax(-1)
        for method in methods:
            batch.records[repr(method)] = self._outcomes(
                batch, asked, inputs, forced, spoken, method
            )
            self.advance(len(batch.numbers))
        self._keep(batch, spoken)
        if self.folder is not None:
            document = {
                name: value
                for name, value in vars(batch).items()
                if name in ("numbers", "said", "texts", "visual", "records")
            }
            write_json(self._path(batch), document, indent=None)

    def _outcomes(
        self,
        batch: _Batch,
        asked: Sequence[Prompt],
        inputs: Any,
        forced: Tensor,
        spoken: Tensor,
        method: Method,
    ) -> list[dict[str, Any]]:
        with ExitStack() as stack:
            if "encoder" not in method.needs:  # those must see the encoder at work
                stack.enter_context(encoded_once(self.model, batch.encoded, self.family))
            shared = Nested(method, batch.orders)
            context = prune(self.model, shared, positions=self.positions, family=self.family)
            trace = stack.enter_context(context)
            logits = forced_logits(self.model, inputs, forced)
            batch.visual = [image.tokens for image in trace.images]
            guessed, pruned = logits.argmax(-1), logits.float().log_softmax(-1)
            apart = (spoken.exp() * (spoken - pruned)).sum(-1).clamp_min(0)
            seen = visual_tokens(trace, depth_of(self.model))
            outcomes = []
            for row, said in enumerate(batch.said):
                count = len(said)
                hits = (guessed[row, :count] == forced[row, :count]).tolist()
                kl = round(float(apart[row, :count].mean()), 6)
                share = sum(hits) / count
                outcomes.append(Outcome(all(hits), share, kl, round(fmean(seen[row]), 3)))
            texts = batch.texts
            if any(
                prompt.answer is not None and not outcome.same
                for prompt, outcome in zip(asked, outcomes, strict=True)
            ):
                fresh = greedy(self.model, inputs, self.longest).tolist()
                texts = self._texts([cut(answer, end_tokens(self.model)) for answer in fresh])
        rows = []
        for prompt, outcome, text, unpruned in zip(
            asked, outcomes, texts, batch.texts, strict=True
        ):
            said_text = unpruned if outcome.same else text
            right = None if prompt.answer is None else is_right(said_text, prompt.answer)
            rows.append(asdict(outcome) | {"right": right})
        return rows

    def _texts(self, said: Sequence[list[int]]) -> list[str]:
        decode = self.processor.tokenizer.batch_decode
        return [text.strip() for text in decode(said, skip_special_tokens=True)]

    def _keep(self, batch: _Batch, spoken: Tensor) -> None:
        """Keep what later rounds need while there is room for it."""
        outs = [getattr(out, "__dict__", out) for out in batch.encoded.values()]
        size = bytes_of([dict(out) if isinstance(out, dict) else out for out in outs])
        size += bytes_of(spoken)
        if batch.spoken is not None:
            return
        if self._kept + size > KEPT_BYTES:
            batch.encoded = {}
            return
        batch.spoken = spoken
        self._kept += size

    def _path(self, batch: _Batch) -> Path:
        assert self.folder is not None
        return self.folder / "measured" / f"{batch.name}.json"

    def _read(self, batch: _Batch) -> _Batch:
        if self.folder is None or not self._path(batch).exists():
            return batch
        path = self._path(batch)
        try:
            known = json.loads(path.read_text())
            if known.pop("numbers") != batch.numbers:
                raise ValueError("other prompts")
            return _Batch(batch.name, batch.numbers, **known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidArgumentError(
                f"out holds a broken file {str(path)!r}: delete it"
            ) from error


def depth_of(model: Any) -> int:
    """Decoder layers."""
    depth: int = model.config.get_text_config().num_hidden_layers
    return depth


def visual_tokens(trace: Trace, depth: int) -> dict[int, list[float]]:
    """Per row of a batch, of each of its pictures: visual tokens per decoder layer."""
    seen: dict[int, list[float]] = {}
    for image in trace.images:
        drops = [(stage.layer, len(stage.kept)) for stage in image.stages]
        seen.setdefault(image.row, []).append(layer_average(drops, image.tokens, depth))
    return seen


def is_right(answer: str, wanted: str) -> bool:
    """Equal texts, but for case, outer space and a full stop."""
    return _plain(answer) == _plain(wanted)


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()


def _padded(said: Sequence[list[int]], like: Tensor) -> Tensor:
    """[B, L]: behind an answer's end stands its last token again; nobody reads what follows."""
    longest = max(map(len, said))
    rows = [answer + [answer[-1]] * (longest - len(answer)) for answer in said]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)
