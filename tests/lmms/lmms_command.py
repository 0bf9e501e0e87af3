"""lmms-eval's own command, on a machine whose torchvision was built for another torch.

torchvision's CUDA wheel does not import beside a CPU torch: its operators are missing. Declaring
them is enough here, none is called. `python lmms_command.py --model stsprune ...` is `lmms-eval`.
"""

from __future__ import annotations

import sys

import torch

PAIRED = ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")


def declare_operators() -> None:
    """Make `import torchvision` work where its operators are missing; else change nothing."""
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms", *PAIRED, *(f"_{name}_backward" for name in PAIRED)):
            torch.library.define(f"torchvision::{name}", "() -> ()")
        import torchvision  # noqa: F401


if __name__ == "__main__":
    declare_operators()
    from lmms_eval.cli.dispatch import main

    main()
