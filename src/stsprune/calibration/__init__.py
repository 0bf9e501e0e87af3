"""Calibration: which budget is safe for these prompts on this model, without a label."""

from .prompts import Prompt, read_folder, read_prompts
from .result import Agreement, Calibration, Point
from .run import calibrate

__all__ = [
    "Agreement",
    "Calibration",
    "Point",
    "Prompt",
    "calibrate",
    "read_folder",
    "read_prompts",
]
