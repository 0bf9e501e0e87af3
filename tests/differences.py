"""What the exactness tests saw; `conftest` prints it at the end of a run."""

from __future__ import annotations

#: Name of a test -> largest logit difference to the masked reference.
DIFFERENCES: dict[str, float] = {}
