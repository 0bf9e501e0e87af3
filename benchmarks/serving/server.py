"""A real `vllm serve` in a process of its own, and requests to it."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from offline import environment


class Server:
    """Address, metrics and memory of a running server."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], model: str) -> None:
        self.port, self.process, self.model = port, process, model
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> str:
        """Body of a GET."""
        with urllib.request.urlopen(self.url + path, timeout=60) as reply:
            return reply.read().decode()

    def post(self, path: str, body: dict[str, Any], timeout: float = 120) -> tuple[int, Any]:
        """(status, JSON) of a POST; an error's body is returned, not raised."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            try:
                return error.code, json.loads(text)
            except ValueError:
                return error.code, text

    def chat(self, text: str, images: list[str], **more: Any) -> tuple[int, Any]:
        """A chat of one turn; images: data URLs, before the text."""
        return self.post("/v1/chat/completions", chat_body(self.model, text, images, **more))

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric over its labels, those of `labels` given."""
        total = 0.0
        for line in self.get("/metrics").splitlines():
            head, _, value = line.rpartition(" ")
            if re.fullmatch(re.escape(name) + r"(\{.*\})?", head) and all(
                f'{key}="{one}"' in head for key, one in labels.items()
            ):
                total += float(value)
        return total

    def memory(self) -> int:
        """Resident bytes of the server and all its children."""
        parents: dict[int, list[int]] = {}
        sizes: dict[int, int] = {}
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            except (OSError, ValueError):
                continue
            number = int(status.parent.name)
            parents.setdefault(int(fields["PPid"]), []).append(number)
            sizes[number] = int(fields.get("VmRSS", "0 kB").split()[0]) * 1024
        todo, total = [self.process.pid], 0
        while todo:
            one = todo.pop()
            total += sizes.get(one, 0)
            todo += parents.get(one, [])
        return total


def chat_body(model: str, text: str, images: list[str], **more: Any) -> dict[str, Any]:
    """Body of a chat request."""
    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": one}} for one in images
    ]
    content.append({"type": "text", "text": text})
    fixed = {"temperature": 0, "max_tokens": 4, "model": model}
    return fixed | {"messages": [{"role": "user", "content": content}]} | more


def data_url(image: Any) -> str:
    """A picture as a PNG in a URL."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


@contextmanager
def serve(model: str, *flags: str, log: Path, **settings: str) -> Iterator[Server]:
    """`vllm serve MODEL FLAGS`, ready for requests; RuntimeError with its log where it dies."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        Path(sys.executable).with_name("vllm"),
        *("serve", model, "--port", str(port), "--dtype", "float32", "--enforce-eager"),
        *flags,
    ]
    variables = environment(**settings)
    variables.pop("VLLM_ENABLE_V1_MULTIPROCESSING")  # a server has its engine in another process
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=variables)
        try:
            server = Server(port, process, model)
            until = time.monotonic() + 240
            while True:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(log.read_text()[-6000:])
                try:
                    server.get("/health")
                    break
                except (OSError, urllib.error.URLError):
                    time.sleep(0.3)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
