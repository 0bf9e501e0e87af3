"""The VLM that ships with the package, its pictures (SceneQA) and the script that trains it."""

from .load import load_embedded

__all__ = ["load_embedded"]
