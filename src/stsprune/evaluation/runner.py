"""Running an evaluation: shards of scenes over processes, kept in a folder, resumed from it."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stsprune.errors import InvalidArgumentError

from ..atomic import write_json
from .benchmarks import find_benchmark
from .jobs import Job
from .sceneqa import load_items

#: Scenes per shard: enough questions to fill batches, few enough to lose little when interrupted.
SHARD = 8
PACKAGE = Path(__file__).parent.parent
#: What decides an answer or a figure; a change there makes old results another run's.
DECIDES = (
    "selection/**/*.py",
    "method/*.py",
    "engine/**/*.py",
    "chat.py",
    "embedded/*.py",
    "embedded/sceneqa2/*.py",
    "embedded/*/*.safetensors",
    "evaluation/shard.py",
    "evaluation/figures.py",
    "evaluation/sceneqa.py",
)
HEADER = "run.json"

#: Records by `Job.stored`, see `shard.answer_shard`.
Records = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Setup:
    """What an evaluation asks: `scenes` pictures of a split, at `positions`.

    figures: whether the kept sets are looked at too, or answers alone (a search for settings).
    """

    split: str
    scenes: int
    positions: str = "original"
    figures: bool = True
    benchmark: str = "sceneqa"

    def shards(self) -> list[tuple[int, int]]:
        """(first scene, number of scenes) of every shard."""
        return [(at, min(SHARD, self.scenes - at)) for at in range(0, self.scenes, SHARD)]

    def questions(self) -> int:
        """How many questions the scenes ask."""
        return _questions(self.split, self.scenes, self.benchmark)


@cache
def _questions(split: str, scenes: int, benchmark: str) -> int:
    return len(load_items(split, scenes, benchmark=benchmark))


def model_shape(benchmark: str = "sceneqa") -> tuple[int, int]:
    """(visual tokens, decoder layers) of the benchmark's model, from its config alone."""
    config = json.loads((find_benchmark(benchmark).folder() / "config.json").read_text())
    vision = config["vision_config"]
    side = vision["image_size"] // vision["patch_size"]
    return side * side, config["text_config"]["num_hidden_layers"]


@cache
def fingerprint() -> str:
    """SHA-256 over the weights and the code that answers depend on."""
    digest = hashlib.sha256()
    for pattern in DECIDES:
        for file in sorted(PACKAGE.glob(pattern)):
            digest.update(str(file.relative_to(PACKAGE)).encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def open_folder(folder: Path, setup: Setup) -> None:
    """Begin or resume a run in `folder`.

    Raises InvalidArgumentError where the folder holds another run's results: they are not mixed.
    """
    present = describe(setup)
    del present["scenes"]  # a run may grow
    header = folder / HEADER
    if folder.exists() and not folder.is_dir():
        raise InvalidArgumentError(f"out must be a folder, got the file {str(folder)!r}")
    if header.exists():
        try:
            theirs = json.loads(header.read_text())
        except ValueError:
            theirs = {}
        for name, what in (
            ("made_by", "another version of the code or the weights"),
            ("benchmark", f"benchmark {theirs.get('benchmark')!r}"),
            ("split", f"split {theirs.get('split')!r}"),
            ("positions", f"positions={theirs.get('positions')!r}"),
            ("figures", "another command"),
        ):
            if theirs.get(name) != present[name]:
                raise InvalidArgumentError(
                    f"out must be an empty folder or one of the same run: {str(folder)!r} holds "
                    f"results of {what}; choose another folder or delete it"
                )
    elif (folder / "shards").exists():
        raise InvalidArgumentError(f"out must be an empty folder: {str(header)!r} is missing")
    else:
        write_json(header, present)


def shard_path(folder: Path, first: int, count: int) -> Path:
    """Where a shard's records are."""
    return folder / "shards" / f"scenes-{first:04}-{first + count - 1:04}.json"


def read_shard(path: Path) -> Records:
    """Records of a shard; none where it has not been run.

    Raises InvalidArgumentError for a file that is not a shard.
    """
    if not path.exists():
        return {}
    try:
        records: Records = json.loads(path.read_text())["records"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgumentError(f"out holds a broken file {str(path)!r}: delete it") from error
    return records


def missing(folder: Path, setup: Setup, jobs: Sequence[Job]) -> list[tuple[int, int, list[Job]]]:
    """Per shard with anything left to do: (first scene, scenes, jobs)."""
    left = []
    for first, count in setup.shards():
        known = read_shard(shard_path(folder, first, count))
        todo = [job for job in jobs if job.stored not in known]
        if todo:
            left.append((first, count, todo))
    return left


def run(
    folder: Path,
    setup: Setup,
    jobs: Sequence[Job],
    processes: int = 1,
    advance: Callable[[int], object] = lambda n: None,
) -> None:
    """Fill `folder` with what is missing there; an interruption keeps the shards that are done.

    advance: called with the number of (question, job) pairs answered since the last call.
    """
    todo = missing(folder, setup, jobs)
    if processes == 1 or len(todo) < 2:
        worker = _Worker(str(folder), setup, advance)
        for first, count, names in todo:
            worker.answer(first, count, names)
        return
    spawn = multiprocessing.get_context("spawn")
    counter = spawn.Value("l", 0)
    pool = ProcessPoolExecutor(
        processes, spawn, initializer=_start, initargs=(str(folder), setup, counter)
    )
    seen = 0
    try:
        waiting: set[Future[None]] = {pool.submit(_answer, *work) for work in todo}
        while waiting:
            done, waiting = wait(waiting, timeout=0.3, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            now = counter.value
            advance(now - seen)
            seen = now
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list((pool._processes or {}).values()):
            process.terminate()
        raise
    pool.shutdown()


class _Worker:
    """One process's model."""

    def __init__(self, folder: str, setup: Setup, advance: Callable[[int], object]) -> None:
        from ..embedded import load_embedded

        self.folder, self.setup, self.advance = Path(folder), setup, advance
        self.model, self.processor = load_embedded(find_benchmark(setup.benchmark).size)

    def answer(self, first: int, count: int, jobs: list[Job]) -> None:
        from .shard import answer_shard

        setup = self.setup
        items = load_items(setup.split, count, start=first, benchmark=setup.benchmark)
        ordered = [Job.unpruned(), *(job for job in jobs if job.method is not None)]
        start = time.perf_counter()
        records = answer_shard(
            self.model,
            self.processor,
            items,
            ordered,
            setup.positions,
            self.advance,
            setup.figures,
            find_benchmark(setup.benchmark),
        )
        path = shard_path(self.folder, first, count)
        seconds = round(time.perf_counter() - start, 2)
        write_json(path, {"seconds": seconds, "records": records | read_shard(path)}, indent=None)


_WORKER: _Worker


def _start(folder: str, setup: Setup, counter: Any) -> None:
    import signal

    import torch
    from transformers.utils import logging

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    logging.disable_progress_bar()  # the parent shows the progress
    torch.set_num_threads(1)

    def advance(count: int) -> None:
        with counter.get_lock():
            counter.value += count

    global _WORKER
    _WORKER = _Worker(folder, setup, advance)


def _answer(first: int, count: int, jobs: list[Job]) -> None:
    _WORKER.answer(first, count, jobs)


def describe(setup: Setup) -> dict[str, Any]:
    """What a summary says of how it was made."""
    return {**asdict(setup), "made_by": fingerprint()}
