"""Backends, devices and streaming: the same answer, or an error that says what to do."""

from __future__ import annotations

import pytest
import torch
from differences import differences
from releases import need_repeated_grids, need_repeated_pictures, need_todays_beams
from snapshot import Snapshot
from test_families import METHODS, TOLERANCE, forced, run_pruned
from transformers import TextStreamer
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flash_attention_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from zoo import KITS, PATTERNED, SLIDING, enough, shared

import stsprune
from stsprune.engine.families import FAMILIES, family_of
from stsprune.errors import InvalidTypeError, UnsupportedModeError
from stsprune.method import STS

METHOD = STS(0.3, layer=1, ratio=1.5)
RAGGED = [[3, "image", 5], [7], [2, "image", 1, "image", 3]]
ROWS = {"one": [["image", 5]], "ragged": RAGGED}
FLASH = "flash_attention_emulated"


def emulated_flash(module, query, key, value, mask, scaling=None, sliding_window=None, **kwargs):
    """What FlashAttention computes: aligned at the end, padding as a 2-D mask, packed positions.

    It has no other mask: a 4-D one is refused. Positions of a single row that do not count on by
    one are read as packed sequences, as transformers does.
    """
    assert mask is None or (mask.ndim == 2 and mask.shape[1] == key.shape[2])
    length, total = query.shape[2], key.shape[2]
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
    row = torch.arange(total - length, total)[:, None]
    column = torch.arange(total)[None]
    allowed = (column <= row)[None, None]
    if sliding_window is not None:
        allowed = allowed & (column > row - sliding_window)
    positions = kwargs.get("position_ids")
    if positions is not None and query.shape[0] == 1 and length == total:
        flat = positions.reshape(-1, length)[0]
        starts = torch.cat([flat.new_zeros(1, dtype=torch.bool), flat.diff() != 1])
        pack = starts.cumsum(0)
        allowed = allowed & (pack[:, None] == pack[None])
    if mask is not None:
        allowed = allowed & mask[:, None, None].bool()
    allowed = allowed | (column == row)
    scores = (query @ key.transpose(-1, -2) * scaling).masked_fill(~allowed, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2), None


@pytest.fixture
def flash():
    """The family's model with the emulated backend in its language model."""
    ALL_ATTENTION_FUNCTIONS.register(FLASH, emulated_flash)
    ALL_MASK_ATTENTION_FUNCTIONS.register(FLASH, flash_attention_mask)
    changed = []

    def build(name):
        model = shared(name)
        config = family_of(model).decoder(model).config
        changed.append((config, config._attn_implementation_internal))
        config._attn_implementation_internal = FLASH
        return model

    yield build
    for config, backend in changed:
        config._attn_implementation_internal = backend
    for registry in (ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS):
        type(registry)._global_mapping.pop(FLASH)


#: Text models that scale queries by positions, which FlashAttention must not be given.
SCALED = ("Mistral 3, Ministral 3", "Mistral 3, Mistral 4")


FLASHING = [name for name in KITS if name not in {*PATTERNED, *SCALED}]


@pytest.mark.parametrize(("family", "method", "rows"), enough(FLASHING, list(METHODS), list(ROWS)))
def test_flash_attention_by_its_code_path(flash, family, method, rows):
    kit, plain = KITS[family], shared(family)
    inputs, continuation = kit.inputs(plain, ROWS[rows]), forced(len(ROWS[rows]))
    model = flash(family)
    got, trace, *_ = run_pruned(model, METHODS[method], inputs, continuation)
    family_of(model).decoder(model).config._attn_implementation_internal = "sdpa"
    assert max(differences(got, model, inputs, trace, continuation).values()) < TOLERANCE


@pytest.mark.parametrize("family", SCALED)
def test_flash_attention_is_refused_where_queries_are_scaled(flash, family):
    with (
        pytest.raises(UnsupportedModeError, match="must be 'sdpa' or 'eager' for m"),
        stsprune.prune(flash(family), METHODS["both"]),
    ):
        pass


@pytest.mark.parametrize("family", PATTERNED)
def test_flash_attention_refuses_patterns(flash, family):
    model = flash(family)
    inputs = KITS[family].inputs(model, [[3, "image", 5]])
    before = Snapshot(model)
    with (
        pytest.raises(UnsupportedModeError, match="attn_implementation must be 'sdpa' or 'eager'"),
        torch.no_grad(),
        stsprune.prune(model, METHOD),
    ):
        model(**inputs)
    assert Snapshot(model) == before


def test_flex_attention_is_refused(flash):
    model = flash("LLaVA-1.5")
    family_of(model).decoder(model).config._attn_implementation_internal = "flex_attention"
    with (
        pytest.raises(UnsupportedModeError, match="got 'flex_attention'"),
        stsprune.prune(model, METHOD),
    ):
        pytest.fail("must not be entered")


def test_tensor_parallel_is_refused(monkeypatch):
    model = shared("LLaVA-1.5")
    monkeypatch.setattr(model, "_tp_size", 2, raising=False)
    with (
        pytest.raises(UnsupportedModeError, match=r"tensor parallelism \(tp_size=2\)"),
        stsprune.prune(model, METHOD),
    ):
        pytest.fail("must not be entered")


class Words(TextStreamer):
    """Collects token ids instead of printing words."""

    def __init__(self):
        self.seen = []

    def put(self, value):
        self.seen += value.flatten().tolist()

    def end(self):
        self.seen.append("end")


@pytest.mark.parametrize("family", KITS)
def test_streaming(family):
    model = shared(family)
    inputs = KITS[family].inputs(model, [[3, "image", 5]])
    words = Words()
    with stsprune.prune(model, METHOD):
        out = model.generate(**inputs, max_new_tokens=5, do_sample=False, streamer=words)
    assert words.seen == [*out[0].tolist(), "end"]


@pytest.mark.parametrize("family", [name for name, kit in KITS.items() if kit.beams])
def test_sampling_and_several_sequences(family):
    need_repeated_pictures(several=family == "InternVL 3")
    need_todays_beams(KITS[family].lean)
    need_repeated_grids(family)
    model = shared(family)
    inputs = KITS[family].inputs(model, [[3, "image", 5], [2, "image", 1]])
    options = {"max_new_tokens": 4, "do_sample": True, "top_k": 1}
    with stsprune.prune(model, METHOD):
        greedy = model.generate(**inputs, **(options | {"do_sample": False, "top_k": None}))
        sampled = model.generate(**inputs, **options, num_return_sequences=2)
    assert torch.equal(sampled, greedy.repeat_interleave(2, 0))


@pytest.mark.parametrize("family", ["LLaVA-1.5", "Qwen2.5-VL", "Qwen3-VL", "Gemma 3"])
def test_a_model_spread_by_accelerate(family):
    """Its hooks replace every module's forward and move what the layers are given."""
    accelerate = pytest.importorskip("accelerate")
    model = KITS[family].build("sdpa")
    inputs, continuation = KITS[family].inputs(model, RAGGED), forced(3)
    model(**inputs)
    names = [name for name, _ in model.named_children()]
    accelerate.dispatch_model(model, dict.fromkeys(names, "cpu"), force_hooks=True)
    decoder = model.get_decoder()
    for layer in decoder.layers:
        hook = accelerate.hooks.AlignDevicesHook("cpu", io_same_device=True)
        accelerate.hooks.add_hook_to_module(layer, hook)
    got, trace, *_ = run_pruned(model, METHOD, inputs, continuation)
    assert max(differences(got, model, inputs, trace, continuation).values()) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("input_ids", lambda ids: ids.float(), "input_ids must be integers"),
        ("input_ids", lambda ids: ids[0], "input_ids must be integers"),
        ("attention_mask", lambda mask: mask.tolist(), "attention_mask must be a tensor"),
        ("pixel_values", lambda pixels: pixels.byte(), "pixel_values must be floating point"),
    ],
)
@pytest.mark.parametrize("generate", [False, True])
def test_types_of_inputs(name, change, match, generate):
    model = shared("LLaVA-1.5")
    inputs = KITS["LLaVA-1.5"].inputs(model, [[3, "image", 5]])
    inputs[name] = change(inputs[name])
    before = Snapshot(model)
    with pytest.raises(InvalidTypeError, match=match), stsprune.prune(model, METHOD):
        model.generate(**inputs) if generate else model(**inputs)
    assert Snapshot(model) == before


@pytest.mark.parametrize("family", KITS)
def test_a_cut_prompt_is_refused(family):
    """A prompt whose image was cut off names the argument; so does one of another family."""
    model = shared(family)
    inputs = KITS[family].inputs(model, [[3, "image", 5]])
    for name in ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"):
        if name in inputs:
            inputs[name] = inputs[name][:, 9:]
    before = Snapshot(model)
    with (
        torch.no_grad(),
        pytest.raises(stsprune.StsPruneError, match="input_ids must hold"),
        stsprune.prune(model, METHOD),
    ):
        model(**inputs)
    assert Snapshot(model) == before


ONE_AXIS = [name for name, kit in KITS.items() if FAMILIES[kit.model].rotary_axes == 1]
#: Their decoder needs more than embeddings: blocks, deepstack, a model without head.
NOT_ALONE = ("Molmo 2", "Granite Docling", "Granite 4 Vision", "Llama 4")
ALONE = [name for name in ONE_AXIS if name not in {*SLIDING, *NOT_ALONE}]


@pytest.mark.parametrize(
    "family", [name for name in ONE_AXIS if name not in {*SLIDING, *NOT_ALONE}]
)
def test_compact_is_a_decoder_fed_the_kept_embeddings(family):
    """Left out: sliding windows count the original distance under either setting."""
    model = shared(family)
    inputs = KITS[family].inputs(model, [[3, "image", 5, "image", 2]])
    decoder, seen = model.get_decoder(), {}

    def look(module, args, kwargs, output):
        seen.update(fed=kwargs["inputs_embeds"], out=output.last_hidden_state)

    method = STS(0.4, semantics=False)
    with torch.no_grad(), stsprune.prune(model, method, positions="compact"):
        handle = decoder.register_forward_hook(look, with_kwargs=True)
        try:
            model(**inputs)
        finally:
            handle.remove()
        fed = seen["fed"]
    with torch.no_grad():
        alone = decoder(inputs_embeds=fed).last_hidden_state
    assert fed.shape[1] < inputs["input_ids"].shape[1]
    assert (alone - seen["out"]).abs().max() < TOLERANCE
