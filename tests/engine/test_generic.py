"""Adapters that the package does not prove: guessed or registered, and tried on a first prompt."""

from __future__ import annotations

import gc
import warnings

import pytest
import torch
from releases import need_repeated_pictures
from snapshot import Snapshot
from test_families import METHODS, TOLERANCE, decode, forced, forget, judged
from zoo import DEPTH, IMAGE, KITS, shared

import stsprune
from stsprune.engine import Plane, Visual, trial
from stsprune.engine.compat import CACHE
from stsprune.engine.families import REGISTERED, family_of
from stsprune.engine.families.guesses import guessed
from stsprune.engine.layout import Ids
from stsprune.errors import (
    GuessedFamilyWarning,
    InvalidArgumentError,
    InvalidTypeError,
    UnsupportedModelError,
)
from stsprune.method import STS

ROWS = [[3, "image", 5], [1, "image", 2], [4, "image", 9]]
BOTH = METHODS["both"]

pytestmark = pytest.mark.filterwarnings("ignore:family .* guesses")


@pytest.fixture
def forget_registered():
    yield
    REGISTERED.clear()


@pytest.fixture(autouse=True)
def untried():
    """No model has passed a trial yet."""
    trial._PROVEN.clear()


def stranger(family, name="Stranger"):
    """A model of a class that no adapter knows: the class's body without its name and bases."""
    model = KITS[family].build()
    known = type(model)
    model.__class__ = type(name, known.__bases__, dict(known.__dict__))
    return model


@pytest.mark.parametrize(
    "family", ["LLaVA-1.5", "Qwen2-VL", "Qwen3-VL", "InternVL 3", "Mistral 3", "LLaVA-NeXT"]
)
def test_exact_and_the_shapes_of_the_real_adapter(family):
    """LLaVA-NeXT's newlines are what cannot be known: there an image is one row."""
    model, continuation = shared(family), forced(len(ROWS))
    inputs = KITS[family].inputs(model, ROWS)
    with torch.no_grad(), stsprune.prune(model, BOTH, family="generic") as trace:
        out = model(**inputs, use_cache=True)
        got = decode(model, inputs, continuation, getattr(out, CACHE), [out.logits[:, -1]])
    assert judged(f"{family}, generic", got, model, inputs, trace, continuation) < TOLERANCE
    found = [image.visual for image in trace.images]
    with torch.no_grad(), stsprune.prune(model, BOTH) as trace:
        model(**inputs)
    assert (found == [image.visual for image in trace.images]) == (family != "LLaVA-NeXT")
    forget(model)


@pytest.mark.parametrize("family", [name for name in ("Qwen3.5", "LFM2-VL") if name in KITS])
def test_hybrids_are_judged_by_hand(family):
    model = shared(family)
    with torch.no_grad(), stsprune.prune(model, BOTH, family="generic") as trace:
        model(**KITS[family].inputs(model, ROWS))
    assert all(image.stages for image in trace.images)
    forget(model)


def test_a_video():
    model = shared("Qwen2-VL")
    inputs = KITS["Qwen2-VL"].inputs(model, [[1, "image", 2, "video", 4]])
    with torch.no_grad(), stsprune.prune(model, BOTH, family="generic") as trace:
        model(**inputs)
    assert trace.images[1].grid == (3, 2, 2)
    forget(model)


@pytest.mark.parametrize(
    ("family", "why"),
    [
        ("Gemma 3", r"differ by 0\.\d+ .* 0\.0001 is allowed"),
        ("ERNIE 4.5-VL", "IndexError"),
        ("PaliGemma", r"the unpruned model differs by|differ by \d"),
    ],
)
def test_a_model_that_it_does_not_fit_is_left_as_it_was(family, why):
    if family not in KITS:
        pytest.skip("this transformers has no such class")
    model = shared(family)
    inputs, before = KITS[family].inputs(model, ROWS), Snapshot(model)
    with torch.no_grad():
        logits = model(**inputs).logits
        forget(model)
        for call in (model, model.generate):
            with (
                pytest.raises(UnsupportedModelError, match=f"generic' does not fit .*{why}"),
                stsprune.prune(model, BOTH, family="generic"),
            ):
                call(**inputs)
            assert before == Snapshot(model)
        assert torch.equal(model(**inputs).logits, logits)
    forget(model)


class TestStrangers:
    """Classes that no adapter knows."""

    def test_refused_without_a_family(self):
        model = stranger("LLaVA-1.5")
        with (
            pytest.raises(UnsupportedModelError, match=r"Stranger\. .*family='generic'"),
            stsprune.prune(model, BOTH),
        ):
            pass

    @pytest.mark.parametrize("family", ["LLaVA-1.5", "Qwen2-VL"])
    def test_generate_equals_the_known_class(self, family):
        known, model = KITS[family].build(), KITS[family].build()
        inputs = KITS[family].inputs(known, ROWS)
        settings = {"max_new_tokens": 5, "do_sample": False}
        with stsprune.prune(known, BOTH):
            wanted = known.generate(**inputs, **settings)
        model.__class__ = type("Stranger", (type(model),), {})
        before = Snapshot(model)
        with stsprune.prune(model, BOTH, family="generic") as trace:
            got = model.generate(**inputs, **settings)
        assert torch.equal(got, wanted)
        assert all(image.stages for image in trace.images)
        assert before == Snapshot(model)

    @pytest.mark.parametrize(
        "settings", [{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}]
    )
    @pytest.mark.parametrize("family", ["LLaVA-1.5", "Qwen2-VL", "Mistral 3"])
    def test_rows_that_generate_repeats(self, family, settings):
        """The trial sees the rows repeated, the images not; it draws no random number."""
        need_repeated_pictures(several=True)
        model, told = shared(family), []
        inputs = KITS[family].inputs(model, [[3, "image", 5], [1, "image", 2, "image", 4]])
        for name in (None, "generic"):
            torch.manual_seed(0)
            with stsprune.prune(model, BOTH, family=name):
                told.append(model.generate(**inputs, max_new_tokens=4, **settings))
        assert torch.equal(*told)
        assert model in trial._PROVEN

    @pytest.mark.parametrize("options", [{"positions": "compact"}, {"reusable": True}])
    def test_options(self, options):
        known, model = KITS["LLaVA-1.5"].build(), stranger("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(known, ROWS)
        with torch.no_grad(), stsprune.prune(known, BOTH, **options):
            wanted = known(**inputs).logits
        with torch.no_grad(), stsprune.prune(model, BOTH, family="generic", **options):
            assert torch.equal(model(**inputs).logits, wanted)

    def test_another_family_by_name_is_tried_too(self):
        model = stranger("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
        with torch.no_grad(), stsprune.prune(model, BOTH, family="LLaVA-1.5") as trace:
            model(**inputs)
        assert trace.images[0].grid == (5, 5)
        assert {name for name, _ in trial._PROVEN[model]} == {"LLaVA-1.5"}

    def test_check(self):
        model = stranger("Qwen2-VL")
        inputs = KITS["Qwen2-VL"].inputs(model, ROWS)
        found = stsprune.check(model, inputs, BOTH, steps=2, rounds=1, family="generic")
        assert found.ok, found.verdict


class TestTrial:
    def count(self, model, block):
        """Calls of the first decoder layer."""
        calls = []
        layer = family_of(model, "generic").decoder(model).layers[0]
        handle = layer.register_forward_hook(lambda *_: calls.append(1))
        block()
        handle.remove()
        return len(calls)

    def test_once_per_model_and_backend(self):
        model = shared("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)

        def block():
            with torch.no_grad(), stsprune.prune(model, BOTH, family="generic"):
                model(**inputs)

        assert self.count(model, block) > 1
        assert self.count(model, block) == 1
        model.set_attn_implementation("eager")
        assert self.count(model, block) > 1
        model.set_attn_implementation("sdpa")
        assert self.count(model, block) == 1

    def test_not_for_a_proven_family(self):
        model = shared("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)

        def block():
            with torch.no_grad(), stsprune.prune(model, BOTH):
                model(**inputs)

        assert self.count(model, block) == 1

    def test_a_prompt_that_drops_nothing_proves_nothing(self):
        model = shared("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
        with torch.no_grad(), stsprune.prune(model, STS(400), family="generic"):
            model(**inputs)
            model(**inputs)
        assert model not in trial._PROVEN

    def test_a_fault_of_the_engine_is_noticed(self, monkeypatch):
        """A control: what the trial must refuse, whatever the adapter."""
        from stsprune.engine.passes import prefill

        def shifted(states, index):
            index = index.roll(1, 1)[..., None]
            return states.gather(1, index.expand(-1, -1, states.shape[-1]))

        monkeypatch.setattr(prefill, "take_rows", shifted)
        model = shared("LLaVA-1.5")
        with (
            pytest.raises(UnsupportedModelError, match="differ by"),
            torch.no_grad(),
            stsprune.prune(model, BOTH, family="generic"),
        ):
            model(**KITS["LLaVA-1.5"].inputs(model, ROWS))

    def test_half_precision_has_noise(self):
        model = KITS["LLaVA-1.5"].build().to(torch.bfloat16)
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
        inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
        with torch.no_grad(), stsprune.prune(model, BOTH, family="generic"):
            model(**inputs)
        assert model in trial._PROVEN

    def test_a_second_turn_may_bring_the_first_image(self):
        model, kit = shared("LLaVA-1.5"), KITS["LLaVA-1.5"]
        inputs = kit.inputs(model, [[6, "image", 5]])
        head, tail = inputs["input_ids"][:, :4], inputs["input_ids"][:, 4:]
        runs = []
        for name in (None, "generic"):
            with torch.no_grad(), stsprune.prune(model, BOTH, family=name):
                cache = getattr(model(input_ids=head, use_cache=True), CACHE)
                more = {"input_ids": tail, "attention_mask": inputs["attention_mask"]}
                pixels = {"pixel_values": inputs["pixel_values"]}
                runs.append(model(**more, **pixels, **{CACHE: cache}).logits)
        assert torch.equal(*runs)

    def test_the_inner_model_alone_cannot_judge(self):
        model = shared("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
        with torch.no_grad(), stsprune.prune(model, BOTH, family="generic"):
            with pytest.raises(UnsupportedModelError, match="must be called itself the first time"):
                model.model(**inputs)
            model(**inputs)
            model.model(**inputs)

    def test_pixels_under_another_name(self):
        model = shared("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
        inputs["images"] = inputs.pop("pixel_values")
        with (
            pytest.raises(UnsupportedModelError, match=r"finds no images: .*got .*images"),
            stsprune.prune(model, BOTH, family="generic"),
        ):
            model(**inputs)

    def test_the_models_own_errors_stay_its_own(self):
        model = shared("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
        inputs["pixel_values"] = inputs["pixel_values"][:1]
        with (
            pytest.raises(ValueError, match=r"[Ii]mage features and image tokens do not match"),
            stsprune.prune(model, BOTH, family="generic"),
        ):
            model(**inputs)

    def test_no_model_is_kept_alive(self):
        model = KITS["LLaVA-1.5"].build()
        with torch.no_grad(), stsprune.prune(model, BOTH, family="generic"):
            model(**KITS["LLaVA-1.5"].inputs(model, ROWS))
        assert len(trial._PROVEN) == 1
        del model
        gc.collect()
        assert not trial._PROVEN


@pytest.mark.filterwarnings("error")
class TestWarning:
    @pytest.mark.filterwarnings("default:family .* guesses")
    def test_of_the_one_who_guesses(self):
        model = shared("LLaVA-1.5")
        with (
            pytest.warns(GuessedFamilyWarning, match="newline and separator tokens") as seen,
            stsprune.prune(model, BOTH, family="generic"),
        ):
            pass
        assert [warning.filename for warning in seen] == [__file__]

    def test_not_of_one_who_knows(self, forget_registered):
        model = stranger("LLaVA-1.5")
        stsprune.register_family("Known", "Stranger", lambda *_: [(5, 5)])
        with stsprune.prune(model, BOTH):
            pass


@pytest.mark.usefixtures("forget_registered")
class TestRegister:
    def test_by_class_and_by_name(self):
        model = stranger("Qwen2-VL")
        stsprune.register_family("Mine", type(model))
        inputs = KITS["Qwen2-VL"].inputs(model, ROWS)
        for given in ({}, {"family": "Mine"}):
            with torch.no_grad(), stsprune.prune(model, BOTH, **given) as trace:
                model(**inputs)
            assert trace.images[0].grid == (3, 4)
        assert family_of(model).rotary_axes == 3
        assert family_of(model).modalities == ("image", "video")

    def test_what_is_stated_stands(self):
        model = stranger("Qwen2-VL")

        def grids(model, modality, arguments, ids):
            return [(h // 2, w // 2) for _, h, w in arguments["image_grid_thw"].tolist()]

        stsprune.register_family(
            "Mine",
            ["Stranger", "Other"],
            grids,
            modalities=("image",),
            token_ids=lambda model: {"image": IMAGE},
            inner=lambda model: model.model,
            decoder=lambda model: model.model.language_model,
        )
        family = family_of(model)
        assert family.modalities == ("image",)
        assert family.rotary_axes == 3
        with torch.no_grad(), stsprune.prune(model, BOTH) as trace:
            model(**KITS["Qwen2-VL"].inputs(model, ROWS))
        assert trace.images[0].grid == (3, 4)

    def test_blocks_make_gemma_fit(self):
        """What the generic adapter is refused for can be stated."""
        model = stranger("Gemma 3")
        known = family_of(shared("Gemma 3"))
        stsprune.register_family("Blocks", "Stranger", lambda *_: [(3, 3)] * 3, blocks=known.blocks)
        inputs = KITS["Gemma 3"].inputs(model, ROWS)
        with torch.no_grad(), stsprune.prune(model, BOTH):
            model(**inputs)
        assert model in trial._PROVEN

    def test_models_lists_it(self):
        from typer.testing import CliRunner

        from stsprune.cli.app import app

        stsprune.register_family("Mine", "MyVLM")
        text = CliRunner().invoke(app, ["models", "--json"]).stdout
        assert '"Mine"' in text
        assert '"its first prompt"' in text

    @pytest.mark.parametrize("name", ["LLaVA-1.5", "Mine", "generic"])
    def test_a_name_that_is_taken(self, name):
        stsprune.register_family("Mine", "MyVLM")
        with pytest.raises(InvalidArgumentError, match=f"name must be new, '{name}' is one of"):
            stsprune.register_family(name, "AnotherVLM")
        assert list(REGISTERED) == ["MyVLM"]

    @pytest.mark.parametrize("taken", ["MyVLM", "LlavaForConditionalGeneration"])
    def test_a_class_that_is_taken(self, taken):
        stsprune.register_family("Mine", "MyVLM")
        with pytest.raises(InvalidArgumentError, match=f"no adapter yet, {taken} has that of"):
            stsprune.register_family("Yours", ["New", taken])
        assert list(REGISTERED) == ["MyVLM"]

    @pytest.mark.parametrize("classes", [int, torch.nn.Linear(1, 1), None, "not a name", 3, [str]])
    def test_no_model_class(self, classes):
        with pytest.raises(InvalidTypeError, match="classes must be model classes"):
            stsprune.register_family("Mine", classes)

    def test_no_class_at_all(self):
        with pytest.raises(InvalidArgumentError, match="at least one class"):
            stsprune.register_family("Mine", [])

    @pytest.mark.parametrize("name", ["", "  ", 3, None])
    def test_no_name(self, name):
        with pytest.raises(InvalidTypeError, match="name must be a string"):
            stsprune.register_family(name, "MyVLM")

    @pytest.mark.parametrize(
        ("facts", "error", "message"),
        [
            ({"axes": 3}, InvalidArgumentError, "facts must be among .*rotary_axes.*got 'axes'"),
            ({"rotary_axes": -1}, InvalidTypeError, "rotary_axes must be an int >= 0, got -1"),
            ({"rotary_axes": True}, InvalidTypeError, "rotary_axes must be an int >= 0, got True"),
            ({"modalities": ("audio",)}, InvalidTypeError, r"modalities must be \('image',\)"),
            (
                {"decoder": "text"},
                InvalidTypeError,
                "decoder must be a function of the model",
            ),
            ({"per_token": "kinds"}, InvalidTypeError, "per_token must be a tuple of names"),
            ({"visuals": 3}, InvalidTypeError, "visuals must be a function or None, got int"),
        ],
    )
    def test_wrong_facts(self, facts, error, message):
        with pytest.raises(error, match=message):
            stsprune.register_family("Mine", "MyVLM", **facts)
        assert not REGISTERED

    @pytest.mark.parametrize("shape", [(5,), 25, "5x5", (5, 0), (1, 5, 5, 5), None])
    def test_a_wrong_shape(self, shape):
        model = stranger("LLaVA-1.5")
        stsprune.register_family("Mine", "Stranger", lambda *_: [shape] * 3)
        with (
            pytest.raises(InvalidTypeError, match=r"visuals of family 'Mine' must give \(H, W\)"),
            stsprune.prune(model, BOTH),
        ):
            model(**KITS["LLaVA-1.5"].inputs(model, ROWS))

    def test_a_shape_that_does_not_fit_the_prompt(self):
        model = stranger("LLaVA-1.5")
        stsprune.register_family("Mine", "Stranger", lambda *_: [(5, 4)] * 3)
        with (
            pytest.raises(InvalidArgumentError, match=r"must hold 60 image tokens .* got 75"),
            stsprune.prune(model, BOTH),
        ):
            model(**KITS["LLaVA-1.5"].inputs(model, ROWS))


class TestBadFamily:
    @pytest.mark.parametrize("name", ["Qwen9", ""])
    def test_unknown_name(self, name):
        with (
            pytest.raises(InvalidArgumentError, match=r"family must be one of .*LLaVA-1\.5.*gen"),
            stsprune.prune(shared("LLaVA-1.5"), BOTH, family=name),
        ):
            pass

    def test_unknown_name_lists_the_registered(self, forget_registered):
        stsprune.register_family("Mine", "MyVLM")
        with (
            pytest.raises(InvalidArgumentError, match=r"family must be one of .*Mine.*got 'Yours'"),
            stsprune.prune(shared("LLaVA-1.5"), BOTH, family="Yours"),
        ):
            pass

    def test_no_name(self):
        with (
            pytest.raises(InvalidTypeError, match="family must be a name or None, got int"),
            stsprune.prune(shared("LLaVA-1.5"), BOTH, family=3),
        ):
            pass

    def test_cross_attention_has_nothing_to_guess(self):
        mllama = type("MllamaForConditionalGeneration", (torch.nn.Module,), {})()
        with pytest.raises(UnsupportedModelError, match=r"generic'; got Mllama.*cross-attention"):
            family_of(mllama, "generic")

    def test_no_parts(self):
        with pytest.raises(UnsupportedModelError, match="text decoder with `layers`"):
            family_of(torch.nn.Linear(1, 1), "generic")

    def test_no_id(self):
        model = stranger("LLaVA-1.5")
        model.config.image_token_id = None
        with pytest.raises(UnsupportedModelError, match="config must have image_token_id"):
            family_of(model, "generic")

    def test_no_placeholders(self):
        model = shared("LLaVA-1.5")
        inputs = KITS["LLaVA-1.5"].inputs(model, ROWS)
        inputs["input_ids"] = inputs["input_ids"].masked_fill(inputs["input_ids"] == IMAGE, 5)
        with (
            pytest.raises((ValueError, InvalidArgumentError)),
            stsprune.prune(model, BOTH, family="generic"),
        ):
            model(**inputs)


class Model:
    """What guesses read of a model."""

    def __init__(self, **vision):
        self.config = type("Config", (), {"vision_config": type("Vision", (), vision)()})()


class TestGuesses:
    """Token 9 is the placeholder."""

    def guess(self, rows, modality="image", model=None, **arguments):
        ids = torch.tensor(rows)
        found = guessed(model or Model(), modality, arguments, Ids(ids, ids != 0, ids.device), 9)
        return list(found)

    def test_grids(self):
        row = [1, *[9] * 6, 2, *[9] * 4, 3]
        grids = torch.tensor([[1, 4, 6], [1, 4, 4]])
        wanted = [Visual((Plane((2, 3)),)), Visual((Plane((2, 2)),))]
        assert self.guess([row], image_grid_thw=grids) == wanted
        assert self.guess([row], image_grid_hw=grids[:, 1:].tolist()) == wanted
        # Beams: the rows are repeated, the grids are not.
        assert self.guess([row, row], image_grid_thw=grids) == wanted

    def test_a_merge_that_the_config_tells(self):
        row = [1, *[9] * 4, 2]
        grids = torch.tensor([[1, 6, 6]])
        fourth = self.guess([row], model=Model(spatial_merge_size=3), image_grid_thw=grids)
        assert fourth == [Visual((Plane((2, 2)),))]

    def test_frames(self):
        row = [1, *[9] * 12, 2]
        plane = Plane((2, 3))
        found = self.guess([row], "video", video_grid_thw=torch.tensor([[2, 4, 6]]))
        assert found == [Visual((plane, plane), stacked=True, video=True)]

    def test_sizes_in_pixels(self):
        row = [1, 9, 9, 9, 2, 9, 9, 9, 3]  # rows of a picture with a break between
        found = self.guess([row], model=Model(patch_size=4), image_sizes=torch.tensor([[16, 24]]))
        assert found == [Visual((Plane((2, 3)),))]

    def test_pictures_of_one_size(self):
        row = [1, *[9] * 6, 2, *[9] * 12, 3]
        found = self.guess([row], pixel_values=(3, 3, 20, 30))
        assert found == [
            Visual((Plane((2, 3)),)),
            Visual((Plane((2, 3)),) * 2, stacked=True),
        ]

    def test_numbers_of_tiles(self):
        """Two images without a token between them are one run."""
        row = [1, *[9] * 18, 3]
        told = self.guess([row], pixel_values=(3, 3, 20, 30), num_patches=torch.tensor([1, 2]))
        assert told == [Visual((Plane((2, 3)),)), Visual((Plane((2, 3)),) * 2, stacked=True)]
        alone = self.guess([row], pixel_values=(3, 3, 20, 30))
        assert alone == [Visual((Plane((2, 3)),) * 3, stacked=True)]

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"image_grid_thw": torch.tensor([[1, 5, 7]])},
            {"image_sizes": torch.tensor([[640, 480]])},
            {"pixel_values": (1, 3, 20, 30)},
            {"pixel_values": (40, 48)},
        ],
    )
    def test_in_a_row_where_nothing_fits(self, arguments):
        found = self.guess([[1, *[9] * 7, 2, *[9] * 5, 3]], model=Model(patch_size=4), **arguments)
        assert found == [Visual((Plane((1, 7)),)), Visual((Plane((1, 5)),))]

    def test_images_that_would_lie_across_rows(self):
        rows = [[9, 9, 9, 9, 9, 2], [9, 2, 2, 2, 2, 2]]
        found = self.guess(rows, image_grid_thw=torch.tensor([[1, 2, 6], [1, 2, 6]]))
        assert found == [Visual((Plane((1, 5)),)), Visual((Plane((1, 1)),))]


def test_generic_costs_no_depth():
    """The decoder that is found is the whole one."""
    for family in ("LLaVA-1.5", "Qwen2-VL", "Idefics3"):
        model = shared(family)
        assert len(family_of(model, "generic").decoder(model).layers) == DEPTH
        assert family_of(model, "generic").inner(model) is family_of(model).inner(model)
        assert family_of(model, "generic").token_ids(model) == family_of(model).token_ids(model)


def test_warnings_are_shown_by_default():
    with warnings.catch_warnings(record=True) as seen:
        warnings.resetwarnings()
        warnings.simplefilter("default")
        with stsprune.prune(shared("LLaVA-1.5"), BOTH, family="generic"):
            pass
    assert [warning.category for warning in seen] == [GuessedFamilyWarning]
