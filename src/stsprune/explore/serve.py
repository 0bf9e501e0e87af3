"""Opening the page: a model, the one thread that owns it, and a server on this machine."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from stsprune.errors import InvalidArgumentError

from . import check_extra
from .backend import Backend, prepare
from .jobs import Worker

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
) -> tuple[Any, str, Future[Backend]]:
    """Serve a model's page: (the running Gradio app, its address, when the model is ready).

    The page is there at once; `load` runs behind it, and the future has its errors and those of
    `stsprune.prune` for a model that it cannot prune. name: of the model, for people. Raises
    MissingExtraError and InvalidArgumentError for the port.
    """
    check_extra()
    check_port(port, host)
    # Read as Gradio is imported: no call home, whatever the environment says.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from starlette.middleware import Middleware

    from .page import build_page, part
    from .theme import theme

    worker, loading = Worker(), Gate()
    job = worker.submit(lambda job: prepare(loading.passed(load), name, job))
    page = build_page(worker, job.future, name)
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
    loading.open()
    return page, address, job.future


class Gate:
    """Holds the model's loading back until the page is served: both need the interpreter."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        """Let everybody through."""
        self._event.set()

    def passed(self, load: Callable[[], Any]) -> Callable[[], Any]:
        """`load`, once the gate is open."""
        self._event.wait()
        return load


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
