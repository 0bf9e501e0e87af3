"""Keeping other libraries' notices out of a command's output."""

from __future__ import annotations


def quiet_transformers() -> None:
    """Only errors, no bar for reading weights; a download still shows its own."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    hub_logging.set_verbosity_error()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
