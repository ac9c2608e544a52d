"""KV-cache offloading with the API of aibrix-kvcache, over Reprise."""

from . import _collision

_collision.check()  # First: what follows might already be another distribution's.
