"""Pictures of what was kept."""

from .overlay import dim_dropped
from .stages import check_target, save_stages

__all__ = ["check_target", "dim_dropped", "save_stages"]
