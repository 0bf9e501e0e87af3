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
    assert processor.chat_template
    with pytest.raises(InvalidArgumentError, match="must not exist yet"):
        export_hub(folder)
    assert not list(folder.parent.glob("*.tmp"))
