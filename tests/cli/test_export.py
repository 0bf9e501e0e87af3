"""`stsprune export`."""

import pytest
import torch

from stsprune import load_embedded
from stsprune.checkpoints import load_checkpoint
from stsprune.embedded.load import export_hub
from stsprune.errors import InvalidArgumentError


def test_the_same_model_under_the_names_of_the_hub(tmp_path):
    from safetensors import safe_open

    folder = tmp_path / "new" / "model"
    export_hub(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = list(file.keys())
    assert any(name.startswith("vision_tower.vision_model.encoder.") for name in names)
    assert (folder / "chat_template.jinja").exists()
    model, processor = load_checkpoint(str(folder))
    shipped = load_embedded()[0].state_dict()
    assert model.state_dict().keys() == shipped.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value.float(), shipped[name].float()), name
    question = [{"role": "user", "content": "what is red ?"}]
    written = processor.apply_chat_template(question, add_generation_prompt=True)
    assert written == "<s>USER: what is red ? ASSISTANT:"
    with pytest.raises(InvalidArgumentError, match="must not exist yet"):
        export_hub(folder)
    assert not list(folder.parent.glob("*.tmp"))


def test_ask_reads_the_folder(tmp_path):
    """One `<s>`, though the template brings its own: the same prompt as the shipped model's."""
    from PIL import Image

    from stsprune.question import build_inputs

    export_hub(tmp_path / "model")
    image = Image.new("RGB", (96, 96))
    found = [
        build_inputs(*load_checkpoint(name), image, "what is red ?")["input_ids"].tolist()
        for name in (str(tmp_path / "model"), "embedded")
    ]
    assert found[0] == found[1]
