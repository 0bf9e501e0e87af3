"""How well a pruned model answers: SceneQA items, accuracy, the blind baseline."""

from .blind import Blind
from .sceneqa import Item, accuracy, answers, encode, load_items
from .table import Row, blind_row, method_row

__all__ = [
    "Blind",
    "Item",
    "Row",
    "accuracy",
    "answers",
    "blind_row",
    "encode",
    "load_items",
    "method_row",
]
