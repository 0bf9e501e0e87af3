"""Opening the page: a model, the one thread that owns it, and a server on this machine."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

from stsprune.errors import InvalidArgumentError

from . import check_extra

HOST, PORT = "127.0.0.1", 7860
MAX_UPLOAD = "64mb"
#: What the browser may load: this server's own files, and what the page itself holds. Gradio's
#: frontend makes functions of texts (`unsafe-eval`) and styles in place.
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "connect-src 'self' data: blob:; form-action 'self'; base-uri 'self'"
)


def check_port(port: int, host: str = HOST) -> None:
    """Raises InvalidArgumentError where nothing can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OverflowError:
            raise InvalidArgumentError(f"port must be in 1..65535, got {port}") from None
        except OSError as error:
            raise InvalidArgumentError(
                f"port must be a free one, got {port} ({error.strerror or error}): see --port"
            ) from None


def open_page(
    load: Callable[[], tuple[Any, Any]],
    name: str,
    *,
    host: str = HOST,
    port: int = PORT,
    browser: bool = False,
) -> tuple[Any, str]:
    """Load a model by `load`, serve its page; (the running Gradio app, its address).

    name: of the model, for people. Raises MissingExtraError, InvalidArgumentError for the port,
    and what `stsprune.prune` raises for a model that it cannot prune.
    """
    check_extra()
    check_port(port, host)
    # Read as Gradio is imported: no call home, whatever the environment says.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    importing = threading.Thread(target=_import_gradio)
    importing.start()  # two slow things at once

    from .jobs import Worker

    worker = Worker()
    explorer, grid, tokens = worker.submit(lambda job: _prepare(load, name, job)).future.result()
    importing.join()
    from starlette.middleware import Middleware

    from .page import build_page, part
    from .theme import theme

    page = build_page(explorer, worker, grid, tokens)
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        ssr_mode=False,
        footer_links=[],
        theme=theme(),
        css=part("page.css"),
        max_file_size=MAX_UPLOAD,
        state_session_capacity=32,
        app_kwargs={"middleware": [Middleware(OwnFilesOnly)]},
    )
    return page, address


def _import_gradio() -> None:
    import gradio  # noqa: F401


def _prepare(load: Callable[[], tuple[Any, Any]], name: str, job: Any) -> tuple[Any, int, int]:
    """(explorer, grid of drawn scenes, visual tokens of a picture); the first prompt warms up."""
    from .explorer import Explorer
    from .picture import drawn, scene_grid

    model, processor = load()
    explorer = Explorer(model, processor, name)
    grid = scene_grid(model)
    picture = drawn(0, grid)
    view = explorer.view(picture, picture.asked[0][0], [], job)
    explorer.forget()  # its times are of a busy start
    return explorer, grid, view["prompt"]["tokens"]


class OwnFilesOnly:
    """ASGI middleware: the browser itself refuses whatever is not from this server."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Add `POLICY` to every answer."""

        async def adding(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"content-security-policy", POLICY.encode()),
                ]
            await send(message)

        await self.app(scope, receive, adding)
