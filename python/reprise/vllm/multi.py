"""Under vLLM's MultiConnector: what it is told about loads that fail.

A connector inside is given a copy of the configuration and cannot reach the one that the scheduler goes by, so it looks
at who makes it.
"""

from __future__ import annotations

import sys
from types import FrameType

PROBLEM = ("MultiConnector has kv_load_failure_policy '{}': a request whose load fails would end with an error. Add "
           '"kv_load_failure_policy": "recompute" beside "kv_connector": "MultiConnector"')


def inside() -> bool:
    """Whether a MultiConnector makes the connector just now."""
    return _maker() is not None


def problem() -> str:
    """What to change in the configuration of a MultiConnector that makes the connector just now; empty if nothing."""
    frame = _maker()
    if frame is None:
        return ""
    config = getattr(frame.f_locals.get("vllm_config"), "kv_transfer_config", None)
    policy = getattr(config, "kv_load_failure_policy", "recompute")
    return "" if policy == "recompute" else PROBLEM.format(policy)


def _maker() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and type(frame.f_locals.get("self")).__name__ != "MultiConnector":
        frame = frame.f_back
    return frame
