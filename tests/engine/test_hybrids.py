"""What only models with scanning layers need: where they may be filtered, and what they refuse."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from differences import differences
from test_families import METHODS, TOLERANCE, decode, forced, forget, next_positions, run_pruned
from zoo import DEPTH, HYBRIDS, KITS, shared
from zoo_hybrids import minicpm_sliced_image

import stsprune
from stsprune.engine.cache import cache_bytes, has_keys
from stsprune.engine.compat import CACHE
from stsprune.engine.families import family_of
from stsprune.engine.mixers import scoring_layers
from stsprune.errors import InvalidArgumentError, UnsupportedModeError
from stsprune.method import STS, Plan, methods
from stsprune.method.base import tokens_per_layer
from stsprune.method.placing import moved_stages

FAMILIES = [name for name in HYBRIDS if name in KITS]


def total(plan, tokens=100, depth=8):
    return sum(tokens_per_layer(plan, tokens, depth))


class TestPlaces:
    """A semantic stage acts at an attention layer, and the layers hold no more than planned."""

    def test_the_layer_before(self):
        plan = Plan(80, ((3, 40), (6, 10)))
        assert moved_stages(plan, 100, 8, (1, 5)) == Plan(80, ((1, 40), (5, 10)))

    def test_two_meet(self):
        assert moved_stages(Plan(80, ((3, 40), (4, 10))), 100, 8, (2,)).semantics == ((2, 10),)

    def test_none_before(self):
        plan = Plan(None, ((0, 40), (5, 10)))
        moved = moved_stages(plan, 100, 8, (2, 5))
        assert [layer for layer, _ in moved.semantics] == [2, 5]
        assert total(plan) - DEPTH < total(moved) <= total(plan)

    def test_out_of_reach(self):
        with pytest.raises(InvalidArgumentError, match="first attention layer is 6"):
            moved_stages(Plan(None, ((0, 2),)), 100, 8, (6,))

    @pytest.mark.parametrize("scoring", [(), (7,)])
    def test_nowhere(self, scoring):
        with pytest.raises(InvalidArgumentError, match="no attention layer"):
            moved_stages(Plan(None, ((3, 10),)), 100, 8, scoring)
        assert moved_stages(Plan(10), 100, 8, scoring) == Plan(10)

    def test_sts_splits_for_the_layer_that_filters(self):
        wanted = STS(30, layer=1, steps=1, withdraw=None).plan(100, 8)
        for layer in (0, 2):
            assert STS(30, layer=layer, steps=1, withdraw=None).plan_on(100, 8, (1, 5)) == wanted
        with pytest.raises(InvalidArgumentError, match="layer must be in"):
            STS(30, layer=9).plan_on(100, 8, (1, 5))

    @pytest.mark.parametrize("name", methods())
    def test_every_method_stays_in_its_budget(self, name):
        for budget, scoring in itertools.product((0.2, 0.5), ((3, 7, 11, 15), (2, 5, 8, 10, 12))):
            method = methods()[name](budget)
            plain = total(method.plan(100, 16), depth=16)
            try:
                moved = method.plan_on(100, 16, scoring)
            except InvalidArgumentError as error:
                assert "budget must be at least" in str(error)  # noqa: PT017
                continue
            assert {layer for layer, _ in moved.semantics} <= set(scoring)
            assert total(moved, depth=16) <= max(plain, budget * 1600)


@pytest.mark.parametrize("family", FAMILIES)
class TestStates:
    def test_layers_that_score_have_attention(self, family):
        model = shared(family)
        decoder = family_of(model).decoder(model)
        kinds = decoder.config.layer_types
        wanted = tuple(
            n
            for n, kind in enumerate(kinds)
            if kind.endswith("_attention") and kind != "linear_attention"
        )
        assert scoring_layers(decoder) == wanted

    def test_reusable_is_refused(self, family):
        with (
            pytest.raises(UnsupportedModeError, match="cannot un-see"),
            stsprune.prune(shared(family), METHODS["both"], reusable=True),
        ):
            pass

    def test_crop_is_refused(self, family):
        model = shared(family)
        inputs = KITS[family].inputs(model, [[3, "image", 5]])
        *_, cache = run_pruned(model, METHODS["both"], inputs, forced(1)[:, :2])
        with pytest.raises(UnsupportedModeError, match="cannot be cropped"):
            cache.crop(-1)

    def test_bytes_are_those_of_keys(self, family):
        model = shared(family)
        inputs = KITS[family].inputs(model, [[3, "image", 5]])
        *_, cache = run_pruned(model, METHODS["both"], inputs, forced(1)[:, :1])
        keys = [layer.keys for layer in cache.layers if has_keys(layer)]
        assert len(keys) == len(scoring_layers(family_of(model).decoder(model)))
        assert cache_bytes(cache) == 2 * sum(one.nbytes for one in keys)

    def test_a_batch_of_later_turns(self, family):
        """Rows of equal length go on exactly; padding between two turns is refused."""
        kit, model, more = KITS[family], shared(family), forced(2)
        inputs = kit.inputs(model, [[3, "image", 5], [4, "image", 4]])
        mask = torch.cat([inputs["attention_mask"], torch.ones(2, 3).long()], 1)
        turn = {"input_ids": more[:, :3], "attention_mask": mask}
        at = next_positions(model, inputs)
        if at is not None:
            turn["position_ids"] = (at + torch.arange(3)).expand(3, -1, -1)
        padded = mask.clone()
        padded[0, -3] = 0
        whole = inputs | {"input_ids": torch.cat([inputs["input_ids"], more[:, :3]], 1)}
        whole |= {"attention_mask": mask}
        if kit.kinds:
            kinds = inputs[kit.kinds]
            whole[kit.kinds] = torch.cat([kinds, kinds.new_zeros(2, 3)], 1)
        with torch.no_grad(), stsprune.prune(model, METHODS["both"]) as trace:
            cache = getattr(model(**inputs, use_cache=True), CACHE)
            untouched = copy.deepcopy(cache)
            with pytest.raises(UnsupportedModeError, match="equal length"):
                model(**turn | {"attention_mask": padded, CACHE: cache})
            logits = [model(**turn, **{CACHE: untouched}).logits[:, -1]]
            got = decode(model, whole, more[:, 3:], untouched, logits)
        forget(model)
        assert max(differences(got, model, inputs, trace, more, behind=3).values()) < TOLERANCE

    def test_a_later_turn_of_uneven_images(self, family):
        kit, model = KITS[family], shared(family)
        first = kit.inputs(model, [[4], [4]])
        later = kit.inputs(model, [[4, "image", 2], [4, "image", 9]])
        past = first["input_ids"].shape[1]
        with torch.no_grad(), stsprune.prune(model, METHODS["structure"]):
            cache = getattr(model(**first, use_cache=True), CACHE)
            later["input_ids"] = later["input_ids"][:, past:]
            if later.pop("mm_token_type_ids", None) is not None:
                later["position_ids"] = torch.arange(later["input_ids"].shape[1]).expand(3, 2, -1)
            with pytest.raises(UnsupportedModeError, match="equal length"):
                model(**later, **{CACHE: cache})


@pytest.mark.skipif("MiniCPM-V 4.7" not in KITS, reason="this transformers has no such class")
@pytest.mark.parametrize("method", METHODS)
def test_slices_share_a_canvas(method):
    """A picture's slices are images of their own, whose positions lie on one canvas."""
    kit, model = KITS["MiniCPM-V 4.7"], shared("MiniCPM-V 4.7")
    inputs = replace(kit, image=minicpm_sliced_image).inputs(
        model, [[3, "image", 5], [1, "image", 2], [4, "image", 9]]
    )
    more = forced(3)
    got, trace, *_ = run_pruned(model, METHODS[method], inputs, more)
    assert [image.row for image in trace.images] == [0, 0, 0, 1, 2]
    positions = model.model.get_rope_index(
        **{k: inputs[k] for k in ("input_ids", "target_sizes")},
        mm_token_type_ids=inputs["mm_token_type_ids"],
        attention_mask=inputs["attention_mask"],
    )[0]
    marked = inputs["mm_token_type_ids"][0] == 1
    assert len(positions[0, 0, marked].unique()) == 1
    assert max(differences(got, model, inputs, trace, more).values()) < TOLERANCE
    forget(model)


@pytest.mark.skipif("Nemotron-H Omni" not in KITS, reason="this transformers has no such class")
class TestNemotron:
    def test_a_video_beside_images_is_refused(self):
        """Of a video alone transformers 5.23 fails itself."""
        model = shared("Nemotron-H Omni")
        inputs = KITS["Nemotron-H Omni"].inputs(model, [[2, "image", 3]])
        inputs["pixel_values_videos"] = torch.randn(4, 3, 16, 16)
        with (
            pytest.raises(UnsupportedModeError, match="pixel_values_videos must not be given"),
            stsprune.prune(model, METHODS["both"]),
        ):
            model(**inputs)

    def test_no_layer_reads_positions(self):
        model = shared("Nemotron-H Omni")
        inputs = KITS["Nemotron-H Omni"].inputs(model, [[3, "image", 5]])
        logits = []
        for positions in ("original", "compact"):
            with torch.no_grad(), stsprune.prune(model, METHODS["both"], positions=positions):
                logits.append(model(**inputs).logits)
        assert torch.equal(*logits)
