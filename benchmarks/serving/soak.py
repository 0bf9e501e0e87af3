"""Mixed requests at concurrency 16: errors, wrong cache hits, and what a server keeps of them.

Run in the environment of `make test-vllm`:
    python benchmarks/serving/soak.py --out docs/data/serving-soak.json
Every answer is compared with that of a server of the same settings that has no caches and is asked
one question at a time. The cache of processed pictures is small, so that it is full early: what
grows after that is a leak.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broken import BROKEN, bomb, png_url
from offline import picture
from record import record
from server import Server, chat_body, data_url, serve

SETTINGS: dict[str, dict[str, str]] = {
    "unpruned": {},
    "structure": {"STSPRUNE_BUDGET": "48"},
}
FLAGS = ("--max-model-len", "1024", "--block-size", "32", "--limit-mm-per-prompt", '{"image": 3}')
CACHED = ("--mm-processor-cache-gb", "0.02", "--enable-log-requests")
UNCACHED = ("--mm-processor-cache-gb", "0", "--no-enable-prefix-caching")
COUNTS = {
    "one image": 150,
    "several images": 60,
    "no image": 40,
    "same image": 100,
    "aborted": 60,
    "broken image": 50,
    "too large image": 40,
}
FAULTS = ("broken image", "too large image")


@dataclass(frozen=True)
class Request:
    """A chat of one turn; images: data URLs."""

    kind: str
    text: str
    images: tuple[str, ...] = ()


def requests(seed: int) -> list[Request]:
    """A shuffled round of `COUNTS`; another seed shows other pictures."""
    from stsprune.embedded.questions import questions as ask
    from stsprune.embedded.scenes import scene

    rng = random.Random(seed)

    def shown(number: int, size: tuple[int, int] | None = None) -> str:
        image = picture({"scene": number})
        return data_url(image if size is None else image.resize(size))

    def side() -> int:
        return int(2 ** rng.uniform(4, 10))

    out = []
    for kind, count in COUNTS.items():
        for number in range(count):
            at = 1000 * seed + (number % 5 if kind == "same image" else rng.randrange(1000))
            asked = ask(scene("test", at, 12), 3)
            text = asked[number // 5 % len(asked)].text
            if kind == "no image":
                images: tuple[str, ...] = ()
            elif kind == "several images":
                images = tuple(shown(at + i, (side(), side())) for i in range(rng.choice([2, 3])))
            elif kind == "one image":
                images = (shown(at, (side(), side())),)
            elif kind == "broken image":
                images = (png_url(BROKEN[number % len(BROKEN)]),)
            elif kind == "too large image":
                images = (png_url(bomb()),)
            else:
                images = (shown(at),)
            out.append(Request(kind, text, images))
    rng.shuffle(out)
    return out


def ask(server: Server, request: Request) -> tuple[int, str]:
    """(status, answer); an aborted request's connection is closed while tokens arrive."""
    if request.kind == "aborted":
        abort(server, request)
        return 0, ""
    status, reply = server.chat(request.text, list(request.images), max_tokens=2)
    return status, reply["choices"][0]["message"]["content"] if status == 200 else str(reply)[:200]


def abort(server: Server, request: Request) -> None:
    body = chat_body(server.model, request.text, list(request.images))
    body |= {"stream": True, "max_tokens": 500, "ignore_eos": True}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request(
        "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
    )
    connection.getresponse().read(1)
    connection.close()


def megabytes(server: Server) -> int:
    """Resident, once nothing runs any more."""
    until = time.monotonic() + 60
    while server.metric("vllm:num_requests_running") and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(2)
    return round(server.memory() / 1e6)


def soak(model: str, folder: Path, name: str, rounds: int) -> dict[str, Any]:
    """Counts, answers and memory of a server under `rounds` rounds."""
    settings = SETTINGS[name]
    sent = [requests(seed) for seed in range(rounds)]
    log = folder / f"{name}.log"
    with serve(model, *FLAGS, *CACHED, log=log, **settings) as server:
        memory, pairs = [megabytes(server)], []
        with ThreadPoolExecutor(16) as pool:
            for one in sent:
                replies = pool.map(lambda request: ask(server, request), one)
                pairs += zip(one, replies, strict=True)
                memory.append(megabytes(server))
                print(name, memory, file=sys.stderr)
        found = {
            "aborted_says_the_log": len(re.findall(r"Request \S+ aborted", log.read_text())),
            "prefix_cache_hits": int(server.metric("vllm:prefix_cache_hits_total")),
            "picture_cache_hits": int(server.metric("vllm:mm_cache_hits_total")),
            "running_at_the_end": int(server.metric("vllm:num_requests_running")),
            "waiting_at_the_end": int(server.metric("vllm:num_requests_waiting")),
            "kv_cache_in_use_at_the_end": server.metric("vllm:kv_cache_usage_perc"),
            "megabytes_after_each_round": memory,
        }
    statuses = Counter((request.kind, status) for request, (status, _) in pairs)
    wanted = {"aborted": 0} | dict.fromkeys(FAULTS, 400)
    unexpected = Counter(
        f"{request.kind}: {status} {text}"
        for request, (status, text) in pairs
        if status != wanted.get(request.kind, 200)
    )
    answered = [(request, text) for request, (status, text) in pairs if status == 200]
    with serve(model, *FLAGS, *UNCACHED, log=log, **settings) as server:
        alone = {request: ask(server, request)[1] for request, _ in answered}
    return {
        "settings": settings,
        "requests": len(pairs),
        "statuses": {f"{kind}: {status}": n for (kind, status), n in sorted(statuses.items())},
        "unexpected": unexpected,
        "answers_compared": len(answered),
        "answers_that_differ": sum(alone[request] != text for request, text in answered),
    } | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--rounds", type=int, default=4, help="of 500 requests each")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    from stsprune.embedded.load import export_hub

    with tempfile.TemporaryDirectory() as at:
        folder = Path(at)
        export_hub(folder / "model")
        rows = {
            name: soak(str(folder / "model"), folder, name, options.rounds)
            for name in options.settings.split(",")
        }
    record(options.out, concurrency=16, rows=rows)


if __name__ == "__main__":
    main()
