"""The prompts that a method is calibrated on: read, checked, and told apart by their bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stsprune.errors import InvalidArgumentError

from ..images import load_image

#: Fewer leave an exact interval too wide to say anything: 20 of 20 alike means "83 % or more".
LEAST = 40
KEYS = ("images", "video", "question", "answer", "kind")
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Prompt:
    """A question about pictures.

    Attributes:
        question: In words.
        images: Files, or PIL pictures.
        video: Its frames, in the same way, instead of images.
        answer: The right one, where it is known.
        kind: A name by which results are split.
        where: What errors call it.
    """

    question: str
    images: tuple[Any, ...] = ()
    video: tuple[Any, ...] = ()
    answer: str | None = None
    kind: str | None = None
    where: str = "a prompt"

    def pictures(self) -> list[Any]:
        """Its pictures (or frames) as RGB. Raises InvalidArgumentError for a bad file."""
        return [_open(file, self.where) for file in self.images or self.video]

    def label(self) -> str:
        """What shows the pictures apart from others: prompts of equal labels stay together."""
        return "|".join(
            str(file) if isinstance(file, str | Path) else f"#{id(file)}"
            for file in self.images or self.video
        )


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file of JSON lines; pictures are named from the file's folder.

    A line: {"images": ["a.png"], "question": "...", "answer": "...", "kind": "..."}, or "video": a
    list of frames, instead of images. Blank lines are passed over.
    Raises InvalidArgumentError that names file, line and what is allowed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidArgumentError(f"data file {str(path)!r} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(
            f"data file {str(path)!r} must be UTF-8 text of JSON lines: {error}"
        ) from None
    prompts = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            prompts.append(_line(line, path, f"data file {str(path)!r}, line {number}"))
    return check_prompts(prompts, f"data file {str(path)!r}")


def read_folder(folder: Path, questions: Path) -> list[Prompt]:
    """Every question (one a line) about every picture of a folder.

    Raises InvalidArgumentError for a folder without pictures and a file without questions.
    """
    if not questions.is_file():
        raise InvalidArgumentError(f"questions file {str(questions)!r} does not exist")
    asked = [line.strip() for line in questions.read_text(encoding="utf-8").splitlines()]
    asked = [line for line in asked if line]
    if not asked:
        raise InvalidArgumentError(
            f"questions file {str(questions)!r} must hold a question a line, got none"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not files:
        raise InvalidArgumentError(
            f"data folder {str(folder)!r} must hold pictures ({', '.join(ENDINGS)}), got none"
        )
    prompts = [
        Prompt(question, (file,), where=f"picture {str(file)!r}")
        for file in files
        for question in asked
    ]
    return check_prompts(prompts, f"data folder {str(folder)!r}")


def check_prompts(prompts: Sequence[Any], source: str = "prompts") -> list[Prompt]:
    """As `Prompt`s; mappings are read as lines are. Raises InvalidArgumentError."""
    made = [
        prompt
        if isinstance(prompt, Prompt)
        else _mapping(prompt, None, f"{source}, number {number}")
        for number, prompt in enumerate(prompts, 1)
    ]
    if not made:
        raise InvalidArgumentError(f"{source} must hold at least {LEAST} prompts, got none")
    if len(made) < LEAST:
        raise InvalidArgumentError(
            f"{source} must hold at least {LEAST} prompts, got {len(made)}: of fewer the interval "
            f"is too wide to tell budgets apart; 400 are good"
        )
    return made


def digest(prompts: Sequence[Prompt]) -> str:
    """SHA-256 over questions, answers and pictures. Every picture is read: a bad one is found.

    Raises InvalidArgumentError that names the prompt and the picture.
    """
    whole, seen = hashlib.sha256(), dict[str, bytes]()
    for prompt in prompts:
        words = [prompt.question, prompt.answer, prompt.kind, bool(prompt.video)]
        whole.update(json.dumps(words).encode())
        for picture in prompt.images or prompt.video:
            key = str(picture) if isinstance(picture, str | Path) else str(id(picture))
            if key not in seen:
                seen[key] = hashlib.sha256(_open(picture, prompt.where).tobytes()).digest()
            whole.update(seen[key])
    return whole.hexdigest()


def _line(line: str, path: Path, where: str) -> Prompt:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise InvalidArgumentError(
            f"{where} must be a JSON object with images and question: {error}"
        ) from None
    if not isinstance(value, dict):
        raise InvalidArgumentError(
            f"{where} must be a JSON object with images and question, got {type(value).__name__}"
        )
    return _mapping(value, path.parent, where)


def _mapping(value: Any, folder: Path | None, where: str) -> Prompt:
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(f"{where} must be a Prompt or a mapping, got {value!r}")
    unknown = [key for key in value if key not in KEYS]
    if unknown:
        raise InvalidArgumentError(
            f"{where} must have the keys {', '.join(KEYS)} only, got {unknown[0]!r}"
        )
    question = value.get("question")
    if not isinstance(question, str) or not question.strip():
        raise InvalidArgumentError(f"{where} must have a question, a text, got {question!r}")
    for key in ("answer", "kind"):
        if not isinstance(value.get(key), str | None):
            raise InvalidArgumentError(f"{where} must have a text as {key}, got {value[key]!r}")
    shown = {key: value[key] for key in ("images", "video") if value.get(key) is not None}
    if len(shown) != 1:
        raise InvalidArgumentError(
            f"{where} must have images or video, {'both' if shown else 'neither'} given"
        )
    (key, listed), files = next(iter(shown.items())), []
    for file in [listed] if isinstance(listed, str) else listed:
        if isinstance(file, str):
            files.append(Path(file) if folder is None else folder / file)
        elif folder is None:
            files.append(file)
        else:
            raise InvalidArgumentError(f"{where} must list files as {key}, got {file!r}")
    if not files:
        raise InvalidArgumentError(f"{where} must list at least one file as {key}, got none")
    return Prompt(
        question.strip(),
        images=tuple(files) if key == "images" else (),
        video=tuple(files) if key == "video" else (),
        answer=value.get("answer"),
        kind=value.get("kind"),
        where=where,
    )


def _open(picture: Any, where: str) -> Any:
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    try:
        return load_image(picture)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{where}: {error}") from None
