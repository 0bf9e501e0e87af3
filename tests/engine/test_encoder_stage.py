"""A stage inside the vision tower: equal to the full tower with what it dropped masked."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
import transformers
from differences import judged
from kit import VISION
from snapshot import Snapshot
from test_families import PROMPTS, TOLERANCE, forced, run_pruned
from zoo import IMAGE, KITS, TEXT, Kit, joined, llava_image

import stsprune
from stsprune import STS, EncoderStage
from stsprune.engine.encoding import NOTE
from stsprune.engine.families import family_of
from stsprune.engine.reference import masked_logits
from stsprune.engine.towers import TowerStage, tower_of
from stsprune.engine.towers.reference import masked_tower
from stsprune.errors import (
    InvalidArgumentError,
    InvalidTypeError,
    UnsupportedModeError,
    UnsupportedModelError,
)
from stsprune.method import Plan

FAMILIES = [
    "LLaVA-1.5",
    "LLaVA-1.5 SigLIP",
    "LLaVA-1.5 Pixtral",
    "Qwen2-VL",
    "Qwen2.5-VL",
    "Qwen3-VL",
    "Gemma 3",
    "Mistral 3",
    "InternVL 3",
    "Idefics3",
    "SmolVLM",
]


def siglip_config():
    return transformers.LlavaConfig(
        vision_config=transformers.SiglipVisionConfig(image_size=20, **VISION),
        text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=IMAGE,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )


MORE = {
    "LLaVA-1.5 SigLIP": Kit(siglip_config, "LlavaForConditionalGeneration", llava_image, joined)
}
KITS = KITS | MORE


@cache
def shared(family, attention="sdpa"):
    """A model whose tower attends unevenly, so that what is gone is missed."""
    model = KITS[family].build(attention)
    with torch.no_grad():
        for block in tower_of(model).blocks:
            for parameter in block.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(0.16 / parameter.std())
        projection = getattr(model.model, "multi_modal_projector", None)
        if hasattr(projection, "mm_input_projection_weight"):  # zeros when made
            projection.mm_input_projection_weight.normal_(0, 0.3)
    return model


STAGE = EncoderStage(layer=1, share=0.6)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_features_equal_the_masked_tower(family, layer):
    kit, model = KITS[family], shared(family, "eager" if layer else "sdpa")
    inner = family_of(model).inner(model)
    modalities = ["image", "video"] if kit.video is not None else ["image"]
    inputs = kit.inputs(model, [[3, *modalities, 5], ["image", 4]])
    with stsprune.prune(model, STS(0.3, encoder=replace(STAGE, layer=layer))) as trace:
        model(**inputs)
        found = {name: features(inner, name, inputs) for name in modalities}
    with masked_tower(model, layer, trace):
        wanted = {name: features(inner, name, inputs) for name in modalities}
    plain = {name: features(inner, name, inputs) for name in modalities}
    moved = []
    for name in modalities:
        stages = [
            (image.stages[0], image.visual.offsets(), image.visual.length)
            for image in trace.images
            if image.visual.video == (name == "video")
        ]
        start, kept = 0, torch.zeros(len(wanted[name][0]), dtype=torch.bool)
        for stage, offsets, length in stages:
            assert stage.name == "encoder"
            assert 0 < len(stage.kept) < len(offsets)
            kept[start + offsets[stage.kept]] = True
            start += length
        for got, masked in zip(found[name], wanted[name], strict=True):
            assert (got[kept] - masked[kept]).abs().max() < TOLERANCE
            assert not got[~kept].any() or got is not found[name][-1]
        moved.append((found[name][-1] - plain[name][-1])[kept].abs().max())
    # The control; of a video whole frames may go, which no other frame misses.
    assert max(moved) > 10 * TOLERANCE


def features(inner, modality, inputs):
    """Visual features [tokens, Dim] and deepstack's of one modality."""
    ours = "video" if modality == "video" else "image"
    theirs = {"image": ("pixel_values", "image_"), "video": ("pixel_values_videos", "video_")}
    given = {name: value for name, value in inputs.items() if name.startswith(theirs[ours])}
    given = {n: v for n, v in given.items() if ours == "video" or n != "pixel_values_videos"}
    out = getattr(inner, f"get_{modality}_features")(**given)
    pooled = out.pooler_output
    rows = [pooled.flatten(0, 1) if isinstance(pooled, torch.Tensor) else torch.cat(list(pooled))]
    for each in getattr(out, "deepstack_features", None) or []:
        rows.insert(0, each if isinstance(each, torch.Tensor) else torch.cat(list(each)))
    return rows


@pytest.mark.parametrize("prompt", ["left padding", "a row without image"])
@pytest.mark.parametrize("family", FAMILIES)
def test_whole_runs_equal_both_oracles(family, prompt):
    kit, model, rows = KITS[family], shared(family), PROMPTS[prompt]
    inputs, continuation = kit.inputs(model, rows), forced(len(rows))
    got, trace, *_ = run_pruned(model, STS(0.3, encoder=STAGE), inputs, continuation)
    assert all([s.name for s in i.stages][:2] == ["encoder", "structure"] for i in trace.images)
    with masked_tower(model, 1, trace):
        seen = judged("encoder stage", got, model, inputs, trace, continuation)
    assert seen < TOLERANCE


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", ["random", "grid", "divprune", "tome"])
def test_other_methods_behind_the_stage(name, attention):
    """Whatever chooses behind it chooses among what it left; merging sees nothing else."""
    kit, model = KITS["LLaVA-1.5"], shared("LLaVA-1.5", attention)
    rows = PROMPTS["left padding"]
    inputs, continuation = kit.inputs(model, rows), forced(len(rows))
    method = stsprune.methods()[name](8, encoder={"layer": 1, "share": 0.6, "choice": "random"})
    got, trace, *_ = run_pruned(model, method, inputs, continuation)
    for image in trace.images:
        left, kept = (set(stage.kept.tolist()) for stage in image.stages[:2])
        assert len(left) == 15
        assert kept < left
    with masked_tower(model, 1, trace):
        assert judged(f"encoder stage, {name}", got, model, inputs, trace, continuation) < TOLERANCE


@pytest.mark.parametrize("family", ["LLaVA-1.5", "Qwen2.5-VL"])
def test_nothing_dropped_changes_nothing(family):
    """A share of 1 and a picture that keeps all are the unpruned encoder, to the bit."""
    kit, model = KITS[family], shared(family)
    inputs, continuation = kit.inputs(model, [[2, "image", 4]]), forced(1)
    plain, *_ = run_pruned(model, STS(0.3), inputs, continuation)
    for method in (STS(0.3, encoder=1.0), STS(10**6, encoder=0.1)):
        got, trace, *_ = run_pruned(model, method, inputs, continuation)
        assert all(stage.name != "encoder" for stage in trace.images[0].stages)
        assert got.equal(plain) == (method.budget == 0.3)


def test_without_a_share_the_structure_stage_has_what_it_needs():
    stage, model = EncoderStage(), shared("LLaVA-1.5")
    for needed, kept in ((2, 17), (17, 17), (20, 20), (25, 25)):
        assert stage.keep(25, needed) == kept
    with stsprune.prune(model, stsprune.methods()["divprune"](7, encoder=stage)) as trace:
        model(**KITS["LLaVA-1.5"].inputs(model, [["image", 3]]))
    assert [len(stage.kept) for stage in trace.images[0].stages] == [17, 7]


@pytest.mark.parametrize("family", ["LLaVA-1.5", "Qwen2.5-VL"])
def test_generate_and_beams(family):
    """Encoding ahead carries what was kept; beams share it."""
    kit, model = KITS[family], shared(family)
    inputs = kit.inputs(model, [[3, "image", 5], [1, "image", 2]])
    settings = {"max_new_tokens": 4, "do_sample": False}
    before = Snapshot(model)
    with stsprune.prune(model, STS(0.3, encoder=STAGE)) as trace:
        greedy = model.generate(**inputs, **settings)
        kept = [image.stages[0].kept for image in trace.images]
        beams = model.generate(**inputs, **settings, num_beams=2, num_return_sequences=2)
    assert Snapshot(model) == before
    assert beams.shape[0] == 4
    assert len(trace.images) == 4
    for number, image in enumerate(trace.images):
        assert image.stages[0].kept.equal(kept[number // 2])
    ids = greedy[:, inputs["input_ids"].shape[1] :]
    with masked_tower(model, 1, trace_of(trace)):
        wanted = masked_logits(model, inputs, trace_of(trace), ids[:, :-1]).argmax(-1)
    assert ids.equal(wanted)


def trace_of(trace):
    """Every other image: one row of each pair of beams."""
    images = [replace(image, row=number) for number, image in enumerate(trace.images[::2])]
    return replace(trace, images=images)


def test_restored_after_an_error():
    model = shared("Qwen2.5-VL")
    inputs = KITS["Qwen2.5-VL"].inputs(model, [["image", 3]])
    before = Snapshot(model)

    def fail(*_):
        raise RuntimeError("halfway")

    handle = model.model.visual.merger.register_forward_pre_hook(fail)
    with stsprune.prune(model, STS(0.3, encoder=STAGE)), pytest.raises(RuntimeError):
        model(**inputs)
    handle.remove()
    assert Snapshot(model) == before


def test_the_stage_is_refused_where_it_is_not_known():
    model = KITS["LLaVA-NeXT"].build()
    with (
        pytest.raises(
            UnsupportedModelError, match=r"encoder must be None for LlavaNext.*: padding is cut"
        ),
        stsprune.prune(model, STS(0.3, encoder=0.5)),
    ):
        pass


@pytest.mark.parametrize(
    ("stage", "error", "message"),
    [
        ({"layer": 2}, InvalidArgumentError, r"encoder layer must be in 0\.\.1 .* got 2"),
        ({"layer": 1, "share": 0.1}, InvalidArgumentError, "share must leave at least the"),
        ({"layer": -1}, InvalidArgumentError, "encoder layer must be an int >= 0"),
        ({"layer": 1.0}, InvalidArgumentError, r"a float in \[0, 1\), got 1.0"),
        ({"layer": "2"}, InvalidTypeError, "got '2', a str"),
        ({"share": 0.0}, InvalidArgumentError, r"encoder share must be None or in \(0, 1\]"),
        ({"share": True}, InvalidTypeError, "encoder share must be None or a number"),
        ({"choice": "best"}, InvalidArgumentError, "choice must be one of repulsion, random, grid"),
        ({"seed": 0.5}, InvalidTypeError, "encoder seed must be an int"),
        ({"part": 1}, InvalidArgumentError, "encoder has the settings layer, share"),
        ("half", InvalidTypeError, "encoder must be None, an EncoderStage"),
    ],
)
def test_bad_stages(stage, error, message):
    model = shared("LLaVA-1.5")
    with pytest.raises(error, match=message), stsprune.prune(model, STS(0.3, encoder=stage)):
        pass


def test_refused_with_what_cannot_work():
    model = shared("LLaVA-1.5")
    for name in ("visionzip", "downsampling"):
        with pytest.raises(InvalidArgumentError, match="encoder must be None for"):
            stsprune.methods()[name](0.3, encoder=0.5)
    with (
        pytest.raises(UnsupportedModeError, match="budget_total must be None with an encoder"),
        stsprune.prune(model, STS(0.3, encoder=STAGE), budget_total=9),
    ):
        pass
    inputs = KITS["LLaVA-1.5"].inputs(model, [["image", 3]])
    with (
        stsprune.prune(model, STS(0.3, encoder=STAGE)),
        pytest.raises(UnsupportedModeError, match="vision_feature_layer must be the config's -2"),
    ):
        model(**inputs, vision_feature_layer=-1)


def test_features_of_another_stage_are_refused():
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [["image", 3]])
    pixels = inputs.pop("pixel_values")
    whole = model.model.get_image_features(pixel_values=pixels)
    method = STS(0.3, encoder=STAGE)
    with stsprune.prune(model, method):
        fewer = model.model.get_image_features(pixel_values=pixels)
        assert getattr(fewer, NOTE)["encoded"].layer == 1
        model(**inputs, mm_encoder_outputs={"image": fewer})
        with pytest.raises(UnsupportedModeError, match="must be made inside this `prune`"):
            model(**inputs, mm_encoder_outputs={"image": whole})
    with (
        stsprune.prune(model, STS(0.3)),
        pytest.raises(UnsupportedModeError, match="must be made inside this `prune`"),
    ):
        model(**inputs, mm_encoder_outputs={"image": fewer})


def test_a_method_without_a_structure_stage_needs_every_token():
    stage = TowerStage(
        tower_of(shared("LLaVA-1.5")), EncoderStage(share=0.5), lambda tokens: Plan(None, ((1, 3),))
    )
    with pytest.raises(InvalidArgumentError, match="the 25 of an image's 25 visual tokens"):
        stage.keep(25)


def test_settings_survive_a_file():
    for method in (STS(9, encoder=STAGE), stsprune.methods()["grid"](9, encoder=0.5), STS(9)):
        assert type(method)(**json.loads(json.dumps(method.settings()))) == method
