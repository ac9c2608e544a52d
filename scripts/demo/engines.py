"""The daemon, and vLLM's OpenAI server over a model of random weights: how the demo starts them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

from processes import Failed, Program, Stage, free_port, http_status

TREE = Path(__file__).resolve().parents[2]
BLOCK_TOKENS = 32
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1",  # More threads wait for one another on few cores.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn", "PYTHONDONTWRITEBYTECODE": "",
}
ADMIN_PORT = 9601
# What is shown is what is found, also on a machine that is busy.
PATIENT = {"strict": True, "fetch_if_slower": True, "lookup_timeout": 10, "fetch_timeout": 60, "load_timeout": 10,
           "store_timeout": 10}


def make_model(folder: Path, layers: int, log: Path) -> Path:
    """Random weights, a tokenizer with one word a token, and a chat template; the same each time."""
    code = "import sys, pathlib, tiny_model as t; t.add_tokenizer(t.make(pathlib.Path(sys.argv[1]), int(sys.argv[2])))"
    command = [sys.executable, "-c", code, str(folder), str(layers)]
    with log.open("ab") as out:
        done = subprocess.run(command, stdout=out, stderr=out, check=False,
                              env={**ENVIRONMENT, "PYTHONPATH": str(TREE / "tests/engines")})
    if done.returncode:
        raise Failed(f"making the model failed: see {log}")
    return folder


class Daemon:
    """`reprise serve` with a disk tier and a status page."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._stage, self._folder = stage, folder
        self.url = f"unix://{folder}/reprise.sock"
        self.page = f"http://127.0.0.1:{free_port(ADMIN_PORT)}"
        self._program = self._start()

    def _start(self) -> Program:
        command = [sys.executable, "-m", "reprise", "serve", "--listen-unix", f"{self._folder}/reprise.sock",
                   "--listen-admin", self.page.removeprefix("http://"), "--l1-capacity", "1GiB",
                   "--l2-url", f"disk:{self._folder}/tier?capacity=4GiB"]
        program = self._stage.start("reprised", command, self._folder / "reprised.log")
        self._stage.wait("starting reprised", lambda: http_status(f"{self.page}/readyz") == 200, 60)
        return program

    def restart(self) -> None:
        """What was in memory is on disk afterwards, and there alone; engines have attached again."""
        before = self._attached()
        self._stage.stop(self._program)
        self._program = self._start()
        self._stage.wait("attaching again", lambda: self._attached() >= before, 60)

    def _attached(self) -> set[str]:
        """The processes that have a session."""
        with urllib.request.urlopen(f"{self.page}/v1/sessions", timeout=10) as answer:
            return {session["peer"] for session in json.load(answer)}


class Engine:
    """A server that may not be ready yet."""

    def __init__(self, stage: Stage, name: str, model: Path, log: Path, *flags: str, serve: str | None = None,
                 port: int = 0, **environment: str) -> None:
        self._stage, self.name = stage, name
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", serve or "vllm.entrypoints.openai.api_server", "--model", str(model),
                   "--host", "127.0.0.1", "--port", str(self.port), "--dtype", "float32", "--enforce-eager",
                   "--block-size", str(BLOCK_TOKENS), "--max-num-seqs", "4", "--num-gpu-blocks-override", "512",
                   "--enable-prompt-tokens-details", *flags]
        self._program = stage.start(name, command, log, **{**ENVIRONMENT, **environment})

    @property
    def ready(self) -> bool:
        return http_status(f"{self.url}/health") == 200

    def forget(self) -> None:
        """Empties the engine's own prefix cache; Reprise's stays."""
        request = urllib.request.Request(f"{self.url}/reset_prefix_cache", method="POST")
        with urllib.request.urlopen(request, timeout=60):
            pass

    def stop(self) -> None:
        self._stage.stop(self._program)


def engine_on(stage: Stage, name: str, model: Path, log: Path, daemon: Daemon, longest: int) -> Engine:
    """A server whose prompts come back from `daemon`. `longest`: of prompt and answer, in tokens."""
    transfer = {"kv_connector": "RepriseConnector", "kv_role": "kv_both",
                "kv_connector_extra_config": {"cache_url": daemon.url, **PATIENT}}
    return Engine(stage, name, model, log, "--served-model-name", "demo", "--max-model-len", str(longest),
                  "--max-num-batched-tokens", str(longest), "--kv-transfer-config", json.dumps(transfer),
                  VLLM_SERVER_DEV_MODE="1")  # Which has the page that makes it forget.
