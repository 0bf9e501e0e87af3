"""Train an embedded model from scratch: `python -m stsprune.embedded.train --work runs/cpu12`.

Three stages, each resumable (run the same command again) and each with its own curve:
  tower   the vision tower learns to name what every patch belongs to (tower.py);
  llm     projector and LLM learn to answer over the frozen tower's cached features (packing.py);
  joint   everything together, at a lower rate.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn import functional as F

from .data import render
from .load import WEIGHTS, export
from .model import ASSISTANT_ID, EOS_ID, LARGE, PROMPT_IDS, SMALL, Size, build_model
from .packing import pack
from .stage import Stage
from .tasks import TASKS, Task

PER_FAMILY = 3  # questions drawn of each family and picture


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, but for the hardware's rounding.

    tower_minutes, llm_minutes, joint_minutes: a stage given minutes sets its steps itself, once
    its speed is known; what it set stands in the curve.
    """

    size: Size
    task: str
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
    tower_minutes: float = 0
    llm_minutes: float = 0
    joint_minutes: float = 0


PRESETS = {
    "smoke": Recipe(SMALL, "sceneqa", 64, 4, 8, 4, 4, 2, 4),
    "cpu12": Recipe(SMALL, "sceneqa", 48_000, 2250, 32, 2700, 16, 0, 16),
    "smoke24": Recipe(LARGE, "sceneqa2", 16, 2, 4, 2, 2, 2, 2),
    "cpu24": Recipe(LARGE, "sceneqa2", 48_000, 2000, 16, 4500, 16, 0, 16),
    "gpu24": Recipe(LARGE, "sceneqa2", 96_000, 2000, 128, 4000, 64, 400, 64),
}


def _fast(module: Any, recipe: Recipe) -> Any:
    return module if recipe.eager else torch.compile(module)


def _load(arrays: dict[str, np.ndarray], device: str) -> dict[str, Tensor]:
    """On a GPU the whole data lies in its memory; on a CPU it stays on disk."""
    whole = {key: torch.from_numpy(array) for key, array in arrays.items()}
    return whole if device == "cpu" else {key: value.to(device) for key, value in whole.items()}


def _batch(data: dict[str, Tensor], rows: Tensor, device: str) -> dict[str, Tensor]:
    rows = rows.sort().values
    return {key: value[rows.to(value.device)].to(device) for key, value in data.items()}


def _pixels(image: Tensor) -> Tensor:
    return image.permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class Job:
    """What the stages share."""

    recipe: Recipe
    work: Path
    data: dict[str, Tensor]
    held: dict[str, Tensor]
    device: str
    bar: Progress

    @property
    def task(self) -> Task:
        """The question set."""
        return TASKS[self.recipe.task]

    def stage(self, name: str, modules: dict[str, torch.nn.Module]) -> Stage:
        """The stage's state, resumed where there is one."""
        steps, rate, minutes = (
            getattr(self.recipe, f"{name}_{what}") for what in ("steps", "rate", "minutes")
        )
        return Stage(self.work, name, modules, steps, rate, self.recipe.decay, minutes)

    def rows(self, stage: Stage, shift: int) -> Iterator[Tensor]:
        """Scenes of each step."""
        batch = getattr(self.recipe, f"{stage.stage}_batch")
        return stage.rows(self.recipe.scenes, batch, self.recipe.seed + shift, self.bar)


def train_tower(job: Job) -> Any:
    recipe, task, device = job.recipe, job.task, job.device
    model = build_model(recipe.size, recipe.seed, task.words(), task.answer).to(device)
    tower = model.model.vision_tower
    heads = task.heads(model.config.vision_config.hidden_size).to(device)
    stage = job.stage("tower", {"tower": tower, "heads": heads})
    fast = _fast(tower, recipe)
    seen = {key: value for key, value in job.data.items() if key not in ("tokens", "family")}

    def check() -> dict[str, Tensor]:
        with torch.no_grad():
            batch = _batch(job.held, torch.arange(min(256, len(job.held["image"]))), device)
            return task.loss(heads, tower, _pixels(batch["image"]), batch)[1]

    for rows in job.rows(stage, 0):
        batch = _batch(seen, rows, device)
        with torch.autocast(device, torch.bfloat16):
            loss, _ = task.loss(heads, fast, _pixels(batch["image"]), batch)
        stage.update(loss)
        if stage.step % 250 == 0 or stage.step == stage.steps:
            stage.log(loss=loss.detach(), **check())
    scores = check()
    short = {k: round(float(scores[k]), 3) for k, floor in task.gate.items() if scores[k] < floor}
    if short and recipe.scenes > 1000:
        print(f"warning: tower below its gate: {short}, wanted {task.gate}", flush=True)
    return model


@torch.no_grad()
def cache_features(
    model: Any, data: dict[str, Tensor], device: str, bar: Progress, file: Path | None = None
) -> Tensor:
    """The frozen tower's layer -2, CLS dropped: float16 [scenes, P, width].

    On a CPU they are written to `file` (when given) as they come, since they may outgrow memory.
    """
    images = data["image"]
    vision = model.config.vision_config
    shape = (len(images), (vision.image_size // vision.patch_size) ** 2, vision.hidden_size)
    done = file and file.with_suffix(".done")
    if device != "cpu" or file is None:
        out = torch.empty(shape, dtype=torch.float16, device=device)
    else:
        finished = done is not None and done.exists()
        mapped: Any = np.memmap(str(file), np.float16, "r+" if finished else "w+", shape=shape)
        out = torch.from_numpy(mapped)
        if finished:
            return out
    task = bar.add_task("features", total=len(images))
    for at in range(0, len(images), 64):
        pixels = _pixels(images[at : at + 64].to(device))
        with torch.autocast(device, torch.bfloat16):
            states = model.model.vision_tower(pixel_values=pixels, output_hidden_states=True)
        out[at : at + 64] = states.hidden_states[-2][:, 1:].half()
        bar.update(task, completed=at + 64)
    if done:
        done.touch()
    return out


def _ask(data: dict[str, Tensor], rows: Tensor, asked: int, seed: int) -> Tensor:
    """[B, asked, T] question ids, a random choice of each picture's questions."""
    tokens = data["tokens"]
    tokens = tokens[rows.sort().values.to(tokens.device)]
    draw = torch.rand(tokens.shape[:2], generator=torch.Generator().manual_seed(seed))
    draw = draw.to(tokens.device)
    draw = draw - (tokens[..., 0] == 0).float() * 2  # empty slots last
    chosen = draw.topk(min(asked, tokens.shape[1]), 1).indices
    picked = tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[2]))
    return picked if tokens.is_cuda else picked[..., : int((picked != 0).sum(-1).max())]


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
def check_answers(
    model: Any, visual_of: Callable[[Tensor], Tensor], held: dict[str, Tensor], task: Task
) -> dict[str, float]:
    """Held-out accuracy of whole answers over 256 validation scenes: all, and per family."""
    hits: dict[str, list[bool]] = {"all": []}
    for some in torch.arange(min(256, len(held["image"]))).split(32):
        questions, families = (held[k][some.to(held[k].device)] for k in ("tokens", "family"))
        visual = visual_of(some)
        _, right = answer_loss(
            model, model.model.language_model, visual, questions.to(visual.device)
        )
        asked = (families >= 0).flatten()
        ids = questions.cpu().flatten(0, 1)[asked.cpu()]
        spoken = (ids != 0).sum(-1) - (ids == ASSISTANT_ID).int().argmax(-1) - 1
        for number, oks in zip(
            families.flatten()[asked].tolist(), right.cpu().split(spoken.tolist()), strict=True
        ):
            for name in ("all", task.families[number]):
                hits.setdefault(name, []).append(bool(oks.all()))
    return {name: sum(oks) / len(oks) for name, oks in hits.items()}


def _answering(
    job: Job,
    stage: Stage,
    model: Any,
    llm: Any,
    see: Callable[[Tensor], Tensor],
    look: Callable[[Tensor], Tensor],
    shift: int,
) -> None:
    """Learn to answer; see, look: scenes' numbers -> visual tokens, of training and held out."""
    recipe, task = job.recipe, job.task
    length = task.tokens_per_question * recipe.asked
    for rows in job.rows(stage, shift):
        questions = _ask(job.data, rows, recipe.asked, stage.step + 1000 * shift).to(job.device)
        with torch.autocast(job.device, torch.bfloat16):
            loss, hits = answer_loss(model, llm, see(rows.sort().values), questions, length)
        stage.update(loss)
        if stage.step % 100 == 0:
            stage.log(loss=loss.detach(), train=hits.float().mean())
        if stage.step % 1000 == 0 or stage.step == stage.steps:
            stage.log(**check_answers(model, look, job.held, task))
            stage.save()


def train_llm(job: Job, model: Any) -> Any:
    for parameter in model.model.vision_tower.parameters():
        parameter.requires_grad_(False)
    features = cache_features(model, job.data, job.device, job.bar, job.work / "features.f16")
    held = cache_features(model, job.held, job.device, job.bar)
    projector, llm = model.model.multi_modal_projector, model.model.language_model

    def project(of: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda rows: projector(of[rows.to(of.device)].to(job.device).float())

    stage = job.stage("llm", {"projector": projector, "llm": llm})
    fast = _fast(llm, job.recipe)
    _answering(job, stage, model, fast, project(features), project(held), 1000)
    return model


def train_joint(job: Job, model: Any) -> Any:
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    fast = _fast(tower, job.recipe)

    def see(eye: Any, of: Tensor) -> Callable[[Tensor], Tensor]:
        def visual(rows: Tensor) -> Tensor:
            pixels = _pixels(of[rows.to(of.device)].to(job.device))
            states = eye(pixel_values=pixels, output_hidden_states=True)
            return projector(states.hidden_states[-2][:, 1:])

        return visual

    stage = job.stage("joint", {"model": model})
    llm = _fast(model.model.language_model, job.recipe)
    train, held = see(fast, job.data["image"]), see(tower, job.held["image"])
    _answering(job, stage, model, llm, train, held, 2000)
    return model


def main(
    work: Annotated[Path, typer.Option(help="folder for data, checkpoints and curves")],
    preset: Annotated[str, typer.Option(help=f"one of {', '.join(PRESETS)}")] = "cpu12",
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    until: Annotated[str, typer.Option(help="last stage: tower, llm or joint")] = "joint",
    tower_steps: Annotated[int, typer.Option(help="instead of the preset's")] = 0,
    llm_steps: Annotated[int, typer.Option(help="instead of the preset's")] = 0,
    joint_steps: Annotated[int, typer.Option(help="instead of the preset's")] = 0,
    tower_minutes: Annotated[float, typer.Option(help="instead of a number of steps")] = 0,
    llm_minutes: Annotated[float, typer.Option(help="instead of a number of steps")] = 0,
    joint_minutes: Annotated[float, typer.Option(help="instead of a number of steps")] = 0,
    scenes: Annotated[int, typer.Option(help="instead of the preset's")] = 0,
    seed: Annotated[int, typer.Option(help="of the first weights and the order of scenes")] = 0,
    eager: Annotated[bool, typer.Option(help="do not compile")] = False,
    install: Annotated[bool, typer.Option(help="replace the package's weights")] = False,
) -> None:
    """Train from scratch; run again to resume."""
    given = {name: value for name, value in locals().items() if name in _GIVEN and value}
    recipe = replace(PRESETS[preset], **given)
    work.mkdir(parents=True, exist_ok=True)
    (work / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n")
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(TextColumn(""), *columns) as bar:
        task = bar.add_task("render", total=recipe.scenes)

        def draw(split: str, count: int, advance: Callable[[int], object]) -> dict[str, Tensor]:
            folder = work / f"{split}-{count}"
            grid, workers = recipe.size.grid, os.cpu_count() or 1
            arrays = render(folder, recipe.task, split, count, grid, PER_FAMILY, workers, advance)
            return _load(arrays, device)

        data = draw("train", recipe.scenes, lambda n: bar.advance(task, n))
        held = draw("validation", min(1000, recipe.scenes), lambda n: None)
        job = Job(recipe, work, data, held, device, bar)
        model = train_tower(job)
        if until != "tower":
            train_llm(job, model)
        if until == "joint" and (recipe.joint_steps or recipe.joint_minutes):
            train_joint(job, model)
    export(model.to("cpu"), work / "model")
    if install:
        export(model, WEIGHTS)


_GIVEN = {field.name for field in fields(Recipe)}

if __name__ == "__main__":
    typer.run(main)
