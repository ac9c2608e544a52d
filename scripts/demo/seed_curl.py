"""curl lines as texts about older deployments have them, run verbatim against a server that has what they ask for."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines import TREE, Engine, make_model
from processes import Failed, Stage, free_port, say

PORT = 8888
LAYERS, LONGEST, ANSWER = 3, 512, 64
# A whole request, from the word curl to the quote that ends its body.
LINE = re.compile(r"^[ \t]*curl\b[^\n]*\bhttp://localhost:8888/[^\n]*\\\n(?:[^\n]*\n)*?[ \t]*\}'[ \t]*$", re.M)
OURS = """\
curl -v "http://localhost:8888/v1/chat/completions" \\
  -H "Content-Type: application/json" \\
  -H "Authorization: Bearer sk-of-the-demo" \\
  -d '{
     "model": "deepseek-r1-distill-llama-8b",
     "messages": [{"role": "user", "content": "A request of the demo"}],
     "temperature": 0.7
   }'"""
# What the answers printed in such texts consist of. Two of their fields are vLLM's no more: an empty `tool_calls` is
# left out, and `reasoning_content` is `reasoning`.
FIELDS = {
    "": {"id", "object", "created", "model", "choices", "usage", "prompt_logprobs"},
    "choices": {"index", "message", "logprobs", "finish_reason", "stop_reason"},
    "message": {"role", "content"},
    "usage": {"prompt_tokens", "total_tokens", "completion_tokens"},
}


@dataclass(frozen=True)
class Request:
    """One curl line, and what it asks for."""

    text: str
    source: str
    model: str
    key: str

    @property
    def keyless(self) -> str:
        return "\n".join(line for line in self.text.splitlines() if "Authorization:" not in line)


def read(text: str, source: str) -> list[Request]:
    """The curl lines of a text, each once, with the common indentation taken off."""
    found = {}
    for match in LINE.finditer(text):
        line = textwrap.dedent(match.group()).rstrip()
        words = shlex.split(line)
        header = next((w for w in words if w.startswith("Authorization:")), "")
        body = json.loads(words[words.index("-d") + 1])
        found[line] = Request(line, source, body["model"], header.partition(":")[2].split(" ")[-1])
    return list(found.values())


def collect(folder: Path) -> list[Request]:
    """Those of a folder of texts; one of our own where it has none or is not there."""
    found: dict[str, Request] = {}
    for path in sorted(folder.glob("*.txt")):
        for request in read(path.read_text(errors="replace"), path.name):
            found.setdefault(request.text, request)
    return list(found.values()) or read(OURS, "a line of our own")


def run(line: str, folder: Path, port: int) -> tuple[int, Any, str]:
    """Status, body and what curl said about the way, of a line that goes to port 8888; `port` answers for it."""
    settings = "" if port == PORT else f'connect-to = "localhost:{PORT}:127.0.0.1:{port}"\n'
    (folder / ".curlrc").write_text(settings)
    done = subprocess.run(["bash", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "CURL_HOME": str(folder)}, check=False)
    status = re.search(r"^< HTTP/[\d.]+ (\d+)", done.stderr, re.M)
    try:
        body = json.loads(done.stdout)
    except json.JSONDecodeError:
        body = None
    return int(status.group(1)) if status else 0, body, done.stderr


def missing(body: Any) -> list[str]:
    """The fields that an answer lacks."""
    choice = (body.get("choices") or [{}])[0]
    parts = {"": body, "choices": choice, "message": choice.get("message") or {}, "usage": body.get("usage") or {}}
    return [f"{part}.{name}".lstrip(".") for part, names in FIELDS.items() for name in sorted(names - set(parts[part]))]


def judge(request: Request, folder: Path, port: int) -> list[str]:
    """What is wrong with the answers to a line, with its key and without."""
    status, body, way = run(request.text, folder, port)
    say(f"{request.source}: {request.model}: {status} {json.dumps(body)[:200]}")
    if status != 200 or not isinstance(body, dict):
        return [f"{request.source}: status {status}: {json.dumps(body) if body else way[-500:]}"]
    problems = [f"{request.source}: the answer has no {name}" for name in missing(body)]
    if body["model"] != request.model:
        problems.append(f"{request.source}: the answer is of '{body['model']}'")
    refused = run(request.keyless, folder, port)[0]
    say(f"{request.source}: without its key: {refused}")
    return problems + ([] if refused == 401 else [f"{request.source}: without its key the status is {refused}"])


def seeds_folder(given: Path | None) -> Path:
    """Where the texts are: as given, as the environment says, or beside the tree."""
    return given or Path(os.environ.get("DEMO_SEEDS") or TREE.parent / "shared/seeds")


def serve(stage: Stage, name: str, requests: list[Request], model: Path, given: argparse.Namespace) -> Engine:
    """The server that these requests are for: their model's name, their keys."""
    keys = list(dict.fromkeys(request.key for request in requests))
    transfer = {"kv_connector": "AIBrixOffloadingConnectorV1Type3", "kv_role": "kv_both"}
    log = model.parent / f"server-{name.rsplit('/', 1)[-1]}.log"
    engine = Engine(
        stage, f"server of {name}", model, log, "--served-model-name", name,
        "--api-key", *keys, "--middleware", "bare_key.BareKey", "--max-model-len", str(LONGEST),
        "--override-generation-config", json.dumps({"max_new_tokens": ANSWER}),  # Random weights never come to an end.
        "--kv-transfer-config", json.dumps(transfer), serve="reprise.vllm.serve", port=given.port,
        PYTHONPATH=str(Path(__file__).parent), AIBRIX_KV_CACHE_OL_L1_CACHE_CAPACITY_GB="0.25")
    stage.wait(f"starting a server of {name} on port {given.port}", lambda: engine.ready)
    return engine


def demo(stage: Stage, folder: Path, given: argparse.Namespace) -> list[str]:
    """Serves each model that the lines name, and runs them; answers what was wrong. The last server stays."""
    requests = collect(seeds_folder(given.seeds))
    model = make_model(folder / "model", LAYERS, folder / "model.log")
    problems: list[str] = []
    engine: Engine | None = None
    for name in dict.fromkeys(request.model for request in requests):
        if engine:
            engine.stop()
        if free_port(given.port) != given.port:
            raise Failed(f"port {given.port} is in use: end who has it, or give another one with --port")
        its = [request for request in requests if request.model == name]
        engine = serve(stage, name, its, model, given)
        for request in its:
            problems += judge(request, folder, given.port)
    say(f"{len(requests)} curl lines: {'as they should be' if not problems else 'NOT as they should be'} (this vLLM "
        "leaves out an empty tool_calls, and says reasoning for reasoning_content)")
    return problems
