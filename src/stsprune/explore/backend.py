"""The model behind the page, got ready while the page is already there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .picture import Picture, drawn, scene_grid

if TYPE_CHECKING:
    from .explorer import Explorer
    from .jobs import Job

#: Of the picture's tokens, where no budget is asked for: the middle of the field's three.
SHARE = 2 / 9


@dataclass(frozen=True)
class Backend:
    """grid: patches per side of drawn scenes; tokens: visual tokens of such a scene; methods:
    their names.
    """

    explorer: Explorer
    grid: int
    tokens: int
    methods: tuple[str, ...]

    def draw(self, scene: int) -> Picture:
        """A scene for this model. Raises InvalidArgumentError."""
        return drawn(scene, self.grid)

    @property
    def budget(self) -> int:
        """Where sliders stand at first."""
        return max(1, round(SHARE * self.tokens))


def prepare(load: Callable[[], tuple[Any, Any]], name: str, job: Job) -> Backend:
    """Load the model and ask it once, which warms up and counts a scene's visual tokens.

    Raises what `load` and `stsprune.prune` raise.
    """
    job.says("Loading the model")
    from stsprune.method import methods

    from .explorer import Explorer

    model, processor = load()
    explorer = Explorer(model, processor, name)
    picture = drawn(0, scene_grid(model))
    view = explorer.view(picture, picture.asked[0][0], [], job)
    explorer.forget()  # its times are of a busy start
    return Backend(explorer, scene_grid(model), view["prompt"]["tokens"], tuple(methods()))
