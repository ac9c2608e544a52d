"""Hashes of bytes, as numbers of 128 bits."""

import hashlib
from abc import ABC, abstractmethod

import numpy as np

import reprise


class Hasher(ABC):
    """A hash function."""

    @abstractmethod
    def hash(self, data: bytes) -> int:
        """0 <= the hash < 2**128."""


class MD5Hasher(Hasher):
    """MD5, read as a big-endian number. No protection against whoever wants a collision."""

    def hash(self, data: bytes) -> int:
        return int.from_bytes(hashlib.md5(data, usedforsecurity=False).digest(), "big")


class FarmHasher(Hasher):
    """FarmHash's Fingerprint128, for whole 32-bit words: tokens. ValueError for other lengths. For trusted callers."""

    def hash(self, data: bytes) -> int:
        if not data or len(data) % 4:
            raise ValueError(f"{len(data)} bytes are not 32-bit tokens")
        words = np.frombuffer(data, dtype="<i4")
        [key] = reprise.block_keys(words.data, len(words), reprise.KeyScheme.FARM_SIMPLE)
        return int.from_bytes(key, "big")
