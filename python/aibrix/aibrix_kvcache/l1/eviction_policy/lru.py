"""Least recently used first."""

from .ordered import OrderedPolicy


class LRU(OrderedPolicy):
    """The block that was put or asked for longest ago goes first. Hot: at the first access."""

    MOVES_ON_ACCESS = True
