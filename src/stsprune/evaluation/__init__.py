"""How well a pruned model answers: SceneQA items, accuracy, the blind baseline."""

from .blind import Blind
from .sceneqa import Item, accuracy, answers, encode, load_items

__all__ = ["Blind", "Item", "accuracy", "answers", "encode", "load_items"]
