"""What a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import version

import stsprune


def versions() -> dict[str, str]:
    """Name -> version of this package and of what its figures depend on."""
    return {
        "stsprune": stsprune.__version__,
        **{name: version(name) for name in ("torch", "transformers", "numpy")},
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }
