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

#: Of the page's process: this source, offline.
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(HERE.parents[1] / "src"),
    "HF_HUB_OFFLINE": "1",
}


@dataclass
class Server:
    """address: of the page; seconds, cpu_seconds: from the command to its first answer.

    calls(): lines of calls that left this machine.
    """

    address: str
    seconds: float
    cpu_seconds: float
    folder: Path
    port: int

    def calls(self) -> list[str]:
        """Lines like "connect 10.0.0.1", of calls that left this machine."""
        return (self.folder / "calls").read_text().splitlines()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def crowded() -> bool:
    """Whether others take so much of this machine that its clock says little of the page."""
    return os.getloadavg()[0] > 2 * (os.cpu_count() or 1)


def cpu_seconds(root: int) -> float:
    """CPU time so far of a process and all that it started (Linux)."""
    spent, parents = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        parents[pid], spent[pid] = int(rest[1]), int(rest[11]) + int(rest[12])

    def inside(pid: int) -> bool:
        while pid in parents and pid != root:
            pid = parents[pid]
        return pid == root

    ticks = sum(spent[pid] for pid in spent if inside(pid))
    return ticks / os.sysconf("SC_CLK_TCK")


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
            seconds = time.perf_counter() - start
            yield Server(address, seconds, cpu_seconds(process.pid), folder, port)
        finally:
            process.terminate()
            process.wait(20)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
