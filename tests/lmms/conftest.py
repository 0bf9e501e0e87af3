"""lmms-eval has its own environment (`make test-lmms`); what needs none of it runs everywhere."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore = []
if find_spec("lmms_eval") is None:
    collect_ignore += ["test_lmms_command.py", "test_lmms_qwen.py"]
else:
    from lmms_command import declare_operators

    declare_operators()
