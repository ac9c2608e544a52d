"""Where the blocks are: what a manager asks, whatever is behind it."""

from .tiers import Answer, Tiers

__all__ = ["Answer", "Tiers"]
