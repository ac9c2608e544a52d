"""How the blocks of a prompt are named in an L2 that is shared with programs that use these keys."""

from .chain_key_builder import ChainKeyBuilder
from .hasher import FarmHasher, Hasher, MD5Hasher
from .hex_key_builder import HexKeyBuilder
from .key_builder import KeyBuilder
from .raw_key_builder import RawKeyBuilder
from .rolling_hash_key_builder import RollingHashKeyBuilder
from .simple_hash_key_builder import SimpleHashKeyBuilder

__all__ = [
    "ChainKeyBuilder",
    "FarmHasher",
    "Hasher",
    "HexKeyBuilder",
    "KeyBuilder",
    "MD5Hasher",
    "RawKeyBuilder",
    "RollingHashKeyBuilder",
    "SimpleHashKeyBuilder",
]
