"""Starting the page in a process of its own, and hearing whom that process calls."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LISTENING, SLOW = HERE / "listening.py", HERE / "slow_page.py"

#: Of the page's process: this source, offline, with all cores.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"} | {
    "PYTHONPATH": str(HERE.parents[1] / "src"),
    "HF_HUB_OFFLINE": "1",
}


@dataclass
class Server:
    """address: of the page; seconds: from the command to its first answer; calls(): to others."""

    address: str
    seconds: float
    folder: Path
    port: int

    def calls(self) -> list[str]:
        """Lines like "connect 10.0.0.1", of calls that left this machine."""
        return (self.folder / "calls").read_text().splitlines()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def run_explore(folder: Path, script: list[str] | None = None) -> Iterator[Server]:
    """Start, wait for the page, end it. script: instead of the command line's own program."""
    port = free_port()
    words = script or [str(LISTENING), str(folder / "calls"), "explore", "--port"]
    env = ENVIRONMENT | {"TMPDIR": str(folder)}
    start = time.perf_counter()
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *words, str(port)], env=env, stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}/"
            while not _answers(address):
                assert process.poll() is None, (folder / "log").read_text()
                assert time.perf_counter() < start + 120, (folder / "log").read_text()
                time.sleep(0.05)
            yield Server(address, time.perf_counter() - start, folder, port)
        finally:
            process.terminate()
            process.wait(20)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
