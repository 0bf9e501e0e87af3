"""The entry point that vLLM calls in each of its processes."""

from __future__ import annotations

import logging
import os

from stsprune.recipes import read_recipe

from .evidence import ACCEPT, check_source
from .settings import left_out, read_settings


def register() -> None:
    """Put the pruning classes in the place of vLLM's own, if the environment asks for pruning.

    Raises InvalidArgumentError for a setting that is wrong and UnsupportedModeError for a vLLM
    whose source is not that of one that the classes were tested with.
    """
    settings = read_settings(os.environ)
    if settings is None:
        return
    if settings.recipe is not None:
        recipe = read_recipe(settings.recipe)
        recipe.warn_versions()
        if left_out(recipe):
            logging.getLogger("stsprune.serving").warning(left_out(recipe))
    import vllm

    if check_source(os.environ, vllm.__version__) == "untested":
        logging.getLogger("stsprune.serving").warning(
            "vLLM %s was not tested with stsprune: %s=untested lets it", vllm.__version__, ACCEPT
        )

    from vllm.model_executor.models.config import MODELS_CONFIG_MAP
    from vllm.model_executor.models.registry import ModelRegistry
    from vllm.platforms import current_platform

    from .cpu import heed_pruning
    from .families import SERVED
    from .pictures import refuse_bombs
    from .start import hook, refusal

    for name, family in SERVED.items():
        ModelRegistry.register_model(name, f"stsprune.serving.models:Pruned{name}")
        MODELS_CONFIG_MAP[name] = hook(family, settings, MODELS_CONFIG_MAP.get(name))
    if not settings.unpruned:
        for name in ModelRegistry.get_supported_archs() - set(SERVED):
            MODELS_CONFIG_MAP[name] = refusal(name, MODELS_CONFIG_MAP.get(name))
    refuse_bombs()
    if current_platform.is_cpu() and not settings.compact:
        heed_pruning()
