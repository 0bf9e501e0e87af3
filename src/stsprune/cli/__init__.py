"""The command line: one file per command; each imports what is heavy when it runs."""

from .app import app, main

__all__ = ["app", "main"]
