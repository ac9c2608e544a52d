"""First in, first out."""

from .ordered import OrderedPolicy


class FIFO(OrderedPolicy):
    """The block that was put longest ago goes first, whoever asks for it. Hot: at the first access."""
