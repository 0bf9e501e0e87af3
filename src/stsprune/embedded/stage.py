"""One stage of training: optimisers, schedule, curve, checkpoints, and the loop over scenes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor

_WARM, _KNOWN = 40, 100  # steps: past compiling; speed known


class Stage:
    """Step counter, schedule, curve, checkpoints.

    The learning rate is flat after a warm-up and falls to zero over the last third, so a stage may
    be lengthened or cut short by running on with another number of steps, or be given minutes.
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
        minutes: float = 0,
    ) -> None:
        self.minutes = minutes
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
            if minutes and self.step >= _KNOWN:
                self.steps = saved["steps"]

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state: dict[str, Any] = {name: m.state_dict() for name, m in self.modules.items()}
        state |= {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}
        state |= {"step": self.step, "seconds": self.seconds, "steps": self.steps}
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
        row = {"step": self.step, "of": self.steps, "minutes": round(self.seconds / 60, 2)}
        row |= {key: round(float(value), 4) for key, value in values.items()}
        with self.curve.open("a") as out:
            out.write(json.dumps(row) + "\n")
        print(self.stage, json.dumps(row), flush=True)

    def rows(self, scenes: int, batch: int, seed: int, bar: Progress) -> Iterator[Tensor]:
        """Row indices per step: epochs of a fixed permutation, so that a resumed run goes on."""
        task = bar.add_task(self.stage, total=self.steps, completed=self.step)
        per_epoch = scenes // batch
        last_save = opened = warm = time.monotonic()
        while self.step < self.steps:
            epoch, at = divmod(self.step, per_epoch)
            order = torch.randperm(scenes, generator=torch.Generator().manual_seed(seed + epoch))
            begun = time.monotonic()
            yield order[at * batch : (at + 1) * batch]
            self.seconds += time.monotonic() - begun
            if self.minutes and self.step in (_WARM, _KNOWN):
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                now = time.monotonic()
                if self.step == _KNOWN:
                    left = self.minutes * 60 - (now - opened)
                    pace = (now - warm) / (_KNOWN - _WARM)
                    self.steps = _KNOWN + max(1, int(left / pace))
                    bar.update(task, total=self.steps)
                warm = now
            bar.update(task, completed=self.step)
            if time.monotonic() - last_save > 120:
                self.save()
                last_save = time.monotonic()
        self.save()
