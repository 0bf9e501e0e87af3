"""The explorer as a Space runs it: `python app.py`. On a machine of your own: `stsprune explore`.

GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say where to listen, as a Space sets them; by default
127.0.0.1:7860. STSPRUNE_MODEL is the model: "embedded", a folder or a hub id.
"""

from __future__ import annotations

import os

from stsprune.checkpoints import EMBEDDED, load_checkpoint
from stsprune.explore.serve import HOST, PORT, open_page

if __name__ == "__main__":
    model = os.environ.get("STSPRUNE_MODEL", EMBEDDED)
    page, address, _ = open_page(
        lambda: load_checkpoint(model),
        model,
        host=os.environ.get("GRADIO_SERVER_NAME", HOST),
        port=int(os.environ.get("GRADIO_SERVER_PORT", PORT)),
    )
    print(f"stsprune explore: {address}", flush=True)
    page.block_thread()
