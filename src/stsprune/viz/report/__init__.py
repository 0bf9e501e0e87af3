"""The report of an evaluation."""

from .compose import save_report

__all__ = ["save_report"]
