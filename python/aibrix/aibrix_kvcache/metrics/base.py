"""The two sides of metrics: what holds figures, and what takes them elsewhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass
class Breakdowns:
    """Named parts of an operation's time. Accepted and ignored: the parts are spans of the profiler instead."""

    breakdowns: OrderedDict[str, int] = field(default_factory=OrderedDict)

    def add(self, name: str, value: int) -> None:
        """Sets the part `name`."""
        self.breakdowns[name] = value


class Metrics(ABC):
    """A group of figures."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets the recent samples. What an exporter reads is not touched."""

    @abstractmethod
    def summary(self) -> str:
        """One line for a log."""


class MetricsExporter(ABC):
    """Takes figures to a monitoring system."""

    @abstractmethod
    def export(self, labels: dict[str, str], metrics: Metrics) -> None:
        """Hands over what was recorded since the last call for these `labels` and `metrics`."""
