"""Families that are data: a line says the class and how its images' shapes are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..layout import Ids
from ..visual import Visual
from .base import Family

#: (model, modality, arguments, ids) -> shapes, as `Family.visuals`
Reader = Callable[[Any, str, dict[str, Any], Ids], Sequence[Visual]]


class Table(Family):
    """A family without code of its own; reader: how shapes are read, from shapes.py."""

    reader: ClassVar[Reader]

    def visuals(
        self, model: Any, modality: str, arguments: dict[str, Any], ids: Ids
    ) -> Sequence[Visual]:
        """See `Family.visuals`."""
        return type(self).reader(model, modality, arguments, ids)


def row(
    name: str,
    classes: str | tuple[str, ...],
    reader: Reader,
    base: type[Table] = Table,
    **more: Any,
) -> Family:
    """One family; more: other class attributes of `Family`; base: where a method differs too."""
    classes = (classes,) if isinstance(classes, str) else classes
    facts = {"name": name, "classes": classes, "reader": staticmethod(reader), **more}
    made: Family = type(name, (base,), {"__doc__": f"{name}, a line of a table.", **facts})()
    return made
