"""Answering a few scenes' questions by every method, with what can be shared computed once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..chat import image_question, write_prompt
from ..engine import prune
from ..engine.encoding import NOTE, take_images
from ..engine.families.base import encoder_side
from ..engine.trace import Trace
from ..method.ablations import AttentionOnly
from ..method.base import InstructionAttention, Method, VisualTokens
from ..method.wrapped import Wrapped
from .benchmarks import BENCHMARKS, Benchmark
from .figures import coverage_figures, score_entropy, structure_figures
from .jobs import Job
from .sceneqa import Item, encode

#: Per question and job; "first" = what the first stage kept, "middle" = what the decoder still sees
#: half-way.
Record = dict[str, Any]


class Shared(Wrapped):
    """A method that chooses once per picture, however many questions share it, and is timed.

    pictures: per image of the batch, its picture's number. Only choices that do not depend on the
    text are shared. seconds: spent on choices and scores so far.
    """

    def __init__(self, method: Method, pictures: Sequence[int]) -> None:
        super().__init__(method)
        self.pictures = list(pictures)
        self.seconds = 0.0

    def select(self, visual: VisualTokens, keep: int) -> Tensor:
        """See `Method.select`."""
        start = time.perf_counter()
        shown = [self.pictures[i] for i in visual.images]
        first = [shown.index(number) for number in sorted(set(shown))]
        if self.reads_text or len(first) == len(shown):
            chosen = self.inner.select(visual, keep)
        else:
            rank = {shown[i]: place for place, i in enumerate(first)}
            chosen = self.inner.select(_images(visual, first), keep)
            chosen = chosen[[rank[number] for number in shown]]
        self.seconds += time.perf_counter() - start
        return chosen

    def score(self, attention: InstructionAttention) -> Tensor:
        """See `Method.score`."""
        start = time.perf_counter()
        scores = self.inner.score(attention)
        self.seconds += time.perf_counter() - start
        return scores


def _images(visual: VisualTokens, index: list[int]) -> VisualTokens:
    encoder = visual.encoder
    if encoder is not None:
        encoder = replace(
            encoder,
            received=encoder.received[index],
            keys=encoder.keys[index],
            layers=None if encoder.layers is None else encoder.layers[index],
        )
    return replace(
        visual,
        features=visual.features[index],
        images=tuple(visual.images[i] for i in index),
        text=None if visual.text is None else visual.text[index],
        text_counts=[visual.text_counts[i] for i in index] if visual.text_counts else [],
        encoder=encoder,
    )


@torch.inference_mode()
def answer_shard(
    model: Any,
    processor: Any,
    items: Sequence[Item],
    jobs: Sequence[Job],
    positions: str = "original",
    advance: Callable[[int], object] = lambda n: None,
    figures: bool = True,
    benchmark: Benchmark = BENCHMARKS["sceneqa"],
) -> dict[str, Record]:
    """Records by `Job.stored` over the items; the first job must be the unpruned model.

    figures: see `runner.Setup`. Items whose answers have several tokens are answered in a batch of
    their own, greedily; all others by their first token.
    """
    short = [item.question.family in benchmark.short for item in items]
    if any(short) and not all(short):
        parts = [[i for i, s in enumerate(short) if s is which] for which in (True, False)]
        records = [
            answer_shard(
                model,
                processor,
                [items[i] for i in part],
                jobs,
                positions,
                advance,
                figures,
                benchmark,
            )
            for part in parts
        ]
        return {job.stored: _merged(records, parts, job.stored) for job in jobs}
    longest = 1 if all(short) else benchmark.longest
    scenes = list(dict.fromkeys(id(item.scene) for item in items))
    shown = [scenes.index(id(item.scene)) for item in items]
    pictures = [next(i for i in items if id(i.scene) == scene) for scene in scenes]
    pixels = encode(processor, pictures).to(model.device)["pixel_values"]
    #: The pictures encoded once, and once more for each set of layers that a method reads.
    encodings: dict[tuple[float, ...], Any] = {}
    for reader in (AttentionOnly(1.0), *(job.method for job in jobs if job.method is not None)):
        if reader.tower_layers not in encodings:
            with prune(model, reader):
                made = model.model.get_image_features(pixel_values=pixels)
            encodings[reader.tower_layers] = made
    encoded = encodings[()]
    features = torch.stack(list(encoded.pooler_output)).float()
    inputs = _text(model, processor, items)
    depth = model.config.text_config.num_hidden_layers
    out: dict[str, Record] = {}
    reference: Tensor | None = None
    for job in jobs:
        method = None if job.method is None else Shared(job.method, shown)
        layers = () if method is None else method.tower_layers
        context: Any = nullcontext()
        if method is not None:
            context = prune(model, method, positions=positions)
        with context as trace:
            start = time.perf_counter()
            seen = {"image": take_images(encodings[layers], shown)}
            logits, spoken_ids = _speak(model, inputs, seen, longest)
            seconds = time.perf_counter() - start
        spoken = logits.float().log_softmax(-1)
        reference = spoken if reference is None else reference
        record: Record = {
            "answer": [processor.tokenizer.decode(ids) for ids in spoken_ids],
            "kl": _rounded((reference.exp() * (reference - spoken)).sum(-1).clamp_min(0)),
            "seconds": seconds,
        }
        if method is not None:
            record["selection"] = method.seconds
        if method is not None and figures:
            read = None
            if "encoder" in method.needs:
                read = torch.stack(getattr(encoded, NOTE)["viewed"].received)
            record |= _kept(trace, items, shown, features, read, depth)
        out[job.stored] = record
        advance(len(items))
    return out


def _speak(
    model: Any, inputs: dict[str, Tensor], seen: dict[str, Any], longest: int
) -> tuple[Tensor, list[list[int]]]:
    """Greedy answers: the first token's logits [B, V], and ids up to the end of the answer."""
    end = model.generation_config.eos_token_id
    out = model(**inputs, mm_encoder_outputs=seen, logits_to_keep=1, use_cache=True)
    logits = out.logits[:, -1]
    spoken = [logits.argmax(-1)]
    mask, ended = inputs["attention_mask"], spoken[0] == end
    while len(spoken) < longest and not ended.all():
        mask = torch.cat((mask, mask.new_ones(len(mask), 1)), 1)
        out = model(
            input_ids=spoken[-1][:, None],
            attention_mask=mask,
            position_ids=mask.new_full((len(mask), 1), mask.shape[1] - 1),
            past_key_values=out.past_key_values,
            use_cache=True,
        )
        spoken.append(out.logits[:, -1].argmax(-1))
        ended |= spoken[-1] == end
    rows = torch.stack(spoken, 1).tolist()
    if longest == 1:
        return logits, rows
    return logits, [row[: row.index(end)] if end in row else row for row in rows]


def _merged(
    records: Sequence[dict[str, Record]], parts: Sequence[Sequence[int]], stored: str
) -> Record:
    """The records of parts of the items as one, in the items' order."""
    first, second = (record[stored] for record in records)
    order = [*parts[0], *parts[1]]

    def join(a: Any, b: Any) -> Any:
        if isinstance(a, dict):
            return {key: join(a[key], b[key]) for key in a if key in b}
        if isinstance(a, list):
            both = [*a, *b]
            return [both[order.index(i)] for i in range(len(both))]
        return a

    merged: Record = join(first, second)
    for key in ("seconds", "selection"):
        if key in first:
            merged[key] = first[key] + second[key]
    return merged


def _text(model: Any, processor: Any, items: Sequence[Item]) -> dict[str, Tensor]:
    """Prompts with a placeholder per visual token, without the pictures."""
    marker, tokens = processor.image_token, encoder_side(model) ** 2
    prompts = [
        write_prompt(processor, image_question(i.question.text)).replace(marker, marker * tokens)
        for i in items
    ]
    coded = processor.tokenizer(prompts, padding=True, return_tensors="pt").to(model.device)
    return {name: coded[name] for name in ("input_ids", "attention_mask")}


def _kept(
    trace: Trace,
    items: Sequence[Item],
    shown: list[int],
    features: Tensor,
    received: Tensor | None,
    depth: int,
) -> Record:
    out: Record = {}
    grid: tuple[int, int] = (items[0].scene.grid, items[0].scene.grid)
    objects = [[set(thing.patches) for thing in item.scene.objects] for item in items]
    asked = [set(item.question.patches) for item in items]
    stages = trace.images[0].stages
    if not stages:  # the budget is all tokens
        return out
    early = [number for number, stage in enumerate(stages) if stage.layer < depth // 2]
    for name, number in (("first", 0), ("middle", max(early, default=0))):
        kept = torch.stack([image.stages[number].kept for image in trace.images])
        columns = torch.cat((torch.tensor(shown)[:, None], kept), 1)
        sets, places = columns.unique(dim=0, return_inverse=True)  # questions share what is kept
        of_sets = structure_figures(features[sets[:, 0]], sets[:, 1:], grid)
        figures: dict[str, Any] = {key: _rounded(value[places]) for key, value in of_sets.items()}
        figures |= coverage_figures([set(k.tolist()) for k in kept], objects, asked)
        out[name] = figures | {"kept": kept.shape[1]}
    scored = [number for number, stage in enumerate(stages) if stage.scores is not None]
    if scored:
        scores = [image.stages[scored[0]].scores for image in trace.images]
        out["entropy"] = _rounded(score_entropy(torch.stack([s for s in scores if s is not None])))
    elif received is not None:
        out["entropy"] = _rounded(score_entropy(received[shown]))
    return out


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]
