"""Models inside of wrappers: those that pass through and those that are refused."""

from __future__ import annotations

import copy

import peft
import pytest
import torch
from differences import differences
from releases import need_this_peft
from snapshot import Snapshot
from test_families import METHODS, TOLERANCE, forced
from tiny_llava import make_inputs, make_llava
from torch.nn.parallel import DistributedDataParallel
from zoo import KITS, shared

import stsprune
from stsprune.engine.reference import masked_logits
from stsprune.engine.unwrap import unwrap
from stsprune.errors import NestedPruneError, UnsupportedModeError, UnsupportedModelError
from stsprune.method import STS

# PEFT reads a property that transformers is about to rename.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

METHOD = STS(0.3, layer=1, ratio=1.5)
ROWS = [[3, "image", 5], [7], [2, "image", 1, "image", 3]]
EVERYWHERE = ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"]
LORA = peft.LoraConfig(target_modules=["q_proj"])


def adapted(model, task=None, **settings):
    """A copy of the model with a LoRA that changes its answers."""
    torch.manual_seed(3)
    config = peft.LoraConfig(
        r=4,
        init_lora_weights=False,  # the usual start is no change at all
        task_type=task,
        **{"target_modules": EVERYWHERE} | settings,
    )
    return peft.get_peft_model(copy.deepcopy(model), config).eval()


def worst(model, inputs, method=METHOD):
    """Largest difference of the last logits to the oracles, for a call of the wrapper."""
    with torch.no_grad(), stsprune.prune(model, method) as trace:
        pruned = model(**inputs).logits[:, -1]
    nothing = forced(len(pruned))[:, :0]
    assert any(image.stages for image in trace.images)
    return max(differences(pruned[:, None], unwrap(model), inputs, trace, nothing).values())


@pytest.fixture
def group(tmp_path):
    """A group of one process."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


class TestPeft:
    @pytest.mark.parametrize("merged", [False, True], ids=["unmerged", "merged"])
    @pytest.mark.parametrize("method", METHODS)
    def test_logits(self, llava, method, merged):
        model, inputs = adapted(llava), make_inputs(ROWS)
        if merged:
            model.merge_adapter()
        before = Snapshot(model)
        assert worst(model, inputs, METHODS[method]) < TOLERANCE
        assert Snapshot(model) == before
        with torch.no_grad():  # the adapter is not without effect
            assert (model(**inputs).logits - llava(**inputs).logits).abs().max() > 0.1

    @pytest.mark.parametrize("family", KITS)
    def test_families(self, family):
        base = shared(family)
        inputs = KITS[family].inputs(base, [[3, "image", 5]])
        # PEFT knows no clipped linear layer, which is what Gemma 4's encoder is made of.
        only = {"exclude_modules": ".*vision_tower.*"} if family.startswith("Gemma 4") else {}
        if family == "Fuyu":
            only = {"target_modules": ["query_key_value", "dense"]}
        assert worst(adapted(base, **only), inputs) < TOLERANCE

    @pytest.mark.parametrize("task", [None, "CAUSAL_LM"])
    def test_generate(self, llava, task):
        model, inputs = adapted(llava, task), make_inputs(ROWS)
        before = Snapshot(model.get_base_model())  # PEFT's generate() changes its own wrapper
        with torch.no_grad(), stsprune.prune(model, METHOD) as trace:
            tokens = model.generate(**inputs, do_sample=False, max_new_tokens=6)
        assert Snapshot(model.get_base_model()) == before
        new = tokens[:, inputs["input_ids"].shape[1] :]
        logits = masked_logits(model.get_base_model(), inputs, trace, new)
        assert torch.equal(logits[:, :-1].argmax(-1), new)

    @pytest.mark.parametrize("task", [None, "CAUSAL_LM"])
    def test_generate_is_guarded(self, llava, task):
        model, inputs = adapted(llava, task), make_inputs(ROWS)
        with (
            stsprune.prune(model, METHOD),
            pytest.raises(UnsupportedModeError, match="prompt_lookup_num_tokens"),
        ):
            model.generate(**inputs, prompt_lookup_num_tokens=2)

    def test_adapter_off_inside(self, llava):
        model, inputs = adapted(llava), make_inputs(ROWS)
        with torch.no_grad(), stsprune.prune(model, METHOD), model.disable_adapter():
            off = model(**inputs).logits[:, -1]
        with torch.no_grad(), stsprune.prune(llava, METHOD):
            assert (llava(**inputs).logits[:, -1] - off).abs().max() < TOLERANCE

    def test_several_kinds_of_adapter(self, llava):
        torch.manual_seed(3)
        lora = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
        loha = peft.LoHaConfig(target_modules=["v_proj"], init_weights=False)
        model = peft.PeftMixedModel(copy.deepcopy(llava), lora, "a")
        model.add_adapter("b", loha)
        model.set_adapter(["a", "b"])
        assert worst(model.eval(), make_inputs(ROWS)) < TOLERANCE

    def test_adapter_of_transformers_itself(self):
        model = make_llava()
        need_this_peft()
        model.add_adapter(peft.LoraConfig(target_modules=EVERYWHERE, init_lora_weights=False))
        assert worst(model.eval(), make_inputs(ROWS)) < TOLERANCE

    def test_training(self, llava):
        with (
            pytest.raises(UnsupportedModeError, match="eval"),
            stsprune.prune(adapted(llava).train(), METHOD),
        ):
            pytest.fail("must not be entered")

    def test_nested(self, llava):
        model = adapted(llava)
        base = model.get_base_model()
        before = Snapshot(model)
        for outer, inner in ((base, model), (model, base), (model, model)):
            with (
                stsprune.prune(outer, METHOD),
                pytest.raises(NestedPruneError, match="already active"),
                stsprune.prune(inner, METHOD),
            ):
                pytest.fail("must not be entered")
        assert Snapshot(model) == before

    @pytest.mark.parametrize(
        ("config", "kind"),
        [
            (peft.PromptTuningConfig("CAUSAL_LM", num_virtual_tokens=3), "PROMPT_TUNING"),
            (peft.PrefixTuningConfig("CAUSAL_LM", num_virtual_tokens=3), "PREFIX_TUNING"),
            (peft.PromptEncoderConfig("CAUSAL_LM", num_virtual_tokens=3), "P_TUNING"),
        ],
    )
    def test_virtual_tokens(self, llava, config, kind):
        model = copy.deepcopy(llava)
        model.config.update(model.config.text_config.to_dict())  # what PEFT measures prompts by
        model = peft.get_peft_model(model, config).eval()
        with (
            pytest.raises(UnsupportedModelError, match=f"got {kind}: it injects virtual tokens"),
            stsprune.prune(model, METHOD),
        ):
            pytest.fail("must not be entered")

    def test_activated_lora(self, llava):
        model = adapted(llava, alora_invocation_tokens=[5, 6])
        with (
            pytest.raises(UnsupportedModelError, match="got aLoRA: it counts"),
            stsprune.prune(model, METHOD),
        ):
            pytest.fail("must not be entered")


@pytest.mark.usefixtures("group")
class TestDistributed:
    @pytest.mark.parametrize("method", METHODS)
    def test_logits(self, llava, method):
        model = DistributedDataParallel(copy.deepcopy(llava))
        before = Snapshot(model.module)
        assert worst(model.eval(), make_inputs(ROWS), METHODS[method]) < TOLERANCE
        assert Snapshot(model.module) == before

    def test_around_peft(self, llava):
        model = DistributedDataParallel(adapted(llava)).eval()
        assert worst(model, make_inputs(ROWS)) < TOLERANCE

    def test_nested(self, llava):
        model = DistributedDataParallel(copy.deepcopy(llava)).eval()
        with (
            stsprune.prune(model.module, METHOD),
            pytest.raises(NestedPruneError, match="already active"),
            stsprune.prune(model, METHOD),
        ):
            pytest.fail("must not be entered")

    def test_around_compiled(self, llava):
        model = DistributedDataParallel(torch.compile(copy.deepcopy(llava))).eval()
        with (
            pytest.raises(UnsupportedModelError, match=r"pass model\.module\._orig_mod"),
            stsprune.prune(model, METHOD),
        ):
            pytest.fail("must not be entered")


@pytest.mark.parametrize(
    ("wrap", "attribute"),
    [
        (torch.compile, "model._orig_mod"),
        (torch.nn.DataParallel, "model.module"),
        (lambda model: torch.compile(adapted(model)), "model._orig_mod"),
        (lambda model: peft.PeftModel(torch.compile(model), LORA), "model.get_base_model()._orig"),
    ],
    ids=["compiled", "DataParallel", "compiled around PEFT", "PEFT around compiled"],
)
def test_refused(llava, wrap, attribute):
    model = wrap(copy.deepcopy(llava)).eval()
    with pytest.raises(UnsupportedModelError) as error, stsprune.prune(model, METHOD):
        pytest.fail("must not be entered")
    assert f"pass {attribute}" in str(error.value)


class Stub(torch.nn.Module):
    """A wrapper with an adapter that PEFT does not make for a tiny model."""

    def __init__(self, model, config):
        super().__init__()
        self.held, self.active_peft_config = model, config

    def get_base_model(self):
        return self.held


@pytest.mark.parametrize(
    ("config", "match"),
    [
        (peft.PeftConfig(peft_type="XLORA"), "got XLORA: it mixes"),
        (peft.AdaptionPromptConfig(), "got ADAPTION_PROMPT: it puts"),
    ],
    ids=["X-LoRA", "adaption prompt"],
)
def test_other_adapters(llava, config, match):
    with (
        pytest.raises(UnsupportedModelError, match=match),
        stsprune.prune(Stub(llava, config), METHOD),
    ):
        pytest.fail("must not be entered")
