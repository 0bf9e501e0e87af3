"""The model class that lmms-eval runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from tqdm import tqdm

from stsprune.engine import prune
from stsprune.errors import InvalidArgumentError, UnsupportedModeError

from . import missing_extra
from .answering import answer_batch, tokens_seen
from .arguments import read_arguments
from .loading import load
from .prompts import Messages

try:
    from lmms_eval.api.instance import GenerationResult, TokenCounts
    from lmms_eval.api.model import lmms
    from lmms_eval.models.model_utils.gen_metrics import log_metrics
    from lmms_eval.utils import simple_parse_args_string
except ModuleNotFoundError as error:
    raise missing_extra(error) from error


class StsPrune(lmms):
    """A vision-language model of transformers whose prompts are pruned by one method.

    arguments: see `Arguments`; the method's own settings (budget, layer, ...) go beside them.
    Raises errors of `stsprune.errors`.
    """

    is_simple = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        read = read_arguments(arguments)
        self.model, self.processor, self.method = load(read)
        self.positions, self.family, self.batch_size = read.positions, read.family, read.batch_size

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> StsPrune:
        """What `--model_args` says comes before `--batch_size` and `--device`.

        The base class would pass both and fail with a TypeError.
        """
        try:
            given = simple_parse_args_string(arg_string)
        except ValueError:
            raise InvalidArgumentError(
                f"model_args must be name=value,name=value, got {arg_string!r}"
            ) from None
        beside = {
            name: value for name, value in (additional_config or {}).items() if value is not None
        }
        return cls(**(beside | given))

    @property
    def device(self) -> torch.device:
        """Where lmms-eval puts what its processes exchange."""
        device: torch.device = self.model.device
        return device

    @torch.inference_mode()
    def generate_until(self, requests: Sequence[Any]) -> list[Any]:
        """An answer per request, in order."""
        out: list[Any] = [None] * len(requests)
        kept: list[float] = []
        spoken, seconds = 0, 0.0
        depth = self.model.config.get_text_config().num_hidden_layers
        bar = tqdm(total=len(requests), disable=self.rank != 0, desc="stsprune")
        context: Any = nullcontext()
        if self.method is not None:
            context = prune(self.model, self.method, positions=self.positions, family=self.family)
        with context as trace:
            for batch in self._batches(requests):
                settings = requests[batch[0]].args[2]
                prompts = [self._messages(requests[i]) for i in batch]
                start = time.perf_counter()
                answers, counts = answer_batch(self.model, self.processor, prompts, settings)
                seconds += time.perf_counter() - start
                for i, answer, count in zip(batch, answers, counts, strict=True):
                    out[i] = GenerationResult(answer, TokenCounts(output_tokens=count))
                spoken += sum(counts)
                kept += tokens_seen(trace, depth)
                bar.update(len(batch))
        bar.close()
        more: dict[str, Any] = {"total_requests": len(requests)}
        if kept:
            more["visual_tokens_per_layer"] = sum(kept) / len(kept)
        log_metrics(seconds, spoken, spoken / seconds if seconds else 0.0, more)
        return out

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[Any]:
        """Not supported. Raises UnsupportedModeError."""
        raise UnsupportedModeError("tasks of several rounds are not supported by stsprune")

    def loglikelihood(self, requests: Sequence[Any]) -> list[Any]:
        """Not supported. Raises UnsupportedModeError."""
        raise UnsupportedModeError(
            "tasks must have output_type generate_until: stsprune scores no given answers"
        )

    def _batches(self, requests: Sequence[Any]) -> Iterator[list[int]]:
        """Numbers of requests that are generated together: equal settings, in order."""
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            key = json.dumps(request.args[2], sort_keys=True, default=str)
            groups.setdefault(key, []).append(number)
        for group in groups.values():
            for at in range(0, len(group), self.batch_size):
                yield group[at : at + self.batch_size]

    def _messages(self, request: Any) -> Messages:
        _, to_messages, _, number, task, split = request.args
        messages: Messages = to_messages(self.task_dict[task][split][number])
        return messages
