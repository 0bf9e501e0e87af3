"""What the exactness tests saw. Imports nothing: conftest must not wake transformers."""

from __future__ import annotations

#: (name of a test, oracle) -> largest logit difference.
DIFFERENCES: dict[tuple[str, str], float] = {}
