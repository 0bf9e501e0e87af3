"""What is checked and changed in vLLM's configuration before a model is built."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Any

import vllm
from vllm.config.multimodal import MultiModalConfig
from vllm.logger import init_logger
from vllm.model_executor.models.config import VerifyAndUpdateConfig

from stsprune.errors import InvalidArgumentError, UnsupportedModeError, UnsupportedModelError

from .families import SERVED, ServedFamily
from .settings import BUDGET, MODEL, POSITIONS, RECIPE, UNPRUNED, ServingSettings, read_settings

#: A child of vLLM's logger, whose lines it prints.
_log = init_logger("vllm.stsprune")

#: Rows of vLLM's table of rotary angles for mRoPE over the model's longest prompt.
_MROPE_ROWS = 4

#: Speculation that looks at tokens only, and asks no model for what follows.
_WITHOUT_A_MODEL = ("ngram",)


class PrunedMultiModalConfig(MultiModalConfig):
    """Holds every process of a server to the same settings, and tells vLLM's model runner to ask
    the model for positions once images are encoded, as it does for its own pruning of videos (EVS).
    """

    stsprune: ServingSettings

    def is_multimodal_pruning_enabled(self) -> bool:
        """See vLLM."""
        return not self.stsprune.compact

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Arrives in another process, maybe on another machine, which must prune alike."""
        here, there = read_settings(os.environ), state["stsprune"]
        if here != there:
            raise InvalidArgumentError(
                f"{BUDGET} and what goes with it must be set alike in all processes of a server, "
                f"got {here} here and {there} where it was started: on several machines pass it on "
                "(docs/serving.md)"
            )
        self.__dict__.update(state)


def position_limit(model_config: Any, axes: int) -> int:
    """The longest prompt, before pruning, whose positions a model can still hold."""
    longest = max(
        model_config.max_model_len,
        getattr(model_config.hf_text_config, "max_position_embeddings", 0),
    )
    return longest if axes == 1 else _MROPE_ROWS * longest - model_config.max_model_len


def hook(family: ServedFamily, settings: ServingSettings, before: Any) -> type:
    """The configuration hook of a pruned architecture; before: the hook that it had, or None."""
    base: Any = before or VerifyAndUpdateConfig

    class PrunedModelConfig(base):
        @staticmethod
        def verify_and_update_model_config(model_config: Any) -> None:
            base.verify_and_update_model_config(model_config)
            check_model(family, settings, model_config)
            prepare(family, settings, model_config)

        @staticmethod
        def verify_and_update_config(vllm_config: Any) -> None:
            base.verify_and_update_config(vllm_config)
            check_server(settings, vllm_config)
            _log.info_once(
                "stsprune %s prunes %s to %s visual tokens per image, %s positions, %s; vLLM %s",
                version("stsprune"),
                vllm_config.model_config.model,
                settings.budget,
                "compact" if settings.compact else "original",
                f"recipe {settings.recipe}" if settings.recipe else "no recipe",
                vllm.__version__,
            )

    return PrunedModelConfig


def refusal(architecture: str, before: Any) -> type:
    """The hook of an architecture that has no pruning class."""
    base: Any = before or VerifyAndUpdateConfig

    class UnprunedModelConfig(base):
        @staticmethod
        def verify_and_update_model_config(model_config: Any) -> None:
            raise UnsupportedModelError(
                f"{BUDGET} is set and {architecture} has no pruning class; there is one for "
                f"{', '.join(SERVED)}. To serve it unpruned set {UNPRUNED}=1"
            )

    return UnprunedModelConfig


def check_model(family: ServedFamily, settings: ServingSettings, model_config: Any) -> None:
    """Raises UnsupportedModelError or UnsupportedModeError for what pruning would get wrong."""
    if settings.architecture not in (None, family.architecture):
        raise InvalidArgumentError(
            f"{RECIPE} must be of a {family.architecture}, {settings.recipe!r} is for a "
            f"{settings.architecture}; {MODEL}=any allows it"
        )
    family.check(model_config.hf_config)
    multimodal = model_config.multimodal_config
    if multimodal is None:
        return  # text only: there is nothing to prune
    if settings.compact and family.axes > 1:
        raise UnsupportedModeError(
            f"{POSITIONS} must be original for {family.architecture}: an image's positions are "
            "its rows and columns"
        )
    _refuse(multimodal.video_pruning_rate, "--video-pruning-rate", "must not be set")
    _refuse(multimodal.enable_mm_embeds, "--enable-mm-embeds", "must be off: there is no image")


def check_server(settings: ServingSettings, vllm_config: Any) -> None:
    """Raises UnsupportedModeError for ways to run a server that pruning would get wrong."""
    parallel = vllm_config.parallel_config
    if not settings.compact:
        _refuse(
            parallel.pipeline_parallel_size > 1,
            "--pipeline-parallel-size",
            f"must be 1 with {POSITIONS}=original: later stages do not learn which tokens were "
            "kept",
        )
        draft = getattr(vllm_config.speculative_config, "method", None)
        _refuse(
            vllm_config.speculative_config is not None and draft not in _WITHOUT_A_MODEL,
            "--speculative-config",
            f"must be of method {' or '.join(_WITHOUT_A_MODEL)} with {POSITIONS}=original, got "
            f"{draft}: a draft model that knows the kept tokens' positions was not tested",
        )
    _refuse(
        vllm_config.kv_transfer_config is not None,
        "--kv-transfer-config",
        "must not be set: nothing makes sure that the servers which share KV caches prune alike",
    )
    _refuse(
        vllm_config.ec_transfer_config is not None,
        "--ec-transfer-config",
        "must not be set: encoder outputs of other servers may be pruned otherwise",
    )
    _refuse(
        vllm_config.compilation_config.cudagraph_mm_encoder,
        "cudagraph_mm_encoder",
        "must be off: it leaves out what follows the encoder, where tokens are chosen",
    )
    lora = vllm_config.lora_config
    _refuse(
        lora is not None and lora.enable_tower_connector_lora,
        "--enable-tower-connector-lora",
        "must be off: it counts the encoder's tokens by those that the prompt holds",
    )


def prepare(family: ServedFamily, settings: ServingSettings, model_config: Any) -> None:
    """Hand the settings on, and make the model runner keep positions apart from places."""
    multimodal = model_config.multimodal_config
    if multimodal is None:
        return
    multimodal.__class__ = PrunedMultiModalConfig
    multimodal.stsprune = settings
    if family.axes == 1 and not settings.compact:
        # The text model does not read this: its rotary embedding stays what it is.
        model_config.hf_config.rope_parameters = {"mrope_section": [0, 0, 0]}


def _refuse(wrong: Any, name: str, reason: str) -> None:
    if wrong:
        raise UnsupportedModeError(f"{name} {reason} (or unset {BUDGET} to serve unpruned)")
