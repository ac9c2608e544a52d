"""Under vLLM's MultiConnector: what it is told about loads that fail.

A connector inside is given a copy of the configuration and cannot reach the one that the scheduler goes by, so it looks
at who makes it.
"""

from __future__ import annotations

import sys

PROBLEM = ("MultiConnector has kv_load_failure_policy '{}': a request whose load fails would end with an error. Add "
           '"kv_load_failure_policy": "recompute" beside "kv_connector": "MultiConnector"')


def problem() -> str:
    """What to change in the configuration of a MultiConnector that makes the connector just now; empty if nothing."""
    frame = sys._getframe(1)
    while frame is not None:
        maker = frame.f_locals.get("self")
        if type(maker).__name__ == "MultiConnector":
            config = getattr(frame.f_locals.get("vllm_config"), "kv_transfer_config", None)
            policy = getattr(config, "kv_load_failure_policy", "recompute")
            return "" if policy == "recompute" else PROBLEM.format(policy)
        frame = frame.f_back  # type: ignore[assignment]
    return ""
