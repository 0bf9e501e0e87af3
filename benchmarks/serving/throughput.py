"""Requests per second, pruned and unpruned, by vLLM's own client: `vllm bench serve`.

Run in the environment of `make test-vllm`:
    python benchmarks/serving/throughput.py --out docs/data/serving-throughput.json
Both servers are up at once and take turns, so that a slow minute of the machine hits both. No
picture is asked about twice: nothing comes from a cache but the first words.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from offline import environment, picture
from record import record
from server import Server, data_url, serve
from wide import write_wide

#: model -> (visual tokens, side of a picture)
MODELS = {"embedded": (144, 96), "wide": (576, 192)}
WORDS = "what character is on the red star ?"


def write_model(name: str, folder: Path) -> None:
    """Weights and processor of one of `MODELS`."""
    if name == "wide":
        write_wide(folder)
    else:
        from stsprune.embedded.load import export_hub

        export_hub(folder)


def write_requests(file: Path, side: int, first: int, count: int) -> None:
    """Pictures number `first` and on, each with the same question, as the client reads them."""
    with file.open("w") as out:
        for number in range(first, first + count):
            url = data_url(picture({"size": [side, side], "seed": number}))
            content = [{"type": "image", "image": url}, {"type": "text", "text": WORDS}]
            out.write(json.dumps({"content": content}) + "\n")


def bench(server: Server, requests: Path, count: int, tokens: int) -> dict[str, Any]:
    """What `vllm bench serve` says of `count` requests, 8 at a time."""
    result = requests.with_suffix(".result.json")
    command = [
        *(Path(sys.executable).with_name("vllm"), "bench", "serve", "--model", server.model),
        *("--backend", "openai-chat", "--endpoint", "/v1/chat/completions"),
        *("--base-url", server.url, "--dataset-name", "custom_image", "--dataset-path", requests),
        *("--num-prompts", str(count), "--max-concurrency", "8", "--disable-tqdm"),
        *("--custom-output-len", str(tokens), "--ignore-eos", "--temperature", "0"),
        *("--save-result", "--result-dir", result.parent, "--result-filename", result.name),
    ]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    if not result.exists():
        raise RuntimeError((done.stdout + done.stderr)[-4000:])
    found = json.loads(result.read_text())
    if found["completed"] != count:
        raise RuntimeError(f"{found['completed']} of {count} requests were answered")
    return found


def compare(name: str, lengths: list[int], requests: int, rounds: int) -> list[dict[str, Any]]:
    """For every length of answers, in tokens: what both servers did in each round."""
    visual, side = MODELS[name]
    budgets: dict[str, dict[str, str]] = {
        "unpruned": {},
        "pruned": {"STSPRUNE_BUDGET": str(visual // 9)},
    }
    with tempfile.TemporaryDirectory() as at, ExitStack() as stack:
        folder = Path(at)
        write_model(name, folder / "model")
        servers = {
            key: stack.enter_context(
                serve(
                    *(str(folder / "model"), "--max-model-len", "1024"),
                    log=folder / f"{key}.log",
                    **settings,
                )
            )
            for key, settings in budgets.items()
        }
        return [
            {"model": name, "visual_tokens": {"unpruned": visual, "pruned": visual // 9}}
            | take_turns(servers, folder, side, tokens, requests, rounds)
            for tokens in lengths
        ]


def take_turns(
    servers: dict[str, Server], folder: Path, side: int, tokens: int, requests: int, rounds: int
) -> dict[str, Any]:
    """Figures of every round, and the ratio of the median throughputs."""
    found: dict[str, list[dict[str, Any]]] = {key: [] for key in servers}
    for turn in range(rounds + 1):
        count = requests if turn else 16  # the first warms up
        file = folder / f"{tokens}-{turn}.jsonl"
        write_requests(file, side, 100_000 * tokens + 1000 * turn, count)
        for key, server in servers.items():
            result = bench(server, file, count, tokens)
            print(tokens, turn, key, result["request_throughput"], file=sys.stderr)
            if turn:
                found[key].append(result)
    row: dict[str, Any] = {"output_tokens": tokens}
    for field in ("request_throughput", "median_ttft_ms", "median_tpot_ms"):
        row[field] = {key: [round(one[field], 2) for one in found[key]] for key in found}
    middle = {key: statistics.median(row["request_throughput"][key]) for key in found}
    return row | {"throughput_ratio": round(middle["pruned"] / middle["unpruned"], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=MODELS, default="wide")
    parser.add_argument("--tokens", default="4,64")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lengths = [int(one) for one in options.tokens.split(",")]
    rows = compare(options.model, lengths, options.requests, options.rounds)
    record(options.out, requests=options.requests, concurrency=8, rows=rows)


if __name__ == "__main__":
    main()
