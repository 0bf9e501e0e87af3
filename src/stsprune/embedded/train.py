"""Train the embedded model from scratch: `python -m stsprune.embedded.train --work runs/cpu12`.

Three stages, each resumable (run the same command again) and each with its own curve:
  tower   the vision tower learns to name what every patch belongs to (tower.py);
  llm     projector and LLM learn SceneQA over the frozen tower's cached features (packing.py);
  joint   everything together, at a lower rate.
The learning rate is flat after a warm-up and falls to zero over the last third of a stage, so a
stage may be lengthened or cut short by running on with another number of steps.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F

from .data import render
from .load import WEIGHTS, export
from .model import EOS_ID, PROMPT_IDS, build_model
from .packing import pack
from .text import build_tokenizer
from .tower import TowerHeads, tower_loss


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, but for the hardware's rounding."""

    grid: int
    scenes: int
    tower_steps: int
    tower_batch: int
    llm_steps: int
    llm_batch: int
    joint_steps: int
    joint_batch: int
    asked: int = 16  # questions per picture and step
    tower_rate: float = 2e-3
    llm_rate: float = 2e-3
    joint_rate: float = 3e-4
    decay: float = 0.1
    seed: int = 0
    eager: bool = False  # do not compile: slower, but starts at once


PRESETS = {
    "smoke": Recipe(12, 64, 4, 8, 4, 4, 2, 4),
    "cpu12": Recipe(12, 48_000, 2250, 32, 2700, 16, 0, 16),
    "gpu24": Recipe(24, 160_000, 12_000, 128, 20_000, 64, 6_000, 64),
}
GATE = {"shape": 0.9, "glyph": 0.85}  # the LLM cannot read what the tower does not see


class Run:
    """One stage: step counter, schedule, curve, checkpoints.

    Matrices inside the networks take Muon steps (orthogonalised momentum, Jordan 2024), scaled
    to AdamW's size; embeddings, convolutions, norms and biases take AdamW's.
    """

    def __init__(
        self,
        work: Path,
        stage: str,
        modules: dict[str, torch.nn.Module],
        steps: int,
        rate: float,
        decay: float,
    ) -> None:
        self.stage, self.modules, self.steps, self.rate = stage, modules, steps, rate
        self.file, self.curve = work / f"{stage}.pt", work / f"{stage}.jsonl"
        named = [
            (name, p)
            for module in modules.values()
            for name, p in module.named_parameters()
            if p.requires_grad
        ]
        inner = [p for n, p in named if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
        chosen = {id(p) for p in inner}
        outer = [p for _, p in named if id(p) not in chosen]
        self.weights = [p for _, p in named]
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "muon": torch.optim.Muon(
                inner, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            ),
            "adamw": torch.optim.AdamW(
                outer, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
            ),
        }
        self.step, self.seconds = 0, 0.0
        if self.file.exists():
            saved = torch.load(self.file, weights_only=True, map_location="cpu")
            for name, module in modules.items():
                module.load_state_dict(saved[name])
            for name, optimiser in self.optimisers.items():
                optimiser.load_state_dict(saved[name])
            self.step, self.seconds = saved["step"], saved["seconds"]

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state: dict[str, Any] = {name: m.state_dict() for name, m in self.modules.items()}
        state |= {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}
        state |= {"step": self.step, "seconds": self.seconds}
        fresh = self.file.with_suffix(".tmp")
        torch.save(state, fresh)
        os.replace(fresh, self.file)

    def update(self, loss: Tensor) -> None:
        """One step of warm-up, flat, then linear decay over the last third."""
        scale = min(1.0, (self.step + 1) / 200, 3 * (self.steps - self.step) / self.steps)
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = self.rate * scale
            optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.step += 1

    def log(self, **values: Any) -> None:
        """Append one row to the curve and show it."""
        row = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
        row |= {key: round(float(value), 4) for key, value in values.items()}
        with self.curve.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(self.stage, json.dumps(row), flush=True)


def _fast(module: Any, recipe: Recipe) -> Any:
    return module if recipe.eager else torch.compile(module)


def _batch(arrays: dict[str, Any], rows: Tensor, device: str, *keys: str) -> dict[str, Tensor]:
    index = rows.sort().values.numpy()
    return {k: torch.from_numpy(arrays[k][index]).to(device) for k in keys}


def _pixels(image: Tensor) -> Tensor:
    return image.permute(0, 3, 1, 2).float() / 127.5 - 1


def _loop(run: Run, scenes: int, batch: int, seed: int, bar: Progress) -> Iterator[Tensor]:
    """Row indices per step: epochs of a fixed permutation, so that a resumed run goes on."""
    task = bar.add_task(run.stage, total=run.steps, completed=run.step)
    per_epoch = scenes // batch
    last_save = time.monotonic()
    while run.step < run.steps:
        epoch, at = divmod(run.step, per_epoch)
        order = torch.randperm(scenes, generator=torch.Generator().manual_seed(seed + epoch))
        begun = time.monotonic()
        yield order[at * batch : (at + 1) * batch]
        run.seconds += time.monotonic() - begun
        bar.update(task, completed=run.step)
        if time.monotonic() - last_save > 120:
            run.save()
            last_save = time.monotonic()
    run.save()


def train_tower(
    recipe: Recipe, work: Path, data: Any, held: Any, device: str, bar: Progress
) -> Any:
    model = build_model(recipe.grid, recipe.seed).to(device)
    tower = model.model.vision_tower
    heads = TowerHeads(model.config.vision_config.hidden_size).to(device)
    modules = {"tower": tower, "heads": heads}
    run = Run(work, "tower", modules, recipe.tower_steps, recipe.tower_rate, recipe.decay)
    fast = _fast(tower, recipe)
    keys = ("image", "owner", "items", "place", "texture")

    def check() -> dict[str, Tensor]:
        with torch.no_grad():
            batch = _batch(held, torch.arange(256), device, *keys)
            return tower_loss(heads, tower, _pixels(batch["image"]), batch)[1]

    for rows in _loop(run, recipe.scenes, recipe.tower_batch, recipe.seed, bar):
        batch = _batch(data, rows, device, *keys)
        with torch.autocast(device, torch.bfloat16):
            loss, _ = tower_loss(heads, fast, _pixels(batch["image"]), batch)
        run.update(loss)
        if run.step % 250 == 0 or run.step == run.steps:
            run.log(loss=loss.detach(), **check())
    seen = check()
    short = {k: round(float(seen[k]), 3) for k, floor in GATE.items() if seen[k] < floor}
    if short and recipe.scenes > 1000:
        print(f"warning: tower below its gate: {short}, wanted {GATE}", flush=True)
    return model


@torch.no_grad()
def cache_features(model: Any, data: Any, device: str, bar: Progress) -> Tensor:
    """The frozen tower's layer -2, CLS dropped: float16 [scenes, P, width]."""
    images, out = data["image"], []
    task = bar.add_task("features", total=len(images))
    for at in range(0, len(images), 64):
        pixels = _pixels(torch.from_numpy(images[at : at + 64]).to(device))
        with torch.autocast(device, torch.bfloat16):
            states = model.model.vision_tower(pixel_values=pixels, output_hidden_states=True)
        out.append(states.hidden_states[-2][:, 1:].half().cpu())
        bar.update(task, completed=at + 64)
    return torch.cat(out)


def _ask(data: Any, rows: Tensor, asked: int, seed: int) -> Tensor:
    """[B, asked, T] question ids, a random choice of each picture's questions."""
    tokens = torch.from_numpy(data["tokens"][rows.sort().values.numpy()])
    draw = torch.rand(tokens.shape[:2], generator=torch.Generator().manual_seed(seed))
    draw = draw - (tokens[..., 0] == 0).float() * 2  # empty slots last
    chosen = draw.topk(min(asked, tokens.shape[1]), 1).indices
    picked = tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[2]))
    return picked[..., : int((picked != 0).sum(-1).max())]


def answer_loss(
    model: Any, llm: Any, visual: Tensor, questions: Tensor, length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Loss and answer hits, in the order of the questions.

    visual [B, P, LLM width]; questions [B, Q, T]; llm: the model's language model, compiled or
    not; length: fixed number of question tokens, so that a compiled one sees one shape.
    """
    packed = pack(questions, visual.shape[1] + 2, length)
    embed = model.get_input_embeddings()
    front = embed(torch.tensor(PROMPT_IDS, device=visual.device)).expand(len(visual), -1, -1)
    states = llm(
        inputs_embeds=torch.cat([front, visual.to(front), embed(packed["input_ids"])], 1),
        position_ids=packed["position_ids"],
        attention_mask=packed["allowed"],
        use_cache=False,
    ).last_hidden_state[:, visual.shape[1] + 2 :]
    labels = packed["labels"]
    learnt = labels != -100
    logits = model.lm_head(states[learnt])
    labels = labels[learnt]
    answer = labels != EOS_ID
    hits = logits[answer].argmax(-1) == labels[answer]
    return F.cross_entropy(logits.float(), labels), hits


@torch.no_grad()
def check_answers(model: Any, visual_of: Any, held: Any, device: str) -> dict[str, float]:
    """Held-out accuracy over 256 validation scenes: all, and per family."""
    tokenizer = build_tokenizer()
    hits: dict[str, list[bool]] = {"all": []}
    for some in torch.arange(min(256, len(held["image"]))).split(32):
        questions = torch.from_numpy(held["tokens"][some.numpy()])
        _, right = answer_loss(model, model.model.language_model, visual_of(some), questions)
        asked = [[i for i in ids if i] for ids in questions.flatten(0, 1).tolist() if ids[0]]
        for ids, ok in zip(asked, right.tolist(), strict=True):
            for name in ("all", family_of(tokenizer.decode(ids))):
                hits.setdefault(name, []).append(ok)
    return {name: sum(oks) / len(oks) for name, oks in hits.items()}


def family_of(text: str) -> str:
    """The family of a question, from its wording (the arrays keep no names)."""
    signs = {"character": "character", "background": "background", "relative": "relation"}
    signs |= {"how many": "count", "is there": "exist", "where": "where"}
    signs |= {"what colour": "colour", "what shape": "shape"}
    return next(family for sign, family in signs.items() if sign in text)


def train_llm(
    recipe: Recipe, work: Path, model: Any, data: Any, held: Any, device: str, bar: Progress
) -> Any:
    for parameter in model.model.vision_tower.parameters():
        parameter.requires_grad_(False)
    file = work / "features.pt"
    if not file.exists():
        torch.save(cache_features(model, data, device, bar), file)
    features = torch.load(file, weights_only=True, mmap=True)
    held_features = cache_features(model, held, device, bar)
    projector = model.model.multi_modal_projector
    llm = model.model.language_model
    modules = {"projector": projector, "llm": llm}
    run = Run(work, "llm", modules, recipe.llm_steps, recipe.llm_rate, recipe.decay)

    fast = _fast(llm, recipe)

    def look(rows: Tensor) -> Tensor:
        return projector(held_features[rows].to(device).float())

    for rows in _loop(run, recipe.scenes, recipe.llm_batch, recipe.seed + 1000, bar):
        questions = _ask(data, rows, recipe.asked, run.step).to(device)
        with torch.autocast(device, torch.bfloat16):
            visual = projector(features[rows.sort().values].to(device).float())
            loss, hits = answer_loss(model, fast, visual, questions, 11 * recipe.asked)
        run.update(loss)
        if run.step % 100 == 0:
            run.log(loss=loss.detach(), train=hits.float().mean())
        if run.step % 500 == 0 or run.step == run.steps:
            run.log(**check_answers(model, look, held, device))
    return model


def train_joint(
    recipe: Recipe, work: Path, model: Any, data: Any, held: Any, device: str, bar: Progress
) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    run = Run(work, "joint", {"model": model}, recipe.joint_steps, recipe.joint_rate, recipe.decay)
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    fast = _fast(model.model.language_model, recipe)

    def see(images: Any) -> Tensor:
        pixels = _pixels(torch.from_numpy(images).to(device))
        states = tower(pixel_values=pixels, output_hidden_states=True)
        return projector(states.hidden_states[-2][:, 1:])

    for rows in _loop(run, recipe.scenes, recipe.joint_batch, recipe.seed + 2000, bar):
        questions = _ask(data, rows, recipe.asked, run.step + 1_000_000).to(device)
        with torch.autocast(device, torch.bfloat16):
            visual = see(data["image"][rows.sort().values.numpy()])
            loss, hits = answer_loss(model, fast, visual, questions, 11 * recipe.asked)
        run.update(loss)
        if run.step % 100 == 0:
            run.log(loss=loss.detach(), train=hits.float().mean())
        if run.step % 500 == 0 or run.step == run.steps:
            run.log(**check_answers(model, lambda r: see(held["image"][r.numpy()]), held, device))
    return model


def main(
    work: Annotated[Path, typer.Option(help="folder for data, checkpoints and curves")],
    preset: Annotated[str, typer.Option(help=f"one of {', '.join(PRESETS)}")] = "cpu12",
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    until: Annotated[str, typer.Option(help="last stage: tower, llm or joint")] = "joint",
    tower_steps: Annotated[int, typer.Option(help="instead of the preset's")] = 0,
    llm_steps: Annotated[int, typer.Option(help="instead of the preset's")] = 0,
    joint_steps: Annotated[int, typer.Option(help="instead of the preset's")] = 0,
    eager: Annotated[bool, typer.Option(help="do not compile")] = False,
    install: Annotated[bool, typer.Option(help="replace the package's weights")] = False,
) -> None:
    """Train from scratch; run again to resume."""
    given = {"tower_steps": tower_steps, "llm_steps": llm_steps, "joint_steps": joint_steps}
    given["eager"] = eager
    recipe = Recipe(**(asdict(PRESETS[preset]) | {k: v for k, v in given.items() if v}))
    work.mkdir(parents=True, exist_ok=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(TextColumn(""), *columns) as bar:
        task = bar.add_task("render", total=recipe.scenes)
        workers = os.cpu_count() or 1
        data = render(
            work / f"train-{recipe.scenes}",
            "train",
            recipe.scenes,
            recipe.grid,
            3,
            workers,
            lambda n: bar.advance(task, n),
        )
        held = render(work / "validation-1000", "validation", 1000, recipe.grid, 3, workers)
        model = train_tower(recipe, work, data, held, device, bar)
        if until != "tower":
            train_llm(recipe, work, model, data, held, device, bar)
        if until == "joint" and recipe.joint_steps:
            train_joint(recipe, work, model, data, held, device, bar)
    export(model.to("cpu"), work / "model")
    (work / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    if install:
        export(model, WEIGHTS)


if __name__ == "__main__":
    typer.run(main)
