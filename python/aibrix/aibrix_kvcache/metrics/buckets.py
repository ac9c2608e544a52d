"""Histograms that cost the same however much goes in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

# 8096 is a slip of the original that dashboards may ask for by name.
TOKEN_BUCKETS: list[int] = [
    *(1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576),
]
# The original begins at 1 ms; a hit in memory takes microseconds.
MS_BUCKETS: list[float] = [
    *(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1, 2, 3, 5, 8, 10, 20, 30, 50, 80, 100, 200, 300, 500, 800, 1000, 2000, 3000, 5000, 10000),
]


class BucketCounts:
    """Counts and sums by bucket. Bucket i holds bounds[i - 1] < value <= bounds[i]; the last has no bound.

    Not synchronised: the owner locks.
    """

    __slots__ = ("bounds", "counts", "sums")

    def __init__(self, bounds: Sequence[float] | npt.NDArray[np.float64]) -> None:
        self.bounds = np.asarray(bounds, dtype=np.float64)
        self.counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self.sums = np.zeros(len(bounds) + 1)

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Sorts all of `values` in: much cheaper together than one by one."""
        index = np.searchsorted(self.bounds, values, side="left")
        self.counts += np.bincount(index, minlength=len(self.counts))
        self.sums += np.bincount(index, weights=values, minlength=len(self.sums))

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    @property
    def total(self) -> float:
        return float(self.sums.sum())

    def copy(self) -> BucketCounts:
        other = BucketCounts(self.bounds)
        other.counts, other.sums = self.counts.copy(), self.sums.copy()
        return other

    def since(self, earlier: BucketCounts | None) -> Iterator[tuple[float, int]]:
        """What was added since `earlier` was copied: (mean of the new values, how many), one pair a bucket."""
        counts, sums = self.counts, self.sums
        if earlier is not None:
            counts, sums = counts - earlier.counts, sums - earlier.sums
        for index in np.flatnonzero(counts):
            count = int(counts[index])
            yield self._inside(int(index), float(sums[index]) / count), count

    def _inside(self, index: int, mean: float) -> float:
        """The mean of a bucket's values lies in the bucket; rounding may say otherwise."""
        if index < len(self.bounds):
            mean = min(mean, float(self.bounds[index]))
        if index:
            mean = max(mean, math.nextafter(float(self.bounds[index - 1]), math.inf))
        return mean
