"""What a check found, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from stsprune.bench.timing import Times


@dataclass(frozen=True)
class Finding:
    """One comparison of logits after the prompt and after every forced token.

    Attributes:
        name: What the pruned run is compared with.
        difference: The largest of any logit, None where the comparison does not apply.
        bar: The most that is allowed.
        why: It does not apply because.
    """

    name: str
    difference: float | None
    bar: float
    why: str = ""

    @property
    def ok(self) -> bool:
        """At most the bar; what does not apply cannot fail."""
        return self.difference is None or self.difference <= self.bar  # false for NaN


@dataclass(frozen=True)
class PromptCheck:
    """One prompt (or one padded batch).

    Attributes:
        tokens: Text and visual, of the longest row.
        visual_tokens: Of each image.
        kept: Of each image, the average per decoder layer.
        noise: The largest logit difference of the unpruned model to itself, cached against not.
        findings: Oracles, then budget 1.0.
        unpruned_bytes: Of the KV cache behind the prompt.
        pruned_bytes: The same, pruned.
        theory_bytes: What the method's plan says.
    """

    tokens: int
    visual_tokens: tuple[int, ...]
    kept: tuple[float, ...]
    noise: float
    findings: tuple[Finding, ...]
    unpruned_bytes: int
    pruned_bytes: int
    theory_bytes: int

    @property
    def ok(self) -> bool:
        """Every finding within its bar, and the cache as large as it should be."""
        return (
            all(finding.ok for finding in self.findings) and self.pruned_bytes == self.theory_bytes
        )


@dataclass(frozen=True)
class Pace:
    """Milliseconds, unpruned and pruned in turns; ratio: median of unpruned over pruned."""

    unpruned: Times
    pruned: Times
    ratio: float


@dataclass(frozen=True)
class Setting:
    """What was checked: classes, size and where it ran.

    attention: transformers' name of the decoder's; method: with all its settings.
    """

    model: str
    decoder: str
    parameters: int
    layers: int
    dtype: str
    device: str
    attention: str
    method: str


@dataclass(frozen=True)
class Check:
    """What `stsprune.check` returns.

    Attributes:
        setting: Model, dtype, device and method.
        steps: Forced tokens behind each prompt.
        prompts: What was found of each.
        first_token: Whole prefill, image encoder and selection included.
        per_token: Of the decode steps.
        machine: Device and versions.
    """

    setting: Setting
    steps: int
    prompts: tuple[PromptCheck, ...]
    first_token: Pace
    per_token: Pace
    machine: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """Whether every prompt passed. Times have no part in it."""
        return all(prompt.ok for prompt in self.prompts)

    @property
    def verdict(self) -> str:
        """One line: what was shown, or all that failed."""
        return f"not exact: {'; '.join(self._faults())}" if not self.ok else self._praise()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"ok": self.ok, "verdict": self.verdict} | asdict(self)

    def _praise(self) -> str:
        seen = [f for prompt in self.prompts for f in prompt.findings if f.difference is not None]
        largest, bar = max((f.difference or 0.0, f.bar) for f in seen)
        prompts = f"{len(self.prompts)} prompt{'s' if len(self.prompts) > 1 else ''}"
        what = f"{prompts} and {self.steps} steps each in {self.setting.dtype}"
        if self.setting.dtype == "float32":
            return f"exact: {what}, largest difference {largest:.1e} of {bar:.0e} allowed"
        noise = max(prompt.noise for prompt in self.prompts)
        return (
            f"exact up to rounding: {what}, largest difference {largest:.2g} of {bar:.2g} allowed "
            f"(the unpruned model's own noise is {noise:.2g})"
        )

    def _faults(self) -> list[str]:
        faults = []
        for number, prompt in enumerate(self.prompts, 1):
            faults += [
                f"prompt {number} differs by {f.difference:.2g} from {f.name} ({f.bar:.2g} allowed)"
                for f in prompt.findings
                if not f.ok
            ]
            if prompt.pruned_bytes != prompt.theory_bytes:
                faults.append(
                    f"prompt {number}'s KV cache holds {prompt.pruned_bytes:,} bytes instead of "
                    f"{prompt.theory_bytes:,}"
                )
        return faults
