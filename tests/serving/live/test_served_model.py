"""The mixin over an encoder that misbehaves: nothing in a worker's path raises."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import transformers
from torch import nn

from stsprune.serving import model as module
from stsprune.serving.families import SERVED
from stsprune.serving.model import PrunedModel
from stsprune.serving.settings import ServingSettings

DIM, BUDGET = 16, 4


class Encoder(nn.Module):
    """As much of vLLM's Qwen2-VL as the mixin calls: rows of ones, one more per image."""

    def __init__(self, *, vllm_config, prefix):
        super().__init__()
        self.config = vllm_config.model_config.hf_config
        self.calls, self.spoil = [], lambda rows: rows

    def embed_multimodal(self, *, pixel_values, image_grid_thw):
        sizes = (image_grid_thw.prod(-1) // 4).tolist()
        assert len(pixel_values) == 4 * sum(sizes)
        self.calls.append(sum(sizes))
        values = pixel_values.reshape(-1, 4).mean(1, keepdim=True).expand(-1, DIM)
        return [self.spoil(rows) for rows in values.split(sizes)]


class Pruned(PrunedModel, Encoder):
    family = SERVED["Qwen2VLForConditionalGeneration"]
    settings = ServingSettings(BUDGET)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(module, "get_tp_group", lambda: SimpleNamespace(world_size=1))
    config = transformers.Qwen2VLConfig(
        text_config={"hidden_size": DIM}, vision_config={"spatial_merge_size": 2}
    )
    scheduler = SimpleNamespace(max_num_encoder_input_tokens=50)
    vllm_config = SimpleNamespace(
        model_config=SimpleNamespace(hf_config=config), scheduler_config=scheduler
    )
    return Pruned(vllm_config=vllm_config)


def batch(*grids):
    grid = torch.tensor([[1, *one] for one in grids])
    pixels = torch.arange(int(grid.prod(-1).sum())).float()
    return {"pixel_values": pixels, "image_grid_thw": grid}


def test_a_burst_of_large_pictures_reaches_the_encoder_in_parts(model):
    """40 pictures of 24 rows cost the scheduler 160 of its rows; the encoder sees 960."""
    found = model.embed_multimodal(**batch(*[(8, 12)] * 40))
    assert model.calls == [48] * 20
    alone = Pruned.embed_multimodal(model, **batch((8, 12)))
    assert [len(one) for one in found] == [BUDGET] * 40
    assert torch.equal(found[0], alone[0])
    model.calls.clear()
    model.embed_multimodal(**batch((20, 20), (4, 4), (4, 4)))  # larger than allowed: alone
    assert model.calls == [100, 8]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rows_that_are_not_finite(model, bad):
    good = model.embed_multimodal(**batch((8, 12), (8, 12)))
    inputs = batch((8, 12), (8, 12))
    inputs["pixel_values"][3] = bad
    spoiled = model.embed_multimodal(**inputs)
    assert [one.shape for one in spoiled] == [one.shape for one in good]
    assert torch.equal(spoiled[1], good[1])


@pytest.mark.parametrize(
    "spoil", [lambda rows: rows[:-3], lambda rows: torch.cat([rows, rows])], ids=["few", "many"]
)
def test_rows_that_fit_no_shape(model, spoil, caplog):
    model.spoil = spoil
    found = model.embed_multimodal(**batch((8, 12), (8, 8)))
    assert [len(one) for one in found] == [BUDGET] * 2
    assert "fits none of its shapes" in caplog.text


def test_budgets_of_requests(model):
    told = torch.tensor([2.0, -0.5], dtype=torch.double)
    found = model.embed_multimodal(stsprune_budget=told, **batch((8, 12), (8, 8)))
    assert [len(one) for one in found] == [2, 8]


def test_no_rows_no_work(model):
    positions = torch.arange(9).expand(3, -1)
    rows, same, delta = model.recompute_mrope_positions([1] * 9, [], positions, 9)
    assert rows == []
    assert same is positions
    assert delta == 0


def test_an_image_of_which_nothing_is_known(model):
    place = SimpleNamespace(offset=2, is_embed=None, get_num_embeds=lambda: 4)
    gap = model._gap(SimpleNamespace(mm_position=place, data=None))
    assert (gap.start, gap.kept, gap.length) == (2, 4, 4)
