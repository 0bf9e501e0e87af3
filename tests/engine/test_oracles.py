"""The oracles themselves: what they must agree on with the plain model, and what they refuse."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
import transformers
from differences import ORACLES, oracles
from test_families import PROMPTS, STEPS, TOLERANCE, forced, forget
from zoo import DEPTH, IMAGE, KITS, TEXT, Kit, joined, llava_config, llava_image, shared

from stsprune.engine import unpruned
from stsprune.engine.by_hand import gathered_logits
from stsprune.engine.families import FAMILIES, family_of
from stsprune.engine.families.llava import Llava
from stsprune.engine.reference import masked_logits
from stsprune.engine.trace import ImageTrace, Stage, Trace
from stsprune.engine.visual import square
from stsprune.errors import UnsupportedModeError, UnsupportedModelError

KEPT = torch.tensor([0, 3, 4, 11, 17, 24])


def trace_of(*layers):
    """An image of 5 x 5 in row 0 of which fewer and fewer tokens are kept, behind these layers."""
    stages = [
        Stage("structure", layer, KEPT[: len(KEPT) - number], None, (5, 5))
        for number, layer in enumerate(layers)
    ]
    return Trace([ImageTrace(0, square(5), stages)])


@pytest.mark.parametrize("family", KITS)
def test_nothing_dropped_is_the_plain_model(family):
    """One forward pass over a padded batch, logits of all columns behind the prompt."""
    model = shared(family)
    inputs = KITS[family].inputs(model, PROMPTS["left padding"])
    with torch.no_grad():
        wanted = model(**inputs, use_cache=False).logits[:, -1:]
    forget(model)
    for oracle in oracles(model).values():
        got = oracle(model, inputs, Trace(), forced(3)[:, :0])
        assert (got - wanted).abs().max() < TOLERANCE


@pytest.mark.parametrize("oracle", ORACLES.values())
def test_the_model_is_left_as_it_was(oracle):
    model = shared("Qwen3-VL")
    inputs = KITS["Qwen3-VL"].inputs(model, [[3, "image", 5]])
    model.model.rope_deltas = torch.tensor([[5]])
    before = {name: len(part._forward_pre_hooks) for name, part in model.named_modules()}
    oracle(model, inputs, Trace(), forced(1))
    assert model.model.rope_deltas.item() == 5
    assert before == {name: len(part._forward_pre_hooks) for name, part in model.named_modules()}
    forget(model)


def scanning_model(kind):
    """LLaVA over a decoder most of whose layers scan."""
    if kind == "Lfm2":
        kinds = ["conv", "full_attention", "conv"] * 2
        text = transformers.Lfm2Config(**TEXT, layer_types=kinds)
    else:
        kinds = ["linear_attention", "linear_attention", "full_attention"] * 2
        text = transformers.Qwen3_5TextConfig(
            **{**TEXT, "initializer_range": 0.1},
            head_dim=12,
            layer_types=kinds,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
        )
    kit = Kit(lambda: llava_config(text), "LlavaForConditionalGeneration", llava_image, joined)
    return kit, kit.build()


@pytest.mark.parametrize("kind", ["Lfm2", "Qwen3.5"])
class TestScans:
    """Layers whose state holds what was masked: only the oracle by hand can judge them."""

    def test_dropped_before_the_decoder(self, kind):
        """Equals the text model given the kept embeddings at their positions, nothing else."""
        kit, model = scanning_model(kind)
        inputs, continuation = kit.inputs(model, [[3, "image", 5]]), forced(1)
        got = gathered_logits(model, inputs, trace_of(-1), continuation)
        ids = torch.cat([inputs["input_ids"], continuation], 1)
        visual = ids[0] == IMAGE
        keep = ~visual
        keep[visual.nonzero().flatten()[KEPT]] = True
        with torch.no_grad():
            embeds = model.get_input_embeddings()(ids)
            embeds[0, visual] = model.model.get_image_features(
                inputs["pixel_values"]
            ).pooler_output[0]
            hidden = model.model.language_model(
                inputs_embeds=embeds[:, keep],
                attention_mask=torch.ones(1, int(keep.sum())),
                position_ids=keep.nonzero().flatten()[None],
                use_cache=False,
            ).last_hidden_state
            wanted = model.lm_head(hidden)[:, -1 - continuation.shape[1] :]
        assert (got - wanted).abs().max() < TOLERANCE

    def test_rows_do_not_touch_each_other(self, kind):
        """Padding is nothing to a layer, also where a later layer drops more."""
        kit, model = scanning_model(kind)
        continuation = forced(2)
        inputs = kit.inputs(model, [[1, "image", 2], [3, "image", 7]])
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
        alone = kit.inputs(model, [[1, "image", 2]])
        width = alone["input_ids"].shape[1]
        assert torch.equal(alone["input_ids"], inputs["input_ids"][:1, -width:])
        for trace in (trace_of(-1), trace_of(-1, 2), trace_of(1, 3)):
            together = gathered_logits(model, inputs, trace, continuation)[:1]
            got = gathered_logits(model, alone, trace, continuation[:1])
            assert (got - together).abs().max() < TOLERANCE

    def test_the_masked_one_refuses(self, kind):
        kit, model = scanning_model(kind)
        inputs = kit.inputs(model, [[3, "image", 5]])
        with pytest.raises(UnsupportedModelError, match="attention layers only"):
            masked_logits(model, inputs, trace_of(-1), forced(1))

    def test_a_state_cannot_unsee(self, kind):
        kit, model = scanning_model(kind)
        inputs = kit.inputs(model, [[3, "image", 5]])
        with pytest.raises(UnsupportedModeError, match="un-see"):
            gathered_logits(model, inputs, trace_of(-1), forced(1), [(9, trace_of(2))])


def test_shared_keys_are_refused(monkeypatch):
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [[3, "image", 5]])
    attention = model.get_decoder().layers[DEPTH - 1].self_attn
    monkeypatch.setattr(attention, "is_kv_shared_layer", True, raising=False)
    with pytest.raises(UnsupportedModelError, match="keys of its own"):
        gathered_logits(model, inputs, Trace(), forced(1))


def test_text_goes_on_as_its_family_says(monkeypatch):
    monkeypatch.setattr(Llava, "text_inputs", {"attention_mask": 1, "token_type_ids": 1})
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [[3, "image", 5]])
    inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    given = unpruned.unpruned(model, inputs, Trace(), forced(1)).given
    assert given["token_type_ids"][0, -1 - STEPS :].tolist() == [0, *[1] * STEPS]
    assert given["attention_mask"].all()
    assert family_of(model).text_inputs["token_type_ids"] == 1


def test_positions_without_token_types():
    """Some models' get_rope_index takes no mm_token_type_ids."""

    def get_rope_index(input_ids, attention_mask=None):
        return torch.zeros(3, *input_ids.shape), torch.zeros(len(input_ids), 1)

    inner = SimpleNamespace(get_rope_index=get_rope_index)
    assert "mm_token_type_ids" not in inspect.signature(get_rope_index).parameters
    ids = torch.ones(1, 4, dtype=torch.long)
    kinds = torch.zeros_like(ids)
    given = {"input_ids": ids, "mm_token_type_ids": kinds}
    positions = unpruned._axes_positions(
        FAMILIES["Qwen2VLForConditionalGeneration"], inner, given, 2
    )
    assert positions[:, 0].tolist() == [[0, 0, 0, 0, 4, 5]] * 3


def test_no_mask_means_what_the_attention_says():
    like = torch.zeros(3, 3)
    causal = SimpleNamespace(self_attn=SimpleNamespace(is_causal=True))
    both = SimpleNamespace(self_attn=SimpleNamespace(is_causal=False))
    assert torch.equal(unpruned.unmasked(causal, like), torch.ones(3, 3).tril().bool())
    assert unpruned.unmasked(both, like).all()
