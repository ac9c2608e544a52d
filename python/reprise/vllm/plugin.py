"""Called by vLLM when it starts, in each of its processes: makes the connectors known by their names.

A server of vLLM calls it before it reads its command line. Where a variable of older deployments switches a cache on
and the command line names no connector, it gets one there, as from our launcher.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from pathlib import PurePath

logger = logging.getLogger("vllm.reprise")

_RAY_WORKER = "default_worker.py"  # A rank of an engine that was started elsewhere.

NAMES = (
    "RepriseConnector",
    "AIBrixOffloadingConnector",
    "AIBrixOffloadingConnectorV1Type1",
    "AIBrixOffloadingConnectorV1Type2",
    "AIBrixOffloadingConnectorV1Type3",
    "AIBrixPDReuseConnector",
)


def register() -> None:
    """A name that is taken already stays whose it is."""
    try:
        _register()
        if multiprocessing.parent_process() is None:  # Not in the processes that it starts.
            supply(sys.argv)
    except Exception as error:  # Whatever it is, vLLM starts: also where nobody wants Reprise.
        logger.warning("Reprise: this vLLM is left as it is: %s", error)


def _register() -> None:
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

    for name in NAMES:
        try:
            KVConnectorFactory.register_connector(name, "reprise.vllm", name)
        except ValueError:
            continue


def supply(command: list[str]) -> None:
    """Adds to this process's command line what it lacks, or says what its program has to give to the engine."""
    from .drop_in.command_line import CONNECTOR, lacking, switch

    if not switch(os.environ) or PurePath(command[0] if command else "").parts[-3:] == ("reprise", "vllm", "serve.py"):
        return  # Our launcher does the same by itself.
    if is_server(command):
        from .serve import block_unit

        words, said = lacking(command, os.environ, block_unit=block_unit())
        command += words
        for text in said:
            logger.warning("Reprise: %s", text)
    elif PurePath(command[0] if command else "").name != _RAY_WORKER:
        arguments = ", ".join(f'{name}="{value}"' for name, value in CONNECTOR.items())
        logger.warning("Reprise: %s is set. Only vLLM's server gets a connector from it: another program has to give "
                       "its engine kv_transfer_config=KVTransferConfig(%s)", switch(os.environ), arguments)


def is_server(command: list[str]) -> bool:
    """Whether it is `vllm serve`, or the server's module."""
    path = PurePath(command[0] if command else "")
    if path.parts[-4:] == ("vllm", "entrypoints", "openai", "api_server.py"):
        return True
    return (path.name == "vllm" or path.parts[-3:] == ("entrypoints", "cli", "main.py")) and command[1:2] == ["serve"]
