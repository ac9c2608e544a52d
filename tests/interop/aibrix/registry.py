"""The table of probes: what each is about, and the time it may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Probe = Callable[[Path], None]


@dataclass(frozen=True)
class Defect:
    """One fault of the original. `probe` gets an empty folder and raises AssertionError when the fault is there."""

    name: str
    number: str
    says: str
    seconds: float
    probe: Probe


DEFECTS: dict[str, Defect] = {}


def defect(number: str, says: str, seconds: float = 60) -> Callable[[Probe], Probe]:
    """Registers a probe under its function's name. `seconds` bounds a whole process, so it is generous."""

    def register(probe: Probe) -> Probe:
        name = probe.__name__
        if name in DEFECTS:
            raise ValueError(f"two probes are named {name}")
        DEFECTS[name] = Defect(name, number, says, seconds, probe)
        return probe

    return register
